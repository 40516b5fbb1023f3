//! For random graphs: a token can be obtained exactly where a grant says so, and no chain of exchanges gets further than its
//! grants and its first token. What a grant says is read here anew, from the documents, one after the other.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::access::CallerName;
use crate::pki::SecretData;

/// Callers and callees: services of three namespaces, two of one trust domain, each of which may be there.
const NAMESPACES: [(&str, &str); 3] = [("a", "red"), ("b", "red"), ("c", "blue")];
const NAMES: [&str; 2] = ["x", "y"];
const SCOPES: [&str; 3] = ["read", "write", "pay"];
const RANGES: [&str; 4] = ["0.0.0.0/0", "203.0.113.0/24", "203.0.113.0/25", "198.51.100.0/24"];

fn id(namespace: usize, name: usize) -> String {
    let (namespace, domain) = NAMESPACES[namespace];
    format!("spiffe://{domain}.example/ns/{namespace}/sa/{}", NAMES[name])
}

fn all_ids() -> Vec<String> {
    (0..6).map(|n| id(n / 2, n % 2)).collect()
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(all, 0..=all.len())
}

fn caller() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => (0..3usize, 0..2usize).prop_map(|(namespace, name)| identity(&id(namespace, name))),
        2 => prop::sample::select(vec!["red.example", "blue.example", "green.example"])
            .prop_map(|domain| json!({"kind": "TrustDomain", "trustDomain": domain})),
        1 => Just(json!({"kind": "Anywhere"})),
        2 => prop::sample::select(RANGES.to_vec()).prop_map(|cidr| json!({"kind": "Cidr", "cidr": cidr, "blocks": []})),
        1 => Just(json!({"kind": "Pods", "namespaces": ["d"], "selector": ""})),
    ]
}

/// The document of a namespace, by its place.
fn document(place: usize) -> impl Strategy<Value = Value> {
    let grants = (caller(), 0..2usize, some_of(&SCOPES), any::<bool>(), any::<bool>(), any::<bool>(), 20u64..200);
    let grants = proptest::collection::vec(grants, 0..5);
    let services = (any::<[bool; 2]>(), any::<[bool; 2]>());
    let clients = proptest::option::of(some_of(&RANGES));
    (services, grants, some_of(&SCOPES), 20u64..200, clients).prop_map(
        move |((there, client), grants, scopes, lifetime, clients)| {
            let (namespace, domain) = NAMESPACES[place];
            let identities: Vec<_> =
                (0..2).filter(|name| there[*name]).map(|name| named(place, name, client[name])).collect();
            let grants = grants.into_iter().filter(|grant| there[grant.1]).map(
                |(caller, callee, scopes, one_time, mtls, shared, lifetime)| {
                    let callee = id(place, callee);
                    // Under the one audience or under the other, which both services of a namespace share.
                    let audiences = if shared { vec!["shared".to_owned()] } else { vec![callee.clone()] };
                    let rest = json!({
                        "oneTime": one_time, "mtls": mtls, "audiences": audiences, "maxLifetimeSeconds": lifetime,
                    });
                    grant(caller, &callee, &scopes, &rest)
                },
            );
            let mut document = json!({
                "version": 1, "namespace": namespace,
                "domain": {
                    "name": domain, "trustDomain": format!("{domain}.example"), "bundle": "", "revocationLists": "",
                    "tokenFormat": "Jwt", "tokenLifetimeSeconds": lifetime, "scopes": scopes, "issuers": [],
                },
                "identities": identities, "grants": grants.collect::<Vec<_>>(),
            });
            if let Some(cidrs) = clients {
                document["domain"]["clients"] = json!({"secretName": format!("{domain}-clients"), "cidrs": cidrs});
            }
            document
        },
    )
}

fn named(namespace: usize, name: usize, client: bool) -> Value {
    let mut service = service(&id(namespace, name), client);
    service["audiences"] = json!([id(namespace, name), "shared"]);
    service
}

/// Documents, and the registered clients of both domains.
type Drawn = (Vec<Value>, Vec<(Vec<&'static str>, Vec<&'static str>)>);

fn drawn() -> impl Strategy<Value = Drawn> {
    let clients = proptest::collection::vec((some_of(&SCOPES), some_of(&RANGES[1..])), 2);
    ((document(0), document(1), document(2)), clients).prop_map(|((a, b, c), clients)| (vec![a, b, c], clients))
}

const SECRETS: [&str; 2] = ["red-clients", "blue-clients"];

fn graph((documents, clients): &Drawn) -> TokenGraph {
    let mut graph = graph_of(documents);
    for (secret, (scopes, cidrs)) in SECRETS.into_iter().zip(clients) {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let registration = NewRegistration::new(&[0; 32], scopes, cidrs).registration;
        let data: SecretData = [(app(secret), registration.into_bytes())].into_iter().collect();
        graph.replace_clients(secret, Some(&data));
    }
    graph
}

/// The client that a Secret registers.
fn app(secret: &str) -> String {
    format!("app-of-{secret}")
}

