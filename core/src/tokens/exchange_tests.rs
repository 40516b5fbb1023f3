use serde_json::json;

use super::*;
use crate::tokens::DenialReason::*;
use crate::tokens::testing::*;

/// The token that a client gets for a service, for its exchange.
fn token(graph: &TokenGraph, client: &Client, request: &TokenRequest) -> Subject {
    Subject::Own(Box::new(made(client_credentials(graph, client, request, &issuance()).unwrap())))
}

fn next(graph: &TokenGraph, client: &str, subject: &Subject, request: &TokenRequest) -> Result<Minting, Denial> {
    exchange(graph, &with_certificate(client), subject, request, &issuance())
}

fn login(graph: &TokenGraph, service: &str, changes: &Value) -> Result<ForeignSubject, Denial> {
    let claims = json!({
        "iss": LOGIN, "sub": "alice", "aud": "account", "exp": in_seconds(100), "iat": in_seconds(-10),
        "scope": "openid customer", "jti": "1",
    });
    let token = sign(&LOGIN_KEY, Some("JWT"), &changed(&claims, changes));
    let issuer = graph.foreign_issuer(&spiffe_id(service), LOGIN).unwrap();
    crate::tokens::verify_foreign(issuer, graph.service(&spiffe_id(service)).unwrap(), &token, now())
}

#[test]
fn each_hop_keeps_the_subject_and_adds_itself_to_the_chain() {
    let graph = shop();
    let at_gateway = token(&graph, &web(), &asking("gateway"));
    let at_order = next(&graph, GATEWAY, &at_gateway, &asking("order")).unwrap();
    assert_eq!(
        json_of(&at_order.claims),
        json!({
            "iss": ISSUER, "sub": "web", "client_id": GATEWAY, "aud": "order", "scope": "customer",
            "cnf": {"x5t#S256": format!("thumbprint of {GATEWAY}")},
            "iat": in_seconds(0), "exp": in_seconds(120), "jti": "AQEBAQEBAQEBAQEBAQEBAQ", "act": {"sub": GATEWAY},
        })
    );
    let at_order = Subject::Own(Box::new(made(at_order)));
    let at_payment = next(&graph, ORDER, &at_order, &asking_once("payment")).unwrap();
    let claims = json_of(&at_payment.claims);
    assert_eq!(claims["act"], json!({"sub": ORDER, "act": {"sub": GATEWAY}}));
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["exp"]),
        (&json!("web"), &json!("payment"), &json!(in_seconds(60)))
    );

    let at_payment = Subject::Own(Box::new(made(at_payment)));
    let at_ledger = next(&graph, PAYMENT, &at_payment, &asking("ledger")).unwrap();
    assert_eq!(at_ledger.kind, TokenKind::Access);
    let at_ledger = json_of(&at_ledger.claims);
    assert_eq!(at_ledger["act"], json!({"sub": PAYMENT, "act": {"sub": ORDER, "act": {"sub": GATEWAY}}}));
    for claim in ["txn", "purp", "tctx"] {
        assert_eq!(at_ledger[claim], claims[claim], "the transaction goes on: {claim}");
    }
}

#[test]
fn a_subject_of_another_issuer_keeps_its_name_and_its_issuer() {
    let graph = shop();
    let alice = login(&graph, GATEWAY, &json!({})).unwrap();
    assert_eq!(alice.scopes, ["customer".to_owned(), "openid".to_owned()].into());
    let minting = next(&graph, GATEWAY, &Subject::Foreign(alice), &asking("order")).unwrap();
    let claims = json_of(&minting.claims);
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": LOGIN, "sub": "alice"}));
    assert_eq!(claims["act"], json!({"sub": GATEWAY}));
    assert_eq!(claims["exp"], in_seconds(100), "no longer than what was presented");

    let subject = Subject::Own(Box::new(made(minting)));
    let minting = next(&graph, ORDER, &subject, &asking("ledger")).unwrap();
    assert_eq!(json_of(&minting.claims)["sub_id"], claims["sub_id"]);
}

