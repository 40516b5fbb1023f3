//! What a TrustDomain still needs, and what its status says.

use super::*;
use crate::pki::testing::now;
use crate::plan::testing::Operator;
use crate::testing::{DNS, SHOP, condition, key};
use crate::world::{AuthorityFacts, Change, OutputFacts};

fn status(operator: &Operator, name: &str) -> TrustDomainStatus {
    domain_status(&operator.world, name, &Outcome::default(), now()).unwrap()
}

fn said(operator: &Operator, kind: ConditionType) -> String {
    condition(&status(operator, "storefront").conditions, kind).unwrap()
}

/// The domain of SHOP, with more in its metadata and its spec.
fn storefront(metadata: &str, spec: &str) -> String {
    let domain = SHOP.split("---").next().unwrap();
    domain
        .replace("{name: storefront}", &format!("{{name: storefront, {metadata}}}"))
        .replace("spec:", &format!("spec:\n  {spec}"))
}

#[test]
fn a_domain_is_ready_when_its_ca_its_bundle_and_its_fences_are_written() {
    let mut operator = Operator::new(&[SHOP, DNS]);
    assert_eq!(said(&operator, ConditionType::Programmed), "False Pending: the CA is being made");
    assert_eq!(status(&operator, "storefront").certificate_authority, None);
    let log = operator.work();
    assert!(log.contains(&"create ConfigMap ringfence-system/storefront-trust".to_owned()), "{log:?}");
    assert_eq!(said(&operator, ConditionType::Ready), "True Ready: the domain is in force");
    let status = status(&operator, "storefront");
    assert_eq!(status.trust_domain.as_deref(), Some("storefront.example"));
    assert_eq!(status.namespaces, ["storefront"]);
    let signing = operator.world.generations("storefront").unwrap().signing().unwrap();
    assert_eq!(status.certificate_authority.unwrap().generation, signing.id());
}

#[test]
fn a_fence_that_is_still_to_be_written_says_for_whom_it_waits() {
    let pod = "{kind: Pod, metadata: {name: order-1, namespace: storefront, labels: {app.kubernetes.io/name: order}}, spec: {serviceAccountName: order, containers: [{name: main}]}}";
    let mut operator = Operator::at_rest(&[SHOP, DNS, pod]);
    operator.forget("NetworkPolicy", "storefront/ringfence-baseline");
    assert_eq!(
        said(&operator, ConditionType::Programmed),
        "False Pending: the fence of namespace storefront is being written"
    );
    operator.forget("NetworkPolicy", "storefront/ringfence-order");
    assert_eq!(
        said(&operator, ConditionType::Programmed),
        "False Pending: namespace storefront is fenced when its running pods won't be cut off: ServiceIdentity storefront/order still has no NetworkPolicy"
    );
    operator.show(&storefront("", "enforcement: Audit"));
    assert_eq!(said(&operator, ConditionType::Programmed), "True Programmed: everything is written and current");
    assert!(said(&operator, ConditionType::Ready).starts_with("True Audit: "));
}

#[test]
fn a_fence_that_is_still_to_be_removed_is_said() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    operator.show(&storefront("", "enforcement: Disabled"));
    assert_eq!(
        said(&operator, ConditionType::Programmed),
        "False Pending: the fence of namespace storefront is being removed"
    );
    operator.work();
    assert!(said(&operator, ConditionType::Ready).starts_with("True EnforcementDisabled: "));
}

#[test]
fn a_bundle_of_someone_else_is_left_alone_and_one_of_ours_is_put_right() {
    let name = key("ringfence-system/storefront-trust");
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let found = operator.world.config_map(&name).unwrap().clone();
    let changed = OutputFacts { content: "more".to_owned(), resource_version: "900".to_owned(), ..found.clone() };
    operator.apply(Change::ConfigMap(name.clone(), Some(changed)));
    assert_eq!(operator.work(), ["replace ConfigMap ringfence-system/storefront-trust"]);
    operator.forget("ConfigMap", "ringfence-system/storefront-trust");
    let foreign = OutputFacts { uid: "theirs".to_owned(), owner_uid: None, ..found };
    operator.apply(Change::ConfigMap(name, Some(foreign)));
    assert_eq!(operator.work(), [""; 0]);
    assert!(
        said(&operator, ConditionType::Ready)
            .starts_with("False NameTaken: ConfigMap ringfence-system/storefront-trust ")
    );
}

#[test]
fn a_domain_goes_when_its_last_identity_is_gone() {
    let leaving = storefront("deletionTimestamp: '2026-03-01T00:00:00Z', finalizers: [ringfence.dev/identities]", "");
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    let plan = |operator: &Operator| domain_plan(&operator.world, "storefront").unwrap();
    assert!(plan(&operator).add_finalizer);
    operator.show(&leaving);
    assert_eq!(
        said(&operator, ConditionType::Accepted),
        "False IdentitiesRemain: the deletion waits until these identities are gone: storefront/gateway, storefront/inventory, storefront/order"
    );
    for name in ["storefront/gateway", "storefront/inventory", "storefront/order"] {
        assert!(!plan(&operator).clean_up && !plan(&operator).add_finalizer);
        operator.forget("ServiceIdentity", name);
    }
    assert!(plan(&operator).clean_up);
    operator.show(&leaving.replace("finalizers: [ringfence.dev/identities]", "finalizers: [other]"));
    assert!(!plan(&operator).clean_up, "nothing holds it on our account");
}

