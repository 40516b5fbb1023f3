//! What one identity needs: certificate, signing key, the means to verify its peers, and its NetworkPolicy.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::clients::{ClientsPlan, clients_plan};
use super::fence::baseline_comes_first;
use super::keystores::{keystore_problem, keystores_differ};
use super::objects::{Owner, metadata};
use super::restart::{credentials_hash, is_wanted};
use super::rotation::is_distrusted;
use super::trust::{trust_data, trust_step};
use super::{BASELINE, Step, content_step, name_taken, pending};
use crate::access::{Edge, Grant, JudgedPolicy, closed_policy, identity_policy};
use crate::api::{Enforcement, RotationTarget, ServiceIdentity, TrustDomain};
use crate::jwt::{RegenerateReason, SigningKeyRewriteReason, why_regenerate};
use crate::pki::{LeafFacts, LeafProfile, ReissueReason, RewriteReason, SecretData, why_reissue};
use crate::world::{
    AppliedTemplate, Identity, KEYSTORE_ANNOTATION, NamespacedName, OutputFacts, Problem, SIGNING_KEY_SECRET_TYPE,
    SecretFacts, TLS_SECRET_TYPE, World, is_to_rotate, network_policy_hash,
};

/// Everything that one identity needs, as steps from what is to what should be.
#[derive(Clone, Debug)]
pub struct IdentityPlan {
    /// Whose.
    pub identity: Arc<Identity>,
    /// Owner of the outputs.
    pub owner: Owner,
    /// The certificate.
    pub certificate: CertificateStep,
    /// Why keystores beside it can't be written, or brought up to date.
    pub keystores: Option<Problem>,
    /// The signing key, if it is to have one.
    pub signing_key: Option<SigningKeyStep>,
    /// Credentials for token issuers.
    pub clients: ClientsPlan,
    /// What it needs to verify its peers.
    pub trust: Step<ConfigMap>,
    /// Its NetworkPolicy.
    pub network_policy: Step<NetworkPolicy>,
    /// Its edges, in and out: when one goes, packets stop before files change.
    pub edges: BTreeSet<Edge>,
    /// Hash over what is delivered, where workloads are to be rolled for it.
    pub credentials: Option<String>,
}

impl IdentityPlan {
    /// Nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.is_delivered() && self.network_policy.is_keep()
    }

    /// Everything that pods read is written.
    pub fn is_delivered(&self) -> bool {
        matches!(self.certificate, CertificateStep::Keep)
            && matches!(self.signing_key, None | Some(SigningKeyStep::Keep))
            && self.clients.steps.is_empty()
            && self.trust.is_keep()
    }

    /// What keeps steps from being done.
    pub fn blocked(&self) -> Vec<&Problem> {
        let certificate = match &self.certificate {
            CertificateStep::Blocked(problem) => Some(problem),
            _ => None,
        };
        let signing_key = match &self.signing_key {
            Some(SigningKeyStep::Blocked(problem)) => Some(problem),
            _ => None,
        };
        let trust = match &self.trust {
            Step::Blocked(problem) => Some(problem),
            _ => None,
        };
        let network_policy = match &self.network_policy {
            Step::Blocked(problem) => Some(problem),
            _ => None,
        };
        let blocked = [certificate, self.keystores.as_ref(), signing_key, trust, network_policy];
        blocked.into_iter().flatten().chain(self.clients.told()).collect()
    }
}

/// What to do about the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateStep {
    /// Nothing.
    Keep,
    /// Issue a new one, with a new key.
    Issue {
        /// Why.
        reason: ReissueReason,
        /// UID and version of the Secret to replace.
        replaces: Option<(String, String)>,
    },
    /// Leave leaf and key, and put the rest right.
    Rewrite {
        /// Why.
        reason: RewriteReason,
        /// UID and version of the Secret.
        replaces: (String, String),
    },
    /// Nothing, until this is resolved.
    Blocked(Problem),
}

/// What to do about the signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKeyStep {
    /// Nothing.
    Keep,
    /// Generate a new one.
    Generate {
        /// Why.
        reason: RegenerateReason,
        /// UID and version of the Secret to replace.
        replaces: Option<(String, String)>,
    },
    /// Leave the key, and put the rest right.
    Rewrite {
        /// Why.
        reason: SigningKeyRewriteReason,
        /// UID and version of the Secret.
        replaces: (String, String),
    },
    /// Nothing, until this is resolved.
    Blocked(Problem),
}

