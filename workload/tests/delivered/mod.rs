//! What Ringfence delivers to pods, on disk: for stories about what a service does with it, on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use jiff::{SignedDuration, Timestamp};
use ringfence_core::access::{
    ACCESS_VERSION, AccessCallee, AccessCaller, AccessDocument, AccessIssuer, AccessPort, AccessProof, AccessToken,
    CalleeName, CallerName, ClientCertificates, PortRange, bundle_file, issuer_roots_file,
};
use ringfence_core::api::{CertificateAlgorithm, Protocol, Signer};
use ringfence_core::pki::{
    AuthorityProfile, CaGenerations, LeafProfile, Phase, PrivateKey, SerialNumber, Usages, issue_leaf, issuing_bundle,
    new_root, tls_secret_data,
};
use ringfence_workload::{Mounts, Workload};
use tempfile::TempDir;

/// The port of every pod in `access.json`.
pub(crate) const PORT: u16 = 8443;

/// A trust domain with a root of its own.
pub(crate) struct Domain {
    name: &'static str,
    authorities: CaGenerations,
}

impl Domain {
    pub(crate) fn new(name: &'static str) -> Self {
        let profile = AuthorityProfile {
            trust_domain: name.parse().unwrap(),
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(24),
        };
        let root = new_root(&profile, key(), &serial(), now()).unwrap();
        Self { name, authorities: CaGenerations::new(vec![root.with_phase(Phase::Active)]).unwrap() }
    }

    /// The SPIFFE ID of a service, in a namespace that is called as the domain.
    pub(crate) fn id(&self, service: &str) -> String {
        format!("spiffe://{0}/ns/{0}/sa/{service}", self.name)
    }

    /// Its CAs, PEM.
    pub(crate) fn roots(&self) -> String {
        issuing_bundle(&self.authorities)
    }

    /// A service of the domain, whose certificate names this machine.
    pub(crate) fn service(&self, service: &str) -> Service<'_> {
        let id = self.id(service);
        let document = AccessDocument {
            version: ACCESS_VERSION,
            spiffe_id: id,
            audiences: BTreeSet::new(),
            bundles: BTreeMap::from([(self.name.to_owned(), bundle_file(self.name))]),
            key_sets: BTreeMap::new(),
            issuers: BTreeMap::new(),
            ports: Vec::new(),
            callees: Vec::new(),
            content_hash: String::new(),
        };
        Service { domain: self, document, roots: BTreeMap::new(), secrets: BTreeMap::new() }
    }
}

/// A service, with what its pod mounts.
pub(crate) struct Service<'a> {
    domain: &'a Domain,
    document: AccessDocument,
    roots: BTreeMap<String, String>,
    secrets: BTreeMap<String, [(&'static str, &'static str); 2]>,
}