#[test]
fn an_exchange_never_widens() {
    let graph = shop();
    let at_gateway = token(&graph, &web(), &asking("gateway"));
    let order = |scope| next(&graph, GATEWAY, &at_gateway, &asking_scope("order", scope));
    assert_eq!(reason(order("customer orders.read")), ScopeTooWide, "though the domain allows it");
    assert_eq!(order("customer orders.read").unwrap_err().error, OAuthError::InvalidScope);
    let bare = login(&graph, GATEWAY, &json!({"scope": "openid"})).unwrap();
    let denied = next(&graph, GATEWAY, &Subject::Foreign(bare), &asking("order"));
    assert_eq!(reason(denied), ScopeTooWide, "what the grant demands is not in the subject token");

    let unscoped = login(&graph, GATEWAY, &json!({"scope": null})).unwrap();
    assert_eq!(unscoped.scopes, [].into());
    let denied = next(&graph, GATEWAY, &Subject::Foreign(unscoped), &asking("order"));
    assert_eq!(reason(denied), ScopeTooWide, "no scope is not every scope");
}

#[test]
fn an_exchange_needs_a_token_that_holds_and_a_grant() {
    let graph = shop();
    let at_gateway = token(&graph, &web(), &asking("gateway"));
    let Subject::Own(own) = &at_gateway else { unreachable!() };
    let with = |change: &dyn Fn(&mut OwnToken)| {
        let mut token = own.clone();
        change(&mut token);
        Subject::Own(token)
    };
    let cases = [
        (
            "a subject token that is meant for another service",
            ORDER,
            at_gateway.clone(),
            asking("ledger"),
            WrongAudience,
        ),
        ("a callee without a policy", GATEWAY, at_gateway.clone(), asking("payment"), NoGrant),
        ("an expired one", GATEWAY, with(&|t| t.claims.exp = in_seconds(0)), asking("order"), Expired),
        ("one from the future", GATEWAY, with(&|t| t.claims.iat = in_seconds(31)), asking("order"), NotYetValid),
        ("another kind of token", GATEWAY, with(&|t| t.kind = TokenKind::Transaction), asking("order"), NoGrant),
        ("another issuer", GATEWAY, with(&|t| t.claims.iss = LOGIN.to_owned()), asking("order"), WrongIssuer),
        (
            "a client that is gone",
            GATEWAY,
            with(&|t| t.claims.client_id = "gone".to_owned()),
            asking("order"),
            ClientGone,
        ),
        ("a subject that is gone", GATEWAY, with(&|t| t.claims.sub = "gone".to_owned()), asking("order"), ActorGone),
    ];
    for (what, client, subject, request, expected) in cases {
        assert_eq!(reason(next(&graph, client, &subject, &request)), expected, "{what}");
    }
    let denied = exchange(&graph, &web(), &at_gateway, &asking("order"), &issuance()).unwrap_err();
    assert_eq!(denied, Denial::new(OAuthError::UnauthorizedClient, NotForRegisteredClients));
}

#[test]
fn what_is_taken_from_the_graph_ends_the_chain_at_once() {
    let graph = shop();
    let at_gateway = token(&graph, &web(), &asking("gateway"));
    let at_order = Subject::Own(Box::new(made(next(&graph, GATEWAY, &at_gateway, &asking("order")).unwrap())));
    assert!(next(&graph, ORDER, &at_order, &asking("ledger")).is_ok());

    let mut storefront = storefront();
    storefront["grants"].as_array_mut().unwrap().remove(1);
    let mut without_policy = graph.clone();
    without_policy.replace("storefront", Some(directory(&storefront))).unwrap();
    assert_eq!(reason(next(&without_policy, ORDER, &at_order, &asking("ledger"))), NoGrant);

    let mut without_web = graph.clone();
    without_web.replace_clients("shop-clients", None);
    assert_eq!(reason(next(&without_web, ORDER, &at_order, &asking("ledger"))), ActorGone);

    let mut without_gateway = graph.clone();
    storefront["identities"].as_array_mut().unwrap().remove(0);
    storefront["grants"].as_array_mut().unwrap().remove(0);
    without_gateway.replace("storefront", Some(directory(&storefront))).unwrap();
    assert_eq!(reason(next(&without_gateway, ORDER, &at_order, &asking("ledger"))), ActorGone);
    assert!(next(&graph, ORDER, &at_order, &asking("ledger")).is_ok(), "a snapshot stays as it is");
}

