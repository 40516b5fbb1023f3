//! In random worlds, as they are declared: whoever can get a token for whom is whoever may call whom with one. One side is
//! the way from the declarations through the operator's documents to the token service's decisions, the other the model's
//! own reading of the declarations.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::testing::Operator;
use crate::access::model::{CLIENT, CLIENTS_SECRET, Model, models, token_models};
use crate::pki::testing::now;
use crate::testing::show;
use crate::tokens::{
    Client, ClientProof, Directory, Issuance, NewRegistration, RegisteredClient, ServiceClient, TokenGraph,
    TokenRequest, Transaction, client_credentials,
};
use crate::world::World;

/// What the operator writes for the token service.
fn documents(model: &Model) -> Vec<Directory> {
    let mut world = World::new(model.settings());
    for object in model.objects() {
        show(&mut world, object);
    }
    world.listed();
    let mut operator = Operator::in_world(world);
    operator.work();
    let texts = operator.directories.values().map(|found| found.data.as_ref().unwrap()["directory.json"].clone());
    texts.map(|text| Directory::parse(text.as_bytes()).unwrap()).collect()
}

/// Who gets a token for whom, of everyone who can prove to be someone: by any audience, of either kind.
fn obtained(model: &Model) -> BTreeSet<(String, String)> {
    let documents = documents(model);
    let mut graph = TokenGraph::default();
    for document in &documents {
        graph.replace(&document.namespace, Some(document.clone())).unwrap();
    }
    let registration = NewRegistration::new(&[0; 32], BTreeSet::new(), BTreeSet::new()).registration;
    let registered = [(CLIENT.to_owned(), registration.into_bytes())].into_iter().collect();
    assert_eq!(graph.replace_clients(CLIENTS_SECRET, Some(&registered)), []);
    let (id, secret_name) = (CLIENT.to_owned(), CLIENTS_SECRET.to_owned());
    let outside = Client::Registered(RegisteredClient { id, secret_name, address: None });
    let identities = || documents.iter().flat_map(|document| &document.identities);
    let services = identities().map(|identity| {
        let proof = ClientProof::Certificate { thumbprint: identity.name.clone() };
        Client::Identity(ServiceClient { spiffe_id: identity.spiffe_id.parse().unwrap(), proof })
    });
    let issuance = Issuance { issuer: "https://sts.example", now: now(), entropy: [0; 16] };
    let mut obtained = BTreeSet::new();
    for client in services.chain([outside]) {
        for audience in identities().flat_map(|identity| &identity.audiences) {
            for transaction in [None, Transaction::parse(Some("pay"), None, None).ok()] {
                let request = TokenRequest { audience: audience.clone(), scope: None, transaction };
                let minting = client_credentials(&graph, &client, &request, &issuance);
                obtained.extend(minting.ok().map(|minting| (client.id(), minting.callee)));
            }
        }
    }
    obtained
}

fn difference(a: &BTreeSet<(String, String)>, b: &BTreeSet<(String, String)>) -> Vec<(String, String)> {
    a.difference(b).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_token_is_had_exactly_where_an_edge_in_force_admits_one(model in prop_oneof![1 => models(), 3 => token_models()]) {
        let (obtained, declared) = (obtained(&model), model.tokens());
        prop_assert_eq!(difference(&obtained, &declared), vec![], "obtained without an edge");
        prop_assert_eq!(difference(&declared, &obtained), vec![], "an edge without a token");
    }
}

/// Whether the property above says something.
#[test]
fn the_random_worlds_have_tokens_of_all_kinds_of_callers() {
    let mut runner = TestRunner::deterministic();
    let (mut inside, mut across, mut outside) = (0, 0, 0);
    for _ in 0..200 {
        for (caller, callee) in token_models().new_tree(&mut runner).unwrap().current().tokens() {
            let domain = |id: &str| id.split('/').nth(2).map(str::to_owned);
            match domain(&caller) {
                None => outside += 1,
                Some(of) if Some(&of) == domain(&callee).as_ref() => inside += 1,
                Some(_) => across += 1,
            }
        }
    }
    assert!(inside > 100 && across > 100 && outside > 20, "{inside}, {across}, {outside}");
}
