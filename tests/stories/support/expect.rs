//! What goes wrong, and that nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::Resource;
use ringfence_core::api::{AccessPolicy, SourceStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;

use super::declare::Story;
use super::{condition, wait_for};

/// A condition: type, status and reason.
pub type Said<'a> = (&'a str, &'a str, &'a str);

/// Waits until an object says this, in a message that holds all these words.
pub async fn says<K>(api: &Api<K>, name: &str, said: Said<'_>, words: &[&str]) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let what = format!("say {said:?} with {words:?}");
    let wanted = |object: &K| {
        let (status, reason, message) = condition(object, said.0);
        status == said.1 && reason == said.2 && words.iter().all(|word| message.contains(word))
    };
    wait_for(api, name, &what, wanted).await
}

impl Story {
    /// Objects of a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of the whole cluster.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Tries to create an object, which the API server must refuse as invalid; returns what it says.
    pub async fn refused<K>(&self, namespace: &str, mut object: Value) -> String
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        };
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 422 => status.message,
            other => panic!("the API server should have refused {object:#?} and answered {other:#?}"),
        }
    }
}

/// The refusal of one `from` entry, once the policy's status has one.
pub async fn closed(story: &Story, namespace: &str, policy: &str, index: i32, reason: &str) -> SourceStatus {
    let find = |object: &AccessPolicy| {
        let entries = object.status.iter().flat_map(|status| &status.from);
        entries.into_iter().find(|entry| entry.index == index && entry.reason == reason).cloned()
    };
    let what = format!("close entry {index} with {reason}");
    let policy = story.wait_policy(namespace, policy, &what, |object| find(object).is_some()).await;
    find(&policy).unwrap()
}

/// Two services that work, one calling the other: whatever else goes wrong, nothing of theirs may change.
#[derive(Debug)]
pub struct Bystanders {
    namespace: String,
    before: BTreeMap<String, String>,
}

impl Bystanders {
    /// Puts them into a namespace and waits until they work.
    pub async fn in_namespace(story: &Story, namespace: &str) -> Self {
        for name in ["bystander", "companion"] {
            story.ready_identity(namespace, name, json!({"signingKey": {}})).await;
        }
        let spec = json!({
            "to": {"identity": "bystander", "ports": [{"port": 8443}]}, "from": [{"identity": {"name": "companion"}}],
        });
        story.create::<AccessPolicy>(namespace, super::policy("bystander", spec)).await;
        says(&story.api::<AccessPolicy>(namespace), "bystander", ("Ready", "True", "Ready"), &["in force"]).await;
        let network_policies = story.api::<NetworkPolicy>(namespace);
        wait_for(&network_policies, "ringfence-baseline", "be written", |_| true).await;
        let mut this = Self { namespace: namespace.to_owned(), before: BTreeMap::new() };
        this.before = this.look(story).await;
        this
    }

    /// Demands that everything of theirs is as it was.
    pub async fn are_untouched(&self, story: &Story) {
        self.outputs_are_untouched(story).await;
        for name in ["bystander", "companion"] {
            story.wait_identity(&self.namespace, name, "be ready still", |o| condition(o, "Ready").0 == "True").await;
        }
        says(&story.api::<AccessPolicy>(&self.namespace), "bystander", ("Ready", "True", "Ready"), &[]).await;
    }

    /// Demands that everything that was written for them is as it was.
    pub async fn outputs_are_untouched(&self, story: &Story) {
        assert_eq!(self.look(story).await, self.before, "something else changed");
    }

    /// UID and version of everything that was written for them. What they know their peers by may be written again with
    /// a new revocation list, because someone else was deleted, and with nothing else.
    async fn look(&self, story: &Story) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        for name in ["bystander", "companion"] {
            for secret in [format!("{name}-tls"), format!("{name}-signing-key")] {
                version(&mut seen, &story.api::<Secret>(&self.namespace), &secret).await;
            }
            trust(&mut seen, &story.api::<ConfigMap>(&self.namespace), &format!("{name}-trust")).await;
            version(&mut seen, &story.api::<NetworkPolicy>(&self.namespace), &format!("ringfence-{name}")).await;
        }
        version(&mut seen, &story.api::<NetworkPolicy>(&self.namespace), "ringfence-baseline").await;
        seen
    }
}

async fn trust(seen: &mut BTreeMap<String, String>, api: &Api<ConfigMap>, name: &str) {
    let found = api.get_opt(name).await.unwrap().unwrap_or_default();
    let mut files = found.data.unwrap_or_default();
    files.remove("crl.pem");
    seen.insert(format!("ConfigMap {name}"), format!("{:?} {files:?}", found.metadata.uid));
}

async fn version<K>(seen: &mut BTreeMap<String, String>, api: &Api<K>, name: &str)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = api.get_opt(name).await.unwrap();
    let metadata = found.map(|object| object.meta().clone()).unwrap_or_default();
    let version = format!("{:?} {:?}", metadata.uid, metadata.resource_version);
    seen.insert(format!("{} {name}", K::kind(&())), version);
}

impl Story {
    /// Creates a service account that pods can run as.
    pub async fn run_as(&self, namespace: &str, service_account: &str) {
        let account = json!({"metadata": {"name": service_account}, "automountServiceAccountToken": false});
        let account: ServiceAccount = serde_json::from_value(account).unwrap();
        match self.api::<ServiceAccount>(namespace).create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => drop(created.unwrap()),
        }
    }

    /// The DNS names and IP addresses of the certificate in a Secret, once they are as wanted.
    pub async fn certificate_names(
        &self,
        namespace: &str,
        secret: &str,
        wanted: impl Fn(&BTreeSet<String>) -> bool,
    ) -> BTreeSet<String> {
        let of = |secret: &Secret| names_in(&secret.data.as_ref().unwrap()["tls.crt"].0);
        let has = |secret: &Secret| wanted(&of(secret));
        of(&wait_for(&self.api::<Secret>(namespace), secret, "have a certificate with the names", has).await)
    }
}

/// DNS names and IP addresses of the first certificate of a PEM text.
fn names_in(pem: &[u8]) -> BTreeSet<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => Some(match <[u8; 4]>::try_from(*octets) {
            Ok(octets) => IpAddr::from(octets).to_string(),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(*octets).unwrap()).to_string(),
        }),
        _ => None,
    });
    names.collect()
}
