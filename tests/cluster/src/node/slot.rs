//! The number by which the nodes of one machine keep out of each other's way: it is in the names and addresses of all
//! that a node has outside of its namespaces and of the cluster's folder.
//!
//! A claim is a file in `/run` with the cluster's folder in it. It goes last, when nothing of the node is left; so a
//! slot without a claim is a clean one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::layout::Layout;
use crate::process::output;
use crate::supervisor::Supervisor;

/// Takes a number that no other node of this machine has, and sees to it that it is given back.
pub(super) fn claim(supervisor: &Supervisor, layout: &Layout) -> Result<u8> {
    let lock = File::create(LOCK).with_context(|| format!("create {LOCK}"))?;
    lock.lock().with_context(|| format!("lock {LOCK}"))?;
    for slot in 0..=u8::MAX {
        let claim = claim_file(slot);
        if claim.exists() && !is_left(slot) {
            continue;
        }
        output(Command::new("sh").args(["-c", &removal(slot)])).with_context(|| format!("clean up slot {slot}"))?;
        let folder = layout.folder().display().to_string();
        let ours = format!(
            "[ \"$(cat {})\" = '{}' ] || exit 0\n{}",
            claim.display(),
            folder.replace('\'', r"'\''"),
            removal(slot)
        );
        supervisor.undo(&format!("10-node-{slot}"), &ours)?;
        fs::write(&claim, folder).with_context(|| format!("write {}", claim.display()))?;
        return Ok(slot);
    }
    bail!("all node slots of this machine are taken")
}

/// What the link to a node and its cgroups are called.
pub(super) fn name(slot: u8) -> String {
    format!("ringfence{slot}")
}

/// Whether nobody will ever take this back: someone removed the folder of a running cluster, and it has ended since.
fn is_left(slot: u8) -> bool {
    let running = Path::new("/sys/class/net").join(name(slot)).exists();
    let folder = fs::read_to_string(claim_file(slot)).unwrap_or_default();
    !running && !Path::new(&folder).join("undo").exists()
}

/// Commands that remove all that a node with this slot has outside.
fn removal(slot: u8) -> String {
    let name = name(slot);
    format!(
        "\
[ ! -e /sys/class/net/{name} ] || ip link delete {name}
attempts=0
# The kernel may still be burying the node's processes.
while
    find /sys/fs/cgroup -depth -type d '(' -path '*/{name}' -o -path '*/{name}/*' ')' -exec rmdir '{{}}' + 2>/dev/null
    [ -n \"$(find /sys/fs/cgroup -maxdepth 2 -name {name})\" ] && [ \"$attempts\" -lt 200 ]
do
    attempts=$((attempts + 1))
    sleep 0.05
done
rm -f {}
",
        claim_file(slot).display(),
    )
}

fn claim_file(slot: u8) -> PathBuf {
    Path::new("/run").join(name(slot))
}

const LOCK: &str = "/run/.ringfence.lock";
