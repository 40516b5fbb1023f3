//! Container images, packed without a container engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::tool;
use crate::process::output;
use crate::servers::Tool;

/// The image of the program `netcheck`, there on every node: a server on several ports, and a client that says what it
/// reaches (see `servers/netcheck`).
pub const NETCHECK_IMAGE: &str = "ringfence.dev/netcheck:1";

/// The image that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "ringfence.dev/pause:1";
const COREDNS_IMAGE: &str = "ringfence.dev/coredns:1";

/// Packs one program, with the libraries that it is linked to, into an image (an OCI archive) that runs it with these
/// arguments as a user without rights. What was packed before comes from the cache.
pub fn pack_image(name: &str, program: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/pack");
    let archive = output(Command::new(script).arg(name).arg(program).args(arguments))
        .with_context(|| format!("pack the image {name}"))?;
    Ok(PathBuf::from(archive.trim_end()))
}

/// The images that a node can't do without.
pub(super) fn basic() -> Result<Vec<PathBuf>> {
    let netcheck = tool(Tool::Netcheck)?;
    Ok(vec![
        pack_image(PAUSE_IMAGE, &netcheck, &["pause"])?,
        pack_image(COREDNS_IMAGE, &tool(Tool::Coredns)?, &[])?,
        pack_image(NETCHECK_IMAGE, &netcheck, &[])?,
    ])
}
