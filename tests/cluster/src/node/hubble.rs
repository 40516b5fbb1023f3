//! Hubble: what Cilium's agent saw of the traffic of a node's pods.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::sandbox::Sandbox;
use crate::cache::tool;
use crate::process::output;
use crate::servers::Tool;

/// The arguments by which the agent keeps what it sees, or not.
pub(super) fn arguments(observe: bool) -> Vec<String> {
    if !observe {
        return vec!["--enable-hubble=false".to_owned()];
    }
    vec![
        "--enable-hubble=true".to_owned(),
        format!("--hubble-socket-path={SOCKET}"),
        format!("--hubble-event-buffer-capacity={CAPACITY}"),
        // A connection is told by its first and its last packets, not by each.
        "--monitor-aggregation=medium".to_owned(),
    ]
}

/// Whether the node's agent keeps what it sees.
pub(super) fn is_observing(sandbox: &Sandbox) -> bool {
    sandbox.socket(SOCKET).is_ok()
}

/// All that the agent still knows, oldest first, as JSON lines.
pub(super) fn flows(sandbox: &Sandbox) -> Result<String> {
    let mut command = sandbox.inside(tool(Tool::Hubble)?, Command::new("nsenter"));
    command.args(["observe", "--all", "--output=jsonpb", &format!("--server=unix://{SOCKET}")]);
    output(&mut command)
        .with_context(|| format!("ask for the flows of {} (see Options::observe_flows)", sandbox.name()))
}

/// Where the agent answers, in the node's own `/run`.
const SOCKET: &str = "/run/cilium/hubble.sock";
/// How many flows the agent keeps: as many as it can.
const CAPACITY: u16 = 65535;
