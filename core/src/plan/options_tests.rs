//! What a change of template, keystores or usages makes of the Secret, and that nothing else is touched.

use proptest::prelude::*;

use super::*;
use crate::pki::{KeystorePassword, PasswordFault, keystore_record};
use crate::plan::testing::Operator;
use crate::testing::{CLUSTER, SHOP, condition, key};
use crate::world::{Change, PasswordFacts, PasswordRef};
use crate::{api::ConditionType, pki::testing::now};

const WRITTEN: [&str; 1] = ["replace Secret storefront/order-tls"];

fn order(certificate: &str) -> String {
    format!(
        "{{kind: ServiceIdentity, metadata: {{name: order, namespace: storefront}}, spec: {{signingKey: {{}}, certificate: {certificate}}}}}"
    )
}

fn at_rest(certificate: &str) -> Operator {
    Operator::at_rest(&[SHOP, CLUSTER, &order(certificate)])
}

fn leaf(operator: &Operator) -> LeafFacts {
    let identity = operator.world.identity(&key("storefront/order")).unwrap();
    leaf_of(&operator.world, identity).unwrap().clone()
}

fn found(operator: &Operator) -> &OutputFacts<SecretFacts> {
    operator.world.secret(&key("storefront/order-tls")).unwrap()
}

fn certificate(operator: &Operator) -> CertificateStep {
    identity_plan(&operator.world, &key("storefront/order"), now()).unwrap().certificate
}

fn is_rewritten_for(operator: &Operator, expected: RewriteReason) -> bool {
    matches!(certificate(operator), CertificateStep::Rewrite { reason, .. } if reason == expected)
}

#[test]
fn each_change_of_the_template_is_one_write_and_no_new_certificate() {
    let mut operator = at_rest("{}");
    assert_eq!(found(&operator).template, None);
    let serial = leaf(&operator).serial;
    let templates = [
        "{secretTemplate: {labels: {team: a}}}",
        "{secretTemplate: {labels: {team: a}, annotations: {note: b}}}",
        "{secretTemplate: {annotations: {note: c}}}",
        "{}",
    ];
    for template in templates {
        operator.show(&order(template));
        assert!(is_rewritten_for(&operator, RewriteReason::TemplateChanged), "{template}");
        assert_eq!(operator.work(), WRITTEN, "{template}");
        assert_eq!(operator.left(), []);
        operator.look_at_everything();
        assert_eq!(operator.work(), [""; 0], "{template}");
    }
    assert_eq!(leaf(&operator).serial, serial);
    assert_eq!(found(&operator).template, None);
    operator.show(&order("{secretTemplate: {}}"));
    assert_eq!(operator.work(), [""; 0], "an empty template is none");
}

#[test]
fn what_others_do_to_the_labels_of_the_template_is_undone() {
    let mut operator = at_rest("{secretTemplate: {labels: {team: a}}}");
    let mut facts = found(&operator).clone();
    facts.resource_version = "900".to_owned();
    facts.template.as_mut().unwrap().found = "changed".to_owned();
    operator.apply(Change::Secret(key("storefront/order-tls"), Some(facts)));
    assert!(is_rewritten_for(&operator, RewriteReason::MetadataChanged));
    assert_eq!(operator.work(), WRITTEN);
}

#[test]
fn other_usages_and_another_common_name_are_one_new_certificate_each() {
    let mut operator = at_rest("{}");
    operator.show("{kind: Service, metadata: {name: order, namespace: storefront}, spec: {selector: {app.kubernetes.io/name: order}, ports: [{port: 8443}]}}");
    operator.work();
    let each = [
        "{usages: [ClientAuth]}",
        "{usages: [ClientAuth], commonName: order.storefront.svc}",
        "{commonName: order.storefront.svc}",
    ];
    for declared in each {
        let before = leaf(&operator).serial;
        operator.show(&order(declared));
        assert_eq!(operator.work(), WRITTEN, "{declared}");
        assert_ne!(leaf(&operator).serial, before);
        assert_eq!(operator.left(), []);
    }
    operator.show(&order("{usages: [ClientAuth, ServerAuth], commonName: order.storefront.svc}"));
    assert_eq!(operator.work(), [""; 0], "the order says nothing, and both is what there is unless declared");
}

const KEYSTORES: &str = "{pkcs12: {passwordSecretRef: {name: store, key: password}}}";

fn password(text: Result<&str, PasswordFault>) -> Change {
    let reference = PasswordRef { secret: key("storefront/store"), key: "password".to_owned() };
    let parsed = text.and_then(|text| KeystorePassword::parse(Some(text.as_bytes())));
    Change::Password(reference, Some(PasswordFacts::Found(parsed)))
}

