//! What to do about an edge that would close and is to stay open. What is proposed has been judged like anything that is
//! declared: what still stands against it is said.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use super::Party;
use crate::access::{JudgedPolicy, ResolvedPort, judge, resolve_ports};
use crate::api::{
    AccessPolicy, AccessPolicySpec, Authentication, Empty, ExternalCallee, GROUP, IdentityRef, JwtRequirement,
    PodsCallee, PolicyEnforcement, PolicyPort, Protocol, Source, Target, VERSION,
};
use crate::world::{Identity, NamespacedName, World};

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all_fields = "camelCase")]
pub enum Remedy {
    /// Something that is declared means the edge and was refused.
    Correct {
        /// What, e.g. `AccessPolicy settlement/delivery`.
        object: String,
        /// Why it was refused, and what to do.
        message: String,
    },
    /// A draft grants it: put it in force.
    Enforce {
        /// The AccessPolicy.
        policy: NamespacedName,
    },
    /// Pods in a fenced namespace belong to no identity, so that nothing can be granted to them.
    DeclareIdentity {
        /// Whose pods, in words.
        pods: String,
        /// The ServiceIdentity; absent if the pods have no label to select them by.
        #[serde(skip_serializing_if = "Option::is_none")]
        manifest: Option<Value>,
    },
    /// An AccessPolicy is about the same callee and port: add the caller.
    Extend {
        /// The AccessPolicy.
        policy: NamespacedName,
        /// What to add to its `from`.
        from: Vec<Source>,
        /// What stands against it as yet.
        needs: BTreeSet<String>,
    },
    /// Nothing is about it: declare an AccessPolicy.
    Declare {
        /// The AccessPolicy.
        manifest: Value,
        /// What stands against it as yet.
        needs: BTreeSet<String>,
    },
}

/// An edge that is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used<'a> {
    pub(super) caller: &'a Party,
    pub(super) callee: &'a Party,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) addresses: &'a BTreeSet<IpAddr>,
}

/// Finds remedies, and names for what they declare.
pub(super) struct Remedies<'a> {
    world: &'a World,
    named: BTreeSet<NamespacedName>,
}

