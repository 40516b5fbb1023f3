//! What is remembered of each Kubernetes object: only what a decision needs. The object itself is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::pod_start::PodStart;
use crate::api::Protocol;

/// Name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl NamespacedName {
    /// Both parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Being deleted: nothing can be created in it.
    pub terminating: bool,
}

impl From<&Namespace> for NamespaceFacts {
    fn from(namespace: &Namespace) -> Self {
        Self {
            labels: namespace.metadata.labels.clone().unwrap_or_default(),
            terminating: namespace.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Labels of the pods behind it; empty for one without selector.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePortFacts>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// Its cluster addresses.
    pub cluster_ips: Vec<IpAddr>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortFacts {
    /// Name, if it has one.
    pub name: Option<String>,
    /// Number under which the Service is called.
    pub port: u16,
    /// Port of the pods: a number, or the name of a container port.
    pub target: IntOrString,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl From<&Service> for ServiceFacts {
    fn from(service: &Service) -> Self {
        let Some(spec) = &service.spec else { return Self::default() };
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some(ServicePortFacts {
                name: port.name.clone(),
                port: u16::try_from(port.port).ok()?,
                target: port.target_port.clone().unwrap_or(IntOrString::Int(port.port)),
                protocol: protocol(port.protocol.as_deref())?,
            })
        });
        Self {
            selector: spec.selector.clone().unwrap_or_default(),
            ports: ports.collect(),
            headless: spec.cluster_ip.as_deref() == Some("None"),
            cluster_ips: spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
        }
    }
}

/// A pod that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The service account it runs as.
    pub service_account: String,
    /// It uses the node's network, where no NetworkPolicy applies.
    pub host_network: bool,
    /// The container ports it declares, those of sidecars (restartable init containers) included.
    pub ports: BTreeSet<ContainerPort>,
    /// With what it was started.
    pub start: PodStart,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPort {
    /// Name, if it has one.
    pub name: Option<String>,
    /// Number.
    pub number: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl PodFacts {
    /// What is remembered of a pod; nothing of one that has ended.
    pub fn of(pod: &Pod) -> Option<Self> {
        let start = PodStart::of(pod);
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        Some(Self {
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            host_network: spec.host_network.unwrap_or(false),
            ports: ports
                .filter_map(|port| {
                    Some(ContainerPort {
                        name: port.name.clone(),
                        number: u16::try_from(port.container_port).ok()?,
                        protocol: protocol(port.protocol.as_deref())?,
                    })
                })
                .collect(),
            start,
        })
    }

    /// What an identity is resolved with: all but how the pod was started.
    pub(super) fn declared(&self) -> impl PartialEq {
        let Self { labels, service_account, host_network, ports, start: _ } = self;
        (labels, service_account, host_network, ports)
    }
}

/// The endpoints of a Service: of the API server, or of the cluster's DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Ports, as numbers.
    pub ports: BTreeSet<(Protocol, u16)>,
}

impl From<&EndpointSlice> for EndpointFacts {
    fn from(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().flatten();
        Self {
            addresses: slice.endpoints.iter().flat_map(|e| &e.addresses).filter_map(|a| a.parse().ok()).collect(),
            ports: ports
                .filter_map(|port| Some((protocol(port.protocol.as_deref())?, u16::try_from(port.port?).ok()?)))
                .collect(),
        }
    }
}

/// A node's own addresses and the ranges that its pods get theirs from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Pod ranges.
    pub pod_cidrs: BTreeSet<IpNet>,
    /// Addresses of the node.
    pub addresses: BTreeSet<IpAddr>,
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        Self {
            pod_cidrs: node
                .spec
                .iter()
                .flat_map(|spec| spec.pod_cidrs.iter().flatten())
                .filter_map(|c| c.parse().ok())
                .collect(),
            addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
        }
    }
}

/// The ranges that a ServiceCIDR object names.
pub fn service_cidrs(object: &ServiceCIDR) -> BTreeSet<IpNet> {
    object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|cidr| cidr.parse().ok()).collect()
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}