/// Plans one identity; nothing for one that is not valid, or whose namespace is being deleted.
pub fn identity_plan(world: &World, key: &NamespacedName, now: Timestamp) -> Option<IdentityPlan> {
    if world.namespace(&key.namespace).is_some_and(|facts| facts.terminating) {
        return None;
    }
    let identity = world.identity(key)?;
    let object = world.service_identity(key)?;
    let domain = world.domain(&identity.domain)?;
    let owner = Owner::of(object.as_ref());
    let judged: Vec<Arc<JudgedPolicy>> = world.judged_of(key).filter(|judged| !judged.draft).cloned().collect();
    let grants: Vec<&Grant> = judged
        .iter()
        .flat_map(|judged| &judged.grants)
        .filter(|grant| grant.is_target(identity) || grant.is_source(identity))
        .collect();
    let credentials = is_wanted(world, object)
        .then(|| credentials_hash(world, identity, &trust_data(world, identity, &judged, &grants)));
    Some(IdentityPlan {
        certificate: certificate_step(world, identity, now),
        keystores: keystore_problem(world, identity),
        signing_key: signing_key_step(world, object, identity),
        clients: clients_plan(world, identity),
        trust: trust_step(world, identity, &judged, &grants, &owner),
        network_policy: network_policy_step(world, identity, domain, &grants, &owner),
        edges: grants.iter().flat_map(|grant| grant.edges()).collect(),
        identity: Arc::new(identity.clone()),
        owner,
        credentials: credentials.flatten(),
    })
}

/// Plans the NetworkPolicy of an identity that is not accepted (any more): what it opened is closed. Its credentials
/// stay until they expire.
pub fn refused_step(world: &World, key: &NamespacedName) -> Step<NetworkPolicy> {
    let refused = |object: &&Arc<ServiceIdentity>| {
        // What is being deleted is left to the garbage collector.
        world.identity(key).is_none() && object.metadata.deletion_timestamp.is_none()
    };
    let Some(object) = world.service_identity(key).filter(refused) else { return Step::Keep };
    let name = NamespacedName::new(key.namespace.clone(), format!("ringfence-{}", key.name));
    let owner = Owner::of(object.as_ref());
    let Some(found) = world.network_policy(&name).filter(|found| found.owner_uid.as_deref() == Some(&owner.uid)) else {
        return Step::Keep;
    };
    let enforces = |domain: &TrustDomain| domain.spec.enforcement == Enforcement::Enforce;
    if world.domain_of(&key.namespace).is_some_and(|domain| !enforces(domain)) {
        return unfence(world, Some(found), &owner, &name);
    }
    let selector = object.pod_selector();
    if selector.is_empty() || selector.fault().is_some() {
        // There are no such pods, and the baseline stands.
        return Step::Delete { uid: found.uid.clone() };
    }
    let spec = closed_policy(&selector, world.cluster.dns().as_ref());
    let mut desired = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
    let hash = network_policy_hash(&desired);
    desired.metadata = metadata(&name.namespace, &name.name, Some(&owner), Some(&hash));
    content_step(Some(found), desired, &hash, &owner, || name_taken("NetworkPolicy", &name))
}

/// What the certificate of an identity is to say.
pub fn leaf_profile(identity: &Identity) -> LeafProfile {
    LeafProfile {
        spiffe_id: identity.spiffe_id.clone(),
        common_name: Some(identity.options.common_name.as_ref().unwrap_or(&identity.key.name).clone()),
        dns_names: identity.dns_names.as_ref().clone(),
        ip_addresses: identity.ip_addresses.clone(),
        usages: identity.options.usages,
        algorithm: identity.certificate_algorithm,
        duration: identity.certificate_duration,
    }
}

/// The Secret for a certificate and its key, with the record of the keystores in it.
pub fn tls_secret(identity: &Identity, owner: &Owner, data: SecretData, keystore_record: Option<String>) -> Secret {
    let mut secret = secret(&identity.key.namespace, &identity.tls_secret, owner, TLS_SECRET_TYPE, data);
    if let Some(record) = keystore_record {
        secret.metadata.annotations.get_or_insert_default().insert(KEYSTORE_ANNOTATION.to_owned(), record);
    }
    if let Some(template) = &identity.options.template {
        template.put_on(&mut secret.metadata);
    }
    secret
}

