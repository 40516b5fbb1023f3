//! Who stands at the ends of an edge, as policies can name it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::flow::Endpoint;
use crate::api::{LabelSelector, PodPeer};
use crate::world::{NamespacedName, World};

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind")]
pub enum Party {
    /// A ServiceIdentity.
    Identity(NamespacedName),
    /// A ServiceIdentity that is not accepted: its pods are fenced in like those without one.
    RefusedIdentity(NamespacedName),
    /// Pods without an identity.
    Pods {
        /// Their namespace.
        namespace: String,
        /// The labels that tell them from others there; empty if they have none.
        selector: BTreeMap<String, String>,
    },
    /// The API server.
    KubernetesApi,
    /// A node, or a pod on its network.
    Node,
    /// Any other address.
    Address,
}

/// Labels that are meant to tell one service from another; the first that pods carry names them.
const NAMING: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];
/// Labels that differ between pods of one service.
const VOLATILE: [&str; 6] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-name",
];

impl Party {
    /// Pods of a namespace with these labels.
    pub(super) fn of_pods(world: &World, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let selecting: Vec<&NamespacedName> = world.identities_selecting(namespace, labels).collect();
        if let Some(key) = selecting.iter().find(|key| world.identity(key).is_some()) {
            return Self::Identity((*key).clone());
        }
        if let Some(key) = selecting.first() {
            return Self::RefusedIdentity((*key).clone());
        }
        let name = NAMING.into_iter().find_map(|key| Some((key.to_owned(), labels.get(key)?.clone())));
        let lasting = |(key, _): &(&String, &String)| !VOLATILE.contains(&key.as_str());
        let selector = match name {
            Some(name) => BTreeMap::from([name]),
            None => labels.iter().filter(lasting).map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        Self::Pods { namespace: namespace.to_owned(), selector }
    }

    /// What has no namespace.
    pub(super) fn of_address(world: &World, endpoint: &Endpoint) -> Self {
        let is = |word: &str| endpoint.reserved.contains(word);
        if is("kube-apiserver") || world.cluster.api_server().0.contains(&endpoint.address) {
            Self::KubernetesApi
        } else if is("host") || is("remote-node") {
            Self::Node
        } else {
            Self::Address
        }
    }

    /// The pods as a policy names them.
    pub(super) fn pods(&self) -> Option<PodPeer> {
        let Self::Pods { namespace, selector } = self else { return None };
        let selector = LabelSelector { match_labels: selector.clone(), ..LabelSelector::default() };
        Some(PodPeer { namespaces: vec![namespace.clone()], selector })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(key) | Self::RefusedIdentity(key) => write!(f, "{key}"),
            Self::Pods { namespace, selector } if selector.is_empty() => write!(f, "pods in {namespace}"),
            Self::Pods { namespace, selector } => {
                let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "pods {} in {namespace}", labels.join(","))
            }
            Self::KubernetesApi => f.write_str("the API server"),
            Self::Node => f.write_str("a node"),
            Self::Address => f.write_str("an address"),
        }
    }
}
