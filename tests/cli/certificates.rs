//! Certificates that Ringfence would never issue, by another library.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// An authority and a folder for what it issues.
pub struct Issuer {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// What is issued: by default the server and client of the service account `order`, for an hour.
pub struct Wanted {
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Hours from now until it begins and until it ends.
    pub hours: (i64, i64),
    /// Usages.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            uris: vec!["spiffe://shop/ns/shop/sa/order".to_owned()],
            dns_names: vec!["order.shop.svc".to_owned()],
            hours: (-1, 1),
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

/// A certificate with its key, as PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Issuer {
    /// A new root.
    pub fn new(name: &str) -> Self {
        let mut params = params((-100, 100));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let this = Self { authority, folder: TempDir::new().unwrap() };
        this.file("bundle.pem", &this.authority.pem());
        this
    }

    /// Issues a certificate.
    pub fn issue(&self, wanted: &Wanted) -> Issued {
        let mut params = params(wanted.hours);
        let uris = wanted.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let dns_names = wanted.dns_names.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(dns_names).collect();
        params.extended_key_usages = wanted.usages.clone();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The file with the authority's certificate.
    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle.pem")
    }

    /// Writes a file beside it.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn params((begin, end): (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now + Duration::hours(begin);
    params.not_after = now + Duration::hours(end);
    params
}
