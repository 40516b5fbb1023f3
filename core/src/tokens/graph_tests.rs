use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tokens::testing::*;
use crate::tokens::{DIRECTORY_VERSION, client_credentials};

fn parse(document: &Value) -> Result<Directory, DirectoryError> {
    Directory::parse(document.to_string().as_bytes())
}

fn may_call(graph: &TokenGraph, caller: &str, audience: &str) -> bool {
    client_credentials(graph, &with_certificate(caller), &asking(audience), &issuance()).is_ok()
}

#[test]
fn services_are_found_by_their_id_and_by_their_account() {
    let graph = shop();
    let order = graph.service(&spiffe_id(ORDER)).unwrap();
    assert_eq!(order.identity.name, "order");
    assert_eq!(graph.service_account("storefront", "order").unwrap().spiffe_id, order.spiffe_id);
    assert_eq!(graph.domain_of(&order.spiffe_id).unwrap().name, "storefront");
    assert!(graph.service_account("settlement", "order").is_none());
    assert!(graph.service(&spiffe_id("spiffe://other.example/ns/storefront/sa/order")).is_none());
    assert!(graph.foreign_issuer(&order.spiffe_id, LOGIN).is_some());
    assert!(graph.foreign_issuer(&order.spiffe_id, "https://login.example.com/realms/shop/").is_none(), "exactly");
    assert!(graph.foreign_issuer(&spiffe_id(LEDGER), LOGIN).is_none(), "of another domain");
    assert_eq!(graph.client_secrets(), ["shop-clients"].into());
}

#[test]
fn a_document_replaces_the_last_one_altogether() {
    let mut graph = shop();
    let before = graph.clone();
    assert!(may_call(&graph, ORDER, "ledger") && may_call(&graph, GATEWAY, "order"));

    let mut settlement = settlement();
    settlement["grants"].as_array_mut().unwrap().remove(1);
    graph.replace("settlement", Some(directory(&settlement))).unwrap();
    assert!(!may_call(&graph, ORDER, "ledger") && may_call(&graph, PAYMENT, "ledger"));
    assert!(may_call(&graph, GATEWAY, "order"), "the others stay");

    graph.replace("settlement", None).unwrap();
    assert!(graph.service(&spiffe_id(LEDGER)).is_none() && graph.namespaces().eq(["storefront"]));
    graph.replace("settlement", None).unwrap();
    assert!(may_call(&before, ORDER, "ledger"), "a snapshot stays as it is");

    graph.replace("settlement", Some(directory(&settlement))).unwrap();
    graph.replace("storefront", None).unwrap();
    assert!(
        graph.audiences.0.keys().all(|audience| ["payment", "ledger", PAYMENT, LEDGER].contains(&audience.as_str()))
    );
    assert!(graph.client_secrets().is_empty());
}

#[test]
fn a_caller_whose_document_is_gone_gets_nothing() {
    let mut graph = shop();
    graph.replace("storefront", None).unwrap();
    assert!(!may_call(&graph, ORDER, "ledger"));
}

#[test]
fn a_document_that_contradicts_itself_takes_its_namespace_out_of_the_graph() {
    let at = |path: &str, value: Value| {
        let mut document = storefront();
        *document.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        document
    };
    let cases = [
        (
            at("/namespace", json!("settlement")),
            "the document is about namespace \"settlement\", and its ConfigMap about \"storefront\"",
        ),
        (at("/domain/tokenLifetimeSeconds", json!(0)), "domain \"storefront\" has a token lifetime"),
        (at("/domain/tokenLifetimeSeconds", json!(3601)), "domain \"storefront\" has a token lifetime"),
        (at("/domain/scopes", json!(["a b"])), "domain \"storefront\" has a scope"),
        (at("/domain/clients/cidrs", json!(["anywhere"])), "domain \"storefront\" has clients with an address range"),
        (at("/identities/0/spiffeID", json!("gateway")), "identity \"gateway\" has no SPIFFE ID"),
        (at("/identities/0/spiffeID", json!(LEDGER)), "identity \"gateway\" has a SPIFFE ID of another"),
        (at("/identities/0/spiffeID", json!(ORDER)), "identity \"gateway\" has a SPIFFE ID of another"),
        (at("/domain/trustDomain", json!("settlement.example")), "has a SPIFFE ID of another"),
        (at("/identities/1", service(GATEWAY, true)), "service account \"gateway\" belongs to two identities"),
        (at("/identities/1/keys/0/x", json!("A")), "identity \"order\" has a key that is not one"),
        (at("/grants/1/callee", json!(LEDGER)), "grant of policy \"storefront/order\" has a callee"),
        (at("/grants/1/maxLifetimeSeconds", json!(0)), "grant of policy \"storefront/order\" has a lifetime"),
        (at("/grants/1/scopes", json!([""])), "grant of policy \"storefront/order\" has a scope"),
        (
            at("/grants/0/caller", json!({"kind": "Cidr", "cidr": "x", "blocks": []})),
            "has a caller with no address range",
        ),
    ];
    for (document, expected) in cases {
        let mut graph = shop();
        let error = graph.replace("storefront", Some(parse(&document).unwrap())).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
        assert!(!may_call(&graph, GATEWAY, "order") && graph.service(&spiffe_id(GATEWAY)).is_none());
    }
}

#[test]
fn a_document_is_read_by_its_version_and_within_bounds() {
    let mut document = storefront();
    assert!(parse(&document).is_ok());
    document["version"] = json!(2);
    document["identities"] = json!("of another form");
    let error = parse(&document).unwrap_err();
    assert_eq!(error, DirectoryError::Version { found: 2 });
    assert!(error.to_string().contains(&format!("knows version {DIRECTORY_VERSION}: run")));
    let long = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(Directory::parse(&long), Err(DirectoryError::Length { length: long.len() }));
    for text in ["", "{}", "[]", "{\"version\": \"1\"}", "{\"version\": 1}"] {
        assert!(matches!(Directory::parse(text.as_bytes()), Err(DirectoryError::Json { .. })), "{text}");
    }
}

#[test]
fn a_wildcard_audience_is_no_way_to_a_token() {
    let mut document = storefront();
    document["grants"][1]["audiences"] = json!(["*.storefront.svc"]);
    let graph = graph_of(&[document]);
    assert!(!may_call(&graph, GATEWAY, "*.storefront.svc") && !may_call(&graph, GATEWAY, "order"));
}

#[test]
fn what_others_may_do_is_not_looked_at() {
    let mut document = storefront();
    let callers = (0..2000).map(|n| format!("spiffe://storefront.example/ns/shop-{n}/sa/caller"));
    let grants = callers.map(|caller| grant(identity(&caller), ORDER, &[], &json!({})));
    document["grants"].as_array_mut().unwrap().extend(grants);
    let graph = graph_of(&[document]);
    let client = with_key(GATEWAY);
    assert_eq!(graph.granted(&client, "order").len(), 1);
}

proptest! {
    #[test]
    fn arbitrary_octets_are_no_document(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Directory::parse(&octets).is_err());
    }

    /// One octet of a good document is changed: it is refused, or it is a document that a graph takes or refuses.
    #[test]
    fn a_damaged_document_does_no_harm(place in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut text = storefront().to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = octet;
        if let Ok(directory) = Directory::parse(&text) {
            let mut graph = shop();
            let known = graph.replace("storefront", Some(directory)).is_ok();
            prop_assert_eq!(graph.namespaces().any(|namespace| namespace == "storefront"), known);
        }
    }
}
