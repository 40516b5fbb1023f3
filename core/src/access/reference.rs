//! A second reading of what NetworkPolicies mean, straight from the Kubernetes documentation and sharing no code with
//! what writes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(crate) type Labels = BTreeMap<String, String>;

/// One end of a connection: a pod, or an address outside the pod network.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Namespace and labels, if it is a pod.
    pub(crate) pod: Option<(String, Labels)>,
    pub(crate) address: IpAddr,
}

/// The NetworkPolicies of a cluster, and how its engine reads them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Engine {
    /// Namespace and content.
    pub(crate) policies: Vec<(String, NetworkPolicySpec)>,
    /// Whether an `ipBlock` matches pods: with some engines it does, with others it doesn't.
    pub(crate) blocks_match_pods: bool,
}

/// An end with the policies that select it, by policy type.
#[derive(Clone, Debug)]
pub(crate) struct Side<'a> {
    end: &'a End,
    egress: Vec<&'a NetworkPolicySpec>,
    ingress: Vec<&'a NetworkPolicySpec>,
}

impl Engine {
    /// Whether a connection can be made: let out where it begins, and let in where it ends.
    pub(crate) fn connects(&self, from: &Side<'_>, to: &Side<'_>, port: u16, protocol: &str) -> bool {
        let out = passes(&from.egress, |spec| {
            let rules = spec.egress.iter().flatten();
            rules
                .map(|rule| (rule.to.as_deref(), rule.ports.as_deref()))
                .any(|rule| self.matches(rule, to.end, port, protocol))
        });
        let into = passes(&to.ingress, |spec| {
            let rules = spec.ingress.iter().flatten();
            rules
                .map(|rule| (rule.from.as_deref(), rule.ports.as_deref()))
                .any(|rule| self.matches(rule, from.end, port, protocol))
        });
        out && into
    }

    /// An end with the policies that select it.
    pub(crate) fn side<'a>(&'a self, end: &'a End) -> Side<'a> {
        let selecting = |policy_type: &str| -> Vec<&NetworkPolicySpec> {
            let Some((namespace, labels)) = &end.pod else { return Vec::new() };
            self.policies
                .iter()
                .filter(|(of, spec)| of == namespace && selects(spec.pod_selector.as_ref().unwrap(), labels))
                .map(|(_, spec)| spec)
                .filter(|spec| spec.policy_types.as_ref().unwrap().iter().any(|named| named == policy_type))
                .collect()
        };
        Side { end, egress: selecting("Egress"), ingress: selecting("Ingress") }
    }

    fn matches(
        &self,
        (peers, ports): (Option<&[NetworkPolicyPeer]>, Option<&[NetworkPolicyPort]>),
        end: &End,
        port: u16,
        protocol: &str,
    ) -> bool {
        let peer = peers.is_none_or(|peers| peers.is_empty() || peers.iter().any(|peer| self.is_peer(peer, end)));
        let port =
            ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(|rule| has_port(rule, port, protocol)));
        peer && port
    }

    fn is_peer(&self, peer: &NetworkPolicyPeer, end: &End) -> bool {
        if let Some(block) = &peer.ip_block {
            let in_range = |range: &String| range.parse::<ipnet::IpNet>().unwrap().contains(&end.address);
            let matches = in_range(&block.cidr) && !block.except.iter().flatten().any(in_range);
            return matches && (end.pod.is_none() || self.blocks_match_pods);
        }
        let Some((namespace, labels)) = &end.pod else { return false };
        let name = Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]);
        // A peer without a namespaceSelector would mean the policy's own namespace: none is written so.
        selects(peer.namespace_selector.as_ref().unwrap(), &name)
            && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
    }
}

/// Everything passes an end that no policy selects; else one of them must allow it.
fn passes(selecting: &[&NetworkPolicySpec], allows: impl Fn(&NetworkPolicySpec) -> bool) -> bool {
    selecting.is_empty() || selecting.iter().any(|spec| allows(spec))
}

fn has_port(rule: &NetworkPolicyPort, port: u16, protocol: &str) -> bool {
    let Some(IntOrString::Int(first)) = rule.port else { panic!("named ports are resolved: {rule:?}") };
    let last = rule.end_port.unwrap_or(first);
    rule.protocol.as_deref() == Some(protocol) && (first..=last).contains(&i32::from(port))
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.clone().unwrap_or_default();
            let among = labels.get(&requirement.key).is_some_and(|value| values.contains(value));
            match requirement.operator.as_str() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => labels.contains_key(&requirement.key),
                "DoesNotExist" => !labels.contains_key(&requirement.key),
                other => panic!("no operator {other}"),
            }
        })
}
