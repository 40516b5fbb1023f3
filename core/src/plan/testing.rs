//! An operator without a cluster: it carries out what is planned, and what it wrote is folded back into its world. Like the
//! real one it looks only at what a change has touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Resource, ResourceExt};

use super::{
    AuthorityStep, BASELINE, CertificateStep, Leftover, Outcome, SigningKeyStep, Step, authority_secret,
    directory_step, domain_plan, fence_step, identity_plan, identity_status, leaf_profile, make_authority, may_go,
    member_step, refused_step, revise_lists, revocation_plan, signing_key_secret, suspension_plan, tls_secret,
};
use crate::jwt::signing_key_secret_data;
use crate::jwt::testing::signing_key;
use crate::pki::testing::{TestEntropy, key as private_key, now, serial};
use crate::pki::{issue_leaf, rewrite_tls_secret, tls_secret_data};
use crate::testing::{apply, forget, key, show, world};
use crate::world::{
    AUTHORITY_ANNOTATION, AuthorityFacts, Change, MEMBER_BINDING, NamespacedName, Settings, TokenService, Unit, World,
};

/// The order service calls the payment service, and signs a token for it.
pub(crate) const SIGNED_CALL: &str = "
kind: AccessPolicy
metadata: {name: pay, namespace: settlement}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: storefront}}]
  authentication: {mtls: {}, jwt: {}}
";

/// An installation's token service, and a shop that uses it: order gets tokens for payment, and so does a client outside.
pub(crate) const TOKEN_SHOP: &str = "
kind: TrustDomain
metadata: {name: platform}
spec: {namespaces: [sts], certificateAuthority: {selfSigned: {}}}
---
kind: TrustDomain
metadata: {name: shop}
spec:
  trustDomain: shop.example
  namespaces: [front, back]
  certificateAuthority: {selfSigned: {}}
  inbound: [{anywhere: {}}]
  tokenIssuers:
  - {name: tokens, builtIn: {tokenLifetime: 2m, scopes: [read, extra], clients: {secretName: shop-clients, cidrs: [203.0.113.0/24]}}}
  - {name: login, issuer: 'https://login.example', audiences: [account], endpoint: {cidrs: [198.51.100.7/32], ports: [{port: 443}]}}
---
{kind: ServiceIdentity, metadata: {name: tokens, namespace: sts}, spec: {}}
---
{kind: ServiceIdentity, metadata: {name: order, namespace: front}, spec: {signingKey: {}, tokenIssuers: [tokens]}}
---
{kind: ServiceIdentity, metadata: {name: payment, namespace: back}, spec: {audiences: [pay.example], tokenIssuers: [tokens]}}
---
kind: AccessPolicy
metadata: {name: pay, namespace: back}
spec:
  to: {identity: payment, ports: [{port: 8443}]}
  from: [{identity: {name: order, namespace: front}}]
  authentication: {mtls: {}, jwt: {signer: Issuer, issuer: tokens, scopes: [write], maxLifetime: 1m}}
---
kind: AccessPolicy
metadata: {name: web, namespace: back}
spec:
  to: {identity: payment, ports: [{port: 9443}]}
  from: [{cidr: 203.0.113.0/24}, {trustDomain: shop}]
  authentication: {jwt: {signer: Issuer, issuer: tokens, validation: Introspection, oneTime: true}}
";

/// The token service `sts/tokens`.
pub(crate) fn token_service() -> TokenService {
    TokenService { identity: key("sts/tokens"), port: 8443, issuer: "https://tokens.example".to_owned() }
}

/// A world in which it is installed.
pub(crate) fn token_installation(yaml: &[&str]) -> World {
    let mut world = World::new(Settings { token_service: Some(token_service()), ..Settings::default() });
    for yaml in yaml {
        apply(&mut world, yaml);
    }
    world.listed();
    world
}

/// The shop that uses it.
pub(crate) fn token_shop() -> World {
    token_installation(&[TOKEN_SHOP])
}

/// More looks at units than any test needs: whoever is not at rest by then never will be.
const PATIENCE: usize = 10_000;

