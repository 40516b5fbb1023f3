//! Who a `from` entry says may call, resolved.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::cidr::{is_anywhere, parse_cidr};
use super::{Objection, ResolvedPort};
use crate::api::{LabelSelector, PodPeer, Reason, Source};
use crate::pki::TrustDomainName;
use crate::world::{Identity, NamespacedName, World};

/// Who may call.
#[derive(Clone, Debug)]
pub(super) enum Caller<'a> {
    Identity(&'a Identity),
    TrustDomain {
        /// Name of the TrustDomain object.
        name: &'a str,
        trust_domain: TrustDomainName,
    },
    Pods(PodPeer),
    Cidr(IpNet),
    Anywhere,
    KubernetesApi(BTreeSet<IpAddr>),
}

/// Resolves one `from` entry of a policy.
pub(super) fn resolve_caller<'a>(
    world: &'a World,
    policy: &NamespacedName,
    source: &'a Source,
) -> Result<Caller<'a>, Objection> {
    if parts(source) != 1 {
        let message =
            "the entry must name exactly one of identity, trustDomain, pods, cidr, anywhere and kubernetesAPI";
        return Err(Objection::refused(Reason::Invalid, message.to_owned()));
    }
    if let Some(named) = &source.identity {
        let namespace = named.namespace.as_ref().unwrap_or(&policy.namespace);
        return caller_identity(world, &NamespacedName::new(namespace.clone(), named.name.clone()))
            .map(Caller::Identity);
    }
    if let Some(name) = &source.trust_domain {
        return trust_domain(world, name);
    }
    if let Some(pods) = &source.pods {
        return pods_without_identity(world, pods).map(Caller::Pods);
    }
    if let Some(cidr) = &source.cidr {
        let cidr = parse_cidr(cidr)?;
        return Ok(if is_anywhere(cidr) { Caller::Anywhere } else { Caller::Cidr(cidr) });
    }
    if source.kubernetes_api.is_some() {
        return api_server(world).map(|(addresses, _)| Caller::KubernetesApi(addresses));
    }
    Ok(Caller::Anywhere)
}

/// The entry in words, e.g. `identity storefront/order`.
pub(super) fn source_in_words(policy: &NamespacedName, source: &Source) -> String {
    let mut words = Vec::new();
    if let Some(named) = &source.identity {
        words.push(format!("identity {}/{}", named.namespace.as_ref().unwrap_or(&policy.namespace), named.name));
    }
    words.extend(source.trust_domain.as_ref().map(|name| format!("trustDomain {name}")));
    words.extend(source.pods.as_ref().map(pods_in_words));
    words.extend(source.cidr.as_ref().map(|cidr| format!("cidr {cidr}")));
    words.extend(source.anywhere.map(|_| "anywhere".to_owned()));
    words.extend(source.kubernetes_api.map(|_| "kubernetesAPI".to_owned()));
    if words.is_empty() { "nothing".to_owned() } else { words.join(" and ") }
}

/// Pods in words, e.g. `pods app=prometheus in monitoring`.
pub(super) fn pods_in_words(pods: &PodPeer) -> String {
    let namespaces = pods.namespaces.join(", ");
    if pods.selector.is_empty() {
        format!("pods in {namespaces}")
    } else {
        format!("pods {} in {namespaces}", pods.selector)
    }
}

/// Pods outside every trust domain, with their namespaces sorted.
pub(super) fn pods_without_identity(world: &World, pods: &PodPeer) -> Result<PodPeer, Objection> {
    let namespaces: BTreeSet<String> = pods.namespaces.iter().cloned().collect();
    if namespaces.is_empty() {
        let message = "no namespace is named: name at least one in pods.namespaces".to_owned();
        return Err(Objection::refused(Reason::Invalid, message));
    }
    if let Some(fault) = pods.selector.fault() {
        return Err(Objection::refused(Reason::Invalid, format!("the selector can't be used: {fault}")));
    }
    for namespace in &namespaces {
        if LabelSelector::label("kubernetes.io/metadata.name", namespace).fault().is_some() {
            let message = format!("{namespace:?} can't be the name of a namespace: correct it in pods.namespaces");
            return Err(Objection::refused(Reason::Invalid, message));
        }
        if let Some(domain) = world.domain_of(namespace) {
            let message = format!(
                "namespace {namespace} is in TrustDomain {}, where pods have identities: name an identity instead of pods",
                domain.metadata.name.as_deref().unwrap_or_default()
            );
            return Err(Objection::refused(Reason::FencedPods, message));
        }
    }
    Ok(PodPeer { namespaces: namespaces.into_iter().collect(), selector: pods.selector.clone() })
}

/// Addresses and ports of the API server itself.
pub(super) fn api_server(world: &World) -> Result<(BTreeSet<IpAddr>, Vec<ResolvedPort>), Objection> {
    let (addresses, ports) = world.cluster.api_server();
    if addresses.is_empty() || ports.is_empty() {
        let message = "the addresses of the API server are not known yet: its EndpointSlice default/kubernetes is missing or empty";
        return Err(Objection::unresolved(Reason::ApiServerUnknown, message.to_owned()));
    }
    Ok((addresses, ports.into_iter().map(|(protocol, port)| ResolvedPort::range(port, port, protocol)).collect()))
}

fn parts(source: &Source) -> usize {
    let Source { identity, trust_domain, pods, cidr, anywhere, kubernetes_api } = source;
    [
        identity.is_some(),
        trust_domain.is_some(),
        pods.is_some(),
        cidr.is_some(),
        anywhere.is_some(),
        kubernetes_api.is_some(),
    ]
    .into_iter()
    .filter(|set| *set)
    .count()
}

fn caller_identity<'a>(world: &'a World, key: &NamespacedName) -> Result<&'a Identity, Objection> {
    let message = match (world.service_identity(key), world.domain_of(&key.namespace)) {
        (Some(object), _) if object.spec.suspended => {
            format!("ServiceIdentity {key} is suspended: it comes back with suspended: false")
        }
        (Some(_), _) => format!("ServiceIdentity {key} is not accepted: see its status"),
        (None, Some(_)) => format!("ServiceIdentity {key} does not exist: create it, or correct the name"),
        (None, None) => format!(
            "ServiceIdentity {key} does not exist, and namespace {} is in no TrustDomain: correct the name, or admit it as pods",
            key.namespace
        ),
    };
    world.identity(key).ok_or_else(|| Objection::unresolved(Reason::CallerNotFound, message))
}

fn trust_domain<'a>(world: &'a World, name: &'a str) -> Result<Caller<'a>, Objection> {
    let message = match world.domain(name) {
        None => format!(
            "TrustDomain {name} does not exist: create it, or correct the name (of the object, not its SPIFFE name)"
        ),
        Some(_) => format!(
            "TrustDomain {name} holds no trust-domain name, so that nobody can prove to be in it: see its status"
        ),
    };
    let missing = || Objection::unresolved(Reason::CallerNotFound, message);
    let trust_domain = world.trust_domain_name(name).ok_or_else(missing)?;
    Ok(Caller::TrustDomain { name, trust_domain })
}

impl Caller<'_> {
    /// Who, for a message.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Identity(identity) => format!("identity {}", identity.key),
            Self::TrustDomain { name, .. } => format!("trustDomain {name}"),
            Self::Pods(pods) => pods_in_words(pods),
            Self::Cidr(cidr) => format!("cidr {cidr}"),
            Self::Anywhere => "anywhere".to_owned(),
            Self::KubernetesApi(_) => "kubernetesAPI".to_owned(),
        }
    }
}
