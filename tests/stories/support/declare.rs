//! Declaring what a story is about.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use kube::{Api, Client};
use ringfence_core::api::{AccessPolicy, ServiceIdentity, TrustDomain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::TestCluster;
use super::{condition, wait_for};

/// A story's own corner of a cluster: names that no other story uses.
pub struct Story {
    /// The cluster.
    pub cluster: &'static TestCluster,
    /// A client of the administrator.
    pub client: Client,
    /// The story's first namespace; also the prefix of everything else.
    pub name: String,
}

/// A domain and its first namespace.
pub struct Trust {
    /// Name of the TrustDomain.
    pub domain: String,
    /// Its namespace.
    pub namespace: String,
}

impl Story {
    /// Begins a story in the shared cluster.
    pub async fn begin(title: &str) -> Self {
        Self::begin_in(TestCluster::shared().await, title).await
    }

    /// Begins a story in a cluster of its own.
    pub async fn begin_in(cluster: &'static TestCluster, title: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{title}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { cluster, client: cluster.client().await, name }
    }

    /// Creates a namespace `<story>-<suffix>`.
    pub async fn namespace(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.name);
        self.create_cluster_wide::<Namespace>(json!({"metadata": {"name": name}})).await;
        name
    }

    /// Creates a TrustDomain with a root of its own and one namespace, and waits for its CA.
    pub async fn trust(&self, suffix: &str, spec: Value) -> Trust {
        let namespace = self.namespace(suffix).await;
        let mut whole = json!({"certificateAuthority": {"selfSigned": {}}, "namespaces": [namespace]});
        merge(&mut whole, spec);
        let domain = format!("{}-{suffix}", self.name);
        self.create_cluster_wide::<TrustDomain>(json!({"metadata": {"name": domain}, "spec": whole})).await;
        let has_ca = |domain: &TrustDomain| domain.status.as_ref().is_some_and(|s| s.certificate_authority.is_some());
        wait_for(&Api::<TrustDomain>::all(self.client.clone()), &domain, "get a CA", has_ca).await;
        Trust { domain, namespace }
    }

    /// Creates a namespaced object.
    pub async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &self::object(object)).await.unwrap()
    }

    /// Creates a cluster-scoped object.
    pub async fn create_cluster_wide<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        Api::<K>::all(self.client.clone()).create(&PostParams::default(), &self::object(object)).await.unwrap()
    }

    /// Creates an identity and waits until it is ready.
    pub async fn ready_identity(&self, namespace: &str, name: &str, spec: Value) -> ServiceIdentity {
        self.create::<ServiceIdentity>(namespace, identity(name, spec)).await;
        self.wait_identity(namespace, name, "become ready", |object| condition(object, "Ready").0 == "True").await
    }

    /// Creates a policy and waits until it is judged.
    pub async fn judged_policy(&self, namespace: &str, name: &str, spec: Value) -> AccessPolicy {
        self.create::<AccessPolicy>(namespace, policy(name, spec)).await;
        self.wait_policy(namespace, name, "be judged", |object| {
            object.status.as_ref().is_some_and(|status| status.observed_generation == object.metadata.generation)
        })
        .await
    }

    /// Creates a policy and waits until it is in force.
    pub async fn ready_policy(&self, namespace: &str, name: &str, spec: Value) -> AccessPolicy {
        self.create::<AccessPolicy>(namespace, policy(name, spec)).await;
        self.wait_policy(namespace, name, "be in force", |object| condition(object, "Ready").0 == "True").await
    }

    /// Two domains with roots of their own, of which the first may call into the second.
    pub async fn neighbours(&self, left: Value, right: Value) -> [Trust; 2] {
        let mut specs = [left, right];
        merge(&mut specs[0], json!({"outbound": [{"trustDomains": [format!("{}-right", self.name)]}]}));
        merge(&mut specs[1], json!({"inbound": [{"trustDomains": [format!("{}-left", self.name)]}]}));
        let [left, right] = specs;
        [self.trust("left", left).await, self.trust("right", right).await]
    }

    /// Waits until an identity is as wanted.
    pub async fn wait_identity(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&ServiceIdentity) -> bool,
    ) -> ServiceIdentity {
        wait_for(&Api::<ServiceIdentity>::namespaced(self.client.clone(), namespace), name, what, wanted).await
    }

    /// Waits until a policy is as wanted.
    pub async fn wait_policy(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&AccessPolicy) -> bool,
    ) -> AccessPolicy {
        wait_for(&Api::<AccessPolicy>::namespaced(self.client.clone(), namespace), name, what, wanted).await
    }

    /// Waits until a domain is as wanted.
    pub async fn wait_domain(&self, name: &str, what: &str, wanted: impl Fn(&TrustDomain) -> bool) -> TrustDomain {
        wait_for(&Api::<TrustDomain>::all(self.client.clone()), name, what, wanted).await
    }

    /// Merges a change into an object's spec.
    pub async fn change<K>(&self, api: Api<K>, name: &str, spec: Value) -> K
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.unwrap()
    }
}

/// A TrustDomain.
pub fn domain(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A ServiceIdentity.
pub fn identity(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

/// An AccessPolicy.
pub fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

/// A Service that selects the pods of the identity of the same name, with one port.
pub fn service(name: &str, port: u16, target: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "selector": {"app.kubernetes.io/name": name}, "ports": [{"name": "main", "port": port, "targetPort": target}],
    }})
}

/// A typed object from JSON, with its kind filled in.
pub fn object<K: DeserializeOwned + Resource<DynamicType = ()>>(mut value: Value) -> K {
    value["apiVersion"] = json!(K::api_version(&()));
    value["kind"] = json!(K::kind(&()));
    serde_json::from_value(value).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
