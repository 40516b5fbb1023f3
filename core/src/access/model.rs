//! Worlds for tests, made at random elsewhere, and what the agreement says of them, written down a second time as plainly as possible.
//!
//! Every domain has two namespaces, every namespace the identities `x` (which can sign tokens) and `y` with a pod each, and
//! a pod without an identity. Outside are two namespaces with pods, DNS, a node, the API server and the internet.

#[path = "model_issuers.rs"]
mod issuers;
#[path = "model_random.rs"]
mod random;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use issuers::{Issuer, Token};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) use issuers::{CLIENT, CLIENTS_SECRET};
pub(crate) use random::{models, sources, token_models};

use super::reference::{End, Labels};
use crate::world::{NamespacedName, Settings, TokenService};

/// Numbers of ports that policies may name.
pub(crate) const PORTS: std::ops::RangeInclusive<u16> = 1..=5;
pub(crate) const API_PORT: u16 = 6443;
const API_SERVER: &str = "192.0.2.10";
const CLUSTER_RANGES: [&str; 2] = ["10.244.0.0/16", "192.0.2.1/32"];
const OUTSIDE: [&str; 2] = ["out-a", "out-b"];
const IDENTITIES: [&str; 2] = ["x", "y"];

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) domains: Vec<Domain>,
    pub(crate) policies: Vec<Policy>,
    /// The identity of the token service, which need not exist.
    token_service: Option<(String, &'static str)>,
    /// Namespace and name of an identity, and an issuer that it lists.
    lists: BTreeSet<(String, &'static str, &'static str)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Domain {
    pub(crate) inbound: Vec<Entry>,
    pub(crate) outbound: Vec<Entry>,
    issuers: Vec<Issuer>,
}

/// An entry of a ceiling.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    other: Other,
    /// Empty for all.
    ports: Vec<(u16, u16)>,
    /// Name and perhaps namespace; empty for all.
    identities: Vec<(String, Option<String>)>,
    cluster_addresses: bool,
    /// Only for inbound.
    accepted: Option<Vec<&'static str>>,
}

