//! What is declared: domains with a namespace each, and identities spread over them, each called by the one before.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use ringfence_core::api::{AccessPolicy, ConditionType, ServiceIdentity, TrustDomain, find_condition};
use serde_json::json;

/// So many requests of the declaring client are on their way at once.
pub(crate) const CONCURRENCY: usize = 32;

/// What an identity consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A certificate in a domain that does not enforce.
    CertificateOnly,
    /// Certificate, signing key, trust and NetworkPolicy, and a policy by which the identity before it calls it.
    Whole,
}

/// A load of one shape over some domains.
pub(crate) struct Load {
    pub(crate) shape: Shape,
    domains: usize,
}

impl Load {
    pub(crate) fn new(shape: Shape, domains: usize) -> Self {
        Self { shape, domains }
    }

    /// Namespace, which is also the domain, and name of an identity.
    pub(crate) fn place(&self, number: usize) -> (String, String) {
        (format!("team-{}", number % self.domains), format!("service-{number}"))
    }

    pub(crate) async fn declare_domains(&self, client: &Client) {
        let enforcement = if self.shape == Shape::Whole { "Enforce" } else { "Disabled" };
        for number in 0..self.domains {
            let name = format!("team-{number}");
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
            let domain: TrustDomain = serde_json::from_value(json!({
                "apiVersion": "ringfence.dev/v1alpha1", "kind": "TrustDomain", "metadata": {"name": name},
                "spec": {"certificateAuthority": {"selfSigned": {}}, "namespaces": [name], "enforcement": enforcement},
            }))
            .unwrap();
            Api::all(client.clone()).create(&PostParams::default(), &domain).await.unwrap();
        }
        let domains = Api::<TrustDomain>::all(client.clone());
        for number in 0..self.domains {
            let has_ca = |domain: Option<&TrustDomain>| {
                domain
                    .and_then(|domain| domain.status.as_ref())
                    .is_some_and(|status| status.certificate_authority.is_some())
            };
            kube::runtime::wait::await_condition(domains.clone(), &format!("team-{number}"), has_ca).await.unwrap();
        }
    }

    pub(crate) fn identity(&self, number: usize) -> ServiceIdentity {
        let (namespace, name) = self.place(number);
        let spec = if self.shape == Shape::Whole { json!({"signingKey": {}}) } else { json!({}) };
        serde_json::from_value(json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "ServiceIdentity",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        }))
        .unwrap()
    }

    /// The policy by which the identity before it, in the same domain, calls this one with a token.
    pub(crate) fn policy(&self, number: usize, port: u16) -> Option<AccessPolicy> {
        if self.shape != Shape::Whole || number < self.domains {
            return None;
        }
        let (namespace, name) = self.place(number);
        let (_, caller) = self.place(number - self.domains);
        let policy = json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "AccessPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "to": {"identity": name, "ports": [{"port": port}]}, "from": [{"identity": {"name": caller}}],
                "authentication": {"jwt": {}},
            },
        });
        Some(serde_json::from_value(policy).unwrap())
    }

    /// Creates identities, and their policies, and waits until all are ready; returns the time from the first create.
    pub(crate) async fn create_until_ready(&self, client: &Client, numbers: Range<usize>) -> Duration {
        let mut waiting: BTreeSet<String> = numbers.clone().map(|number| self.place(number).1).collect();
        let mut seen =
            watcher(Api::<ServiceIdentity>::all(client.clone()), watcher::Config::default()).applied_objects().boxed();
        let begin = Instant::now();
        let creating = futures::stream::iter(numbers)
            .for_each_concurrent(CONCURRENCY, async |number| self.create(client, number).await);
        let watching = async {
            while !waiting.is_empty() {
                let object: ServiceIdentity = seen.next().await.unwrap().unwrap();
                if is_ready(Some(&object)) {
                    waiting.remove(object.metadata.name.as_deref().unwrap());
                }
            }
        };
        futures::join!(creating, watching);
        begin.elapsed()
    }

    /// Creates one identity, and its policy; returns the time until it is ready. Nothing else is looked at, so that the
    /// others cost this client nothing.
    pub(crate) async fn create_one_until_ready(&self, client: &Client, number: usize) -> Duration {
        let (namespace, name) = self.place(number);
        let begin = Instant::now();
        self.create(client, number).await;
        let identities = Api::<ServiceIdentity>::namespaced(client.clone(), &namespace);
        kube::runtime::wait::await_condition(identities, &name, is_ready).await.unwrap();
        begin.elapsed()
    }

    async fn create(&self, client: &Client, number: usize) {
        let (namespace, _) = self.place(number);
        let identities = Api::namespaced(client.clone(), &namespace);
        identities.create(&PostParams::default(), &self.identity(number)).await.unwrap();
        if let Some(policy) = self.policy(number, 8443) {
            Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &policy).await.unwrap();
        }
    }

    /// Changes the port of one policy; returns the time until its status is about the change.
    pub(crate) async fn change_policy(&self, client: &Client, round: usize, present: usize) -> Duration {
        let number = present - 1 - round;
        let (namespace, name) = self.place(number);
        let policies = Api::<AccessPolicy>::namespaced(client.clone(), &namespace);
        let begin = Instant::now();
        let patch = json!({"spec": {"to": {"ports": [{"port": 9443}]}}});
        let changed = policies.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let generation = changed.metadata.generation;
        let is_current = |policy: Option<&AccessPolicy>| {
            policy
                .and_then(|policy| policy.status.as_ref())
                .is_some_and(|status| status.observed_generation == generation)
        };
        kube::runtime::wait::await_condition(policies, &name, is_current).await.unwrap();
        begin.elapsed()
    }
}

fn is_ready(identity: Option<&ServiceIdentity>) -> bool {
    let conditions = identity.and_then(|identity| identity.status.as_ref()).map(|status| status.conditions.as_slice());
    find_condition(conditions.unwrap_or_default(), ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}