impl<'a> Remedies<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self { world, named: BTreeSet::new() }
    }

    /// What to do about an edge; nothing if neither end could be granted anything.
    pub(super) fn of(&mut self, edge: &Used<'_>) -> Option<Remedy> {
        let unnamed = [edge.callee, edge.caller].into_iter().find_map(|party| self.name_first(party));
        if unnamed.is_some() {
            return unnamed;
        }
        let proposal = Proposal::of(self.world, edge)?;
        let related = || {
            let policies = self.world.policies().filter(|(key, _)| key.namespace == proposal.namespace);
            policies.filter(|(_, policy)| proposal.is_about(self.world, &policy.spec.to))
        };
        let declared = related().find_map(|(key, policy)| {
            let judged = self.world.judged(key)?;
            meant(key, policy, judged, |source| edge.is_from(self.world, &key.namespace, source))
        });
        if declared.is_some() {
            return declared;
        }
        let in_force = related().filter(|(_, policy)| policy.spec.enforcement == PolicyEnforcement::Enforce);
        let extended = in_force.map(|(key, policy)| {
            let mut longer = policy.as_ref().clone();
            longer.spec.from.extend(proposal.from.iter().cloned());
            let needs = objections(&judge(self.world, key, &longer), policy.spec.from.len());
            Remedy::Extend { policy: key.clone(), from: proposal.from.clone(), needs }
        });
        let mut candidates: Vec<Remedy> = extended.collect();
        let new = NamespacedName::new(proposal.namespace.clone(), self.unused_name(&proposal, edge));
        candidates.extend(proposal.proofs().into_iter().map(|authentication| {
            let spec = proposal.spec(authentication);
            let needs = objections(&judge(self.world, &new, &AccessPolicy::new(&new.name, spec.clone())), 0);
            Remedy::Declare { manifest: manifest("AccessPolicy", &new, &tidy(&spec)), needs }
        }));
        let best = candidates.iter().position(Remedy::is_accepted).unwrap_or_default();
        let remedy = candidates.into_iter().nth(best)?;
        if matches!(remedy, Remedy::Declare { .. }) {
            self.named.insert(new);
        }
        Some(remedy)
    }

    /// What must come before anything can be granted to somebody.
    fn name_first(&self, party: &Party) -> Option<Remedy> {
        match party {
            Party::RefusedIdentity(key) => {
                let problems =
                    self.world.resolved(key).map(|resolved| resolved.problems.as_slice()).unwrap_or_default();
                let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
                Some(Remedy::Correct { object: format!("ServiceIdentity {key}"), message: messages.join("; ") })
            }
            Party::Pods { namespace, selector } if self.world.domain_of(namespace).is_some() => {
                let manifest = selector.values().next().map(|value| {
                    let key = NamespacedName::new(namespace.clone(), as_name(value));
                    manifest("ServiceIdentity", &key, &json!({"podSelector": {"matchLabels": selector}}))
                });
                Some(Remedy::DeclareIdentity { pods: party.to_string(), manifest })
            }
            _ => None,
        }
    }

    /// A name that no policy has, nor any that was proposed.
    fn unused_name(&self, proposal: &Proposal<'_>, edge: &Used<'_>) -> String {
        let (caller, callee) = (word(edge.caller), word(edge.callee));
        let whole = format!("{caller}-to-{callee}");
        let first = if proposal.to.identity.is_some() { callee } else { whole.clone() };
        let numbered = (2..).map(|number| format!("{whole}-{number}"));
        let mut names = [first, whole.clone()].into_iter().chain(numbered).map(|name| as_name(&name));
        let is_free = |name: &String| {
            let key = NamespacedName::new(proposal.namespace.clone(), name.clone());
            self.world.policy(&key).is_none() && !self.named.contains(&key)
        };
        names.find(is_free).unwrap_or(whole)
    }
}

impl Remedy {
    fn is_accepted(&self) -> bool {
        matches!(self, Self::Extend { needs, .. } | Self::Declare { needs, .. } if needs.is_empty())
    }
}

/// What a policy says about an edge already.
fn meant(
    key: &NamespacedName,
    policy: &AccessPolicy,
    judged: &JudgedPolicy,
    is_from: impl Fn(&Source) -> bool,
) -> Option<Remedy> {
    let refused = judged.refusals.iter().find(|refusal| policy.spec.from.get(refusal.index).is_some_and(&is_from));
    let drafted = || {
        let granted = judged.grants.iter().any(|grant| policy.spec.from.get(grant.index).is_some_and(&is_from));
        (judged.draft && granted).then(|| Remedy::Enforce { policy: key.clone() })
    };
    let correct = refused.map(|refusal| Remedy::Correct {
        object: format!("AccessPolicy {key}, from[{}]", refusal.index),
        message: refusal.message.clone(),
    });
    correct.or_else(drafted)
}

/// Why entries from one on were refused.
fn objections(judged: &JudgedPolicy, first: usize) -> BTreeSet<String> {
    judged.refusals.iter().filter(|refusal| refusal.index >= first).map(|refusal| refusal.message.clone()).collect()
}

/// A grant that would open an edge.
struct Proposal<'a> {
    edge: &'a Used<'a>,
    /// Where the policy lies.
    namespace: String,
    to: Target,
    from: Vec<Source>,
}