pub(crate) struct Operator {
    pub(crate) world: World,
    queue: BTreeSet<Unit>,
    secrets: BTreeMap<NamespacedName, Secret>,
    /// What the token service is told.
    pub(crate) directories: BTreeMap<NamespacedName, ConfigMap>,
    version: u64,
    /// What was written since it was last asked for, in order, e.g. `create NetworkPolicy shop/ringfence-baseline`.
    log: Vec<String>,
}

impl Operator {
    /// An operator that has just listed these objects.
    pub(crate) fn new(yaml: &[&str]) -> Self {
        Self::in_world(world(yaml))
    }

    /// An operator that knows this world and has done nothing yet.
    pub(crate) fn in_world(world: World) -> Self {
        let queue = world.all_units();
        let (secrets, directories) = (BTreeMap::new(), BTreeMap::new());
        Self { world, queue, secrets, directories, version: 0, log: Vec::new() }
    }

    /// One that has come to rest.
    pub(crate) fn at_rest(yaml: &[&str]) -> Self {
        let mut operator = Self::new(yaml);
        operator.work();
        operator.log.clear();
        operator
    }

    /// Nothing is taken for done, as after a restart.
    pub(crate) fn look_at_everything(&mut self) {
        self.queue = self.world.all_units();
    }

    /// Something changes in the cluster.
    pub(crate) fn apply(&mut self, change: Change) {
        self.queue.extend(self.world.apply(change));
    }

    /// Objects are created or changed.
    pub(crate) fn show(&mut self, yaml: &str) {
        self.queue.extend(apply(&mut self.world, yaml));
    }

    /// One object is created or changed.
    pub(crate) fn show_one(&mut self, object: serde_json::Value) {
        self.queue.extend(show(&mut self.world, object));
    }

    /// An object is gone.
    pub(crate) fn forget(&mut self, kind: &str, name: &str) {
        self.queue.extend(forget(&mut self.world, kind, name));
    }

    /// Looks at everything that was touched until it comes to rest; returns what it wrote.
    pub(crate) fn work(&mut self) -> Vec<String> {
        for _ in 0..PATIENCE {
            let Some(unit) = self.queue.pop_first() else { return std::mem::take(&mut self.log) };
            self.reconcile(&unit);
        }
        panic!("the operator never comes to rest: {:?}", &self.log[self.log.len().saturating_sub(20)..]);
    }

    /// What is still to be done although it is at rest.
    pub(crate) fn left(&self) -> Vec<Unit> {
        let is_left = |unit: &Unit| match unit {
            Unit::Domain(name) => domain_plan(&self.world, name).is_some_and(|plan| {
                !plan.trust.is_keep() || !matches!(plan.authority, AuthorityStep::Keep | AuthorityStep::Supplied { .. })
            }),
            Unit::Member(namespace) => !member_step(&self.world, namespace).step.is_keep(),
            Unit::Fence(namespace) => !fence_step(&self.world, namespace).step.is_keep(),
            Unit::Directory(key) => !directory_step(&self.world, key).step.is_keep(),
            Unit::Identity(key) => match identity_plan(&self.world, key, now()) {
                Some(plan) => !plan.is_done(),
                None => !refused_step(&self.world, key).is_keep(),
            },
            Unit::Policy(_) => false,
        };
        self.world.all_units().into_iter().filter(is_left).collect()
    }

    fn reconcile(&mut self, unit: &Unit) {
        match unit {
            Unit::Domain(name) => self.domain(unit, name),
            Unit::Member(namespace) => self.member(unit, namespace),
            Unit::Fence(namespace) => self.fence(unit, namespace),
            Unit::Directory(key) => self.directory(unit, key),
            Unit::Identity(key) => self.identity(unit, key),
            Unit::Policy(_) => {}
        }
    }

