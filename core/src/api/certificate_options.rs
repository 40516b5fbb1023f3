//! What an identity may choose about its certificate and the Secret that holds it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a certificate may be used for (RFC 5280, section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum CertificateUsage {
    /// As the server's certificate of a TLS connection.
    ServerAuth,
    /// As the client's certificate of a TLS connection.
    ClientAuth,
}

/// Labels and annotations for a Secret that Ringfence writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels, e.g. `{team: checkout}`. Keys below `kubernetes.io`, `k8s.io` and `ringfence.dev` are not accepted, but those
    /// of `app.kubernetes.io` other than `managed-by` are. At most 16; values of at most 63 characters. Unset: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_map")]
    #[x_kube(validation = Rule::new("self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|ringfence[.]dev)/') || (key.startsWith('app.kubernetes.io/') && key != 'app.kubernetes.io/managed-by'))")
        .message("labels may not use the keys of kubernetes.io, k8s.io and ringfence.dev, nor app.kubernetes.io/managed-by"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations, e.g. `{example.com/owner: checkout@example.com}`. Keys as for labels. At most 16; values of at most 4096
    /// characters. Unset: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotation_map")]
    #[x_kube(validation = Rule::new("self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|ringfence[.]dev)/') || (key.startsWith('app.kubernetes.io/') && key != 'app.kubernetes.io/managed-by'))")
        .message("annotations may not use the keys of kubernetes.io, k8s.io and ringfence.dev, nor app.kubernetes.io/managed-by"))]
    pub annotations: BTreeMap<String, String>,
}

/// Most labels, and most annotations, of a template.
const MOST_ENTRIES: usize = 16;
/// Longest value of an annotation of a template, in bytes; the schema can only count characters.
const LONGEST_ANNOTATION: usize = 4096;

fn label_map(_: &mut SchemaGenerator) -> Schema {
    text_map(63)
}

fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    text_map(LONGEST_ANNOTATION)
}

fn text_map(longest: usize) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MOST_ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": longest},
    })
}

impl SecretTemplate {
    /// What can't be put on a Secret, for each such entry: its key and why. Only what is sound is left.
    pub(crate) fn sift(&mut self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        sift(&mut self.labels, &mut faults, |key, value| super::common::label_fault(key, [value]));
        sift(&mut self.annotations, &mut faults, |key, value| {
            let too_long = || format!("its value has more than {LONGEST_ANNOTATION} bytes");
            super::common::label_fault(key, []).or_else(|| (value.len() > LONGEST_ANNOTATION).then(too_long))
        });
        faults
    }
}

fn sift(
    entries: &mut BTreeMap<String, String>,
    faults: &mut Vec<(String, String)>,
    fault: impl Fn(&str, &String) -> Option<String>,
) {
    entries.retain(|key, value| {
        let fault = fault(key, value).or_else(|| is_reserved(key).then(|| "the key is not for templates".to_owned()));
        let sound = fault.is_none();
        faults.extend(fault.map(|fault| (key.clone(), fault)));
        sound
    });
    while entries.len() > MOST_ENTRIES {
        if let Some((key, _)) = entries.pop_last() {
            faults.push((key, format!("there are more than {MOST_ENTRIES}")));
        }
    }
}

/// Whether a key has a meaning to Kubernetes or to Ringfence. The labels that Kubernetes recommends for everyone's use are
/// free, but the one that says who manages the object.
fn is_reserved(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else { return false };
    let below = |domain: &str| prefix == domain || prefix.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match prefix {
        "app.kubernetes.io" => name == "managed-by",
        _ => ["kubernetes.io", "k8s.io", super::GROUP].into_iter().any(below),
    }
}

/// Keystores in PKCS#12 (RFC 7292).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Keystores {
    /// The password of both keystores, in a Secret of this namespace, which Ringfence reads and never writes. A changed
    /// password changes the keystores and nothing else.
    pub password_secret_ref: PasswordSecretRef,
}

/// Names a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of the Secret, e.g. `order-keystore`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Its data key, e.g. `password`. What is in it must be 6 to 128 printable ASCII characters, and no line break.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_kubernetes_and_ringfence_are_reserved() {
        let cases = [
            ("team", false),
            ("example.com/team", false),
            ("app.kubernetes.io/part-of", false),
            ("notkubernetes.io/a", false),
            ("ringfence.development/a", false),
            ("reflector.v1.k8s.emberstack.com/reflection-allowed", false),
            ("app.kubernetes.io/managed-by", true),
            ("kubernetes.io/a", true),
            ("kubectl.kubernetes.io/last-applied-configuration", true),
            ("x.k8s.io/a", true),
            ("ringfence.dev/content-hash", true),
            ("sub.ringfence.dev/a", true),
        ];
        for (key, reserved) in cases {
            assert_eq!(is_reserved(key), reserved, "{key}");
        }
    }

    #[test]
    fn what_kubernetes_would_refuse_is_left_out_and_told() {
        let entries = |entries: &[(&str, &str)]| {
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let long = "x".repeat(LONGEST_ANNOTATION + 1);
        let mut template = SecretTemplate {
            labels: entries(&[("team", "a"), ("a b", "c"), ("t", "no good"), ("ringfence.dev/x", "y")]),
            annotations: entries(&[("note", "any text\nat all"), ("long", &long), ("-", "x")]),
        };
        let told: Vec<String> = template.sift().into_iter().map(|(key, _)| key).collect();
        assert_eq!(told, ["a b", "ringfence.dev/x", "t", "-", "long"]);
        let sound =
            SecretTemplate { labels: entries(&[("team", "a")]), annotations: entries(&[("note", "any text\nat all")]) };
        assert_eq!(template, sound);
        let mut many =
            SecretTemplate { labels: (0..17).map(|n| (format!("l{n:02}"), String::new())).collect(), ..sound };
        assert_eq!(many.sift(), [("l16".to_owned(), "there are more than 16".to_owned())]);
        assert_eq!(many.labels.len(), 16);
    }
}
