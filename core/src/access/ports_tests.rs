//! Which pod port a declared port means.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::{SHOP, apply, identity, world};

/// Resolves ports of `settlement/payment`, which these objects belong to: the numbers, or reason and message.
fn resolved(given: &str, ports: &str) -> String {
    let mut world = world(&[SHOP]);
    if !given.is_empty() {
        apply(&mut world, given);
    }
    let ports: Vec<PolicyPort> = serde_saphyr::from_str(ports).unwrap();
    match resolve_ports(identity(&world, "settlement/payment"), &ports) {
        Ok(ports) => ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(objection) => format!("{}: {}", objection.reason, objection.message),
    }
}

fn service(name: &str, ports: &str) -> String {
    format!(
        "{{kind: Service, metadata: {{name: {name}, namespace: settlement}}, spec: {{selector: {{app.kubernetes.io/name: payment}}, ports: {ports}}}}}\n---\n"
    )
}

fn pod(name: &str, ports: &str) -> String {
    format!(
        "{{kind: Pod, metadata: {{name: {name}, namespace: settlement, labels: {{app.kubernetes.io/name: payment}}}}, spec: {{serviceAccountName: payment, containers: [{{name: main, ports: {ports}}}]}}}}\n---\n"
    )
}

/// Objects, without the separator after the last.
fn objects<S: AsRef<str>>(objects: &[S]) -> String {
    let objects: String = objects.iter().map(AsRef::as_ref).collect();
    objects.trim_end_matches("---\n").to_owned()
}

#[test]
fn a_port_of_a_service_comes_first_and_means_the_pod_s_port() {
    let https = service("payment", "[{name: https, port: 443, targetPort: 8443}]");
    let pods = pod("a", "[{containerPort: 8443}, {name: https, containerPort: 9999}, {containerPort: 443}]");
    assert_eq!(resolved(&objects(&[&https]), "[{port: 443}]"), "8443/TCP");
    assert_eq!(resolved(&objects(&[https.clone(), pods.clone()]), "[{port: 443}]"), "8443/TCP");
    assert_eq!(resolved(&objects(&[https.clone(), pods.clone()]), "[{port: https}]"), "8443/TCP");
    assert_eq!(
        resolved(&objects(&[https, pods]), "[{port: 443, protocol: UDP}]"),
        "PortNotFound: neither a Service nor a pod of ServiceIdentity settlement/payment has port 443/UDP: its pods declare 443/TCP, 8443/TCP, 9999/TCP; correct the port, or declare it in the pods"
    );
    let same = service("payment", "[{port: 8443}]");
    assert_eq!(resolved(&objects(&[same]), "[{port: 8443}]"), "8443/TCP", "a targetPort that is not set is the port");
}

#[test]
fn a_service_may_name_the_container_port() {
    let named = service("payment", "[{port: 443, targetPort: tls}]");
    let given = objects(&[
        named.clone(),
        pod("a", "[{name: tls, containerPort: 8443}]"),
        pod("b", "[{name: tls, containerPort: 8443}]"),
    ]);
    assert_eq!(resolved(&given, "[{port: 443}]"), "8443/TCP");
    assert_eq!(
        resolved(&objects(&[&named]), "[{port: 443}]"),
        "PortNotFound: no pod of ServiceIdentity settlement/payment runs yet that could say which number the port tls/TCP has: name the number, or wait for the pods"
    );
    let disagreeing = objects(&[
        named,
        pod("a", "[{name: tls, containerPort: 8443}]"),
        pod("b", "[{name: tls, containerPort: 9443}]"),
    ]);
    assert_eq!(
        resolved(&disagreeing, "[{port: 443}]"),
        "PortAmbiguous: the pods of ServiceIdentity settlement/payment disagree on what the port named tls/TCP is: 8443, 9443; make them agree, or name the number"
    );
}

#[test]
fn a_container_port_counts_where_no_service_has_it() {
    let declared = pod("a", "[{name: grpc, containerPort: 8443}]");
    assert_eq!(resolved(&objects(&[&declared]), "[{port: 8443}]"), "8443/TCP");
    assert_eq!(resolved(&objects(&[&declared]), "[{port: grpc}]"), "8443/TCP");
    assert_eq!(
        resolved(&objects(&[&declared]), "[{port: 22}]"),
        "PortNotFound: neither a Service nor a pod of ServiceIdentity settlement/payment has port 22/TCP: its pods declare 8443/TCP; correct the port, or declare it in the pods"
    );
    assert_eq!(
        resolved(&objects(&[&declared]), "[{port: http}]"),
        "PortNotFound: neither a Service nor a pod of ServiceIdentity settlement/payment has a port named http/TCP: correct the name, or add it to the pods"
    );
    assert_eq!(resolved("", "[{port: 22}]"), "22/TCP", "before there are pods a number is believed");
    assert_eq!(
        resolved("", "[{port: http}]"),
        "PortNotFound: no pod of ServiceIdentity settlement/payment runs yet that could say which number the port http/TCP has: name the number, or wait for the pods"
    );
    let silent = objects(&[declared.clone(), pod("b", "[]")]);
    assert_eq!(resolved(&silent, "[{port: 22}]"), "22/TCP", "a pod that declares nothing may have any port");
    assert_eq!(
        resolved(&silent, "[{port: grpc}]"),
        "PortAmbiguous: the pods of ServiceIdentity settlement/payment disagree on what the port named grpc/TCP is: 8443, nothing; make them agree, or name the number"
    );
}

