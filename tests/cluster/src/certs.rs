//! The cluster's certificate authority, and what it signs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// The authority that every server of one cluster trusts, for servers and for clients.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub struct Credential {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// Makes a new authority and stores it as `ca.crt` and `ca.key`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate().context("generate the key of the cluster's CA")?;
        let parameters = authority_parameters();
        let certificate = parameters.self_signed(&key).context("sign the certificate of the cluster's CA")?.pem();
        let credential = Credential { certificate: certificate.clone(), key: key.serialize_pem() };
        credential.write(folder, "ca")?;
        Ok(Self { certificate, issuer: Issuer::new(parameters, key) })
    }

    /// Takes up an authority that [`Self::create`] stored.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let key = KeyPair::from_pem(&read("ca.key")?).context("read the key of the cluster's CA")?;
        Ok(Self { certificate: read("ca.crt")?, issuer: Issuer::new(authority_parameters(), key) })
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate by which the API server knows its bearer as this user in these groups.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Credential> {
        let mut subject = DistinguishedName::new();
        // rcgen keeps one value per attribute type; the same type spelled as a number counts as another one.
        let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        if groups.len() > types.len() {
            bail!("a client certificate for {user} can carry {} groups, not {}", types.len(), groups.len());
        }
        for (group_type, group) in types.into_iter().zip(groups) {
            subject.push(group_type, *group);
        }
        subject.push(DnType::CommonName, user);
        let mut parameters = leaf_parameters(subject);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&parameters).with_context(|| format!("make a client certificate for {user}"))
    }

    /// A certificate for a server with these names and addresses.
    pub(crate) fn server(&self, name: &str, names: &[String]) -> Result<Credential> {
        self.named(name, names, vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// A certificate for a service that others call and that calls others, as Ringfence's are.
    pub(crate) fn service(&self, name: &str, names: &[String]) -> Result<Credential> {
        self.named(name, names, vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn named(&self, name: &str, names: &[String], usages: Vec<ExtendedKeyUsagePurpose>) -> Result<Credential> {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        let mut parameters = leaf_parameters(subject);
        parameters.subject_alt_names = CertificateParams::new(names)
            .with_context(|| format!("put {} into a certificate", names.join(", ")))?
            .subject_alt_names;
        parameters.extended_key_usages = usages;
        self.sign(&parameters).with_context(|| format!("make a server certificate for {name}"))
    }

    fn sign(&self, parameters: &CertificateParams) -> Result<Credential> {
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Credential { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Credential {
    /// Stores the pair as `<name>.crt` and `<name>.key`, and gives the paths back.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let certificate = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        write_private(&certificate, &self.certificate)?;
        write_private(&key, &self.key)?;
        Ok((certificate, key))
    }
}

/// Makes the key pair that signs service account tokens, stored as `<name>.key` and `<name>.pub`.
pub(crate) fn create_signing_key(folder: &Path, name: &str) -> Result<()> {
    let key = KeyPair::generate().with_context(|| format!("generate the key {name}"))?;
    write_private(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
    write_private(&folder.join(format!("{name}.pub")), &key.public_key_pem())
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

fn authority_parameters() -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "ringfence test cluster");
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = subject;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut parameters);
    parameters
}

fn leaf_parameters(subject: DistinguishedName) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = subject;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    set_validity(&mut parameters);
    parameters
}

fn set_validity(parameters: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now - Duration::hours(1);
    parameters.not_after = now + Duration::days(365);
}
