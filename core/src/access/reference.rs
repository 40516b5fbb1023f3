//! A second reading of what NetworkPolicies mean, straight from the Kubernetes documentation and sharing no code with
//! what writes them. The audit judges flows by it; properties hold it against what is agreed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Labels of a pod or a namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// One end of a connection: a pod, or an address outside the pod network.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Namespace and labels, if it is a pod.
    pub(crate) pod: Option<(String, Labels)>,
    /// Its address.
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
pub(crate) struct Side {
    end: End,
    egress: Vec<usize>,
    ingress: Vec<usize>,
}

impl Side {
    /// Whether any policy selects the end.
    pub(crate) fn is_fenced(&self) -> bool {
        !self.egress.is_empty() || !self.ingress.is_empty()
    }
}

impl Engine {
    /// Whether a connection is let out where it begins.
    pub(crate) fn lets_out(&self, from: &Side, to: &Side, port: u16, protocol: &str) -> bool {
        self.passes(&from.egress, |spec| {
            let mut rules = spec.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref()));
            rules.any(|rule| self.matches(rule, &to.end, port, protocol))
        })
    }

    /// Whether a connection is let in where it ends.
    pub(crate) fn lets_in(&self, from: &Side, to: &Side, port: u16, protocol: &str) -> bool {
        self.passes(&to.ingress, |spec| {
            let mut rules = spec.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref()));
            rules.any(|rule| self.matches(rule, &from.end, port, protocol))
        })
    }

    /// An end with the policies that select it.
    pub(crate) fn side(&self, end: End) -> Side {
        let selecting = |policy_type: &str| -> Vec<usize> {
            let Some((namespace, labels)) = &end.pod else { return Vec::new() };
            let is_selecting = |(of, spec): &(String, NetworkPolicySpec)| {
                of == namespace
                    && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
                    && spec.policy_types.iter().flatten().any(|named| named == policy_type)
            };
            let policies = self.policies.iter().enumerate();
            policies.filter(|(_, policy)| is_selecting(policy)).map(|(index, _)| index).collect()
        };
        let (egress, ingress) = (selecting("Egress"), selecting("Ingress"));
        Side { end, egress, ingress }
    }

    /// Everything passes an end that no policy selects; else one of them must allow it.
    fn passes(&self, selecting: &[usize], allows: impl Fn(&NetworkPolicySpec) -> bool) -> bool {
        selecting.is_empty() || selecting.iter().any(|index| allows(&self.policies[*index].1))
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
            let in_range = |range: &String| range.parse::<IpNet>().is_ok_and(|range| range.contains(&end.address));
            let matches = in_range(&block.cidr) && !block.except.iter().flatten().any(in_range);
            return matches && (end.pod.is_none() || self.blocks_match_pods);
        }
        let Some((namespace, labels)) = &end.pod else { return false };
        let name = Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]);
        // A peer without a namespaceSelector would mean the policy's own namespace: none is written so.
        peer.namespace_selector.as_ref().is_some_and(|selector| selects(selector, &name))
            && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
    }
}

fn has_port(rule: &NetworkPolicyPort, port: u16, protocol: &str) -> bool {
    // Named ports are resolved before anything is written.
    let Some(IntOrString::Int(first)) = rule.port else { return false };
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
                _ => false,
            }
        })
}