#[test]
fn services_that_disagree_are_not_widened_to_all_they_say() {
    let services = [
        service("payment", "[{name: a, port: 443, targetPort: 8443}]"),
        service("admin", "[{name: a, port: 443, targetPort: 9443}]"),
    ];
    let both = "
{kind: ServiceIdentity, metadata: {name: payment, namespace: settlement}, spec: {services: [payment, admin]}}
---
";
    let given = format!("{both}{}", objects(&services));
    for port in ["443", "a"] {
        assert_eq!(
            resolved(&given, &format!("[{{port: {port}}}]")),
            format!(
                "PortAmbiguous: port {port}/TCP of ServiceIdentity settlement/payment leads to different pod ports: 8443 (Service payment), 9443 (Service admin); name the one that is meant"
            )
        );
    }
    let agreeing = [
        service("payment", "[{port: 443, targetPort: 8443}]"),
        service("admin", "[{port: 443, targetPort: 8443}, {port: 80, targetPort: 9443}]"),
    ];
    assert_eq!(resolved(&format!("{both}{}", objects(&agreeing)), "[{port: 443}]"), "8443/TCP");
}

#[test]
fn a_service_of_someone_else_says_nothing() {
    let given = objects(&[service("delivery", "[{port: 443, targetPort: 22}]"), pod("a", "[{containerPort: 443}]")]);
    assert_eq!(resolved(&given, "[{port: 443}]"), "443/TCP");
}

#[test]
fn ranges_are_pod_ports_and_never_looked_up() {
    let service = objects(&[service("payment", "[{name: https, port: 443, targetPort: 8443}]")]);
    assert_eq!(resolved(&service, "[{port: 443, endPort: 445}]"), "443-445/TCP");
    assert_eq!(resolved(&service, "[{port: 443, endPort: 443}]"), "443/TCP");
    assert_eq!(
        resolved(&service, "[{port: https, endPort: 445}]"),
        "Invalid: port https is a name and can't begin a range: write a number, or leave endPort out"
    );
    assert_eq!(
        resolved(&service, "[{port: 445, endPort: 443}]"),
        "Invalid: the range of ports 445 to 443 ends before it begins: swap port and endPort"
    );
}

#[test]
fn numbers_that_are_no_ports_are_refused() {
    for port in ["0", "-1", "65536"] {
        let expected = format!("Invalid: port {port} does not exist: ports are numbers from 1 to 65535");
        assert_eq!(resolved("", &format!("[{{port: {port}}}]")), expected);
    }
    assert_eq!(resolved("", "[{port: 65535}]"), "65535/TCP");
    assert_eq!(resolved("", "[]"), "Invalid: no port is named: name at least one in to.ports");
}

#[test]
fn what_is_missing_can_be_told_from_what_is_invalid() {
    let unresolved = |ports: &str| {
        let world = world(&[SHOP]);
        let ports: Vec<PolicyPort> = serde_saphyr::from_str(ports).unwrap();
        resolve_ports(identity(&world, "settlement/payment"), &ports).unwrap_err().unresolved
    };
    assert!(unresolved("[{port: http}]"));
    assert!(!unresolved("[{port: 0}]"));
}

#[test]
fn one_bad_port_leaves_none() {
    let given = objects(&[pod("a", "[{containerPort: 8443}]")]);
    assert!(resolved(&given, "[{port: 8443}, {port: 22}]").starts_with("PortNotFound"));
}

proptest! {
    #[test]
    fn merging_changes_no_port_and_leaves_no_overlap(
        ranges in prop::collection::vec((1u16..40, 0u16..10, 0usize..2), 0..12)
    ) {
        let protocols = [Protocol::Tcp, Protocol::Udp];
        let ports: Vec<ResolvedPort> = ranges
            .into_iter()
            .map(|(first, more, protocol)| ResolvedPort::range(first, first + more, protocols[protocol]))
            .collect();
        let each = |ports: &[ResolvedPort]| -> Vec<(Protocol, u16)> {
            ports.iter().flat_map(|port| (port.port..=port.last()).map(|number| (port.protocol, number))).collect()
        };
        let merged = merged(ports.clone());
        let (before, after) = (each(&ports), each(&merged));
        prop_assert_eq!(before.iter().collect::<BTreeSet<_>>(), after.iter().collect::<BTreeSet<_>>());
        prop_assert_eq!(after.len(), after.iter().collect::<BTreeSet<_>>().len());
        prop_assert!(merged.is_sorted());
    }
}