/// The Secret as somebody wrote it with these keystores and this password.
fn written_with(operator: &mut Operator, octets: u8, text: &str, version: u32) {
    let mut facts = found(operator).clone();
    let SecretFacts::Certificate(Ok(leaf)) = &mut facts.content else { panic!() };
    leaf.keystores_sha256 = Some([octets; 32]);
    let generations = operator.world.generations("storefront").unwrap();
    let text = KeystorePassword::parse(Some(text.as_bytes())).unwrap();
    facts.keystore_record = Some(keystore_record(leaf.issuer(generations).unwrap(), leaf, &text));
    facts.resource_version = version.to_string();
    operator.apply(Change::Secret(key("storefront/order-tls"), Some(facts)));
}

fn resolved(operator: &Operator) -> String {
    let status = super::super::identity_status(
        &operator.world,
        &key("storefront/order"),
        &super::super::Outcome::default(),
        now(),
    );
    condition(&status.unwrap().conditions, ConditionType::ResolvedRefs).unwrap()
}

#[test]
fn keystores_are_written_when_leaf_octets_or_password_are_others_and_never_without_a_password() {
    let mut operator = at_rest(KEYSTORES);
    assert_eq!(certificate(&operator), CertificateStep::Keep, "nobody has looked for the password yet");
    operator.world.apply(password(Ok("changeit")));
    assert!(is_rewritten_for(&operator, RewriteReason::KeystoresChanged), "there are none");
    written_with(&mut operator, 1, "changeit", 900);
    assert_eq!(certificate(&operator), CertificateStep::Keep);
    operator.world.apply(password(Ok("changed it")));
    assert!(is_rewritten_for(&operator, RewriteReason::KeystoresChanged), "another password");
    for fault in [PasswordFault::NoKey, PasswordFault::Empty, PasswordFault::LineBreak] {
        operator.world.apply(password(Err(fault)));
        assert_eq!(certificate(&operator), CertificateStep::Keep, "they stay while there is no password");
        let told = resolved(&operator);
        let words = format!("the data key password of Secret storefront/store {fault}");
        assert!(told.starts_with("False Invalid: ") && told.contains(&words), "{told}");
    }
    operator.world.apply(password(Ok("changeit")));
    assert_eq!(certificate(&operator), CertificateStep::Keep, "it came back");
    let mut swapped = found(&operator).clone();
    swapped.resource_version = "901".to_owned();
    let SecretFacts::Certificate(Ok(leaf)) = &mut swapped.content else { panic!() };
    leaf.keystores_sha256 = Some([2; 32]);
    operator.apply(Change::Secret(key("storefront/order-tls"), Some(swapped)));
    assert!(is_rewritten_for(&operator, RewriteReason::KeystoresChanged), "someone swapped them");
    written_with(&mut operator, 1, "changeit", 902);
    operator.show(&order("{}"));
    assert!(is_rewritten_for(&operator, RewriteReason::KeystoresChanged), "they are not declared any more");
    assert_eq!(operator.work(), WRITTEN);
    assert_eq!(operator.left(), []);
}

proptest! {
    /// Whatever happens to Secret and password, keystores are written anew exactly if a password is known and they are not
    /// those that were recorded with it.
    #[test]
    fn a_write_of_keystores_follows_from_what_is_known(
        steps in prop::collection::vec((0_u8..3, "(changeit|changed it)", any::<bool>()), 1..8)
    ) {
        static AT_REST: std::sync::LazyLock<std::sync::Mutex<Operator>> =
            std::sync::LazyLock::new(|| std::sync::Mutex::new(at_rest(KEYSTORES)));
        static VERSION: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1000);
        let mut operator = AT_REST.lock().unwrap();
        operator.world.apply(password(Ok("changeit")));
        let (mut current, mut recorded) = (Some("changeit".to_owned()), None);
        written_with(&mut operator, 9, "never used", VERSION.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        for (octets, text, writes) in steps {
            let version = VERSION.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if writes {
                written_with(&mut operator, octets, &text, version);
                recorded = Some(text);
            } else if octets == 0 {
                operator.world.apply(password(Err(PasswordFault::Empty)));
                current = None;
            } else {
                operator.world.apply(password(Ok(&text)));
                current = Some(text);
            }
            let expected = current.is_some() && current != recorded;
            prop_assert_eq!(is_rewritten_for(&operator, RewriteReason::KeystoresChanged), expected);
        }
    }
}