#[derive(Clone, Debug)]
enum Other {
    Anywhere,
    Domains(Vec<usize>),
    Namespaces(Vec<String>),
    Cidrs(Vec<&'static str>),
    KubernetesApi,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: String,
    to: To,
    pub(crate) from: Vec<From>,
    /// Whether mtls and which token is demanded.
    authentication: Option<(bool, Option<Token>)>,
    draft: bool,
}

#[derive(Clone, Debug)]
enum To {
    Identity(&'static str, Vec<(u16, u16)>),
    Pods(String, u16),
    External(&'static str, u16),
    KubernetesApi,
}

#[derive(Clone, Debug)]
pub(crate) enum From {
    Identity(String, &'static str),
    Domain(usize),
    Pods(Vec<String>, Option<&'static str>),
    Cidr(&'static str),
    Anywhere,
    KubernetesApi,
}

/// Someone who may be one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Identity(String, &'static str),
    /// A pod of a member namespace without an identity.
    Bare(String),
    /// A pod outside.
    Pod(String, &'static str),
    Dns,
    Address(&'static str),
}

/// An entry that stands.
struct Standing<'a> {
    policy: &'a Policy,
    source: &'a From,
    cluster_addresses: bool,
}

/// Who is open to whom on which port.
pub(crate) type Reach = BTreeSet<(Party, Party, u16)>;

impl Model {
    pub(crate) fn namespaces(&self) -> Vec<String> {
        (0..self.domains.len()).flat_map(|domain| [format!("d{domain}a"), format!("d{domain}b")]).collect()
    }

    pub(crate) fn parties(&self) -> Vec<Party> {
        let members = self.namespaces().into_iter().flat_map(|namespace| {
            let identities = IDENTITIES.map(|name| Party::Identity(namespace.clone(), name));
            identities.into_iter().chain([Party::Bare(namespace)])
        });
        let pods =
            OUTSIDE.iter().flat_map(|namespace| ["red", "blue"].map(|tier| Party::Pod((*namespace).to_owned(), tier)));
        let addresses = ["203.0.113.5", "203.0.113.200", "198.51.100.9", "10.1.0.1", "192.0.2.1", API_SERVER];
        members.chain(pods).chain([Party::Dns]).chain(addresses.map(Party::Address)).collect()
    }

    /// All that the agreement allows. An engine whose `ipBlock`s match pods may allow more where a ceiling says so.
    pub(crate) fn reach(&self, blocks_match_pods: bool) -> Reach {
        let parties = self.parties();
        let standing: Vec<Standing<'_>> = self
            .policies
            .iter()
            .filter(|policy| !policy.draft)
            .flat_map(|policy| policy.from.iter().map(move |source| (policy, source)))
            .filter_map(|(policy, source)| {
                self.accepts(policy, source).map(|cluster_addresses| Standing { policy, source, cluster_addresses })
            })
            .collect();
        let mut reach = Reach::new();
        for (i, from) in parties.iter().enumerate() {
            for (j, to) in parties.iter().enumerate().filter(|(j, _)| *j != i) {
                let addresses = [(i, from), (j, to)].map(|(position, party)| match party {
                    Party::Address(address) => address.parse().ok(),
                    _ => blocks_match_pods.then(|| pod_address(position)),
                });
                let open = |out: bool| -> Vec<&Standing<'_>> {
                    standing.iter().filter(|standing| self.is_about(standing, from, to, addresses, out)).collect()
                };
                let (out, into) = (open(true), open(false));
                let on =
                    |open: &[&Standing<'_>], port| open.iter().any(|standing| holds(&standing.policy.ports(), port));
                let implied = |port, out| self.is_implied(from, to, port, addresses, out);
                let is_dns = |port| *to == Party::Dns && port == 53;
                let ports = PORTS.chain([53, API_PORT]).filter(|port| {
                    (!self.is_member(from) || is_dns(*port) || on(&out, *port) || implied(*port, true))
                        && (!self.is_member(to) || on(&into, *port) || implied(*port, false))
                });
                reach.extend(ports.map(|port| (from.clone(), to.clone(), port)));
            }
        }
        reach
    }

    /// Whether an entry that stands lets `from` out to `to`, or `to` let `from` in.
    fn is_about(
        &self,
        Standing { policy, source, cluster_addresses }: &Standing<'_>,
        from: &Party,
        to: &Party,
        [from_address, to_address]: [Option<IpAddr>; 2],
        out: bool,
    ) -> bool {
        let within = |address: Option<IpAddr>, cidr: &str| {
            address.is_some_and(|address| {
                let own = CLUSTER_RANGES.iter().any(|range| range.parse::<IpNet>().unwrap().contains(&address));
                cidr.parse::<IpNet>().unwrap().contains(&address) && (*cluster_addresses || !own)
            })
        };
        let lives_in = |domain: usize, namespace: &str| self.domain_of(namespace) == Some(domain);
        let is_caller = match (source, from) {
            (From::Identity(namespace, name), from) => *from == Party::Identity(namespace.clone(), name),
            (From::Domain(domain), Party::Identity(namespace, _)) => lives_in(*domain, namespace),
            (From::Domain(domain), Party::Bare(namespace)) => !out && lives_in(*domain, namespace),
            _ if out => false,
            (From::Pods(namespaces, tier), Party::Pod(of, is)) => {
                namespaces.contains(of) && tier.is_none_or(|tier| tier == *is)
            }
            (From::Anywhere, _) => true,
            (From::Cidr(cidr), _) => cidr.ends_with("/0") || within(from_address, cidr),
            (From::KubernetesApi, from) => *from == Party::Address(API_SERVER),
            _ => false,
        };
        let is_callee = || match (&policy.to, to) {
            (To::Identity(name, _), to) => *to == Party::Identity(policy.namespace.clone(), name),
            _ if !out => false,
            (To::Pods(namespace, _), Party::Pod(of, _)) => of == namespace,
            (To::External(cidr, _), _) => within(to_address, cidr),
            (To::KubernetesApi, to) => *to == Party::Address(API_SERVER),
            _ => false,
        };
        is_caller && is_callee()
    }

    /// Whether an entry of a policy stands; if so, whether it may mean the cluster's own addresses.
    pub(crate) fn accepts(&self, policy: &Policy, source: &From) -> Option<bool> {
        let callee_domain = self.domain_of(&policy.namespace)?;
        let to_identity = matches!(policy.to, To::Identity(name, _) if IDENTITIES.contains(&name));
        let own_identity = matches!(source, From::Identity(namespace, name) if *namespace == policy.namespace && IDENTITIES.contains(name));
        let is_possible = match policy.to {
            To::Identity(..) => to_identity,
            _ => own_identity && policy.authentication.is_none(),
        };
        if !is_possible {
            return None;
        }
        let has_identity = matches!(source, From::Identity(..) | From::Domain(_));
        let (mtls, token) = policy.authentication.unwrap_or((has_identity && to_identity, None));
        if mtls && !has_identity || token.is_some_and(|token| !self.can_bring(policy, source, token)) {
            return None;
        }
        let token = token.map(|token| if matches!(token, Token::Caller) { "CallerJwt" } else { "IssuerJwt" });
        let proofs: Vec<&str> = mtls.then_some("Mtls").into_iter().chain(token).collect();
        let caller_domain = match source {
            From::Identity(namespace, name) => Some(self.domain_of(namespace).filter(|_| IDENTITIES.contains(name))?),
            From::Domain(domain) => Some(*domain).filter(|domain| *domain < self.domains.len()).map(Some)?,
            _ => None,
        };
        let ours = |namespace: &str, name: &str| Some((namespace.to_owned(), name.to_owned()));
        let callee = if let To::Identity(name, _) = policy.to { ours(&policy.namespace, name) } else { None };
        let caller = if let From::Identity(namespace, name) = source { ours(namespace, name) } else { None };
        let inbound = |other: &dyn Fn(&Entry) -> bool| {
            self.admits(&self.domains[callee_domain].inbound, other, callee.as_ref(), &policy.ports(), &proofs)
        };
        let outbound = |domain: usize, other: &dyn Fn(&Entry) -> bool| {
            self.admits(&self.domains[domain].outbound, other, caller.as_ref(), &policy.ports(), &proofs)
        };
        let all_outside =
            |namespaces: &[String]| namespaces.iter().all(|namespace| self.domain_of(namespace).is_none());
        let kept = |cidr: &str, cluster_addresses: bool| {
            let cidr: IpNet = cidr.parse().unwrap();
            let inside = CLUSTER_RANGES.iter().any(|range| range.parse::<IpNet>().unwrap().contains(&cidr));
            (cluster_addresses || !inside).then_some(cluster_addresses)
        };
        match (&policy.to, source, caller_domain) {
            (To::Identity(..), _, Some(domain)) if domain == callee_domain => Some(false),
            (To::Identity(..), _, Some(domain)) => {
                inbound(&|entry| entry.is_for_domain(domain))?;
                outbound(domain, &|entry| entry.is_for_domain(callee_domain)).map(|_| false)
            }
            (To::Identity(..), From::Pods(namespaces, _), _) => {
                all_outside(namespaces).then_some(())?;
                inbound(&|entry| entry.is_anywhere() || namespaces.iter().all(|name| entry.is_for_namespace(name)))
                    .map(|_| false)
            }
            (To::Identity(..), From::Cidr(cidr), _) => kept(cidr, inbound(&|entry| entry.is_for_cidr(cidr))?),
            (To::Identity(..), From::Anywhere, _) => inbound(&|entry| entry.is_anywhere()),
            (To::Identity(..), From::KubernetesApi, _) => {
                inbound(&|entry| entry.is_anywhere() || matches!(entry.other, Other::KubernetesApi)).map(|_| false)
            }
            (To::Pods(namespace, _), _, Some(domain)) => {
                all_outside(std::slice::from_ref(namespace)).then_some(())?;
                outbound(domain, &|entry| entry.is_for_namespace(namespace)).map(|_| false)
            }
            (To::External(cidr, _), _, Some(domain)) => kept(cidr, outbound(domain, &|entry| entry.is_for_cidr(cidr))?),
            (To::KubernetesApi, _, Some(domain)) => {
                outbound(domain, &|entry| matches!(entry.other, Other::KubernetesApi)).map(|_| false)
            }
            _ => None,
        }
    }

    /// Whether each range of ports has an entry that covers everything; if so, whether each has one that means the
    /// cluster's own addresses too.
    fn admits(
        &self,
        entries: &[Entry],
        other: &dyn Fn(&Entry) -> bool,
        ours: Option<&(String, String)>,
        ports: &[(u16, u16)],
        proofs: &[&str],
    ) -> Option<bool> {
        let covering = ports.iter().map(|(first, last)| {
            entries.iter().filter(|entry| {
                let named = |(name, namespace): &(String, Option<String>)| {
                    ours.is_some_and(|(of, is)| {
                        is == name && namespace.as_ref().is_none_or(|namespace| namespace == of)
                    })
                };
                let accepted = entry.accepted.clone().unwrap_or_else(|| match entry.other {
                    Other::Domains(_) => vec!["Mtls", "CallerJwt", "IssuerJwt"],
                    _ => vec!["None"],
                });
                other(entry)
                    && (entry.identities.is_empty() || entry.identities.iter().any(named))
                    && (entry.ports.is_empty() || (*first..=*last).all(|port| holds(&entry.ports, port)))
                    && (accepted.contains(&"None") || proofs.iter().any(|proof| accepted.contains(proof)))
            })
        });
        let covering: Vec<Vec<&Entry>> = covering.map(Iterator::collect).collect();
        let all = covering.iter().all(|entries| !entries.is_empty());
        all.then(|| covering.iter().all(|entries| entries.iter().any(|entry| entry.cluster_addresses)))
    }

    pub(crate) fn domain_of(&self, namespace: &str) -> Option<usize> {
        let domain: usize = namespace.strip_prefix('d')?.strip_suffix(['a', 'b'])?.parse().ok()?;
        (domain < self.domains.len()).then_some(domain)
    }

    fn is_member(&self, party: &Party) -> bool {
        matches!(party, Party::Identity(..) | Party::Bare(_))
    }
}

fn holds(ports: &[(u16, u16)], port: u16) -> bool {
    ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

impl Policy {
    fn ports(&self) -> Vec<(u16, u16)> {
        match &self.to {
            To::Identity(_, ports) => ports.clone(),
            To::Pods(_, port) | To::External(_, port) => vec![(*port, *port)],
            To::KubernetesApi => vec![(API_PORT, API_PORT)],
        }
    }
}

impl Entry {
    fn is_anywhere(&self) -> bool {
        match &self.other {
            Other::Anywhere => true,
            Other::Cidrs(cidrs) => cidrs.iter().any(|cidr| cidr.ends_with("/0")),
            _ => false,
        }
    }

    fn is_for_domain(&self, domain: usize) -> bool {
        matches!(&self.other, Other::Domains(domains) if domains.contains(&domain))
    }

    fn is_for_namespace(&self, namespace: &str) -> bool {
        matches!(&self.other, Other::Namespaces(namespaces) if namespaces.iter().any(|name| name == namespace))
    }

    fn is_for_cidr(&self, cidr: &str) -> bool {
        let within = |range: &str| range.parse::<IpNet>().unwrap().contains(&cidr.parse::<IpNet>().unwrap());
        self.is_anywhere() || matches!(&self.other, Other::Cidrs(cidrs) if cidrs.iter().any(|range| within(range)))
    }
}

/// Address of the pod of the party at this position.
pub(crate) fn pod_address(position: usize) -> IpAddr {
    format!("10.244.1.{position}").parse().unwrap()
}

impl Party {
    /// The party at this position as an end of a connection.
    pub(crate) fn end(&self, position: usize) -> End {
        let (namespace, labels) = match self {
            Self::Address(address) => return End { pod: None, address: address.parse().unwrap() },
            Self::Identity(namespace, name) => (namespace.clone(), ("app.kubernetes.io/name", *name)),
            Self::Bare(namespace) => (namespace.clone(), ("app", "bare")),
            Self::Pod(namespace, tier) => (namespace.clone(), ("tier", *tier)),
            Self::Dns => ("kube-system".to_owned(), ("k8s-app", "kube-dns")),
        };
        let labels = Labels::from([(labels.0.to_owned(), labels.1.to_owned())]);
        End { pod: Some((namespace, labels)), address: pod_address(position) }
    }
}

/// The model as objects.
impl Model {
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects = vec![
            json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.244.0.0/16"]}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}),
            json!({"kind": "EndpointSlice", "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}}, "addressType": "IPv4", "endpoints": [{"addresses": [API_SERVER]}], "ports": [{"port": API_PORT, "protocol": "TCP"}]}),
            json!({"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [{"port": 53, "protocol": "UDP"}]}}),
        ];
        objects.extend(OUTSIDE.map(|name| json!({"kind": "Namespace", "metadata": {"name": name}})));
        for (index, domain) in self.domains.iter().enumerate() {
            objects.push(json!({"kind": "TrustDomain", "metadata": {"name": format!("d{index}")}, "spec": {
                "namespaces": [format!("d{index}a"), format!("d{index}b")],
                "certificateAuthority": {"selfSigned": {}},
                "inbound": domain.inbound.iter().map(|entry| entry.object()).collect::<Vec<_>>(),
                "outbound": domain.outbound.iter().map(|entry| entry.object()).collect::<Vec<_>>(),
                "tokenIssuers": domain.issuers.iter().map(Issuer::object).collect::<Vec<_>>(),
            }}));
        }
        for namespace in self.namespaces() {
            for (name, mut spec) in [("x", json!({"signingKey": {}})), ("y", json!({}))] {
                let lists = self.lists.iter().filter(|(of, identity, _)| *of == namespace && *identity == name);
                spec["tokenIssuers"] = lists.map(|(_, _, issuer)| *issuer).collect();
                objects.push(json!({"kind": "ServiceIdentity", "metadata": {"name": name, "namespace": namespace}, "spec": spec}));
            }
        }
        objects.extend(self.policies.iter().enumerate().map(|(index, policy)| {
            json!({"kind": "AccessPolicy", "metadata": {"name": format!("p{index}"), "namespace": policy.namespace}, "spec": policy.spec()})
        }));
        objects
    }
}

fn port_objects(ports: &[(u16, u16)]) -> Value {
    ports
        .iter()
        .map(
            |(first, last)| {
                if first == last { json!({"port": first}) } else { json!({"port": first, "endPort": last}) }
            },
        )
        .collect()
}

impl Entry {
    fn object(&self) -> Value {
        let mut object = match &self.other {
            Other::Anywhere => json!({"anywhere": {}}),
            Other::Domains(domains) => {
                json!({"trustDomains": domains.iter().map(|domain| format!("d{domain}")).collect::<Vec<_>>()})
            }
            Other::Namespaces(namespaces) => json!({"namespaces": namespaces}),
            Other::Cidrs(cidrs) => json!({"cidrs": cidrs}),
            Other::KubernetesApi => json!({"kubernetesAPI": {}}),
        };
        object["ports"] = port_objects(&self.ports);
        object["identities"] =
            self.identities.iter().map(|(name, namespace)| json!({"name": name, "namespace": namespace})).collect();
        object["clusterAddresses"] = json!(self.cluster_addresses);
        if let Some(accepted) = &self.accepted {
            object["acceptedAuthentication"] = json!(accepted);
        }
        object
    }
}

impl Policy {
    fn spec(&self) -> Value {
        let to = match &self.to {
            To::Identity(name, ports) => json!({"identity": name, "ports": port_objects(ports)}),
            To::Pods(namespace, port) => json!({"pods": {"namespaces": [namespace], "ports": [{"port": port}]}}),
            To::External(cidr, port) => json!({"external": {"cidrs": [cidr], "ports": [{"port": port}]}}),
            To::KubernetesApi => json!({"kubernetesAPI": {}}),
        };
        let from = self.from.iter().map(|source| match source {
            From::Identity(namespace, name) if *namespace == self.namespace => json!({"identity": {"name": name}}),
            From::Identity(namespace, name) => json!({"identity": {"name": name, "namespace": namespace}}),
            From::Domain(domain) => json!({"trustDomain": format!("d{domain}")}),
            From::Pods(namespaces, None) => json!({"pods": {"namespaces": namespaces}}),
            From::Pods(namespaces, Some(tier)) => {
                json!({"pods": {"namespaces": namespaces, "selector": {"matchLabels": {"tier": tier}}}})
            }
            From::Cidr(cidr) => json!({"cidr": cidr}),
            From::Anywhere => json!({"anywhere": {}}),
            From::KubernetesApi => json!({"kubernetesAPI": {}}),
        });
        let mut spec = json!({"to": to, "from": from.collect::<Vec<_>>()});
        if let Some((mtls, token)) = self.authentication {
            let parts = mtls.then(|| ("mtls", json!({}))).into_iter().chain(token.map(|token| ("jwt", token.object())));
            spec["authentication"] = parts.map(|(key, value)| (key.to_owned(), value)).collect();
        }
        spec["enforcement"] = json!(if self.draft { "Audit" } else { "Enforce" });
        spec
    }
}
