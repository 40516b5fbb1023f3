//! The token service as it is released: one replica, its store beside it, and documents as the operator writes them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hyper::body::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use ringfence_cluster::{Cluster, Credential, Etcd, reserve};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::load::{Question, Target};
use super::process::{Memory, Processors, Server};

const NAMESPACE: &str = "ringfence-token-service";
/// A name in the certificate that the store's authority gives the token service.
const HOST: &str = "token-service.store.svc";
const ISSUER: &str = "https://token-service.store.svc:8443";
/// The client outside the cluster. Keycloak's client has the like.
const CLIENT: &str = "bench";
const SECRET: &str = "a secret of the bench, which ends with it";

/// Form of the tokens, each with a domain of its own whose only namespace has the same name.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Jwt,
    Opaque,
}

/// A running token service.
pub(crate) struct Service {
    pub(crate) server: Server,
    store: Etcd,
    /// Without a certificate.
    plain: Target,
    /// With the certificate of the caller, and of the callee, in the domain with JWTs and in that with opaque tokens.
    services: [[Target; 2]; 2],
    /// With the certificate of the callee that takes one-time tokens.
    once: Target,
    signer: Signer,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// The client outside the cluster, with its secret in each request.
    Secret,
    /// A service, with its certificate in the handshake.
    Certificate,
}

/// The key with which the caller in the domain with JWTs signs assertions.
struct Signer {
    key: EcdsaKeyPair,
    kid: &'static str,
}

/// The authority of both domains.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Form {
    fn namespace(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
        }
    }
}

impl Service {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(cluster: &Cluster, processors: &Processors) -> Self {
        let store = Etcd::start(1).unwrap();
        let (authority, signer) = (Authority::new(), Signer::new());
        apply(cluster, &authority, &signer, &store);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [port, health] = [(); 2].map(|()| SocketAddr::from((loopback, reserve(loopback).unwrap())));
        let mut command = processors.command(cluster, env!("CARGO_BIN_EXE_ringfence"));
        command.args(["token-service", "--namespace", NAMESPACE, "--issuer", ISSUER, "--metrics-address=off"]);
        // One client does here what thousands do elsewhere.
        command.args(["--key-publish-before=1s", "--client-rate=1000000", "--log=info", "--log-format=json"]);
        command.arg(format!("--address={port}")).arg(format!("--health-address={health}"));
        command.args(store.endpoints().iter().map(|endpoint| format!("--store={endpoint}")));
        command.env("KUBECONFIG", cluster.kubeconfig());
        let mut server = Server::start("token-service", cluster, command);
        server.until(async || is_ready(health).await).await;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(store.authority().as_bytes()).unwrap()).unwrap();
        let service = |form: Form, name| {
            let credential = authority.service(&spiffe_id(form, name));
            let certificate = CertificateDer::from_pem_slice(credential.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).unwrap();
            let tls = ClientConfig::builder().with_root_certificates(roots.clone());
            Target::new(port, HOST, tls.with_client_auth_cert(vec![certificate], key).unwrap())
        };
        let services = [Form::Jwt, Form::Opaque].map(|form| ["caller", "callee"].map(|name| service(form, name)));
        let tls = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        let once = service(Form::Jwt, "once");
        Self { server, store, once, plain: Target::new(port, HOST, tls), services, signer }
    }

    /// The memory of the store.
    pub(crate) fn store_memory(&self) -> Memory {
        Memory::of(&self.store.processes())
    }

    /// The connections of the one who asks for tokens.
    pub(crate) fn caller(&self, form: Form, by: By) -> &Target {
        match by {
            By::Secret => &self.plain,
            By::Certificate => &self.services[form as usize][0],
        }
    }

    /// The connections of the one who asks whether they are good: their audience, or the client outside that has them.
    pub(crate) fn callee(&self, form: Form, by: By) -> &Target {
        match by {
            By::Secret => &self.plain,
            By::Certificate => &self.services[form as usize][1],
        }
    }

    pub(crate) fn client_credentials(form: Form, by: By) -> Arc<Question> {
        let audience = audience(form, "callee");
        tokens(by, vec![format!("grant_type=client_credentials&audience={audience}").into()])
    }

    /// Of so many tokens, each of them again and again.
    pub(crate) async fn introspection(&self, form: Form, by: By, count: usize) -> Arc<Question> {
        let answers = self.caller(form, by).ask(&Self::client_credentials(form, by), count).await;
        introspections(by, answers.iter(), false)
    }

    /// Client credentials by so many assertions, each of which can be used once.
    pub(crate) fn assertions(&self, count: usize) -> Arc<Question> {
        let form = |_| {
            let assertion = self.signer.assertion();
            format!(
                "grant_type=client_credentials&audience={}&client_assertion={assertion}\
                 &client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                audience(Form::Jwt, "callee")
            )
            .into()
        };
        let forms = (0..count).map(form).collect();
        Arc::new(Question { once: true, ..question("/token", By::Certificate, forms, "\"access_token\":\"") })
    }

    /// The only introspection of each of so many one-time tokens.
    pub(crate) async fn one_time_tokens(&self, count: usize) -> Arc<Question> {
        let asked = format!(
            "grant_type=client_credentials&audience={}&purpose=bench\
             &requested_token_type=urn:ietf:params:oauth:token-type:txn_token",
            audience(Form::Jwt, "once")
        );
        let question = tokens(By::Certificate, vec![asked.into()]);
        let answers = self.caller(Form::Jwt, By::Certificate).ask(&question, count).await;
        introspections(By::Certificate, answers.iter(), true)
    }

    /// The connections of the one who takes one-time tokens.
    pub(crate) fn once(&self) -> &Target {
        &self.once
    }

    /// The connections for assertions, which come without a certificate.
    pub(crate) fn plain(&self) -> &Target {
        &self.plain
    }
}

