//! Flows as Hubble, the observer of the network plugin Cilium, writes them down: one JSON object a line, either a flow or
//! an event with a flow in it. Only what the audit needs is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::Protocol;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A packet on its way from who opened the connection to who accepted it.
    Opened(Box<Connection>),
    /// Something that says nothing about who may call whom.
    Passed(Passed),
    /// So many events never reached the recording.
    Lost(u64),
}

/// Why a line says nothing about who may call whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// A packet of an answer.
    Reply,
    /// The packet did not get through.
    NotForwarded,
    /// The packet was seen where nobody knew yet to which connection it belongs. It is seen again where that is known.
    DirectionUnknown,
    /// Neither TCP nor UDP nor SCTP: no NetworkPolicy is about it.
    WithoutPort,
    /// No flow of packets: of requests inside a connection, of a socket, or another event.
    OtherEvent,
}

/// A connection that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// Who opened it.
    pub(super) source: Endpoint,
    /// Who accepted it.
    pub(super) destination: Endpoint,
    /// The port that it was made to, behind every Service.
    pub(super) port: u16,
    /// Transport protocol.
    pub(super) protocol: Protocol,
    /// When the packet was seen.
    pub(super) time: Option<Timestamp>,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Its address.
    pub(super) address: IpAddr,
    /// Its namespace, if it is a pod.
    pub(super) namespace: Option<String>,
    /// Its name, if it is a pod and the recording has it.
    pub(super) pod: String,
    /// Its own labels, if it is a pod: those that Cilium tells pods apart by.
    pub(super) labels: BTreeMap<String, String>,
    /// What else it is, e.g. `host` or `world`.
    pub(super) reserved: BTreeSet<String>,
}

/// Reads a line.
///
/// # Errors
/// Why it is no event of Hubble.
pub(super) fn parse(line: &[u8]) -> Result<Line, String> {
    let Event { flow, lost_events, node_status, agent_event, debug_event, time } = read(line)?;
    match (flow, lost_events) {
        (Some(flow), _) => flow.line(time),
        (None, Some(lost)) => Ok(Line::Lost(lost.number())),
        _ if [node_status, agent_event, debug_event].iter().any(Option::is_some) => {
            Ok(Line::Passed(Passed::OtherEvent))
        }
        _ => match read::<RawFlow>(line)? {
            flow if flow.kind.is_some() || !flow.verdict.is_empty() => flow.line(None),
            _ => Err("it holds neither a flow nor another event of Hubble".to_owned()),
        },
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    flow: Option<RawFlow>,
    lost_events: Option<LostEvents>,
    node_status: Option<IgnoredAny>,
    agent_event: Option<IgnoredAny>,
    debug_event: Option<IgnoredAny>,
    time: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LostEvents {
    num_events_lost: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawFlow {
    time: Option<Timestamp>,
    verdict: String,
    #[serde(rename = "IP")]
    ip: Option<RawAddresses>,
    l4: RawTransport,
    source: RawEndpoint,
    destination: RawEndpoint,
    #[serde(rename = "Type")]
    kind: Option<String>,
    is_reply: Option<bool>,
}

#[derive(Deserialize)]
struct RawAddresses {
    source: IpAddr,
    destination: IpAddr,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
struct RawTransport {
    tcp: Option<RawPorts>,
    udp: Option<RawPorts>,
    sctp: Option<RawPorts>,
}

#[derive(Deserialize)]
struct RawPorts {
    destination_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawEndpoint {
    namespace: String,
    pod_name: String,
    labels: Vec<String>,
}

impl LostEvents {
    /// The encoding writes numbers of this size as text.
    fn number(&self) -> u64 {
        let text = self.num_events_lost.as_str().and_then(|text| text.parse().ok());
        text.or_else(|| self.num_events_lost.as_u64()).unwrap_or_default()
    }
}

impl RawFlow {
    fn line(self, time: Option<Timestamp>) -> Result<Line, String> {
        let passed = |why| Ok(Line::Passed(why));
        if self.kind.as_deref().is_some_and(|kind| kind != "L3_L4") {
            return passed(Passed::OtherEvent);
        }
        // Redirected: to Cilium's own proxy. Audit: by a policy of Cilium that only watches.
        if !matches!(self.verdict.as_str(), "FORWARDED" | "REDIRECTED" | "AUDIT") {
            return passed(Passed::NotForwarded);
        }
        let Some((protocol, port)) = self.l4.port() else { return passed(Passed::WithoutPort) };
        match self.is_reply {
            Some(true) => return passed(Passed::Reply),
            None => return passed(Passed::DirectionUnknown),
            Some(false) => {}
        }
        let addresses = self.ip.ok_or("the flow has no IP addresses")?;
        Ok(Line::Opened(Box::new(Connection {
            source: self.source.endpoint(addresses.source),
            destination: self.destination.endpoint(addresses.destination),
            port,
            protocol,
            time: self.time.or(time),
        })))
    }
}

impl RawTransport {
    fn port(&self) -> Option<(Protocol, u16)> {
        let ports = [(Protocol::Tcp, &self.tcp), (Protocol::Udp, &self.udp), (Protocol::Sctp, &self.sctp)];
        ports.into_iter().find_map(|(protocol, ports)| Some((protocol, ports.as_ref()?.destination_port)))
    }
}

/// Label under which Cilium keeps the namespace of a pod.
const NAMESPACE_LABEL: &str = "k8s:io.kubernetes.pod.namespace=";
/// What Cilium adds to the labels of a pod.
const ADDED: [&str; 2] = ["io.cilium.", "io.kubernetes."];

impl RawEndpoint {
    fn endpoint(self, address: IpAddr) -> Endpoint {
        let labelled = self.labels.iter().find_map(|label| label.strip_prefix(NAMESPACE_LABEL));
        let namespace = if self.namespace.is_empty() { labelled.map(str::to_owned) } else { Some(self.namespace) };
        let own = self.labels.iter().filter_map(|label| label.strip_prefix("k8s:"));
        let own = own.filter(|label| !ADDED.iter().any(|added| label.starts_with(added)));
        let labels = own.map(|label| label.split_once('=').unwrap_or((label, "")));
        let reserved = self.labels.iter().filter_map(|label| label.strip_prefix("reserved:"));
        Endpoint {
            address,
            namespace,
            pod: self.pod_name,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            reserved: reserved.map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
