//! The mounted files of a pod.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use ringfence_core::pki::SecretData;
use tempfile::TempDir;

/// A folder below which volumes are mounted.
pub struct Pod {
    folder: TempDir,
    versions: AtomicU32,
}

impl Pod {
    /// One without volumes.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), versions: AtomicU32::new(0) }
    }

    /// Where the volumes are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Mounts a volume, or changes it, as the kubelet does: a folder for each version, and the link `..data` to the one that
    /// counts.
    pub fn mount(&self, volume: &str, files: &SecretData) -> &Self {
        let volume = self.path().join(volume);
        let version = format!("..{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let folder = volume.join(&version);
        fs::create_dir_all(&folder).unwrap();
        for name in files.keys() {
            fs::write(folder.join(name), files.get(name).unwrap()).unwrap();
        }
        symlink(version, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        self
    }
}
