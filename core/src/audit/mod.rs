//! The audit: which edges that are in use would close if the domains were enforced.
//!
//! Flows are held against the very NetworkPolicies that would be written. They come in one by one and are added up by edge,
//! so that a recording may be of any length.

mod fence;
mod flow;
mod party;
mod remedy;
mod report;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use jiff::Timestamp;

use self::flow::{Connection, Endpoint, Line, parse};
pub use self::party::Party;
pub use self::remedy::Remedy;
use self::remedy::{Remedies, Used};
pub use self::report::{Closed, ClosedSide, Closing, Counts, FencedDomain, Report, Unread};
use crate::access::{End, Engine, Side};
use crate::api::{Enforcement, Protocol, TrustDomain};
use crate::plan::BASELINE;
use crate::world::{NamespacedName, World};

/// So many addresses of an edge are remembered.
const ADDRESSES: usize = 16;
/// So many of the lines that could not be read are told.
const UNREAD: usize = 5;
/// What Cilium calls pods that it does not know yet.
const UNIDENTIFIED: [&str; 3] = ["init", "unknown", "unmanaged"];

/// An audit that goes on.
#[derive(Debug)]
pub struct Audit {
    world: World,
    engine: Engine,
    trust_domains: Vec<FencedDomain>,
    pods: HashMap<PodKey, Rc<Known>>,
    edges: BTreeMap<Edge, Seen>,
    counts: Counts,
    unread: Vec<Unread>,
    notes: Vec<String>,
}

/// Why there is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// No domain fences anything.
    #[error(
        "no TrustDomain with namespaces is in Audit or Enforce, so that there is no fence to hold the flows against: declare one, or look into another cluster or other files"
    )]
    NothingFenced,
    /// The recordings say nothing.
    #[error(
        "the recordings hold no flow that could be judged: record with `hubble observe --follow --output json`, which writes one JSON object a line"
    )]
    NothingRecorded,
}

/// A pod that the world knows, by name, or any other by its labels.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PodKey {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
}

/// An end, with the NetworkPolicies that select it.
#[derive(Debug)]
struct Known {
    party: Party,
    side: Side,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    caller: Party,
    callee: Party,
    protocol: Protocol,
    port: u16,
    let_out: bool,
    let_in: bool,
}

/// What was seen of an edge.
#[derive(Debug, Default)]
struct Seen {
    flows: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    addresses: BTreeSet<IpAddr>,
}

impl Audit {
    /// Begins. The world must hold all that is declared and what it depends on; NetworkPolicies are not looked at.
    ///
    /// # Errors
    /// If nothing in it would be fenced.
    pub fn new(mut world: World) -> Result<Self, AuditError> {
        let trust_domains = fenced_domains(&world);
        if trust_domains.is_empty() {
            return Err(AuditError::NothingFenced);
        }
        let notes = limits(&world);
        let engine = fence::enforced(&mut world);
        Ok(Self {
            world,
            engine,
            trust_domains,
            pods: HashMap::new(),
            edges: BTreeMap::new(),
            counts: Counts::default(),
            unread: Vec::new(),
            notes,
        })
    }

    /// Takes in a line of a recording.
    pub fn take(&mut self, recording: &str, line: u64, text: &[u8]) {
        match parse(text) {
            Ok(Line::Opened(connection)) => self.judge(&connection),
            Ok(Line::Passed(why)) => self.counts.pass(why),
            Ok(Line::Lost(events)) => self.counts.lost += events,
            Err(message) => {
                self.counts.unread += 1;
                if self.unread.len() < UNREAD {
                    self.unread.push(Unread { recording: recording.to_owned(), line, message });
                }
            }
        }
    }

    /// What came of it. `notes` are what else should be known of the judgement.
    ///
    /// # Errors
    /// If there was nothing to judge.
    pub fn finish(self, notes: impl IntoIterator<Item = String>) -> Result<Report, AuditError> {
        let Self { world, trust_domains, edges, counts, unread, notes: mut all, .. } = self;
        if counts.judged + counts.outside + counts.always_open == 0 {
            return Err(AuditError::NothingRecorded);
        }
        all.extend(notes);
        let open = edges.keys().filter(|edge| edge.let_out && edge.let_in).count();
        let mut remedies = Remedies::new(&world);
        let closing = edges.into_iter().filter(|(edge, _)| !(edge.let_out && edge.let_in));
        let closing: Vec<Closing> = closing.map(|(edge, seen)| closing_edge(&mut remedies, edge, seen)).collect();
        let well = closing.is_empty();
        Ok(Report { well, trust_domains, closing, open, flows: counts, unread, notes: all })
    }

