//! All that was delivered, parsed, as of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use ringfence_core::access::{ACCESS_VERSION, AccessDocument, AccessIssuer, CalleeName, ClientCertificates};
use ringfence_core::jwt::{SigningKeyFault, TokenSigner, VerifyingKeys};
use ringfence_core::pki::{PeerAnchors, PeerAnchorsError, SecretData, SpiffeId, SpiffeIdError};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

use crate::certificate::{CertificateFault, certified_key};
use crate::mounts::{MountFault, Mounts, read};
use crate::verifier::{Anchors, Ask};

/// What counts at one moment.
pub(crate) struct Material {
    pub(crate) document: AccessDocument,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) certificate: Arc<CertifiedKey>,
    pub(crate) signer: Option<TokenSigner>,
    anchors: BTreeMap<String, PeerAnchors>,
    key_sets: BTreeMap<String, VerifyingKeys>,
    issuers: BTreeMap<String, Issuer>,
    epoch: u64,
    /// SHA-256 of all that was read.
    pub(crate) digest: [u8; 32],
}

/// A token issuer.
pub(crate) struct Issuer {
    pub(crate) known: AccessIssuer,
    pub(crate) credentials: Option<Credentials>,
    /// Absent where its certificate is verified as that of any callee.
    pub(crate) server: Option<Arc<dyn ServerCertVerifier>>,
}

/// An id with its secret.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: SecretData,
}