fn question(path: &str, by: By, forms: Vec<Bytes>, expected: &'static str) -> Question {
    let secret: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let basic = || format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT}:{secret}")));
    let authorization = matches!(by, By::Secret).then(basic);
    Question { path: path.to_owned(), authorization, forms, once: false, expected }
}

fn tokens(by: By, forms: Vec<Bytes>) -> Arc<Question> {
    Arc::new(question("/token", by, forms, "\"access_token\":\""))
}

fn introspections<'a>(by: By, answers: impl Iterator<Item = &'a Bytes>, once: bool) -> Arc<Question> {
    let form = |answer: &Bytes| {
        let answer: Value = serde_json::from_slice(answer).unwrap();
        format!("token={}", answer["access_token"].as_str().unwrap()).into()
    };
    Arc::new(Question { once, ..question("/introspect", by, answers.map(form).collect(), "\"active\":true") })
}

async fn is_ready(health: SocketAddr) -> Option<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(health).await.ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}

fn spiffe_id(form: Form, name: &str) -> String {
    let namespace = form.namespace();
    format!("spiffe://{namespace}/ns/{namespace}/sa/{name}")
}

fn audience(form: Form, name: &str) -> String {
    format!("{name}.{}.svc", form.namespace())
}

/// Declares what the operator and the platform team would have: all that the token service sees.
fn apply(cluster: &Cluster, authority: &Authority, signer: &Signer, store: &Etcd) {
    let object = |kind: &str, name: &str, member: &str, data: Value| {
        let labels = json!({"app.kubernetes.io/managed-by": "ringfence"});
        let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, member: data})
    };
    let directory = |form: Form| {
        let text = directory(form, authority, signer).to_string();
        object("ConfigMap", &format!("tokens.{}", form.namespace()), "data", json!({"directory.json": text}))
    };
    let Credential { certificate, key } = store.client().unwrap();
    let tls = json!({"tls.crt": certificate, "tls.key": key, "ca.crt": store.authority()});
    let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, SECRET.as_bytes()));
    let registration = json!({"secretSha256": hash}).to_string();
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        object("Secret", "token-service-tls", "stringData", tls),
        object("Secret", "clients", "stringData", json!({CLIENT: registration})),
        directory(Form::Jwt),
        directory(Form::Opaque),
    ];
    let path = cluster.dir().join("token-service.json");
    fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).unwrap();
    cluster.kubectl(&["create", &format!("--filename={}", path.display())]).unwrap();
}

/// A namespace with a caller and two callees, of which one takes one-time tokens.
fn directory(form: Form, authority: &Authority, signer: &Signer) -> Value {
    let namespace = form.namespace();
    let identity = |name: &str| {
        let keys = if name == "caller" { vec![signer.jwk()] } else { Vec::new() };
        json!({
            "name": name, "serviceAccount": name, "spiffeID": spiffe_id(form, name), "audiences": [audience(form, name)],
            "client": true, "keys": keys,
        })
    };
    let grant = |caller: Value, callee: &str, one_time: bool| {
        json!({
            "caller": caller, "callee": spiffe_id(form, callee), "audiences": [audience(form, callee)], "scopes": [],
            "maxLifetimeSeconds": 300, "validation": "Introspection", "mtls": false, "oneTime": one_time,
            "policy": format!("{namespace}/{callee}"),
        })
    };
    let caller = json!({"kind": "Identity", "spiffeID": spiffe_id(form, "caller"), "trustDomain": namespace});
    json!({
        "version": 1, "namespace": namespace,
        "domain": {
            "name": namespace, "trustDomain": namespace, "bundle": authority.pem, "revocationLists": "",
            "tokenFormat": if matches!(form, Form::Jwt) { "Jwt" } else { "Opaque" }, "tokenLifetimeSeconds": 300,
            "scopes": [], "clients": {"secretName": "clients", "cidrs": ["127.0.0.0/8"]}, "issuers": [],
        },
        "identities": [identity("caller"), identity("callee"), identity("once")],
        "grants": [
            grant(caller.clone(), "callee", false),
            grant(json!({"kind": "Anywhere"}), "callee", false),
            grant(caller, "once", true),
        ],
    })
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    fn service(&self, spiffe_id: &str) -> Credential {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        Credential { certificate, key: key.serialize_pem() }
    }
}

impl Signer {
    fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), kid: "bench" }
    }

    fn jwk(&self) -> Value {
        // The point, uncompressed.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| BASE64_URL_SAFE_NO_PAD.encode(coordinate));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": self.kid})
    }

    fn assertion(&self) -> String {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let caller = spiffe_id(Form::Jwt, "caller");
        let header = json!({"alg": "ES256", "kid": self.kid});
        let claims = json!({
            "iss": caller, "sub": caller, "aud": ISSUER, "iat": now, "exp": now + 240,
            "jti": BASE64_URL_SAFE_NO_PAD.encode(random),
        });
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), format!("{header}.{claims}").as_bytes()).unwrap();
        format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}
