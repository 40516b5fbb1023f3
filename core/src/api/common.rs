//! Pieces that more than one kind uses.

use std::collections::BTreeMap;
use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A choice without settings of its own, written `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub struct Empty {}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name that Kubernetes uses, e.g. `TCP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// Names one ServiceIdentity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRef {
    /// Name of the ServiceIdentity, e.g. `order`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Namespace of the ServiceIdentity, e.g. `storefront`. Unset: in an AccessPolicy the policy's own
    /// namespace; in a TrustDomain every namespace of the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Selects objects by their labels, as everywhere in Kubernetes. All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that an object must carry, e.g. `app.kubernetes.io/name: order`. At most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Requirements on labels. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// Value of a label; at most 63 characters.
pub type LabelValue = String;

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : !has(self.values) || size(self.values) == 0")
    .message("values must be set for the operators In and NotIn, and unset for Exists and DoesNotExist"))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// Key of the label, e.g. `app.kubernetes.io/component`.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: LabelSelectorOperator,
    /// Values for the operators `In` and `NotIn`. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label relates to the values of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum LabelSelectorOperator {
    /// The label exists with one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl LabelSelector {
    /// Selects objects that carry this one label.
    pub fn label(key: &str, value: &str) -> Self {
        Self { match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]), match_expressions: Vec::new() }
    }

    /// True when no requirement is made, so that everything is selected.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }

    /// Why Kubernetes would refuse the selector, and every object that it is written into.
    pub fn fault(&self) -> Option<String> {
        let labels = self.match_labels.iter().find_map(|(key, value)| label_fault(key, [value]));
        labels.or_else(|| self.match_expressions.iter().find_map(LabelSelectorRequirement::fault))
    }
}

/// As `kubectl` writes it, e.g. `app=prometheus,tier in (a,b)`.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let expressions =
            self.match_expressions.iter().map(|LabelSelectorRequirement { key, operator, values }| match operator {
                LabelSelectorOperator::In => format!("{key} in ({})", values.join(",")),
                LabelSelectorOperator::NotIn => format!("{key} notin ({})", values.join(",")),
                LabelSelectorOperator::Exists => key.clone(),
                LabelSelectorOperator::DoesNotExist => format!("!{key}"),
            });
        f.write_str(&labels.chain(expressions).collect::<Vec<_>>().join(","))
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelSelectorOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelSelectorOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelSelectorOperator::Exists => value.is_some(),
            LabelSelectorOperator::DoesNotExist => value.is_none(),
        }
    }

    fn fault(&self) -> Option<String> {
        let needs_values = matches!(self.operator, LabelSelectorOperator::In | LabelSelectorOperator::NotIn);
        if needs_values == self.values.is_empty() {
            let must = if needs_values { "needs values" } else { "takes no values" };
            return Some(format!("the operator {:?} of {} {must}", self.operator, self.key));
        }
        label_fault(&self.key, &self.values)
    }
}

/// What is wrong with a label: a key is an optional DNS prefix and a name, a value is a name or empty.
pub(super) fn label_fault<'a>(key: &str, values: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let is_name = |text: &str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let is_dns_label = |label: &str| {
        is_name(label) && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_prefix = |text: &str| text.len() <= 253 && text.split('.').all(is_dns_label);
    let is_key = match key.split_once('/') {
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
        None => is_name(key),
    };
    if !is_key {
        return Some(format!("{key:?} is no label key"));
    }
    let bad = values.into_iter().find(|value| !value.is_empty() && !is_name(value))?;
    Some(format!("{bad:?} is no label value"))
}

/// Pods without an identity, by namespace and label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodPeer {
    /// Names of the namespaces that the pods run in, e.g. `[monitoring]`. At least 1, at most 32.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Which pods of those namespaces. Unset or empty: all of them.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub selector: LabelSelector,
}