/// Delivered files that can't be used. Nothing of a secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum MaterialFault {
    /// A file or folder can't be read.
    #[error(transparent)]
    Mount(#[from] MountFault),
    /// A file is not there: the volume is of something else, or of an older version of Ringfence.
    #[error("{0} is missing")]
    Missing(String),
    /// A file does not parse.
    #[error("{0} does not parse")]
    Malformed(String),
    /// `access.json` has a form that this library does not know.
    #[error("access.json has version {found}, and this library reads version {ACCESS_VERSION}: use a newer one")]
    Version {
        /// The version.
        found: u64,
    },
    /// `access.json` names the service by something that is no SPIFFE ID.
    #[error("access.json does not name the service")]
    OwnName(#[from] SpiffeIdError),
    /// `tls.crt` and `tls.key` can't be shown.
    #[error("no certificate can be shown: {0}")]
    Certificate(#[from] CertificateFault),
    /// A bundle does not parse.
    #[error("{file} or crl.pem does not parse")]
    Anchors {
        /// The bundle.
        file: String,
        /// Why.
        source: PeerAnchorsError,
    },
    /// The signing key can't be used.
    #[error("no token can be signed")]
    SigningKey(#[from] SigningKeyFault),
}

impl Material {
    pub(crate) fn read(mounts: &Mounts, provider: &Arc<CryptoProvider>) -> Result<Self, MaterialFault> {
        static EPOCH: AtomicU64 = AtomicU64::new(1);
        let (tls, trust) = (read(&mounts.tls)?, Trust(read(&mounts.trust)?));
        let signing_key = mounts.signing_key.as_deref().map(read).transpose()?;
        let secrets = mounts.issuers.iter().map(|(name, folder)| Ok((name, Credentials::read(folder)?)));
        let mut secrets = secrets.collect::<Result<BTreeMap<_, _>, MaterialFault>>()?;
        let digest =
            digest([&tls, &trust.0].into_iter().chain(&signing_key).chain(secrets.values().map(|c| &c.secret)));
        let document = trust.document()?;
        let anchors = document.bundles.iter().map(|(domain, file)| Ok((domain.clone(), trust.anchors(file)?)));
        let issuers = document.issuers.iter().map(|(id, known)| {
            let credentials = secrets.remove(&known.name);
            let server = trust.issuer_verifier(id, known, &document, provider)?;
            Ok((id.clone(), Issuer { known: known.clone(), credentials, server }))
        });
        Ok(Self {
            spiffe_id: document.spiffe_id.parse()?,
            certificate: Arc::new(certified_key(&tls, provider)?),
            signer: signing_key.as_ref().map(TokenSigner::of_secret).transpose()?,
            anchors: anchors.collect::<Result<_, MaterialFault>>()?,
            key_sets: trust.key_sets(&document)?,
            issuers: issuers.collect::<Result<_, MaterialFault>>()?,
            digest,
            document,
            epoch: EPOCH.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The keys in a file that `access.json` names.
    pub(crate) fn keys(&self, file: &str) -> Option<&VerifyingKeys> {
        self.key_sets.get(file)
    }

    pub(crate) fn issuer(&self, id: &str) -> Option<&Issuer> {
        self.issuers.get(id)
    }

    /// The issuer that has a name in the TrustDomain, with its identifier.
    pub(crate) fn issuer_named(&self, name: &str) -> Option<(&str, &Issuer)> {
        let mut named = self.issuers.iter().filter(|(_, issuer)| issuer.known.name == name);
        named.next().map(|(id, issuer)| (id.as_str(), issuer))
    }

    /// The issuer that is reached at a host.
    pub(crate) fn issuer_at(&self, host: &str) -> Option<&Issuer> {
        let is_at = |url: &str| host_of(url).is_some_and(|at| at.eq_ignore_ascii_case(host));
        let issuers = self.issuers.iter();
        let mut at =
            issuers.filter(|(id, issuer)| is_at(id) || issuer.known.introspection_uri.as_deref().is_some_and(is_at));
        at.next().map(|(_, issuer)| issuer)
    }

    /// The services that are called by a name, with how to prove oneself to each.
    pub(crate) fn callees(&self, host: &str) -> impl Iterator<Item = (&str, &ringfence_core::access::AccessCallee)> {
        let host = host.to_ascii_lowercase();
        self.document.callees.iter().filter_map(move |callee| match &callee.callee {
            CalleeName::Identity { spiffe_id, dns_names, .. }
                if dns_names.iter().any(|name| stands_for(name, &host)) =>
            {
                Some((spiffe_id.as_str(), callee))
            }
            _ => None,
        })
    }

    /// Whom to ask for a certificate on a port.
    pub(crate) fn ask(&self, port: u16) -> Ask {
        match self.port(port).map(|port| port.client_certificates) {
            Some(ClientCertificates::Required) => Ask::Required,
            Some(ClientCertificates::Optional) => Ask::Optional,
            Some(ClientCertificates::None) | None => Ask::Never,
        }
    }

    pub(crate) fn port(&self, port: u16) -> Option<&ringfence_core::access::AccessPort> {
        self.document.ports.iter().find(|entry| {
            let range = entry.range;
            range.protocol == ringfence_core::api::Protocol::Tcp
                && (range.port..=range.end_port.unwrap_or(range.port)).contains(&port)
        })
    }
}

impl Anchors for Material {
    fn anchors(&self, id: &SpiffeId) -> Option<&PeerAnchors> {
        self.anchors.get(id.trust_domain().as_str())
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Credentials {
    fn read(folder: &std::path::Path) -> Result<Self, MaterialFault> {
        let secret = read(folder)?;
        let missing = |file: &str| MaterialFault::Missing(folder.join(file).display().to_string());
        let id = secret.get("client-id").ok_or_else(|| missing("client-id"))?;
        let id = String::from_utf8_lossy(id).trim_end().to_owned();
        secret.get("client-secret").ok_or_else(|| missing("client-secret"))?;
        Ok(Self { id, secret })
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.secret.get("client-secret").unwrap_or_default().trim_ascii_end()
    }
}

fn digest<'a>(files: impl Iterator<Item = &'a SecretData>) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    for data in files {
        for key in data.keys() {
            let octets = data.get(key).unwrap_or_default();
            digest.update(format!("{key} {} ", octets.len()).as_bytes());
            digest.update(octets);
        }
        digest.update(b"\n");
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(digest.finish().as_ref());
    octets
}

/// The files of the ConfigMap `<identity>-trust`.
struct Trust(SecretData);

impl Trust {
    fn text(&self, file: &str) -> Result<&str, MaterialFault> {
        let octets = self.0.get(file).ok_or_else(|| MaterialFault::Missing(file.to_owned()))?;
        std::str::from_utf8(octets).map_err(|_| MaterialFault::Malformed(file.to_owned()))
    }

    fn document(&self) -> Result<AccessDocument, MaterialFault> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let text = self.text(DOCUMENT)?;
        let malformed = |_| MaterialFault::Malformed(DOCUMENT.to_owned());
        let Version { version } = serde_json::from_str(text).map_err(malformed)?;
        if version != u64::from(ACCESS_VERSION) {
            return Err(MaterialFault::Version { found: version });
        }
        serde_json::from_str(text).map_err(malformed)
    }

    fn anchors(&self, file: &str) -> Result<PeerAnchors, MaterialFault> {
        let lists = self.text("crl.pem").unwrap_or_default();
        PeerAnchors::from_pem(self.text(file)?, lists)
            .map_err(|source| MaterialFault::Anchors { file: file.to_owned(), source })
    }

    /// The keys of the services that sign tokens, and of the issuers.
    fn key_sets(&self, document: &AccessDocument) -> Result<BTreeMap<String, VerifyingKeys>, MaterialFault> {
        let issuers = document.issuers.values().filter_map(|issuer| issuer.key_set.as_ref());
        let files = document.key_sets.values().chain(issuers);
        let set = |file: &String| {
            let keys = serde_json::from_str(self.text(file)?).map_err(|_| MaterialFault::Malformed(file.clone()))?;
            Ok((file.clone(), VerifyingKeys::of_issuer(&keys)))
        };
        files.map(set).collect()
    }

    /// How the certificate of an issuer is verified that is no callee: by the roots that were delivered, or the public ones.
    fn issuer_verifier(
        &self,
        id: &str,
        known: &AccessIssuer,
        document: &AccessDocument,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ServerCertVerifier>>, MaterialFault> {
        let mut roots = RootCertStore::empty();
        match &known.roots {
            Some(file) => {
                let malformed = || MaterialFault::Malformed(file.clone());
                for root in CertificateDer::pem_slice_iter(self.text(file)?.as_bytes()) {
                    roots.add(root.map_err(|_| malformed())?).map_err(|_| malformed())?;
                }
            }
            None if is_callee(document, &host_of(id).unwrap_or_default()) => return Ok(None),
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        Ok(Some(verifier.map_err(|_| MaterialFault::Malformed(known.roots.clone().unwrap_or_default()))?))
    }
}

fn is_callee(document: &AccessDocument, host: &str) -> bool {
    document.callees.iter().any(|callee| match &callee.callee {
        CalleeName::Identity { dns_names, .. } => dns_names.iter().any(|name| stands_for(name, host)),
        _ => false,
    })
}

/// Whether a name of a certificate stands for a host: letter by letter, or by a `*` for its first label (RFC 9525,
/// section 6.3), as headless Services have it.
fn stands_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => name == host,
    }
}

fn host_of(url: &str) -> Option<String> {
    url.parse::<http::Uri>().ok()?.host().map(str::to_ascii_lowercase)
}

const DOCUMENT: &str = "access.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        let cases = [
            ("order.storefront.svc", "order.storefront.svc", true),
            ("order.storefront.svc", "inventory.storefront.svc", false),
            ("*.order.storefront.svc", "order-0.order.storefront.svc", true),
            ("*.order.storefront.svc", "order.storefront.svc", false),
            ("*.order.storefront.svc", "a.b.order.storefront.svc", false),
            ("*.order.storefront.svc", ".order.storefront.svc", false),
        ];
        for (name, host, expected) in cases {
            assert_eq!(stands_for(name, host), expected, "{name} for {host}");
        }
    }
}