/// The Secret for a signing key.
pub fn signing_key_secret(identity: &Identity, owner: &Owner, data: SecretData) -> Option<Secret> {
    let (_, name) = identity.signing_key.as_ref()?;
    Some(secret(&identity.key.namespace, name, owner, SIGNING_KEY_SECRET_TYPE, data))
}

pub(super) fn secret(namespace: &str, name: &str, owner: &Owner, type_: &str, data: SecretData) -> Secret {
    Secret {
        metadata: metadata(namespace, name, Some(owner), None),
        type_: Some(type_.to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

fn certificate_step(world: &World, identity: &Identity, now: Timestamp) -> CertificateStep {
    let key = NamespacedName::new(identity.key.namespace.clone(), identity.tls_secret.clone());
    let Some(generations) = world.generations(&identity.domain).filter(|generations| generations.signing().is_some())
    else {
        return CertificateStep::Blocked(pending(format!(
            "TrustDomain {} has no CA to sign with yet: see its status",
            identity.domain
        )));
    };
    let (stored, replaces) = match world.secret(&key) {
        None => (None, None),
        Some(found) if !found.is_of(&identity.uid) => {
            return CertificateStep::Blocked(name_taken("Secret", &key));
        }
        Some(found) => {
            let stored = match &found.content {
                SecretFacts::Certificate(facts) => facts.as_ref().map(AsRef::as_ref),
                _ => return CertificateStep::Blocked(name_taken("Secret", &key)),
            };
            (Some(stored), Some((found.uid.clone(), found.resource_version.clone())))
        }
    };
    let object = world.service_identity(&identity.key);
    if object.is_some_and(|object| is_to_rotate(object, RotationTarget::Certificate)) {
        return CertificateStep::Blocked(pending("what may be in other hands is revoked first".to_owned()));
    }
    let distrusted = object.zip(stored.and_then(Result::ok)).is_some_and(|(object, leaf)| is_distrusted(object, leaf));
    let reason = why_reissue(stored, &leaf_profile(identity), generations, &identity.uid, now);
    if let Some(reason) = reason.or(distrusted.then_some(ReissueReason::Compromised)) {
        let stored = stored.and_then(Result::ok).filter(|_| follows_from_a_change(reason));
        if stored.is_some_and(|leaf| !world.is_on_record(&identity.key, leaf)) {
            let message = "the certificate in use is put on record before another takes its place".to_owned();
            return CertificateStep::Blocked(pending(message));
        }
        return CertificateStep::Issue { reason, replaces };
    }
    let rewrite = world.secret(&key).zip(stored.and_then(Result::ok)).and_then(|(found, facts)| {
        let unmarked = if found.restored { RewriteReason::Restored } else { RewriteReason::EncodingChanged };
        let rewrite = (!found.marked).then_some(unmarked).or_else(|| crate::pki::why_rewrite(facts, generations));
        let rewrite = rewrite.or_else(|| why_relabel(identity, found.template.as_ref()));
        let differ = || keystores_differ(world, identity, generations, found, facts);
        rewrite.or_else(|| differ().then_some(RewriteReason::KeystoresChanged))
    });
    match (rewrite, replaces) {
        (Some(reason), Some(replaces)) => CertificateStep::Rewrite { reason, replaces },
        _ => CertificateStep::Keep,
    }
}

/// Whether labels and annotations are not those of the template, and why.
fn why_relabel(identity: &Identity, applied: Option<&AppliedTemplate>) -> Option<RewriteReason> {
    let declared = identity.options.template.as_ref().map(|template| template.hash());
    if declared.as_ref() != applied.map(|applied| &applied.recorded) {
        return Some(RewriteReason::TemplateChanged);
    }
    let changed = applied.is_some_and(|applied| applied.found != applied.recorded);
    changed.then_some(RewriteReason::MetadataChanged)
}

/// Whether a certificate may be issued anew for this reason soon after it was issued: before anybody has put it on record,
/// so that it could not be revoked.
fn follows_from_a_change(reason: ReissueReason) -> bool {
    matches!(
        reason,
        ReissueReason::NamesChanged
            | ReissueReason::UsagesChanged
            | ReissueReason::AlgorithmChanged
            | ReissueReason::IssuerSuperseded
            | ReissueReason::DurationChanged
    )
}

fn signing_key_step(world: &World, object: &ServiceIdentity, identity: &Identity) -> Option<SigningKeyStep> {
    let (algorithm, name) = identity.signing_key.as_ref()?;
    let key = NamespacedName::new(identity.key.namespace.clone(), name.clone());
    let found = world.secret(&key);
    let stored = match found.map(|found| (found.is_of(&identity.uid), &found.content)) {
        None => None,
        Some((true, SecretFacts::SigningKey(facts))) => Some(facts.as_ref().map(AsRef::as_ref)),
        Some(_) => return Some(SigningKeyStep::Blocked(name_taken("Secret", &key))),
    };
    let recorded = object.status.as_ref().and_then(|status| status.signing_key.as_ref());
    let expected = recorded.filter(|recorded| recorded.secret_name == *name).map(|recorded| recorded.key_id.as_str());
    let expected = expected.filter(|_| stored.is_some());
    let replaces = found.map(|found| (found.uid.clone(), found.resource_version.clone()));
    let kid = stored.and_then(Result::ok).map(|facts| facts.current.kid.as_str());
    let rotates = is_to_rotate(object, RotationTarget::SigningKey) && kid.is_some() && kid == expected;
    let reason = why_regenerate(stored, *algorithm, expected);
    if let Some(reason) = reason.or(rotates.then_some(RegenerateReason::Compromised)) {
        return Some(SigningKeyStep::Generate { reason, replaces });
    }
    let rewrite = stored.and_then(Result::ok).and_then(crate::jwt::why_rewrite);
    let unmarked = found.filter(|found| !found.marked).map(|found| match found.restored {
        true => SigningKeyRewriteReason::Restored,
        false => SigningKeyRewriteReason::EncodingChanged,
    });
    Some(match (unmarked.or(rewrite), replaces) {
        (Some(reason), Some(replaces)) => SigningKeyStep::Rewrite { reason, replaces },
        _ => SigningKeyStep::Keep,
    })
}

fn network_policy_step(
    world: &World,
    identity: &Identity,
    domain: &TrustDomain,
    grants: &[&Grant],
    owner: &Owner,
) -> Step<NetworkPolicy> {
    let key = NamespacedName::new(identity.key.namespace.clone(), identity.network_policy());
    let found = world.network_policy(&key);
    if domain.spec.enforcement != Enforcement::Enforce {
        return unfence(world, found, owner, &key);
    }
    if found.is_none() && baseline_comes_first(world, domain, &key.namespace) {
        return Step::Blocked(pending(format!("NetworkPolicy {}/{BASELINE} comes first", key.namespace)));
    }
    let spec = identity_policy(identity, grants, world.cluster.dns().as_ref());
    let mut desired = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
    let hash = network_policy_hash(&desired);
    desired.metadata = metadata(&key.namespace, &key.name, Some(owner), Some(&hash));
    content_step(found, desired, &hash, owner, || name_taken("NetworkPolicy", &key))
}

/// Takes the identity's fence away, once that of the namespace is gone: in between, all would be cut off.
fn unfence(
    world: &World,
    found: Option<&OutputFacts<String>>,
    owner: &Owner,
    key: &NamespacedName,
) -> Step<NetworkPolicy> {
    let ours = found.filter(|found| found.owner_uid.as_deref() == Some(&owner.uid));
    let baseline = world.network_policy(&NamespacedName::new(key.namespace.clone(), BASELINE));
    match ours {
        None => Step::Keep,
        Some(_) if baseline.is_some() => {
            Step::Blocked(pending(format!("NetworkPolicy {}/{BASELINE} is being removed first", key.namespace)))
        }
        Some(found) => Step::Delete { uid: found.uid.clone() },
    }
}

/// The facts of an identity's certificate, if it can be read and is its own.
pub(super) fn leaf_of<'a>(world: &'a World, identity: &Identity) -> Option<&'a LeafFacts> {
    let found = world.secret(&NamespacedName::new(identity.key.namespace.clone(), identity.tls_secret.clone()))?;
    match &found.content {
        SecretFacts::Certificate(Ok(facts)) if found.is_of(&identity.uid) => Some(facts),
        _ => None,
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "options_tests.rs"]
mod options_tests;
