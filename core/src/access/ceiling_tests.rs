//! What entries cover, and what is said of those that cover nothing. The stories of `judge` go through ceilings too.

use std::collections::BTreeSet;

use super::*;
use crate::access::{IssuerToken, ResolvedJwt};
use crate::api::{Protocol, TokenValidation};
use crate::testing::{SHOP, apply, world};
use crate::world::{IssuerKey, ListedIssuer};

#[test]
fn a_range_that_cannot_be_read_covers_nothing_and_is_named() {
    let mut world = world(&[SHOP]);
    apply(
        &mut world,
        "
kind: TrustDomain
metadata: {name: settlement}
spec:
  namespaces: [settlement]
  certificateAuthority: {selfSigned: {}}
  inbound: [{cidrs: [203.0.113.0/24, 10.0.0.1/8]}]
  outbound: [{anywhere: {}, ports: [{port: 1}]}, {cidrs: [nonsense]}]
",
    );
    let domain = world.domain("settlement").unwrap();
    let problems = ceiling_problems(domain);
    let told: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "inbound[0] covers less than it says: 10.0.0.1/8 has bits set behind its prefix: write 10.0.0.0/8 for the whole range, or 10.0.0.1/32 for the one address",
            "outbound[1] covers less than it says: nonsense is no address range: write an address and a prefix length, such as 203.0.113.0/24",
        ]
    );
    assert!(
        problems
            .iter()
            .all(|problem| problem.condition == ConditionType::Accepted && problem.reason == Reason::InvalidCidr)
    );
    let from = |cidr: &str| {
        let (ports, proof) = ([ResolvedPort::range(1, 1, Protocol::Tcp)], Authenticated::default());
        let crossing = Crossing { ours: None, other: Other::Cidr(cidr.parse().unwrap()), ports: &ports, proof: &proof };
        admit(domain, Direction::Inbound, &crossing).is_ok()
    };
    assert!(from("203.0.113.7/32"));
    assert!(!from("10.0.0.1/32") && !from("10.0.0.0/8"));
}

#[test]
fn ports_add_up_within_an_entry_only_where_they_leave_no_gap() {
    let allowed = |entries: &str, first, last| {
        let mut world = world(&[]);
        apply(
            &mut world,
            &format!(
                "{{kind: TrustDomain, metadata: {{name: d}}, spec: {{certificateAuthority: {{selfSigned: {{}}}}, inbound: {entries}}}}}"
            ),
        );
        let (ports, proof) = ([ResolvedPort::range(first, last, Protocol::Tcp)], Authenticated::default());
        let crossing = Crossing { ours: None, other: Other::Anywhere, ports: &ports, proof: &proof };
        admit(world.domain("d").unwrap(), Direction::Inbound, &crossing).is_ok()
    };
    let one_entry = "[{anywhere: {}, ports: [{port: 10, endPort: 20}, {port: 15, endPort: 30}, {port: 40}, {port: 41}, {port: 50, protocol: UDP}]}]";
    assert!(allowed(one_entry, 10, 30) && allowed(one_entry, 12, 29) && allowed(one_entry, 40, 40));
    assert!(allowed(one_entry, 40, 41), "ranges that touch leave no gap");
    assert!(!allowed(one_entry, 30, 40) && !allowed(one_entry, 9, 9) && !allowed(one_entry, 50, 50));
    let two_entries =
        "[{anywhere: {}, ports: [{port: 10, endPort: 20}]}, {anywhere: {}, ports: [{port: 15, endPort: 30}]}]";
    assert!(allowed(two_entries, 10, 20) && allowed(two_entries, 15, 30));
    assert!(!allowed(two_entries, 10, 30), "a range needs one entry");
    assert!(allowed("[{anywhere: {}}]", 1, 65535), "an entry without ports covers all");
}

