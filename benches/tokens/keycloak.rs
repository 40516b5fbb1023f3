//! Keycloak as it is distributed, set up as its guide for production says, but for its database, which is in its memory:
//! nothing is faster, and neither of our grants writes to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use ringfence_cluster::{Cluster, reserve};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::load::{Question, Target};
use super::process::{Processors, Server};

const REALM: &str = include_str!("realm.json");
/// Where a realm's endpoints are.
const ENDPOINT: &str = "/realms/bench/protocol/openid-connect/token";

/// A running Keycloak.
pub(crate) struct Keycloak {
    pub(crate) server: Server,
    pub(crate) target: Target,
    authorization: String,
}

impl Keycloak {
    /// Fetches it where it is not in the user's cache yet, starts it, and waits until it answers.
    pub(crate) async fn start(cluster: &Cluster, processors: &Processors) -> Self {
        let realm = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/tokens/realm.json");
        let keycloak = ringfence_cluster::Keycloak::prepare(cluster, &realm).unwrap();
        let (certificate, key, tls) = certify(cluster.dir());
        let port = reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let url = format!("https://localhost:{port}");
        let mut command = processors.command(cluster, keycloak.program());
        command.args(keycloak.arguments(address, &url, &certificate, &key));
        let mut server = Server::start("keycloak", cluster, command);
        server.until(async || tokio::net::TcpStream::connect(address).await.ok()).await;
        let realm: Value = serde_json::from_str(REALM).unwrap();
        let client = &realm["clients"][0];
        let [id, secret] = ["clientId", "secret"].map(|key| client[key].as_str().unwrap());
        let secret: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:{secret}")));
        Self { server, target: Target::new(address, "localhost", tls), authorization }
    }

    pub(crate) fn client_credentials(&self) -> Arc<Question> {
        Arc::new(Question {
            path: ENDPOINT.to_owned(),
            authorization: Some(self.authorization.clone()),
            forms: vec![Bytes::from_static(b"grant_type=client_credentials")],
            once: false,
            expected: "\"access_token\":\"",
        })
    }

    /// Of so many tokens.
    pub(crate) async fn introspection(&self, tokens: usize) -> Arc<Question> {
        let grant = self.client_credentials();
        let forms = self.target.ask(&grant, tokens).await;
        let form = |answer: Bytes| {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            format!("token={}", answer["access_token"].as_str().unwrap()).into()
        };
        Arc::new(Question {
            path: format!("{ENDPOINT}/introspect"),
            authorization: Some(self.authorization.clone()),
            forms: forms.into_iter().map(form).collect(),
            once: false,
            expected: "\"active\":true",
        })
    }
}

/// A certificate for it, its key, and who believes that.
fn certify(folder: &Path) -> (PathBuf, PathBuf, ClientConfig) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("keycloak.crt"), folder.join("keycloak.key"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (certificate, key, tls)
}