#[test]
fn a_ca_that_cannot_be_read_is_not_replaced() {
    let mut operator = Operator::new(&[SHOP, DNS]);
    let generations = Err("the data key generations.json is missing".to_owned());
    let facts = AuthorityFacts { uid: "1".to_owned(), resource_version: "1".to_owned(), generations };
    operator.apply(Change::Authority("storefront".to_owned(), Some(facts)));
    let log = operator.work();
    assert!(!log.iter().any(|line| line.contains("storefront-trust") || line.contains("order-tls")), "{log:?}");
    assert_eq!(
        said(&operator, ConditionType::Programmed),
        "False AuthorityUnreadable: Secret ringfence-system/storefront-ca can't be read: the data key generations.json is missing; restore it from a backup, or, to start a new CA, delete it and take the annotation ringfence.dev/authority off the TrustDomain"
    );
    operator.apply(Change::Authority("storefront".to_owned(), None));
    operator.work();
    assert_eq!(operator.left(), []);
}

#[test]
fn without_dns_a_fence_is_said_to_cut_names_off() {
    let operator = Operator::at_rest(&[SHOP]);
    assert!(said(&operator, ConditionType::Unenforceable).starts_with("True DnsNotFound: "));
    let mut root = Operator::at_rest(&[
        "{kind: TrustDomain, metadata: {name: root}, spec: {certificateAuthority: {selfSigned: {}}}}",
    ]);
    root.work();
    let root = status(&root, "root").conditions;
    assert_eq!(condition(&root, ConditionType::Unenforceable), None, "a domain without namespaces fences nothing");
}

#[test]
fn a_namespace_that_does_not_exist_is_named() {
    let mut operator = Operator::at_rest(&[SHOP, DNS]);
    operator.forget("Namespace", "storefront");
    assert_eq!(
        said(&operator, ConditionType::ResolvedRefs),
        "False NamespaceNotFound: namespace storefront does not exist: create it, or take it out of namespaces"
    );
}

#[test]
fn the_ca_of_a_domain_has_no_owner_so_that_it_survives() {
    let operator = Operator::at_rest(&[SHOP]);
    let generations = operator.world.generations("storefront").unwrap();
    let secret = authority_secret("ringfence-system", "storefront", generations);
    assert_eq!(secret.metadata.owner_references, None);
    assert_eq!(secret.metadata.name.as_deref(), Some("storefront-ca"));
    assert_eq!(secret.type_.as_deref(), Some(AUTHORITY_SECRET_TYPE));
    let read = CaGenerations::from_secret_data(&secret.data.as_ref().unwrap().into()).unwrap();
    assert_eq!(read.to_secret_data(), generations.to_secret_data());
}

#[test]
fn a_ca_that_is_lost_is_missed_until_its_record_is_taken_off() {
    let brought = "certificateAuthority: {secret: {name: corp}}";
    let [made, supplied] = ["to start a new CA", "to adopt the CA in Secret corp"];
    for (domain, instead) in [(storefront("", ""), made), (with_source(brought), supplied)] {
        let mut operator = Operator::at_rest(&[SHOP, DNS]);
        let id = operator.world.generations("storefront").unwrap().signing().unwrap().id().to_owned();
        assert_eq!(operator.world.recorded_authority("storefront"), Some(&id));
        operator.show(&recorded(&domain, &id));
        operator.work();
        operator.apply(Change::Authority("storefront".to_owned(), None));
        let log = operator.work();
        assert_eq!(log, [""; 0], "what hangs on it stays as it is");
        let words = said(&operator, ConditionType::Ready);
        assert!(words.starts_with("False AuthorityLost: Secret ringfence-system/storefront-ca is gone"), "{words}");
        assert!(words.contains(instead) && words.contains("restore it from a backup"), "{words}");
        operator.show(&domain);
        let log = operator.work();
        let remade = log.contains(&"create Secret ringfence-system/storefront-ca".to_owned());
        assert_eq!(remade, instead == made, "{log:?}");
        assert!(!said(&operator, ConditionType::Ready).contains("AuthorityLost"));
    }
}

/// The domain of SHOP with another source of its CA.
fn with_source(source: &str) -> String {
    let domain = SHOP.split("---").next().unwrap();
    assert!(domain.contains("certificateAuthority: {selfSigned: {}}"), "{domain}");
    domain.replace("certificateAuthority: {selfSigned: {}}", source)
}

/// A domain that has a CA on record.
fn recorded(domain: &str, id: &str) -> String {
    let annotations = format!("annotations: {{ringfence.dev/authority: '{id}'}}");
    domain.replacen("{name: storefront", &format!("{{{annotations}, name: storefront"), 1)
}
