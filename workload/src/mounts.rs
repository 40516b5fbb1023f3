//! Where the delivered files are, and reading those of one moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_core::pki::SecretData;

/// Where a pod has mounted what was delivered to its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    /// The Secret `<identity>-tls`.
    pub tls: PathBuf,
    /// The ConfigMap `<identity>-trust`.
    pub trust: PathBuf,
    /// The Secret `<identity>-signing-key`, for a service that signs tokens.
    pub signing_key: Option<PathBuf>,
    /// Secrets `<identity>-<issuer>-client` with `client-id` and `client-secret`, by the issuer's name in the TrustDomain: for
    /// issuers to which the service proves itself by a secret.
    pub issuers: BTreeMap<String, PathBuf>,
}

/// A file or folder that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct MountFault {
    path: PathBuf,
    source: io::Error,
}

impl Mounts {
    /// The folders `tls`, `trust` and, where they are there, `signing-key` and `issuers/<name>` below a folder.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let signing_key = root.join("signing-key");
        let issuers = fs::read_dir(root.join("issuers")).into_iter().flatten().flatten();
        let issuers = issuers.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
        Self {
            tls: root.join("tls"),
            trust: root.join("trust"),
            signing_key: signing_key.is_dir().then_some(signing_key),
            issuers: issuers.collect(),
        }
    }

    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        let always = [&self.tls, &self.trust].into_iter();
        always.chain(&self.signing_key).chain(self.issuers.values()).map(PathBuf::as_path)
    }
}

/// Reads the files of a folder as they were at one moment: the kubelet puts a new set into place by one link, `..data`.
pub(crate) fn read(folder: &Path) -> Result<SecretData, MountFault> {
    let set = fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
    let fault = |path: &Path, source| MountFault { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(&set).map_err(|error| fault(&set, error))? {
        let entry = entry.map_err(|error| fault(&set, error))?;
        let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        files.push((name, fs::read(&path).map_err(|error| fault(&path, error))?));
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As the kubelet does it: a folder for each version, a link to the one that counts, links to its files.
    #[test]
    fn a_mounted_volume_is_read_as_of_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let version = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("kid"), content).unwrap();
        };
        version("..1", "first");
        version("..2", "second");
        symlink("..1", folder.path().join("..data")).unwrap();
        symlink("..data/kid", folder.path().join("kid")).unwrap();
        assert_eq!(read(folder.path()).unwrap().get("kid"), Some(b"first".as_slice()));
        symlink("..2", folder.path().join("..new")).unwrap();
        fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
        let files = read(folder.path()).unwrap();
        assert_eq!((files.get("kid"), files.keys().count()), (Some(b"second".as_slice()), 1));
    }

    #[test]
    fn what_is_not_mounted_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(&folder.path().join("tls")).unwrap_err();
        assert!(error.to_string().ends_with("/tls"), "{error}");
        let mounts = Mounts::below(folder.path());
        assert_eq!((mounts.signing_key, mounts.issuers.len()), (None, 0));
    }
}
