use serde_json::json;

use super::*;
use crate::tokens::DenialReason::*;
use crate::tokens::testing::*;
use crate::tokens::{TokenRequest, client_credentials};

fn token(client: &Client, request: &TokenRequest) -> OwnToken {
    made(client_credentials(&shop(), client, request, &issuance()).unwrap())
}

fn ask(graph: &TokenGraph, asking: &Client, token: &OwnToken) -> Introspected {
    introspect(graph, asking, token, ISSUER, now())
}

fn usage(introspected: &Introspected) -> Result<Usage, DenialReason> {
    match introspected {
        Introspected::Active { usage, .. } => Ok(*usage),
        Introspected::Inactive(reason) => Err(*reason),
    }
}

#[test]
fn audience_and_holder_learn_all_and_a_stranger_nothing() {
    let graph = shop();
    let access = token(&with_certificate(GATEWAY), &asking("order"));
    for asking in [with_key(ORDER), with_certificate(GATEWAY)] {
        let Introspected::Active { response, usage } = ask(&graph, &asking, &access) else { panic!("{asking:?}") };
        assert_eq!((*response, usage), (IntrospectionResponse::active(access.claims.clone()), Usage::Many));
    }
    for stranger in [PAYMENT, LEDGER] {
        assert_eq!(usage(&ask(&graph, &with_key(stranger), &access)), Err(NotForThisClient), "{stranger}");
    }
    assert_eq!(usage(&ask(&graph, &web(), &access)), Err(NotForThisClient));
    let of_web = token(&web(), &asking("gateway"));
    assert_eq!(usage(&ask(&graph, &web(), &of_web)), Ok(Usage::Many));
    assert_eq!(usage(&ask(&graph, &with_key(GATEWAY), &of_web)), Ok(Usage::Many));
    assert_eq!(usage(&ask(&graph, &with_key(ORDER), &of_web)), Err(NotForThisClient));
}

#[test]
fn a_one_time_token_is_used_up_by_its_audience_alone() {
    let graph = shop();
    let once = token(&with_key(ORDER), &asking_once("payment"));
    assert_eq!(usage(&ask(&graph, &with_key(PAYMENT), &once)), Ok(Usage::UseUp));
    assert_eq!(usage(&ask(&graph, &with_key(ORDER), &once)), Ok(Usage::Look));
    assert_eq!(usage(&ask(&graph, &with_key(LEDGER), &once)), Err(NotForThisClient));
}

#[test]
fn a_token_holds_only_while_the_graph_says_so() {
    let access = token(&with_certificate(GATEWAY), &asking("order"));
    let after = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut storefront = storefront();
        change(&mut storefront);
        usage(&ask(&graph_of(&[storefront, settlement()]), &with_key(ORDER), &access))
    };
    assert_eq!(after(&|_| {}), Ok(Usage::Many));
    let remove = |array: &mut serde_json::Value, place| drop(array.as_array_mut().unwrap().remove(place));
    assert_eq!(after(&|d| remove(&mut d["grants"], 1)), Err(NoGrant), "the policy is revoked");
    assert_eq!(after(&|d| d["grants"][1]["audiences"] = json!([ORDER])), Err(NoGrant), "for another audience");
    assert_eq!(after(&|d| d["grants"][1]["scopes"] = json!(["customer", "gold"])), Err(NoGrant), "it demands more");
    assert_eq!(after(&|d| d["grants"][1]["scopes"] = json!([])), Err(NoGrant), "it allows less");
    assert_eq!(after(&|d| d["grants"][1]["maxLifetimeSeconds"] = json!(60)), Err(NoGrant), "it lives too long now");
    assert_eq!(after(&|d| d["grants"][1]["oneTime"] = json!(true)), Err(NoGrant), "one-time now");
    assert_eq!(after(&|d| d["identities"][0]["client"] = json!(false)), Err(ClientGone));
    let suspended = |d: &mut serde_json::Value| {
        remove(&mut d["identities"], 0);
        remove(&mut d["grants"], 0);
    };
    assert_eq!(after(&suspended), Err(ActorGone), "the subject is suspended");
}