    fn domain(&mut self, unit: &Unit, name: &str) {
        let Some(plan) = domain_plan(&self.world, name) else { return };
        let made = make_authority(&plan.authority, &TestEntropy, now()).unwrap();
        let known = self.world.authority(name).cloned();
        let replaces = known.as_ref().map(|facts| (facts.uid.clone(), facts.resource_version.clone()));
        let generations = made.or_else(|| Some(known?.generations.ok()?.as_ref().clone())).unwrap_or_default();
        if let Some(generations) =
            revise_lists(&generations, &revocation_plan(&self.world, name, now()), now()).unwrap()
        {
            let mut secret = authority_secret("ringfence-system", name, &generations);
            self.store("Secret", &mut secret, &replaces);
            let facts = AuthorityFacts {
                uid: secret.metadata.uid.unwrap(),
                resource_version: secret.metadata.resource_version.unwrap(),
                generations: Ok(Arc::new(generations)),
            };
            // What hangs on the CA, the bundle first of all, is looked at anew.
            self.apply(Change::Authority(name.to_owned(), Some(facts)));
        }
        if let Some(id) = domain_plan(&self.world, name).and_then(|plan| plan.record) {
            let mut domain = self.world.domain(name).unwrap().as_ref().clone();
            domain.annotations_mut().insert(AUTHORITY_ANNOTATION.to_owned(), id);
            self.apply(Change::Domain(name.to_owned(), Some(Arc::new(domain))));
        }
        if let Step::Write { desired: mut config_map, replaces, .. } = plan.trust {
            let key = self.store("ConfigMap", config_map.as_mut(), &replaces);
            self.fold_own(unit, Change::ConfigMap(key, Some(config_map.as_ref().into())));
        }
    }

    fn member(&mut self, unit: &Unit, namespace: &str) {
        match member_step(&self.world, namespace).step {
            Step::Keep | Step::Blocked(_) => {}
            Step::Delete { uid } => {
                assert_eq!(self.world.role_binding(namespace).unwrap().uid, uid);
                let key = NamespacedName::new(namespace, MEMBER_BINDING);
                self.log.push(format!("delete RoleBinding {key}"));
                self.fold_own(unit, Change::RoleBinding(key, None));
            }
            Step::Write { desired: mut binding, replaces, .. } => {
                let key = self.store("RoleBinding", binding.as_mut(), &replaces);
                self.fold_own(unit, Change::RoleBinding(key, Some(binding.as_ref().into())));
            }
        }
    }

    fn fence(&mut self, unit: &Unit, namespace: &str) {
        let fence = fence_step(&self.world, namespace);
        if fence.waiting_for.is_empty() {
            self.network_policy(unit, &NamespacedName::new(namespace, BASELINE), fence.step);
        }
    }

    fn directory(&mut self, unit: &Unit, key: &NamespacedName) {
        match directory_step(&self.world, key).step {
            Step::Keep | Step::Blocked(_) => {}
            Step::Delete { uid } => {
                assert_eq!(self.world.config_map(key).unwrap().uid, uid, "what is known is deleted, nothing else");
                self.log.push(format!("delete ConfigMap {key}"));
                self.directories.remove(key);
                self.fold_own(unit, Change::ConfigMap(key.clone(), None));
            }
            Step::Write { desired: mut config_map, replaces, .. } => {
                self.store("ConfigMap", config_map.as_mut(), &replaces);
                self.fold_own(unit, Change::ConfigMap(key.clone(), Some(config_map.as_ref().into())));
                self.directories.insert(key.clone(), *config_map);
            }
        }
    }

