//! Where a cluster keeps its files: one folder, removed as a whole when the cluster ends.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The folder of one cluster. Its path is absolute and free of symbolic links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// Makes the folder: a given one, which must not hold anything else, or a temporary one.
    pub(crate) fn create(given: Option<&Path>) -> Result<Self> {
        let folder = match given {
            Some(path) => create_given(path)?,
            None => tempfile::Builder::new()
                .prefix("ringfence-")
                .tempdir()
                .context("create a temporary folder for the cluster")?
                .keep(),
        };
        let layout = Self::of(&folder)?;
        for folder in [layout.pki(), layout.logs(), layout.kubeconfigs()] {
            fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        if let Some(logs) = env::var_os("RINGFENCE_AUDIT_LOGS").filter(|logs| !logs.is_empty()) {
            let name = layout.folder.file_name().context("the folder of a cluster has a name")?;
            let log = Path::new(&logs).join(name).with_extension("log");
            fs::write(&log, "").with_context(|| format!("create {}", log.display()))?;
            symlink(&log, layout.audit_log()).with_context(|| format!("link {}", log.display()))?;
        }
        Ok(layout)
    }

    /// The layout of an existing folder.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
        if folder.to_str().is_none_or(|path| path.contains('\n')) {
            bail!("{}: a cluster's folder needs a plain name", folder.display());
        }
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder was made by a cluster (and so may be removed).
    pub(crate) fn is_cluster(&self) -> bool {
        self.supervisor_script().exists()
    }

    /// Whether the folder outlives the cluster, for someone to look at.
    pub(crate) fn is_kept(&self) -> bool {
        self.keep().exists()
    }

    pub(crate) fn keep(&self) -> PathBuf {
        self.folder.join("keep")
    }

    pub(crate) fn supervisor_script(&self) -> PathBuf {
        self.folder.join("supervisor.sh")
    }

    pub(crate) fn undo(&self) -> PathBuf {
        self.folder.join("undo")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    pub(crate) fn kubeconfigs(&self) -> PathBuf {
        self.folder.join("kubeconfigs")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// What a node's programs keep. Nodes are counted from 0.
    pub(crate) fn node(&self, index: usize) -> PathBuf {
        self.folder.join("nodes").join(index.to_string())
    }

    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.folder.join("etcd")
    }
}

fn create_given(path: &Path) -> Result<PathBuf> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is not a folder", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
    }
    let mut entries = fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: a cluster needs a folder of its own, since it removes it at its end", path.display());
    }
    Ok(path.to_owned())
}