#[test]
fn a_registered_clients_token_holds_only_while_it_is_registered() {
    let of_web = token(&web(), &asking_scope("gateway", "customer orders.read"));
    let ask_gateway = |graph: &TokenGraph| usage(&ask(graph, &with_key(GATEWAY), &of_web));
    let mut graph = shop();
    assert_eq!(ask_gateway(&graph), Ok(Usage::Many));
    let narrower = crate::tokens::NewRegistration::new(&[7; 32], ["customer".to_owned()].into(), [].into());
    let data = [("web".to_owned(), narrower.registration.into_bytes())].into_iter().collect();
    graph.replace_clients("shop-clients", Some(&data));
    assert_eq!(ask_gateway(&graph), Err(NoGrant));
    graph.replace_clients("shop-clients", None);
    assert_eq!(ask_gateway(&graph), Err(ActorGone));
}

#[test]
fn times_and_issuer_count_by_themselves() {
    let graph = shop();
    let access = token(&with_certificate(GATEWAY), &asking("order"));
    let at = |seconds| {
        let now = Timestamp::from_second(in_seconds(seconds)).unwrap();
        usage(&introspect(&graph, &with_key(ORDER), &access, ISSUER, now))
    };
    assert_eq!((at(119), at(120)), (Ok(Usage::Many), Err(Expired)), "to the second");
    assert_eq!((at(-30), at(-31)), (Ok(Usage::Many), Err(NotYetValid)), "another replica's clock may be ahead");
    let elsewhere = introspect(&graph, &with_key(ORDER), &access, "https://other.example", now());
    assert_eq!(usage(&elsewhere), Err(WrongIssuer));
}

#[test]
fn only_the_holder_may_revoke() {
    let graph = shop();
    let access = token(&with_certificate(GATEWAY), &asking("order"));
    assert!(may_revoke(&graph, &with_certificate(GATEWAY), &access));
    for other in [with_key(ORDER), with_key(PAYMENT), web()] {
        assert!(!may_revoke(&graph, &other, &access), "{other:?}");
    }
    let of_web = token(&web(), &asking("gateway"));
    assert!(may_revoke(&graph, &web(), &of_web) && !may_revoke(&graph, &with_key(GATEWAY), &of_web));
}

#[test]
fn an_unbound_token_does_not_hold_once_a_certificate_is_demanded() {
    let mut storefront = storefront();
    storefront["grants"][1]["mtls"] = json!(false);
    let unbound = client_credentials(&graph_of(&[storefront]), &with_key(GATEWAY), &asking("order"), &issuance());
    let unbound = made(unbound.unwrap());
    assert_eq!(usage(&ask(&shop(), &with_key(ORDER), &unbound)), Err(NoGrant));
    let bound = token(&with_certificate(GATEWAY), &asking("order"));
    assert_eq!(usage(&ask(&shop(), &with_key(ORDER), &bound)), Ok(Usage::Many));
}

/// Two domains may each register a client, and its tokens name it by its id alone.
#[test]
fn an_id_that_two_secrets_register_is_nobodys() {
    let mut settlement = settlement();
    settlement["domain"]["clients"] = json!({"secretName": "bank-clients", "cidrs": ["203.0.113.0/24"]});
    let mut graph = graph_of(&[storefront(), settlement]);
    let of_web = token(&web(), &asking("gateway"));
    let authenticate =
        |graph: &TokenGraph| graph.authenticate_registered("web", &web_secret(), "203.0.113.7".parse().unwrap());
    assert!(authenticate(&graph).is_ok() && graph.ambiguous_clients().is_empty());
    graph.replace_clients("bank-clients", Some(&shop_clients()));
    assert_eq!(graph.ambiguous_clients(), ["web"].into());
    assert_eq!(reason(authenticate(&graph)), AmbiguousClient);
    assert_eq!(usage(&ask(&graph, &with_key(GATEWAY), &of_web)), Err(ActorGone));
    assert!(!may_revoke(&graph, &registered("web", "bank-clients", None), &of_web));
    graph.replace_clients("bank-clients", None);
    assert_eq!(usage(&ask(&graph, &with_key(GATEWAY), &of_web)), Ok(Usage::Many));
}
