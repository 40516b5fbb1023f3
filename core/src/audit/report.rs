//! What came of an audit.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::flow::Passed;
use super::{Party, Remedy};
use crate::api::{Enforcement, Protocol};

/// What came of an audit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether no edge that was used would close.
    pub well: bool,
    /// The TrustDomains whose fences the flows were held against, as if all of them were enforced.
    pub trust_domains: Vec<FencedDomain>,
    /// The edges that were used and would close.
    pub closing: Vec<Closing>,
    /// Number of edges to or from fenced pods that were used and stay open.
    pub open: usize,
    /// What was in the recordings.
    pub flows: Counts,
    /// The first of the lines that could not be read.
    pub unread: Vec<Unread>,
    /// What else should be known of the judgement, in sentences.
    pub notes: Vec<String>,
}

/// A TrustDomain whose fence counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FencedDomain {
    /// Name of the object.
    pub name: String,
    /// `Enforce` or `Audit`: what it says now.
    pub enforcement: Enforcement,
}

/// An edge that was used and would close.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    /// Who calls.
    pub caller: Party,
    /// Who is called.
    pub callee: Party,
    /// Port of the callee's pods or address.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Some of the addresses of an end that is no pod.
    pub addresses: BTreeSet<IpAddr>,
    /// Number of flows that were recorded of it.
    pub flows: u64,
    /// When the first of them was seen, RFC 3339; absent if no flow says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When the last of them was seen, RFC 3339; absent if no flow says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Where it would be closed: on one side or on both.
    pub closed: Vec<Closed>,
    /// What to do if it is to stay open; absent if nothing that can be declared would open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// Where an edge would be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// On which side.
    pub side: ClosedSide,
    /// The NetworkPolicy that has no rule for it, `<namespace>/<name>`.
    pub network_policy: String,
}

/// A side of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ClosedSide {
    /// The caller is not let out.
    CallerEgress,
    /// The callee lets nobody like the caller in.
    CalleeIngress,
}

/// What was in the recordings, by number of flows. Each is a packet that Hubble saw, and it sees some of them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Held against the fences: of edges that close and of edges that stay open.
    pub judged: u64,
    /// Between ends that are both outside of all fences.
    pub outside: u64,
    /// From a node to a pod on it, such as probes of the kubelet, or from a pod to itself: no NetworkPolicy closes that.
    pub always_open: u64,
    /// Packets of answers: they pass where the question passed.
    pub replies: u64,
    /// Not forwarded, so that nothing that works would close.
    pub not_forwarded: u64,
    /// Seen where the direction of the connection was not known yet.
    pub direction_unknown: u64,
    /// Neither TCP nor UDP nor SCTP, such as ping: no NetworkPolicy opens that.
    pub without_port: u64,
    /// With an end of which Cilium did not know yet what it is.
    pub unidentified: u64,
    /// No flows of packets.
    pub other_events: u64,
    /// Lines that could not be read.
    pub unread: u64,
    /// Events that Hubble lost before they were recorded.
    pub lost: u64,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The recording.
    pub recording: String,
    /// Number of the line, from 1.
    pub line: u64,
    /// Why.
    pub message: String,
}

impl Counts {
    /// Counts a flow that was passed over.
    pub(super) fn pass(&mut self, why: Passed) {
        *match why {
            Passed::Reply => &mut self.replies,
            Passed::NotForwarded => &mut self.not_forwarded,
            Passed::DirectionUnknown => &mut self.direction_unknown,
            Passed::WithoutPort => &mut self.without_port,
            Passed::OtherEvent => &mut self.other_events,
        } += 1;
    }
}