#[test]
fn another_issuers_subject_is_for_the_service_that_presented_it_and_its_domain() {
    let graph = shop();
    let alice = login(&graph, GATEWAY, &json!({})).unwrap();
    let denied = next(&graph, ORDER, &Subject::Foreign(alice.clone()), &asking("ledger"));
    assert_eq!(reason(denied), WrongAudience);

    let mut storefront = storefront();
    storefront["domain"]["issuers"] = json!([]);
    let untrusting = graph_of(&[storefront, settlement()]);
    let denied = next(&untrusting, GATEWAY, &Subject::Foreign(alice.clone()), &asking("order"));
    assert_eq!(reason(denied), UntrustedIssuer);

    let at_order = next(&graph, GATEWAY, &Subject::Foreign(alice), &asking("order")).unwrap();
    let denied = next(&untrusting, ORDER, &Subject::Own(Box::new(made(at_order))), &asking("ledger"));
    assert_eq!(reason(denied), ActorGone, "nor does what was made of it hold");
}

#[test]
fn a_chain_ends_after_sixteen_actors() {
    let graph = shop();
    let mut subject = token(&graph, &web(), &asking("gateway"));
    let chain = |actors: usize| {
        (0..actors).fold(None, |act: Option<Actor>, _| Some(Actor { sub: GATEWAY.to_owned(), act: act.map(Box::new) }))
    };
    let mut with = |actors| {
        let Subject::Own(token) = &mut subject else { unreachable!() };
        token.claims.act = chain(actors);
        next(&graph, GATEWAY, &subject, &asking("order"))
    };
    assert_eq!(with(15).unwrap().claims.actors().count(), 16);
    assert_eq!(with(16).unwrap_err(), Denial::new(OAuthError::InvalidGrant, ChainTooLong));
}

#[test]
fn a_transaction_is_the_same_beyond_a_hop_that_is_none() {
    let mut settlement = settlement();
    settlement["grants"].as_array_mut().unwrap().push(grant(
        identity(LEDGER),
        PAYMENT,
        &[],
        &json!({"oneTime": true, "validation": "Introspection"}),
    ));
    let graph = graph_of(&[storefront(), settlement]);
    let first = token(&graph, &with_key(ORDER), &asking_once("payment"));
    let plain = next(&graph, PAYMENT, &first, &asking("ledger")).unwrap();
    assert_eq!(plain.kind, TokenKind::Access);
    let transaction = Transaction::parse(Some("steal"), Some(r#"{"amount": "99999"}"#), None).unwrap();
    let request = TokenRequest { transaction: Some(transaction), ..asking("payment") };
    let last = next(&graph, LEDGER, &Subject::Own(Box::new(made(plain))), &request).unwrap();
    let Subject::Own(first) = first else { unreachable!() };
    let (before, after) = (json_of(&first.claims), json_of(&last.claims));
    for claim in ["txn", "purp", "tctx"] {
        assert_eq!(before[claim], after[claim], "{claim}");
    }
}

#[test]
fn details_of_a_transaction_can_be_added_and_not_changed() {
    let mut settlement = settlement();
    settlement["grants"][2]["oneTime"] = json!(true);
    let graph = graph_of(&[storefront(), settlement]);
    let at_payment = token(&graph, &with_key(ORDER), &asking_once("payment"));
    let details = json!({"amount": "99999", "booked": true}).to_string();
    let transaction = Transaction::parse(Some("steal"), Some(&details), Some(r#"{"ip": "192.0.2.1"}"#)).unwrap();
    let request = TokenRequest { transaction: Some(transaction), ..asking("ledger") };
    let claims = json_of(&next(&graph, PAYMENT, &at_payment, &request).unwrap().claims);
    assert_eq!(claims["tctx"], json!({"amount": "12.50", "currency": "EUR", "booked": true}));
    assert_eq!((&claims["purp"], &claims["rctx"]), (&json!("charge"), &json!({"ip": "192.0.2.1"})));
    assert_eq!((&claims["req_wl"], &claims["sub"]), (&json!(PAYMENT), &json!(ORDER)));
}