impl<'a> Proposal<'a> {
    fn of(world: &World, edge: &'a Used<'a>) -> Option<Self> {
        let literal = || vec![policy_port(IntOrString::Int(edge.port.into()), edge.protocol)];
        let cidrs = || edge.addresses.iter().map(|address| IpNet::from(*address).to_string());
        if let Party::Identity(callee) = edge.callee {
            let ports = vec![port_of(world.identity(callee)?, edge.port, edge.protocol)];
            let to = Target { identity: Some(callee.name.clone()), ports, ..Target::default() };
            let from = match edge.caller {
                Party::Identity(caller) => vec![by_identity(caller, &callee.namespace)],
                Party::KubernetesApi => vec![Source { kubernetes_api: Some(Empty {}), ..Source::default() }],
                Party::Node | Party::Address => {
                    cidrs().map(|cidr| Source { cidr: Some(cidr), ..Source::default() }).collect()
                }
                pods => vec![Source { pods: pods.pods(), ..Source::default() }],
            };
            return Some(Self { edge, namespace: callee.namespace.clone(), to, from });
        }
        let Party::Identity(caller) = edge.caller else { return None };
        let to = match edge.callee {
            Party::KubernetesApi => Target { kubernetes_api: Some(Empty {}), ..Target::default() },
            Party::Node | Party::Address => {
                let external = ExternalCallee { cidrs: cidrs().collect(), ports: literal() };
                Target { external: Some(external), ..Target::default() }
            }
            pods => Target { pods: Some(PodsCallee { pods: pods.pods()?, ports: literal() }), ..Target::default() },
        };
        let from = vec![by_identity(caller, &caller.namespace)];
        Some(Self { edge, namespace: caller.namespace.clone(), to, from })
    }

    /// Whether a policy with this target is about the same callee and port.
    fn is_about(&self, world: &World, to: &Target) -> bool {
        let edge = self.edge;
        let has_port = |ports: &[PolicyPort]| {
            ports.iter().any(|port| match port.port {
                IntOrString::Int(first) => {
                    let last = port.end_port.map_or(first, i32::from);
                    port.protocol == edge.protocol && (first..=last).contains(&i32::from(edge.port))
                }
                IntOrString::String(_) => false,
            })
        };
        match (edge.callee, to) {
            (Party::Identity(callee), Target { identity: Some(name), ports, .. }) => {
                let serves = |port: &ResolvedPort| {
                    port.protocol == edge.protocol && (port.port..=port.last()).contains(&edge.port)
                };
                // Ports that mean nothing yet may mean this one.
                let resolved = world.identity(callee).map(|identity| resolve_ports(identity, ports));
                *name == callee.name && resolved.is_some_and(|ports| ports.map_or(true, |p| p.iter().any(serves)))
            }
            (Party::Pods { namespace, selector }, Target { pods: Some(callee), .. }) => {
                callee.pods.namespaces.contains(namespace)
                    && callee.pods.selector.matches(selector)
                    && has_port(&callee.ports)
            }
            (Party::Node | Party::Address, Target { external: Some(callee), .. }) => {
                edge.addresses.iter().all(|address| callee.cidrs.iter().any(|cidr| is_within(*address, cidr)))
                    && has_port(&callee.ports)
            }
            (Party::KubernetesApi, Target { kubernetes_api, .. }) => kubernetes_api.is_some(),
            _ => false,
        }
    }

    /// How callers may prove themselves: as by default, or by a token that they sign.
    fn proofs(&self) -> Vec<Option<Authentication>> {
        let signed = Authentication { jwt: Some(JwtRequirement::default()), ..Authentication::default() };
        let both_have_identities = self.to.identity.is_some() && matches!(self.edge.caller, Party::Identity(_));
        if both_have_identities { vec![None, Some(signed)] } else { vec![None] }
    }

    fn spec(&self, authentication: Option<Authentication>) -> AccessPolicySpec {
        AccessPolicySpec {
            to: self.to.clone(),
            from: self.from.clone(),
            authentication,
            rules: Vec::new(),
            enforcement: PolicyEnforcement::Enforce,
        }
    }
}