impl Service<'_> {
    /// Anybody may call it.
    pub(crate) fn open(self) -> Self {
        let proof = AccessProof { mtls: false, token: None };
        self.called(CallerName::Anywhere, proof, ClientCertificates::None)
    }

    /// Another service of the domain may call it, by its certificate.
    pub(crate) fn called_by(self, service: &str) -> Self {
        let caller =
            CallerName::Identity { spiffe_id: self.domain.id(service), trust_domain: self.domain.name.to_owned() };
        self.called(caller, AccessProof { mtls: true, token: None }, ClientCertificates::Required)
    }

    fn called(mut self, caller: CallerName, proof: AccessProof, client_certificates: ClientCertificates) -> Self {
        let policy = Some(format!("{}/called", self.domain.name));
        let callers = vec![AccessCaller { caller, proof, rules: Vec::new(), policy }];
        self.document.ports.push(AccessPort { range: range(), client_certificates, callers });
        self
    }

    /// It may call another service of the domain, that is reached at `localhost`; by a token of an issuer too, if one is named.
    pub(crate) fn calls(mut self, service: &str, issuer: Option<&str>) -> Self {
        let callee = CalleeName::Identity {
            spiffe_id: self.domain.id(service),
            trust_domain: self.domain.name.to_owned(),
            dns_names: BTreeSet::from(["localhost".to_owned()]),
        };
        let token = issuer.map(|issuer| AccessToken {
            signer: Signer::Issuer,
            issuer: Some(issuer.to_owned()),
            key_set: None,
            validation: None,
            scopes: BTreeSet::new(),
            one_time: false,
            audiences: BTreeSet::from([format!("{service}.{}.svc", self.domain.name)]),
            max_lifetime_seconds: None,
        });
        let proof = AccessProof { mtls: true, token };
        self.document.callees.push(AccessCallee {
            callee,
            ports: vec![range()],
            proof,
            rules: Vec::new(),
            policy: None,
        });
        self
    }

    /// It talks to an issuer, whose certificate is one of a domain.
    pub(crate) fn talks_to(mut self, name: &str, issuer: &str, of: &Domain) -> Self {
        let roots = issuer_roots_file(name);
        self.roots.insert(roots.clone(), of.roots());
        let known = AccessIssuer { name: name.to_owned(), key_set: None, introspection_uri: None, roots: Some(roots) };
        self.document.issuers.insert(issuer.to_owned(), known);
        self
    }

    /// It has an id and a secret at an issuer.
    pub(crate) fn known_to(mut self, name: &str, id: &'static str, secret: &'static str) -> Self {
        self.secrets.insert(format!("issuers/{name}"), [("client-id", id), ("client-secret", secret)]);
        self
    }

    /// Its pod, with all of that mounted.
    pub(crate) fn pod(&self) -> Pod {
        let pod = Pod(tempfile::tempdir().unwrap());
        let leaf = LeafProfile {
            spiffe_id: self.document.spiffe_id.parse().unwrap(),
            common_name: None,
            dns_names: BTreeSet::from(["localhost".to_owned()]),
            ip_addresses: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
            usages: Usages::BOTH,
            algorithm: CertificateAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(1),
        };
        let authorities = &self.domain.authorities;
        let leaf = issue_leaf(&leaf, authorities.signing().unwrap(), &key(), &serial(), now()).unwrap();
        let tls = tls_secret_data(&leaf, authorities);
        pod.mount("tls", tls.keys().map(|file| (file, tls.get(file).unwrap())));
        let (document, bundle, lists) = (self.document.to_json(), self.domain.roots(), authorities.lists_pem());
        let bundle_file = bundle_file(self.domain.name);
        let trust = [("access.json", &document), (bundle_file.as_str(), &bundle), ("crl.pem", &lists)];
        let trust = trust.into_iter().chain(self.roots.iter().map(|(file, roots)| (file.as_str(), roots)));
        pod.mount("trust", trust.map(|(file, text)| (file, text.as_bytes())));
        for (volume, files) in &self.secrets {
            pod.mount(volume, files.iter().map(|(file, text)| (*file, text.as_bytes())));
        }
        pod
    }
}

/// A folder below which volumes are mounted.
pub(crate) struct Pod(TempDir);

impl Pod {
    /// What is mounted, in use.
    pub(crate) fn workload(&self) -> Workload {
        Workload::open(Mounts::below(self.path())).unwrap()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount<'a>(&self, volume: &str, files: impl Iterator<Item = (&'a str, &'a [u8])>) {
        let folder = self.path().join(volume);
        fs::create_dir_all(&folder).unwrap();
        for (file, octets) in files {
            fs::write(folder.join(file), octets).unwrap();
        }
    }
}

fn range() -> PortRange {
    PortRange { port: PORT, end_port: None, protocol: Protocol::Tcp }
}

fn key() -> PrivateKey {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    PrivateKey::from_pkcs8_der(key.to_pkcs8v1().unwrap().as_ref()).unwrap()
}

fn serial() -> SerialNumber {
    let mut bits = [0; 16];
    rand::fill(&mut bits).unwrap();
    SerialNumber::from_random(bits)
}

/// The time, in whole seconds.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}