    fn identity(&mut self, unit: &Unit, key: &NamespacedName) {
        if may_go(&self.world, key, now()) {
            return self.forget("ServiceIdentity", &key.to_string());
        }
        if let Some(plan) = suspension_plan(&self.world, key, now()) {
            let name = NamespacedName::new(key.namespace.clone(), format!("ringfence-{}", key.name));
            self.network_policy(unit, &name, plan.network_policy);
            for Leftover { kind, key, .. } in plan.leftovers {
                self.log.push(format!("delete {kind} {key}"));
                self.fold_own(
                    unit,
                    if kind == "Secret" { Change::Secret(key, None) } else { Change::ConfigMap(key, None) },
                );
            }
            return self.report(key);
        }
        let Some(plan) = identity_plan(&self.world, key, now()) else {
            let name = NamespacedName::new(key.namespace.clone(), format!("ringfence-{}", key.name));
            return self.network_policy(unit, &name, refused_step(&self.world, key));
        };
        let identity = plan.identity.as_ref();
        let generations = self.world.generations(&identity.domain).cloned();
        match (plan.certificate, &generations) {
            (CertificateStep::Issue { replaces, .. }, Some(generations)) => {
                let profile = leaf_profile(identity);
                let leaf_key = private_key(profile.algorithm);
                let leaf = issue_leaf(&profile, generations.signing().unwrap(), &leaf_key, &serial(), now()).unwrap();
                self.secret(
                    unit,
                    tls_secret(identity, &plan.owner, tls_secret_data(&leaf, generations), None),
                    &replaces,
                );
            }
            (CertificateStep::Rewrite { replaces, .. }, Some(generations)) => {
                let found = &self.secrets[&NamespacedName::new(key.namespace.clone(), identity.tls_secret.clone())];
                let data = rewrite_tls_secret(&found.data.as_ref().unwrap().into(), generations).unwrap();
                self.secret(unit, tls_secret(identity, &plan.owner, data, None), &Some(replaces));
            }
            _ => {}
        }
        if let (Some(SigningKeyStep::Generate { replaces, .. }), Some((algorithm, _))) =
            (plan.signing_key, &identity.signing_key)
        {
            let data = signing_key_secret_data(&signing_key(*algorithm), None);
            self.secret(unit, signing_key_secret(identity, &plan.owner, data).unwrap(), &replaces);
        }
        if let Step::Write { desired: mut config_map, replaces, .. } = plan.trust {
            let key = self.store("ConfigMap", config_map.as_mut(), &replaces);
            self.fold_own(unit, Change::ConfigMap(key, Some(config_map.as_ref().into())));
        }
        let name = NamespacedName::new(key.namespace.clone(), identity.network_policy());
        self.network_policy(unit, &name, plan.network_policy);
        self.report(key);
    }

    /// A status that says something new is written, and its answer is folded.
    fn report(&mut self, key: &NamespacedName) {
        let status = identity_status(&self.world, key, &Outcome::default(), now());
        let mut object = self.world.service_identity(key).unwrap().as_ref().clone();
        if object.status != status {
            object.status = status;
            self.apply(Change::Identity(key.clone(), Some(Arc::new(object))));
            // What is on record now may let something go on.
            if identity_plan(&self.world, key, now()).is_some_and(|plan| !plan.is_done()) {
                self.queue.insert(Unit::Identity(key.clone()));
            }
        }
    }

    fn network_policy(&mut self, unit: &Unit, key: &NamespacedName, step: Step<NetworkPolicy>) {
        match step {
            Step::Keep | Step::Blocked(_) => {}
            Step::Delete { uid } => {
                assert_eq!(self.world.network_policy(key).unwrap().uid, uid, "what is known is deleted, nothing else");
                self.log.push(format!("delete NetworkPolicy {key}"));
                self.fold_own(unit, Change::NetworkPolicy(key.clone(), None));
            }
            Step::Write { desired: mut policy, replaces, .. } => {
                let key = self.store("NetworkPolicy", policy.as_mut(), &replaces);
                self.fold_own(unit, Change::NetworkPolicy(key, Some(policy.as_ref().into())));
            }
        }
    }

    fn secret(&mut self, unit: &Unit, mut secret: Secret, replaces: &Option<(String, String)>) {
        let key = self.store("Secret", &mut secret, replaces);
        self.fold_own(unit, Change::Secret(key.clone(), Some((&secret).into())));
        self.secrets.insert(key, secret);
    }

    /// Stores an object as the API server does.
    fn store(&mut self, kind: &str, object: &mut impl Resource, replaces: &Option<(String, String)>) -> NamespacedName {
        let replaced = replaces.as_ref().and_then(|(_, version)| version.parse().ok());
        self.version = self.version.max(replaced.unwrap_or_default()) + 1;
        let metadata = object.meta_mut();
        metadata.uid = Some(replaces.as_ref().map_or_else(|| format!("uid-{}", self.version), |(uid, _)| uid.clone()));
        metadata.resource_version = Some(self.version.to_string());
        let name = |part: &Option<String>| part.clone().unwrap_or_default();
        let key = NamespacedName::new(name(&metadata.namespace), name(&metadata.name));
        let verb = if replaces.is_some() { "replace" } else { "create" };
        self.log.push(format!("{verb} {kind} {key}"));
        key
    }

    /// Its own unit has seen what it wrote.
    fn fold_own(&mut self, unit: &Unit, change: Change) {
        let touched = self.world.apply_answer(change);
        self.queue.extend(touched.into_iter().filter(|touched| touched != unit));
    }
}