fn everyone() -> Vec<Client> {
    let services = all_ids().into_iter().flat_map(|id| [with_key(&id), with_certificate(&id)]);
    services.chain(SECRETS.map(|secret| registered(&app(secret), secret, None))).collect()
}

/// Whether a client can bring what a grant demands of its connection.
fn can_bring(client: &Client, grant: &DirectoryGrant) -> bool {
    !grant.mtls || matches!(client, Client::Identity(service) if service.proof != ClientProof::Key)
}

/// All sets of scopes.
fn all_scopes() -> Vec<BTreeSet<String>> {
    let set = |bits: usize| (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| SCOPES[bit].to_owned()).collect();
    (0..8).map(set).collect()
}

/// All that can be asked for: an audience, scopes, and whether for one time.
fn all_requests() -> Vec<TokenRequest> {
    let audiences = all_ids().into_iter().chain(["shared".to_owned()]);
    let mut requests = Vec::new();
    for audience in audiences {
        for scope in all_scopes() {
            for transaction in [None, Transaction::parse(Some("p"), None, None).ok()] {
                requests.push(TokenRequest {
                    audience: audience.clone(),
                    scope: Some(scope.clone().into()),
                    transaction,
                });
            }
        }
    }
    requests
}

/// Whether a document has the service as a client of the token service.
fn is_client(documents: &[Directory], id: &str) -> bool {
    documents.iter().flat_map(|document| &document.identities).any(|service| service.spiffe_id == id && service.client)
}

/// Whether a grant is for this client, read by itself.
fn is_for(drawn: &Drawn, documents: &[Directory], home: &Directory, grant: &DirectoryGrant, client: &Client) -> bool {
    match (client, &grant.caller) {
        (Client::Identity(service), CallerName::Identity { spiffe_id, .. }) => {
            *spiffe_id == service.spiffe_id.to_string() && is_client(documents, spiffe_id)
        }
        (Client::Identity(service), CallerName::TrustDomain { trust_domain }) => {
            let id = service.spiffe_id.to_string();
            id.starts_with(&format!("spiffe://{trust_domain}/")) && is_client(documents, &id)
        }
        (Client::Registered(client), CallerName::Anywhere | CallerName::Cidr { .. }) => {
            let clients = home.domain.clients.as_ref().filter(|clients| clients.secret_name == client.secret_name);
            let Some(clients) = clients else { return false };
            let place = SECRETS.iter().position(|secret| *secret == client.secret_name).unwrap();
            let own: Vec<String> = drawn.1[place].1.iter().map(|&cidr| cidr.to_owned()).collect();
            let addresses = if own.is_empty() { &clients.cidrs } else { &own };
            match &grant.caller {
                // The ranges are drawn from a list, in which only these lie in others.
                CallerName::Cidr { cidr, .. } if cidr == "0.0.0.0/0" => !addresses.is_empty(),
                CallerName::Cidr { cidr, .. } if cidr == "203.0.113.0/24" => {
                    !addresses.is_empty() && addresses.iter().all(|address| address.starts_with("203.0.113.0/"))
                }
                CallerName::Cidr { cidr, .. } => {
                    !addresses.is_empty() && addresses.iter().all(|address| address == cidr)
                }
                _ => true,
            }
        }
        _ => false,
    }
}

/// The grants for a client and an audience, each with its document.
fn grants_for<'a>(
    drawn: &Drawn,
    documents: &'a [Directory],
    client: &Client,
    audience: &str,
) -> Vec<(&'a Directory, &'a DirectoryGrant)> {
    let all = documents.iter().flat_map(|home| home.grants.iter().map(move |grant| (home, grant)));
    all.filter(|(home, grant)| grant.audiences.contains(audience) && is_for(drawn, documents, home, grant, client))
        .collect()
}

