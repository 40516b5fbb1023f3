//! What the cluster itself is like: its DNS, its API server, its address ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{EndpointFacts, NodeFacts, TokenService};
use crate::api::{LabelSelector, Protocol};

/// What the operator was told at start, or render on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the operator, of the CA Secrets and of everything that a TrustDomain names.
    pub operator_namespace: String,
    /// DNS domain of the cluster, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// The cluster's own ranges, in place of those detected.
    pub cluster_cidrs: Option<BTreeSet<IpNet>>,
    /// Addresses of node-local DNS caches, e.g. `169.254.20.10`, in place of those detected.
    pub node_local_dns: Option<BTreeSet<IpAddr>>,
    /// Whether workloads may be rolled.
    pub restart: bool,
    /// The built-in token service, if the installation runs one.
    pub token_service: Option<TokenService>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            operator_namespace: "ringfence-system".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            cluster_cidrs: None,
            node_local_dns: None,
            restart: false,
            token_service: None,
        }
    }
}

/// What was seen of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    pub(super) service_cidrs: BTreeMap<String, BTreeSet<IpNet>>,
    pub(super) api_server: BTreeMap<String, EndpointFacts>,
    pub(super) dns_endpoints: BTreeMap<String, EndpointFacts>,
    pub(super) dns_selector: BTreeMap<String, String>,
    pub(super) dns_service_ips: BTreeSet<IpAddr>,
    pub(super) node_local_dns_pods: BTreeSet<super::NamespacedName>,
    pub(super) settings_cidrs: Option<BTreeSet<IpNet>>,
    pub(super) settings_node_local_dns: Option<BTreeSet<IpAddr>>,
}

/// How pods reach the cluster's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFacts {
    /// Namespace of the DNS pods.
    pub namespace: String,
    /// The DNS pods; empty when there is no DNS Service with a selector.
    pub selector: LabelSelector,
    /// Their ports; TCP and UDP 53 until their endpoints are known.
    pub ports: BTreeSet<(Protocol, u16)>,
    /// Addresses of node-local caches, and of the DNS Service that they stand in for.
    pub node_local: BTreeSet<IpAddr>,
}

/// Namespace of the cluster's DNS.
pub const DNS_NAMESPACE: &str = "kube-system";
/// Service of the cluster's DNS, whatever serves it.
pub const DNS_SERVICE: &str = "kube-dns";
/// Value of the label `k8s-app` of node-local DNS caches.
pub const NODE_LOCAL_DNS: &str = "node-local-dns";
/// Where node-local DNS caches listen unless told otherwise.
const NODE_LOCAL_DNS_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 20, 10));

impl Cluster {
    /// How pods reach the cluster's DNS; nothing when there is no DNS Service.
    pub fn dns(&self) -> Option<DnsFacts> {
        let node_local = match &self.settings_node_local_dns {
            Some(addresses) => addresses.clone(),
            None if self.node_local_dns_pods.is_empty() => BTreeSet::new(),
            None => BTreeSet::from([NODE_LOCAL_DNS_ADDRESS]),
        };
        if self.dns_selector.is_empty() && node_local.is_empty() {
            return None;
        }
        let mut ports: BTreeSet<_> =
            self.dns_endpoints.values().flat_map(|endpoints| &endpoints.ports).copied().collect();
        // The endpoints of the DNS Service carry its metrics port too, which nobody needs to resolve a name.
        ports.retain(|(protocol, port)| *protocol == Protocol::Udp || self.serves_udp(*port));
        if ports.is_empty() {
            ports.extend([(Protocol::Tcp, 53), (Protocol::Udp, 53)]);
        }
        let node_local = if node_local.is_empty() { node_local } else { &node_local | &self.dns_service_ips };
        let selector = LabelSelector { match_labels: self.dns_selector.clone(), match_expressions: Vec::new() };
        Some(DnsFacts { namespace: DNS_NAMESPACE.to_owned(), selector, ports, node_local })
    }

    fn serves_udp(&self, port: u16) -> bool {
        self.dns_endpoints.values().any(|endpoints| endpoints.ports.contains(&(Protocol::Udp, port)))
    }

    /// Addresses and ports of the API server itself, behind its Service.
    pub fn api_server(&self) -> (BTreeSet<IpAddr>, BTreeSet<(Protocol, u16)>) {
        let slices = self.api_server.values();
        (
            slices.clone().flat_map(|slice| &slice.addresses).copied().collect(),
            slices.flat_map(|slice| &slice.ports).copied().collect(),
        )
    }

    /// The cluster's own ranges: pods, Services, nodes, and link-local.
    pub fn ranges(&self) -> BTreeSet<IpNet> {
        let mut ranges = self.settings_cidrs.clone().unwrap_or_else(|| {
            let pods = self.nodes.values().flat_map(|node| &node.pod_cidrs).copied();
            let nodes = self.nodes.values().flat_map(|node| &node.addresses).map(|address| IpNet::from(*address));
            pods.chain(nodes).chain(self.service_cidrs.values().flatten().copied()).collect()
        });
        ranges.insert(IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 0, 0), 16)));
        ranges.insert(IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)));
        IpNet::aggregate(&ranges.into_iter().collect::<Vec<_>>()).into_iter().collect()
    }

    /// Whether an address is one of the cluster's own.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self.api_server().0.contains(&address)
            || self.ranges().iter().any(|range| range.contains(&address))
    }
}
