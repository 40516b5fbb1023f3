//! Keycloak as it is distributed, set up as its guide for production says, but for its database, which is in its memory:
//! nothing is faster, and neither of our grants writes to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use ringfence_cluster::{Cluster, cache_root, reserve};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::load::{Question, Target};
use super::process::{Processors, Server};

const ARTIFACT: &str = "org.keycloak:keycloak-quarkus-dist:26.4.0:tar.gz";
const FILE: &str = "keycloak-quarkus-dist-26.4.0.tar.gz";
const FOLDER: &str = "keycloak-26.4.0";
const CHECKSUM: &str = "9fe5f9213ecf83f24b53b27409f3e0f20e10edce36aaa0828778a57c80f07a87";

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
        let (program, certificate, key, tls) = prepare(cluster);
        let port = reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let mut command = processors.command(cluster, program);
        command.args(["start", "--optimized", "--import-realm", "--http-enabled=false", "--http-host=127.0.0.1"]);
        command.arg(format!("--https-port={port}")).arg(format!("--hostname=https://localhost:{port}"));
        command.arg(format!("--https-certificate-file={}", certificate.display()));
        command.arg(format!("--https-certificate-key-file={}", key.display()));
        let mut server = Server::start("keycloak", cluster, command);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
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

/// Unpacks and builds it in the cluster's folder; returns its program, a certificate for it, its key, and who believes that.
fn prepare(cluster: &Cluster) -> (PathBuf, PathBuf, PathBuf, ClientConfig) {
    run(Command::new("tar").arg("-xzf").arg(distribution()).arg("-C").arg(cluster.dir()));
    let home = cluster.dir().join(FOLDER);
    let import = home.join("data/import");
    fs::create_dir_all(&import).unwrap();
    fs::write(import.join("bench-realm.json"), REALM).unwrap();
    let program = home.join("bin/kc.sh");
    run(cluster.command(&program).args(["build", "--db=dev-mem"]));
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (home.join("tls.crt"), home.join("tls.key"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (program, certificate, key, tls)
}

/// The distribution in the user's cache, by its content.
fn distribution() -> PathBuf {
    let folder = cache_root().unwrap().join("keycloak").join(CHECKSUM);
    let file = folder.join(FILE);
    if !file.exists() {
        fs::create_dir_all(&folder).unwrap();
        let unfinished = tempfile::tempdir_in(&folder).unwrap();
        let output = format!("-DoutputDirectory={}", unfinished.path().display());
        let artifact = format!("-Dartifact={ARTIFACT}");
        run(Command::new("mvn").args(["--quiet", "--batch-mode", "dependency:copy", &artifact, &output]));
        let fetched = unfinished.path().join(FILE);
        assert_eq!(checksum(&fetched), CHECKSUM, "{ARTIFACT} is not what it was");
        fs::rename(fetched, &file).unwrap();
    }
    file
}

fn checksum(file: &Path) -> String {
    let digest = digest(&SHA256, &fs::read(file).unwrap());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}