/// Whether one of the grants admits exactly this, and they all are about one callee.
fn admitted(drawn: &Drawn, documents: &[Directory], client: &Client, request: &TokenRequest) -> bool {
    let grants = grants_for(drawn, documents, client, &request.audience);
    let callees: BTreeSet<&String> = grants.iter().map(|(_, grant)| &grant.callee).collect();
    let scope = request.scope.as_ref().unwrap().as_set();
    let registered: Option<BTreeSet<String>> = match client {
        Client::Identity(_) => None,
        Client::Registered(client) => {
            let place = SECRETS.iter().position(|secret| *secret == client.secret_name).unwrap();
            Some(drawn.1[place].0.iter().map(|&scope| scope.to_owned()).collect())
        }
    };
    callees.len() == 1
        && registered.is_none_or(|registered| scope.is_subset(&registered))
        && grants.iter().any(|(home, grant)| {
            grant.one_time == request.transaction.is_some()
                && can_bring(client, grant)
                && grant.scopes.is_subset(scope)
                && scope.iter().all(|scope| grant.scopes.contains(scope) || home.domain.scopes.contains(scope))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every client asks for everything that can be asked for.
    #[test]
    fn a_token_can_be_obtained_exactly_where_a_grant_says_so(drawn in drawn()) {
        let graph = graph(&drawn);
        let documents: Vec<_> = drawn.0.iter().map(directory).collect();
        for client in everyone() {
            for request in all_requests() {
                let decided = client_credentials(&graph, &client, &request, &issuance());
                let expected = admitted(&drawn, &documents, &client, &request);
                prop_assert_eq!(decided.is_ok(), expected, "{:?} {:?} {:?}", client, request, decided);
                let Ok(minting) = decided else { continue };
                let token = made(minting);
                prop_assert!(token.claims.aud == request.audience && Some(&token.claims.scope) == request.scope.as_ref());
                // What is given holds, until the graph says otherwise.
                let holds = introspect(&graph, &client, &token, ISSUER, now());
                prop_assert!(matches!(holds, Introspected::Active { .. }), "{holds:?}");
            }
            // Who asks for nothing in particular gets what the least of the grants demands.
            for audience in all_ids() {
                let request = asking(&audience);
                let least = all_scopes().into_iter().map(|scope| TokenRequest { scope: Some(scope.into()), ..request.clone() });
                let obtained = client_credentials(&graph, &client, &request, &issuance()).is_ok();
                prop_assert!(!obtained || least.into_iter().any(|request| admitted(&drawn, &documents, &client, &request)));
            }
        }
    }

    /// A chain of exchanges, each of whose hops asks for everything.
    #[test]
    fn a_chain_goes_where_grants_go_and_never_gets_wider(drawn in drawn(), seed in any::<u64>()) {
        let graph = graph(&drawn);
        let documents: Vec<_> = drawn.0.iter().map(directory).collect();
        let requests = all_requests();
        let first = everyone().into_iter().flat_map(|client| {
            requests.iter().filter_map(|request| client_credentials(&graph, &client, request, &issuance()).ok()).collect::<Vec<_>>()
        });
        let first: Vec<_> = first.collect();
        prop_assume!(!first.is_empty());
        let pick = |length: usize, hop: u64| usize::try_from(seed.rotate_left(7 * u32::try_from(hop).unwrap()) % length as u64).unwrap();
        let mut held = first[pick(first.len(), 0)].clone();
        for hop in 1..6 {
            let subject = Subject::Own(Box::new(made(held.clone())));
            let mut next = Vec::new();
            for client in everyone() {
                for request in &requests {
                    let is_audience = client.id() == held.callee;
                    let scope = request.scope.as_ref().unwrap();
                    let expected = is_audience
                        && is_client(&documents, &held.callee)
                        && scope.is_subset(held.claims.scope.as_set())
                        && admitted(&drawn, &documents, &client, request);
                    let decided = exchange(&graph, &client, &subject, request, &issuance());
                    prop_assert_eq!(decided.is_ok(), expected, "{:?} {:?} {:?}", client, request, decided);
                    next.extend(decided.ok());
                }
            }
            for minting in &next {
                let (before, after) = (&held.claims, &minting.claims);
                prop_assert!(after.sub == before.sub && after.exp <= before.exp);
                prop_assert!(after.scope.is_subset(before.scope.as_set()));
                let chain: Vec<&str> = std::iter::once(held.callee.as_str()).chain(before.actors()).collect();
                prop_assert_eq!(after.actors().collect::<Vec<_>>(), chain);
                prop_assert_eq!(&after.client_id, &held.callee);
            }
            if next.is_empty() {
                break;
            }
            held = next.swap_remove(pick(next.len(), hop));
        }
    }

    /// A document is taken from a graph, or changed: what holds afterwards is what could be obtained afterwards.
    #[test]
    fn what_can_not_be_obtained_any_more_does_not_hold_any_more(before in drawn(), after in drawn(), place in 0..3usize) {
        let old = graph(&before);
        let mut changed = before.clone();
        changed.0[place] = after.0[place].clone();
        let mut new = old.clone();
        let namespace = NAMESPACES[place].0;
        new.replace(namespace, Some(directory(&changed.0[place]))).unwrap();
        let fresh = graph(&changed);
        for client in everyone() {
            for request in all_requests() {
                let ask = |graph: &TokenGraph| client_credentials(graph, &client, &request, &issuance());
                prop_assert_eq!(ask(&new), ask(&fresh), "a graph that was changed is one that was made so");
                let Ok(minting) = ask(&old) else { continue };
                let token = made(minting);
                let holds = introspect(&new, &client, &token, ISSUER, now());
                let holds = matches!(holds, Introspected::Active { .. });
                let obtainable = ask(&new).map(|minting| (minting.lifetime_seconds(), minting.claims.cnf));
                if !holds {
                    let long = token.claims.exp - token.claims.iat;
                    let same = obtainable.is_ok_and(|(lifetime, cnf)| lifetime >= long && cnf == token.claims.cnf);
                    prop_assert!(!same, "{:?}", token);
                } else {
                    let several = obtainable == Err(Denial::new(OAuthError::InvalidTarget, DenialReason::AmbiguousAudience));
                    prop_assert!(obtainable.is_ok() || several);
                }
            }
        }
    }
}
