//! NetworkPolicies: one for each identity with all of its edges, and a baseline for each namespace.
//!
//! Every field is explicit and everything is sorted, so that the API server returns what was written, and the same grants
//! give the same object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ports::merged;
use super::{Grant, GrantSource, GrantTarget, IpBlock, Origin, Peer, ResolvedPort};
use crate::api::{LabelSelector, LabelSelectorOperator, LabelSelectorRequirement, PodPeer, Protocol};
use crate::world::{DnsFacts, Identity};

/// The only label of a namespace that nobody in it can change.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Port of a DNS server that is reached by its address.
const DNS_PORT: u16 = 53;

/// The NetworkPolicy of an identity: its edges in and out, and DNS. Of `grants` only those count in which the identity is
/// called or calls; drafts must not be among them.
pub fn identity_policy(identity: &Identity, grants: &[&Grant], dns: Option<&DnsFacts>) -> NetworkPolicySpec {
    let (mut ingress, mut egress) = (Rules::default(), Rules::default());
    let mut clients = Clients::default();
    for grant in grants {
        if grant.is_target(identity) {
            match (&grant.origin, &grant.source) {
                (Origin::Identity(_), GrantSource::Identity(peer)) if clients.take(peer, &grant.ports) => {}
                _ => ingress.open(callers(&grant.source), &grant.ports),
            }
        }
        if grant.is_source(identity) {
            egress.open(callees(&grant.target), &grant.ports);
        }
    }
    for (peer, ports) in clients.peers() {
        ingress.open(Peers::Only(vec![peer]), ports);
    }
    egress.open_dns(dns);
    policy(&identity.selector, ingress, egress)
}

/// The NetworkPolicy that closes a namespace to all but DNS.
pub fn baseline_policy(dns: Option<&DnsFacts>) -> NetworkPolicySpec {
    closed_policy(&LabelSelector::default(), dns)
}

/// The NetworkPolicy that closes these pods to all but DNS.
pub fn closed_policy(selector: &LabelSelector, dns: Option<&DnsFacts>) -> NetworkPolicySpec {
    let mut egress = Rules::default();
    egress.open_dns(dns);
    policy(selector, Rules::default(), egress)
}

fn policy(selector: &LabelSelector, ingress: Rules, egress: Rules) -> NetworkPolicySpec {
    let ingress =
        ingress.finish().into_iter().map(|(ports, from)| NetworkPolicyIngressRule { from, ports: Some(ports) });
    let egress = egress.finish().into_iter().map(|(ports, to)| NetworkPolicyEgressRule { to, ports: Some(ports) });
    NetworkPolicySpec {
        pod_selector: Some(selector.into()),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: Some(ingress.collect()),
        egress: Some(egress.collect()),
    }
}

/// The other ends of a rule.
enum Peers {
    /// Only these; nobody if there are none.
    Only(Vec<NetworkPolicyPeer>),
    /// Whoever it is.
    Anyone,
}

/// Clients of the token service, of which there can be thousands: those of a namespace that one label tells apart are one
/// peer, by the values of the label.
#[derive(Default)]
struct Clients<'a>(BTreeMap<(&'a str, &'a str, &'a [ResolvedPort]), BTreeSet<&'a str>>);

impl<'a> Clients<'a> {
    /// Takes a client in, if its pods are selected by one label.
    fn take(&mut self, client: &'a Peer, ports: &'a [ResolvedPort]) -> bool {
        let LabelSelector { match_labels, match_expressions } = client.selector.as_ref();
        let mut labels = match_labels.iter();
        let (Some((key, value)), None, true) = (labels.next(), labels.next(), match_expressions.is_empty()) else {
            return false;
        };
        self.0.entry((&client.key.namespace, key, ports)).or_default().insert(value);
        true
    }

    fn peers(self) -> impl Iterator<Item = (NetworkPolicyPeer, &'a [ResolvedPort])> {
        self.0.into_iter().map(|((namespace, key, ports), values)| {
            let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
            let selector = match values.as_slice() {
                [value] => LabelSelector::label(key, value),
                _ => any_of(key, values),
            };
            (pods(&[namespace.to_owned()], &selector), ports)
        })
    }
}

/// What is open in one direction: the ports of each peer, and those that are open to anyone.
#[derive(Default)]
struct Rules {
    /// By the peer's JSON, which orders peers and finds equal ones.
    peers: BTreeMap<String, (NetworkPolicyPeer, BTreeSet<ResolvedPort>)>,
    anyone: BTreeSet<ResolvedPort>,
}

impl Rules {
    fn open(&mut self, peers: Peers, ports: &[ResolvedPort]) {
        match peers {
            Peers::Anyone => self.anyone.extend(ports),
            Peers::Only(peers) => {
                for peer in peers {
                    // Serialising fails only for maps whose keys are not strings; a peer has none.
                    let key = serde_json::to_string(&peer).unwrap_or_default();
                    self.peers.entry(key).or_insert_with(|| (peer, BTreeSet::new())).1.extend(ports);
                }
            }
        }
    }

