//! An installation of the token service: a namespace of its own in a cluster, with the rights that the chart gives it, a
//! store, and what the operator would write.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client as KubeClient, Config};
use ringfence_cluster::{Cluster, Credential, Etcd, Options, reserve};
use ringfence_core::tokens::{DIRECTORY_FILE, Directory, directory_config_map};
use serde_json::{Value, json};

use super::Replica;

/// Name of the token service's identity.
pub const IDENTITY: &str = "token-service";

/// One installation; stories don't see each other's.
pub struct Installation {
    /// Its namespace, in which the documents lie too.
    pub namespace: String,
    /// The issuer.
    pub issuer: String,
    /// The port of the first replica, which is the issuer's.
    pub port: u16,
    /// A client of the administrator.
    pub client: KubeClient,
    kubeconfig: PathBuf,
}

/// The cluster that the stories share.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&Options::default()).unwrap())
}

/// Applies a file, as the administrator does.
pub async fn apply(file: &Path) {
    let file = format!("--filename={}", file.display());
    let applied = tokio::task::spawn_blocking(move || cluster().kubectl(&["apply", "--server-side", &file]));
    applied.await.unwrap().unwrap();
}

/// The store that the stories share.
pub fn store() -> &'static Etcd {
    static STORE: OnceLock<Etcd> = OnceLock::new();
    STORE.get_or_init(|| Etcd::start(1).unwrap())
}

impl Installation {
    /// Makes one without a document, and with a certificate.
    pub async fn begin(title: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("{title}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (admin, kubeconfig) = tokio::task::spawn_blocking({
            let namespace = namespace.clone();
            move || {
                let (cluster, _) = (cluster(), store());
                let user = format!("system:serviceaccount:{namespace}:{IDENTITY}");
                (cluster.kubeconfig().to_owned(), cluster.kubeconfig_for(&user, &[]).unwrap())
            }
        })
        .await
        .unwrap();
        let admin = Kubeconfig::read_from(admin).unwrap();
        let config = Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await.unwrap();
        let client = KubeClient::try_from(config).unwrap();
        let port = reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let this = Self { issuer: format!("https://localhost:{port}"), namespace, port, client, kubeconfig };
        let namespace = Namespace { metadata: object(json!({"name": this.namespace})), ..Namespace::default() };
        Api::all(this.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        this.install_rights().await;
        this.certify(&this.certificate()).await;
        this
    }

    /// The rights that the token service has, and no others.
    async fn install_rights(&self) {
        let user = json!([{"kind": "ServiceAccount", "name": IDENTITY, "namespace": self.namespace}]);
        let group = "rbac.authorization.k8s.io";
        let role = json!({
            "metadata": {"name": IDENTITY},
            "rules": [
                {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["list", "watch", "create", "update"]},
                {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
            ],
        });
        let binding = json!({
            "metadata": {"name": IDENTITY}, "subjects": user,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": IDENTITY},
        });
        let reviews = json!({
            "metadata": {"name": format!("{}-reviews", self.namespace)},
            "rules": [{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}],
        });
        let reviews_binding = json!({
            "metadata": {"name": format!("{}-reviews", self.namespace)}, "subjects": user,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": format!("{}-reviews", self.namespace)},
        });
        use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
        let (client, create) = (|| self.client.clone(), PostParams::default());
        Api::<Role>::namespaced(client(), &self.namespace).create(&create, &object(role)).await.unwrap();
        Api::<RoleBinding>::namespaced(client(), &self.namespace).create(&create, &object(binding)).await.unwrap();
        Api::<ClusterRole>::all(client()).create(&create, &object(reviews)).await.unwrap();
        Api::<ClusterRoleBinding>::all(client()).create(&create, &object(reviews_binding)).await.unwrap();
    }

    /// A new certificate for the token service: all that a client needs to trust is [`Self::roots`].
    pub fn certificate(&self) -> Credential {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), format!("{IDENTITY}.{}.svc", self.namespace)];
        store().service(&names).unwrap()
    }

    /// What verifies the token service's certificate, PEM.
    pub fn roots(&self) -> &'static str {
        store().authority()
    }

    /// Writes the Secret with the token service's certificate.
    pub async fn certify(&self, credential: &Credential) {
        self.write_secret(
            &format!("{IDENTITY}-tls"),
            &[("tls.crt", &credential.certificate), ("tls.key", &credential.key), ("ca.crt", self.roots())],
        )
        .await;
    }

    /// Writes a Secret, whatever was in it before.
    pub async fn write_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> =
            data.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        self.secrets().patch(name, &applied(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// Writes the document of a namespace, as the operator does.
    pub async fn publish(&self, directory: &Directory) {
        let text = serde_json::to_string(directory).unwrap();
        self.publish_text(&directory.namespace, &text).await;
    }

    /// Writes any text in a document's place.
    pub async fn publish_text(&self, namespace: &str, text: &str) {
        let name = directory_config_map(namespace);
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "ringfence"}},
            "data": {DIRECTORY_FILE: text},
        });
        self.config_maps().patch(&name, &applied(), &Patch::Apply(&config_map)).await.unwrap();
    }

    /// Writes what is delivered to the token service as to any service: the files of `<identity>-trust`.
    pub async fn write_trust(&self, files: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = files.iter().copied().collect();
        let name = format!("{IDENTITY}-trust");
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "ringfence"}},
        });
        self.config_maps().patch(&name, &applied(), &Patch::Apply(&config_map)).await.unwrap();
    }

    /// Makes a namespace with service accounts.
    pub async fn create_accounts(&self, namespace: &str, names: &[&str]) {
        let object = Namespace { metadata: object(json!({"name": namespace})), ..Namespace::default() };
        Api::all(self.client.clone()).create(&PostParams::default(), &object).await.unwrap();
        for name in names {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some((*name).to_owned());
            self.accounts(namespace).create(&PostParams::default(), &account).await.unwrap();
        }
    }

    /// A token of a service account for these audiences; for none, the API server's.
    pub async fn account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> String {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let spec = TokenRequestSpec { audiences, expiration_seconds: Some(600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts = self.accounts(namespace);
        let made = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
        made.status.unwrap().token
    }

    fn accounts(&self, namespace: &str) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Secrets of the token service's namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// ConfigMaps of the token service's namespace.
    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Starts a replica at the issuer's own port.
    pub fn first(&self, flags: &[&str]) -> Replica {
        self.replica(self.port, flags)
    }

    /// Starts one more replica, at a port of its own.
    pub fn another(&self, flags: &[&str]) -> Replica {
        self.replica(reserve(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap(), flags)
    }

    fn replica(&self, port: u16, flags: &[&str]) -> Replica {
        let issuer = format!("--issuer={}", self.issuer);
        let mut arguments = vec![format!("--namespace={}", self.namespace), format!("--identity={IDENTITY}"), issuer];
        arguments.extend(store().endpoints().into_iter().map(|endpoint| format!("--store={endpoint}")));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Replica::start(cluster(), &self.kubeconfig, port, &arguments)
    }
}

fn applied() -> PatchParams {
    PatchParams::apply("story").force()
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