impl Used<'_> {
    /// Whether an entry of a policy means the caller.
    fn is_from(&self, world: &World, namespace: &str, source: &Source) -> bool {
        let named = source
            .identity
            .as_ref()
            .map(|named| NamespacedName::new(named.namespace.as_deref().unwrap_or(namespace), named.name.clone()));
        match self.caller {
            Party::Identity(key) => {
                let domain = world.identity(key).map(|identity| &identity.domain);
                named.as_ref() == Some(key) || (domain.is_some() && source.trust_domain.as_ref() == domain)
            }
            Party::Pods { namespace, selector } => source
                .pods
                .as_ref()
                .is_some_and(|pods| pods.namespaces.contains(namespace) && pods.selector.matches(selector)),
            Party::KubernetesApi => source.kubernetes_api.is_some(),
            Party::Node | Party::Address => {
                let within = |cidr: &String| self.addresses.iter().all(|address| is_within(*address, cidr));
                source.anywhere.is_some() || source.cidr.as_ref().is_some_and(within)
            }
            Party::RefusedIdentity(_) => false,
        }
    }
}

fn by_identity(key: &NamespacedName, namespace: &str) -> Source {
    let elsewhere = (key.namespace != namespace).then(|| key.namespace.clone());
    Source { identity: Some(IdentityRef { name: key.name.clone(), namespace: elsewhere }), ..Source::default() }
}

/// A port of an identity's pods as a policy names it: by its Service, if that leads there and nowhere else.
fn port_of(identity: &Identity, port: u16, protocol: Protocol) -> PolicyPort {
    let services = identity.services.values().flat_map(|service| &service.ports);
    let by_service = services.filter(|service| service.protocol == protocol).map(|service| match &service.name {
        Some(name) => IntOrString::String(name.clone()),
        None => IntOrString::Int(service.port.into()),
    });
    let number = IntOrString::Int(port.into());
    let means_it = |found: &PolicyPort| {
        resolve_ports(identity, std::slice::from_ref(found))
            .is_ok_and(|ports| matches!(ports.as_slice(), [only] if only.port == port && only.end_port.is_none()))
    };
    let mut ports = by_service.chain([number.clone()]).map(|name| policy_port(name, protocol));
    // A range is never looked up in Services.
    let literal = || PolicyPort { end_port: Some(port), ..policy_port(number.clone(), protocol) };
    ports.find(means_it).unwrap_or_else(literal)
}

fn policy_port(port: IntOrString, protocol: Protocol) -> PolicyPort {
    PolicyPort { port, end_port: None, protocol }
}

fn is_within(address: IpAddr, cidr: &str) -> bool {
    cidr.parse::<IpNet>().is_ok_and(|cidr| cidr.contains(&address))
}

/// Somebody in a word, for the name of a policy.
fn word(party: &Party) -> String {
    match party {
        Party::Identity(key) | Party::RefusedIdentity(key) => key.name.clone(),
        Party::Pods { namespace, selector } => selector.values().next().unwrap_or(namespace).clone(),
        Party::KubernetesApi => "kubernetes-api".to_owned(),
        Party::Node => "nodes".to_owned(),
        Party::Address => "outside".to_owned(),
    }
}

/// Longest name of a policy or an identity.
const LONGEST_NAME: usize = 63;

/// Some text as the name of an object.
fn as_name(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(fits).take(LONGEST_NAME).collect();
    name.trim_matches('-').to_owned()
}

fn manifest(kind: &str, key: &NamespacedName, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind,
        "metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec,
    })
}

/// A policy as somebody would write it, without what goes without saying.
fn tidy(spec: &AccessPolicySpec) -> Value {
    // Serialising fails only for maps whose keys are not strings; a policy has none.
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("enforcement");
    }
    for ports in ["/to/ports", "/to/pods/ports", "/to/external/ports"] {
        for port in spec.pointer_mut(ports).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut().filter(|port| port["protocol"] == "TCP") {
                port.remove("protocol");
            }
        }
    }
    spec
}

#[cfg(test)]
#[path = "remedy_tests.rs"]
mod tests;