    fn open_dns(&mut self, dns: Option<&DnsFacts>) {
        let Some(dns) = dns else { return };
        let port = |protocol, port| ResolvedPort { port, end_port: None, protocol };
        if !dns.selector.is_empty() {
            let ports: Vec<_> = dns.ports.iter().map(|(protocol, number)| port(*protocol, *number)).collect();
            self.open(Peers::Only(vec![pods(std::slice::from_ref(&dns.namespace), &dns.selector)]), &ports);
        }
        let caches = dns.node_local.iter().copied().map(address).collect();
        self.open(Peers::Only(caches), &[port(Protocol::Tcp, DNS_PORT), port(Protocol::Udp, DNS_PORT)]);
    }

    /// One rule for each set of ports. A rule without peers admits anyone and one without ports admits every port, so
    /// there is none with an empty list of either.
    fn finish(self) -> Vec<(Vec<NetworkPolicyPort>, Option<Vec<NetworkPolicyPeer>>)> {
        let mut by_ports: BTreeMap<Vec<ResolvedPort>, Vec<NetworkPolicyPeer>> = BTreeMap::new();
        for (peer, ports) in self.peers.into_values() {
            by_ports.entry(merged(ports)).or_default().push(peer);
        }
        let anyone = (merged(self.anyone), None);
        let some = by_ports.into_iter().map(|(ports, peers)| (ports, Some(peers)));
        [anyone]
            .into_iter()
            .chain(some)
            .filter(|(ports, _)| !ports.is_empty())
            .map(|(ports, peers)| (ports.into_iter().map(Into::into).collect(), peers))
            .collect()
    }
}

fn callers(source: &GrantSource) -> Peers {
    match source {
        GrantSource::Identity(peer) => {
            Peers::Only(vec![pods(std::slice::from_ref(&peer.key.namespace), &peer.selector)])
        }
        GrantSource::TrustDomain { namespaces, .. } => {
            let namespaces: Vec<String> = namespaces.iter().cloned().collect();
            let members = (!namespaces.is_empty()).then(|| pods(&namespaces, &LabelSelector::default()));
            Peers::Only(members.into_iter().collect())
        }
        GrantSource::Pods(PodPeer { namespaces, selector }) => Peers::Only(vec![pods(namespaces, selector)]),
        GrantSource::Cidr { blocks, .. } => Peers::Only(blocks.iter().map(block).collect()),
        GrantSource::Anywhere => Peers::Anyone,
        GrantSource::KubernetesApi(addresses) => Peers::Only(addresses.iter().copied().map(address).collect()),
    }
}

fn callees(target: &GrantTarget) -> Peers {
    Peers::Only(match target {
        GrantTarget::Identity(peer) => vec![pods(std::slice::from_ref(&peer.key.namespace), &peer.selector)],
        GrantTarget::Pods(PodPeer { namespaces, selector }) => vec![pods(namespaces, selector)],
        GrantTarget::External(blocks) => blocks.iter().map(block).collect(),
        GrantTarget::KubernetesApi(addresses) => addresses.iter().copied().map(address).collect(),
    })
}

/// Pods by the names of their namespaces.
fn pods(namespaces: &[String], selector: &LabelSelector) -> NetworkPolicyPeer {
    let namespace_selector = match namespaces {
        [namespace] => LabelSelector::label(NAMESPACE_NAME, namespace),
        namespaces => any_of(NAMESPACE_NAME, namespaces.to_vec()),
    };
    NetworkPolicyPeer {
        ip_block: None,
        namespace_selector: Some((&namespace_selector).into()),
        pod_selector: (!selector.is_empty()).then(|| selector.into()),
    }
}

fn any_of(key: &str, values: Vec<String>) -> LabelSelector {
    let requirement = LabelSelectorRequirement { key: key.to_owned(), operator: LabelSelectorOperator::In, values };
    LabelSelector { match_expressions: vec![requirement], ..LabelSelector::default() }
}

fn block(block: &IpBlock) -> NetworkPolicyPeer {
    let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    let ip_block = IPBlock { cidr: block.cidr.to_string(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(ip_block), ..NetworkPolicyPeer::default() }
}

fn address(address: IpAddr) -> NetworkPolicyPeer {
    block(&IpBlock { cidr: IpNet::from(address), except: BTreeSet::new() })
}

impl From<ResolvedPort> for NetworkPolicyPort {
    fn from(port: ResolvedPort) -> Self {
        Self {
            port: Some(IntOrString::Int(port.port.into())),
            end_port: port.end_port.map(Into::into),
            protocol: Some(port.protocol.as_str().to_owned()),
        }
    }
}

impl From<&LabelSelector> for v1::LabelSelector {
    fn from(selector: &LabelSelector) -> Self {
        let operator = |operator| match operator {
            LabelSelectorOperator::In => "In",
            LabelSelectorOperator::NotIn => "NotIn",
            LabelSelectorOperator::Exists => "Exists",
            LabelSelectorOperator::DoesNotExist => "DoesNotExist",
        };
        let expressions = selector.match_expressions.iter().map(|requirement| v1::LabelSelectorRequirement {
            key: requirement.key.clone(),
            operator: operator(requirement.operator).to_owned(),
            values: (!requirement.values.is_empty()).then(|| requirement.values.clone()),
        });
        Self {
            match_labels: (!selector.match_labels.is_empty()).then(|| selector.match_labels.clone()),
            match_expressions: (!selector.match_expressions.is_empty()).then(|| expressions.collect()),
        }
    }
}

#[cfg(test)]
#[path = "network_policy_tests.rs"]
mod tests;
