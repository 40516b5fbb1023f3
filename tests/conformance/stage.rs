//! Two replicas before a market, and the settings by which programs of other languages find everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringfence_cluster::Python;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::envoy::{Envoy, Issuer};
use crate::support::{Market, Member, Replica, cluster};

/// Host name of the token service, which its certificate carries.
const HOST: &str = "localhost";

/// What a story needs; it ends with this.
pub struct Stage {
    market: Market,
    replicas: [Replica; 2],
    python: Python,
    envoy: Option<Envoy>,
    folder: TempDir,
}

impl Stage {
    /// Opens one whose replicas are started with these flags.
    pub async fn open(title: &str, flags: &[&str]) -> Self {
        let python = tokio::task::spawn_blocking(|| Python::with(&sources().join("requirements.txt")));
        let python = python.await.unwrap().unwrap();
        let market = Market::open(title).await;
        let replicas = [market.sts.first(flags).ready().await, market.sts.another(flags).ready().await];
        for replica in &replicas {
            market.is_registered(replica).await;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("roots.pem"), market.sts.roots()).unwrap();
        Self { market, replicas, python, envoy: None, folder }
    }

    /// The same, with Envoy in front of `order` and `kiosk`.
    pub async fn behind_envoy(mut self) -> Self {
        let audiences = ["order", "kiosk"].map(|name| self.market[name].id());
        let issuer = Issuer {
            url: &self.market.sts.issuer,
            host: HOST,
            replicas: &self.replicas.each_ref().map(|replica| replica.address),
            roots: &self.folder.path().join("roots.pem"),
        };
        let command = cluster().command(self.python.file("envoy/_bin/envoy").unwrap());
        self.envoy = Some(Envoy::start(command, &issuer, &audiences.each_ref().map(String::as_str)).await);
        self
    }

    /// Runs a story of Python.
    pub async fn python(&self, module: &str, function: &str) {
        let mut command = cluster().command(self.python.interpreter());
        // What it compiles is not to be kept beside the sources.
        command.arg("-B").arg(sources().join("python/story.py")).arg(self.settings()).args([module, function]);
        succeeds(command).await;
    }

    /// Runs the story of Node.
    pub async fn node(&self) {
        let (python, program) = (self.python.clone(), sources().join("node"));
        let packages = tokio::task::spawn_blocking(move || python.node_packages(&program)).await.unwrap().unwrap();
        // A program finds the packages that lie beside it.
        let story = self.folder.path().join("story.mjs");
        fs::copy(sources().join("node/story.mjs"), &story).unwrap();
        std::os::unix::fs::symlink(packages.join("node_modules"), self.folder.path().join("node_modules")).unwrap();
        let mut command = cluster().command(self.python.node().unwrap());
        command.arg(story).arg(self.settings());
        succeeds(command).await;
    }

    /// Writes the settings, and the files that they name.
    fn settings(&self) -> PathBuf {
        let (web, secret) = self.market.web();
        let mut clients = Map::from_iter([(web.to_owned(), json!({"id": web, "secret": secret}))]);
        let mut resources = Map::new();
        for name in self.market.names() {
            let member = &self.market[name];
            let write = |ending: &str, text: String| {
                let file = self.folder.path().join(format!("{name}.{ending}"));
                fs::write(&file, text).unwrap();
                file
            };
            let client = json!({
                "id": member.id(),
                "key": private_jwk(member),
                "certificate": write("crt", member.chain()),
                "certificate_key": write("key", member.key()),
                "thumbprint": member.thumbprint(),
            });
            clients.insert(name.to_owned(), client);
            resources.insert(name.to_owned(), json!(member.audience()));
        }
        let replicas = self.replicas.each_ref().map(|Replica { address, .. }| json!([address.ip(), address.port()]));
        let settings = json!({
            "issuer": self.market.sts.issuer,
            "host": HOST,
            "replicas": replicas,
            "roots": self.folder.path().join("roots.pem"),
            "clients": clients,
            "resources": resources,
            "envoy": self.envoy.as_ref().map(Envoy::url),
            "foreignKey": private_jwk(&self.market["stranger"]),
        });
        let file = self.folder.path().join("settings.json");
        fs::write(&file, settings.to_string()).unwrap();
        file
    }
}

/// Runs a program to its good end, whatever the machine's own environment says about certificates and proxies.
async fn succeeds(mut command: Command) {
    for bundle in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        command.env_remove(bundle);
    }
    command.env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stdout));
}

/// The key that a member signs with, as a JWK.
fn private_jwk(member: &Member) -> Value {
    let pem = member.signing_key.to_pkcs8_pem();
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der()).unwrap();
    let scalar = key.private_key().as_be_bytes().unwrap();
    let mut jwk = json!(member.signing_key.public_jwk());
    jwk["d"] = json!(URL_SAFE_NO_PAD.encode(scalar.as_ref()));
    jwk
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}
