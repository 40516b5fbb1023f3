//! A service's end of a TLS connection that follows the rule for peers to the letter: chain to the bundle of the trust
//! domain that the peer's SPIFFE ID names, then look for that ID in `access.json`. It knows nothing but the delivered
//! files.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use serde_json::Value;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Story, config_map, secret};

/// The files that a service has: of its certificate's Secret and of its trust ConfigMap.
#[derive(Clone, Debug)]
pub struct Peer {
    /// By name.
    pub files: BTreeMap<String, String>,
}

impl Peer {
    /// What is delivered to an identity now.
    pub async fn of(story: &Story, namespace: &str, identity: &str) -> Self {
        let mut files = secret(story, namespace, &format!("{identity}-tls")).await;
        files.extend(config_map(story, namespace, &format!("{identity}-trust")).await);
        Self { files }
    }

    /// `access.json`.
    pub fn access(&self) -> Value {
        serde_json::from_str(&self.files["access.json"]).unwrap()
    }

    /// The certificates of a PEM file.
    pub fn certificates(&self, file: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.files[file].as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    /// A server on one of the service's ports.
    pub fn server(&self, port: u16) -> Arc<ServerConfig> {
        let access = self.access();
        let ports = access["ports"].as_array().unwrap();
        let port = ports.iter().find(|open| open["port"] == port).expect("the port is listed");
        let verifier = Arc::new(Verifier {
            files: self.clone(),
            allowed: ids(&port["callers"], "caller"),
            mandatory: port["clientCertificates"] == "Required",
        });
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = match port["clientCertificates"].as_str().unwrap() {
            "None" => config.with_no_client_auth(),
            _ => config.with_client_cert_verifier(verifier),
        };
        Arc::new(config.with_single_cert(self.certificates("tls.crt"), self.key()).unwrap())
    }

    /// A client that presents the service's certificate when it is asked for one.
    pub fn client(&self) -> Arc<ClientConfig> {
        let config = self.client_builder();
        Arc::new(config.with_client_auth_cert(self.certificates("tls.crt"), self.key()).unwrap())
    }

    /// A client that has no certificate.
    pub fn client_without_certificate(&self) -> Arc<ClientConfig> {
        Arc::new(self.client_builder().with_no_client_auth())
    }

    fn client_builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let allowed = ids(&self.access()["callees"], "callee");
        let verifier = Arc::new(Verifier { files: self.clone(), allowed, mandatory: true });
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        config.dangerous().with_custom_certificate_verifier(verifier)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.files["tls.key"].as_bytes()).unwrap()
    }
}

/// A whole TLS handshake, in memory; then the client says something, and the server hears it.
pub fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<(), Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from("peer.invalid").unwrap())?;
    let mut server = ServerConnection::new(server)?;
    std::io::Write::write_all(&mut client.writer(), b"hello").unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    let mut heard = [0; 5];
    std::io::Read::read_exact(&mut server.reader(), &mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    Ok(())
}

/// Whether a chain leads to the file's anchors, as rustls-webpki sees it.
pub fn webpki_verifies(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[CertificateDer<'_>],
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let anchors: Vec<_> = anchors.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>()?;
    EndEntityCert::try_from(leaf)?
        .verify_for_usage(
            provider().signature_verification_algorithms.all,
            &anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map(drop)
}

/// The one URI in a certificate.
pub fn uri_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = &parsed.subject_alternative_name().ok()??.value.general_names;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    uris.next().filter(|_| uris.next().is_none())
}

/// Now.
pub fn now() -> UnixTime {
    UnixTime::now()
}

fn pass<A, B, C, D>(from: &mut A, to: &mut B) -> Result<(), Error>
where
    A: std::ops::DerefMut<Target = rustls::ConnectionCommon<C>>,
    B: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    C: rustls::SideData,
    D: rustls::SideData,
{
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// The SPIFFE IDs that `access.json` names.
fn ids(entries: &Value, who: &str) -> Vec<String> {
    let entries = entries.as_array().unwrap().iter();
    entries.filter_map(|entry| entry[who]["spiffeID"].as_str()).map(str::to_owned).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Verifier {
    files: Peer,
    allowed: Vec<String>,
    mandatory: bool,
}

impl Verifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let id = uri_of(leaf).ok_or_else(|| Error::General("no SPIFFE ID".to_owned()))?;
        let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let access = self.files.access();
        let bundle = access["bundles"][domain].as_str();
        // The file is missing while its domain has no CA.
        let bundle = bundle.filter(|bundle| self.files.files.contains_key(*bundle));
        let bundle = bundle.ok_or_else(|| Error::General(format!("no bundle for {domain}")))?;
        webpki_verifies(leaf, intermediates, &self.files.certificates(bundle), usage, now)
            .map_err(|error| Error::General(format!("{id} does not chain to {bundle}: {error}")))?;
        let known = self.allowed.contains(&id);
        known.then_some(()).ok_or_else(|| Error::General(format!("{id} is not in access.json")))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, KeyUsage::server_auth(), now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, KeyUsage::client_auth(), now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