#[test]
fn the_cluster_s_own_addresses_must_be_allowed_for_every_port() {
    let cluster_addresses = |ports: &[u16]| {
        let mut world = world(&[]);
        apply(
            &mut world,
            "
kind: TrustDomain
metadata: {name: d}
spec:
  certificateAuthority: {selfSigned: {}}
  outbound:
  - {cidrs: [10.0.0.0/8], ports: [{port: 1}, {port: 2}]}
  - {anywhere: {}, ports: [{port: 2}, {port: 3}], clusterAddresses: true}
",
        );
        let ports: Vec<ResolvedPort> =
            ports.iter().map(|port| ResolvedPort::range(*port, *port, Protocol::Tcp)).collect();
        let other = Other::Cidr("10.1.0.0/16".parse().unwrap());
        let crossing = Crossing { ours: None, other, ports: &ports, proof: &Authenticated::default() };
        admit(world.domain("d").unwrap(), Direction::Outbound, &crossing).map(|admission| admission.cluster_addresses)
    };
    assert_eq!(cluster_addresses(&[1]), Ok(false));
    assert_eq!(cluster_addresses(&[2]), Ok(true));
    assert_eq!(cluster_addresses(&[2, 3]), Ok(true));
    assert_eq!(cluster_addresses(&[1, 3]), Ok(false));
}

#[test]
fn proof_is_enough_when_one_accepted_kind_is_demanded_or_none_is_accepted() {
    let of_issuer = || {
        let issuer =
            ListedIssuer { name: "sts".to_owned(), key: IssuerKey::BuiltIn, issuer: "https://sts.example".to_owned() };
        let (validation, scopes) = (TokenValidation::Jwks, BTreeSet::new());
        ResolvedSigner::Issuer(IssuerToken { issuer, validation, scopes, one_time: false })
    };
    let jwt = |signer| Some(ResolvedJwt { signer, audiences: BTreeSet::new(), max_lifetime: None });
    let proofs = [
        Authenticated { mtls: false, jwt: None },
        Authenticated { mtls: true, jwt: None },
        Authenticated { mtls: false, jwt: jwt(ResolvedSigner::Caller) },
        Authenticated { mtls: true, jwt: jwt(ResolvedSigner::Caller) },
        Authenticated { mtls: false, jwt: jwt(of_issuer()) },
        Authenticated { mtls: true, jwt: jwt(of_issuer()) },
    ];
    let accepted = |entry: &str| {
        let mut world = world(&[]);
        apply(
            &mut world,
            &format!(
                "{{kind: TrustDomain, metadata: {{name: d}}, spec: {{certificateAuthority: {{selfSigned: {{}}}}, inbound: [{entry}]}}}}"
            ),
        );
        let domain = world.domain("d").unwrap().clone();
        let other = if entry.contains("trustDomains") { Other::Domain("e") } else { Other::Anywhere };
        let ports = [ResolvedPort::range(1, 1, Protocol::Tcp)];
        let admit = |proof| {
            admit(&domain, Direction::Inbound, &Crossing { ours: None, other: other.clone(), ports: &ports, proof })
        };
        proofs.each_ref().map(|proof| admit(proof).is_ok())
    };
    // In the order: nothing, mtls, a token of the caller without and with mtls, one of an issuer without and with it.
    assert_eq!(accepted("{trustDomains: [e]}"), [false, true, true, true, true, true]);
    assert_eq!(accepted("{anywhere: {}}"), [true; 6]);
    let only = |kinds: &str| accepted(&format!("{{trustDomains: [e], acceptedAuthentication: [{kinds}]}}"));
    assert_eq!(only("Mtls"), [false, true, false, true, false, true]);
    assert_eq!(only("CallerJwt"), [false, false, true, true, false, false]);
    assert_eq!(only("IssuerJwt"), [false, false, false, false, true, true]);
    assert_eq!(only("None"), [true; 6]);
    assert_eq!(only("CallerJwt, IssuerJwt"), [false, false, true, true, true, true]);
    assert_eq!(
        accepted("{anywhere: {}, acceptedAuthentication: [Mtls, IssuerJwt]}"),
        [false, true, false, true, true, true]
    );
}