    fn judge(&mut self, connection: &Connection) {
        let Connection { source, destination, port, protocol, time } = connection;
        let unidentified = |end: &Endpoint| {
            end.namespace.is_none() && UNIDENTIFIED.iter().any(|reserved| end.reserved.contains(*reserved))
        };
        if unidentified(source) || unidentified(destination) {
            self.counts.unidentified += 1;
            return;
        }
        let is_pod = !destination.pod.is_empty() && destination.namespace.is_some();
        let itself = is_pod && source.pod == destination.pod && source.namespace == destination.namespace;
        if itself || (source.namespace.is_none() && source.reserved.contains("host")) {
            self.counts.always_open += 1;
            return;
        }
        let (caller, callee) = (self.known(source), self.known(destination));
        if !caller.side.is_fenced() && !callee.side.is_fenced() {
            self.counts.outside += 1;
            return;
        }
        self.counts.judged += 1;
        let edge = Edge {
            let_out: self.engine.lets_out(&caller.side, &callee.side, *port, protocol.as_str()),
            let_in: self.engine.lets_in(&caller.side, &callee.side, *port, protocol.as_str()),
            caller: caller.party.clone(),
            callee: callee.party.clone(),
            protocol: *protocol,
            port: *port,
        };
        let seen = self.edges.entry(edge).or_default();
        seen.flows += 1;
        seen.first = seen.first.into_iter().chain(*time).min();
        seen.last = seen.last.max(*time);
        let outside = [source, destination].into_iter().filter(|end| end.namespace.is_none());
        let room = ADDRESSES - seen.addresses.len();
        seen.addresses.extend(outside.map(|end| end.address).take(room));
    }

    /// An end. A pod that is still there has the labels that it has now, any other those that were recorded.
    fn known(&mut self, end: &Endpoint) -> Rc<Known> {
        let Some(namespace) = end.namespace.clone() else {
            let side = self.engine.side(End { pod: None, address: end.address });
            return Rc::new(Known { party: Party::of_address(&self.world, end), side });
        };
        let now = self.world.pod(&NamespacedName::new(namespace.clone(), end.pod.clone()));
        let key = match now {
            Some(_) => PodKey { namespace, name: end.pod.clone(), labels: BTreeMap::new() },
            None => PodKey { namespace, name: String::new(), labels: end.labels.clone() },
        };
        if let Some(known) = self.pods.get(&key) {
            return Rc::clone(known);
        }
        let labels = now.map_or(&end.labels, |pod| &pod.labels);
        let party = Party::of_pods(&self.world, &key.namespace, labels);
        let pod = Some((key.namespace.clone(), labels.clone()));
        let known = Rc::new(Known { party, side: self.engine.side(End { pod, address: end.address }) });
        self.pods.insert(key, Rc::clone(&known));
        known
    }
}

/// The domains that have namespaces.
fn domains(world: &World) -> impl Iterator<Item = (&str, &TrustDomain)> {
    let named = world.domains().filter_map(|domain| Some((domain.metadata.name.as_deref()?, domain.as_ref())));
    named.filter(|(name, _)| !world.namespaces_of(name).is_empty())
}

fn fenced_domains(world: &World) -> Vec<FencedDomain> {
    let fenced = domains(world).filter(|(_, domain)| domain.spec.enforcement != Enforcement::Disabled);
    fenced.map(|(name, domain)| FencedDomain { name: name.to_owned(), enforcement: domain.spec.enforcement }).collect()
}

/// What the judgement does not look at, in sentences.
fn limits(world: &World) -> Vec<String> {
    let disabled = domains(world).filter(|(_, domain)| domain.spec.enforcement == Enforcement::Disabled);
    let disabled =
        disabled.map(|(name, _)| format!("TrustDomain {name} is Disabled: its namespaces count as unfenced"));
    let is_unknown = |(_, domain): &(&str, &TrustDomain)| {
        world.settings.token_service.is_none() && domain.built_in_issuer().is_some()
    };
    let unknown = domains(world).find(is_unknown).map(|(name, _)| {
        format!("TrustDomain {name} names the built-in token service, and where that is was not told: edges to it count as closed")
    });
    disabled.chain(unknown).collect()
}

fn closing_edge(remedies: &mut Remedies<'_>, edge: Edge, seen: Seen) -> Closing {
    let Edge { caller, callee, protocol, port, let_out, let_in } = edge;
    let closed = |side, party| Closed { side, network_policy: network_policy(party) };
    let out = (!let_out).then(|| closed(ClosedSide::CallerEgress, &caller));
    let into = (!let_in).then(|| closed(ClosedSide::CalleeIngress, &callee));
    let used = Used { caller: &caller, callee: &callee, port, protocol, addresses: &seen.addresses };
    Closing {
        closed: out.into_iter().chain(into).collect(),
        remedy: remedies.of(&used),
        caller,
        callee,
        port,
        protocol,
        addresses: seen.addresses,
        flows: seen.flows,
        first_seen: seen.first,
        last_seen: seen.last,
    }
}

/// The NetworkPolicy that fences somebody in.
fn network_policy(party: &Party) -> String {
    match party {
        Party::Identity(key) => format!("{}/ringfence-{}", key.namespace, key.name),
        Party::RefusedIdentity(key) => format!("{}/{BASELINE}", key.namespace),
        Party::Pods { namespace, .. } => format!("{namespace}/{BASELINE}"),
        Party::KubernetesApi | Party::Node | Party::Address => String::new(),
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
