//! What the token service is told of a namespace: one ConfigMap in its own namespace, which belongs to the TrustDomain.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;

use super::authority::left_as_it_is;
use super::fence::{belongs_to, is_ours};
use super::objects::{Owner, metadata};
use super::trust::{MAX_CONTENT, public_keys};
use super::{Step, content_step, name_taken};
use crate::access::DEFAULT_TOKEN_LIFETIME;
use crate::api::{BuiltInIssuer, ConditionType, Reason, TrustDomain};
use crate::pki::issuing_bundle;
use crate::tokens::{
    DIRECTORY_FILE, DIRECTORY_VERSION, Directory, DirectoryClients, DirectoryDomain, DirectoryGrant, DirectoryIdentity,
    DirectoryIssuer,
};
use crate::world::{
    Identity, IssuerFailure, IssuerKey, NO_TOKEN_SERVICE, NamespacedName, Problem, World, config_map_hash, signed,
};

/// What to do about the ConfigMap with what the token service is told of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryStep {
    /// The TrustDomain that is responsible.
    pub domain: Option<String>,
    /// The step.
    pub step: Step<ConfigMap>,
    /// What is left out of it, since it would not fit.
    pub problem: Option<Problem>,
}

/// Plans one of these ConfigMaps. What is not due is deleted: the token service knows of nothing else.
pub fn directory_step(world: &World, key: &NamespacedName) -> DirectoryStep {
    let not_due = |step| DirectoryStep { domain: None, step, problem: None };
    if world.namespace(&key.namespace).is_none_or(|facts| facts.terminating) {
        return not_due(Step::Keep);
    }
    let found = world.config_map(key);
    let gone = || {
        let ours = found.filter(|found| is_ours(world, found));
        ours.map_or(Step::Keep, |found| Step::Delete { uid: found.uid.clone() })
    };
    let due = world.directory_due(key);
    let Some((namespace, domain, settings)) = due.and_then(|(namespace, domain)| {
        let (_, settings) = domain.built_in_issuer()?;
        Some((namespace, domain.as_ref(), settings))
    }) else {
        return not_due(gone());
    };
    let name = domain.metadata.name.clone().unwrap_or_default();
    let planned = |step, problem| DirectoryStep { domain: Some(name.clone()), step, problem };
    if let Some(lost) = world.lost_authority_of([name.as_str()]) {
        return planned(Step::Blocked(left_as_it_is("ConfigMap", key, &lost)), None);
    }
    let (text, left_out) = fitting(directory(world, namespace, domain, settings), grants(world, namespace));
    let left_out = if text.is_some() { left_out } else { BTreeSet::new() };
    let problem = (text.is_none() || !left_out.is_empty()).then(|| too_large(key, namespace, &left_out));
    let Some(text) = text else { return planned(gone(), problem) };
    let owner = Owner::of(domain);
    let data = BTreeMap::from([(DIRECTORY_FILE.to_owned(), text)]);
    let mut desired = ConfigMap { data: Some(data), ..ConfigMap::default() };
    let hash = config_map_hash(&desired);
    desired.metadata = metadata(&key.namespace, &key.name, Some(&owner), Some(&hash));
    if let Some(found) = found.filter(|found| !belongs_to(found, domain) && is_ours(world, found)) {
        // The namespace comes from another domain. It changes hands without a moment in between.
        let replaces = Some((found.uid.clone(), found.resource_version.clone()));
        return planned(Step::Write { desired: Box::new(desired), replaces, drift: false }, problem);
    }
    planned(content_step(found, desired, &hash, &owner, || name_taken("ConfigMap", key)), problem)
}

/// The document, without grants.
fn directory(world: &World, namespace: &str, domain: &TrustDomain, settings: &BuiltInIssuer) -> Directory {
    let name = domain.metadata.name.clone().unwrap_or_default();
    let identities = world.identities_in(namespace).filter_map(|(key, _)| world.identity(key));
    let lifetime = settings.token_lifetime.as_ref().map_or(DEFAULT_TOKEN_LIFETIME, signed);
    Directory {
        version: DIRECTORY_VERSION,
        namespace: namespace.to_owned(),
        identities: identities.map(|identity| directory_identity(world, identity)).collect(),
        grants: Vec::new(),
        domain: DirectoryDomain {
            trust_domain: domain.claimed_name().to_owned(),
            bundle: world.generations(&name).map(|generations| issuing_bundle(generations)).unwrap_or_default(),
            revocation_lists: world.revocation_lists([name.as_str()]),
            token_format: settings.token_format,
            token_lifetime_seconds: u64::try_from(lifetime.as_secs()).unwrap_or_default(),
            scopes: settings.scopes.iter().cloned().collect(),
            clients: settings.clients.as_ref().map(|clients| DirectoryClients {
                secret_name: clients.secret_name.clone(),
                cidrs: clients.cidrs.clone(),
            }),
            issuers: other_issuers(world, domain, &name),
            name,
        },
    }
}

fn directory_identity(world: &World, identity: &Identity) -> DirectoryIdentity {
    DirectoryIdentity {
        name: identity.key.name.clone(),
        service_account: identity.spiffe_id.service_account().to_owned(),
        spiffe_id: identity.spiffe_id.to_string(),
        audiences: identity.audiences.clone(),
        client: identity.is_token_client(),
        keys: public_keys(world, &identity.key).unwrap_or_default(),
    }
}

/// The issuers outside whose tokens members may exchange, with their keys as far as they are known.
fn other_issuers(world: &World, domain: &TrustDomain, name: &str) -> Vec<DirectoryIssuer> {
    let issuers = domain.spec.token_issuers.iter().filter_map(|declared| Some((declared, declared.issuer.as_ref()?)));
    let told = issuers.map(|(declared, issuer)| {
        let key = IssuerKey::external(name, &declared.name);
        let facts = world.issuer(&key).filter(|facts| facts.issuer == *issuer);
        let introspection_uri = declared.introspection_uri.as_ref();
        DirectoryIssuer {
            name: declared.name.clone(),
            issuer: issuer.clone(),
            jwks: facts.map(|facts| facts.jwks.clone()),
            introspection_uri: introspection_uri.or(facts.and_then(|facts| facts.introspection_uri.as_ref())).cloned(),
            audiences: declared.audiences.iter().cloned().collect(),
        }
    });
    told.collect()
}

/// The grants whose callees are in a namespace, which is that of their policies, each with the age of its policy.
fn grants(world: &World, namespace: &str) -> Vec<(i64, DirectoryGrant)> {
    let in_force = world.judged_in(namespace).filter(|judged| !judged.draft);
    let told = in_force.flat_map(|judged| {
        let policy = judged.origin.policy().and_then(|policy| world.policy(policy));
        let created = policy.and_then(|policy| policy.metadata.creation_timestamp.as_ref());
        let created = created.map_or(0, |time| time.0.as_second());
        judged.grants.iter().filter_map(DirectoryGrant::of).map(move |grant| (created, grant))
    });
    told.collect()
}

/// The document as text, with the policies of which grants do not fit into a ConfigMap: the youngest ones go without, so
/// that what was there goes on and nothing that was revoked stays. No text when it would not fit without any grant.
fn fitting(mut directory: Directory, grants: Vec<(i64, DirectoryGrant)>) -> (Option<String>, BTreeSet<String>) {
    let longest = MAX_CONTENT - DIRECTORY_FILE.len();
    let mut room = longest.checked_sub(json(&directory).len());
    let ages: Vec<i64> = grants.iter().map(|(created, _)| *created).collect();
    directory.grants = grants.into_iter().map(|(_, grant)| grant).collect();
    let text = json(&directory);
    if text.len() <= longest {
        return (Some(text), BTreeSet::new());
    }
    let mut by_age: Vec<usize> = (0..ages.len()).collect();
    by_age.sort_by_key(|index| ages[*index]);
    let mut fits = BTreeSet::new();
    for index in by_age {
        // With a comma.
        let size = json(&directory.grants[index]).len() + 1;
        let Some(left) = room.and_then(|room| room.checked_sub(size)) else { break };
        room = Some(left);
        fits.insert(index);
    }
    let grants = std::mem::take(&mut directory.grants).into_iter().enumerate();
    let (kept, left_out): (Vec<_>, Vec<_>) = grants.partition(|(index, _)| fits.contains(index));
    directory.grants = kept.into_iter().map(|(_, grant)| grant).collect();
    (room.map(|_| json(&directory)), left_out.into_iter().map(|(_, grant)| grant.policy).collect())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a document of strings and numbers always serializes")
}

fn too_large(key: &NamespacedName, namespace: &str, left_out: &BTreeSet<String>) -> Problem {
    let shown: Vec<&str> = left_out.iter().take(5).map(String::as_str).collect();
    let left_out = match left_out.len() {
        0 => "any policy".to_owned(),
        count if count > shown.len() => format!("AccessPolicies {} and {} more", shown.join(", "), count - shown.len()),
        _ => format!("AccessPolicies {}", shown.join(", ")),
    };
    Problem {
        condition: ConditionType::TooLarge,
        reason: Reason::TooLarge,
        message: format!(
            "ConfigMap {key}, by which the token service knows namespace {namespace}, would be larger than Kubernetes takes: it mints no tokens by {left_out}; spread the callees over several namespaces"
        ),
    }
}

/// Why the token service can't serve a domain that names it.
pub(super) fn token_service_problems(world: &World, domain: &TrustDomain) -> Vec<Problem> {
    let Some((issuer, _)) = domain.built_in_issuer() else { return Vec::new() };
    let unresolved = |reason, message| Problem { condition: ConditionType::ResolvedRefs, reason, message };
    let Some(service) = &world.settings.token_service else {
        return vec![unresolved(Reason::TokenServiceNotFound, NO_TOKEN_SERVICE.to_owned())];
    };
    let (name, identity) = (&issuer.name, &service.identity);
    let namespace = &identity.namespace;
    let mut problems = Vec::new();
    if world.domain_of(namespace).is_none() {
        let message = format!(
            "token issuer {name} can't be served, because the token service's namespace {namespace} is in no TrustDomain: add it to the namespaces of one"
        );
        problems.push(unresolved(Reason::NotInTrustDomain, message));
    } else if world.identity(identity).is_none() {
        let (what, remedy) = match world.service_identity(identity) {
            None => ("does not exist", "create it"),
            Some(_) => ("is not accepted", "see its status"),
        };
        let message =
            format!("token issuer {name} can't be served, because its ServiceIdentity {identity} {what}: {remedy}");
        problems.push(unresolved(Reason::TokenServiceNotFound, message));
    }
    let key = IssuerKey::BuiltIn;
    let failure = match (world.issuer(&key), world.issuer_failure(&key)) {
        (Some(facts), _) => facts.stale.as_ref().map(|failure| (failure, "the keys of before stay in use")),
        (None, failure) => failure.map(|failure| (failure, "its tokens can't be verified by key")),
    };
    problems.extend(failure.map(|(IssuerFailure { reason, since, why }, meanwhile)| {
        unresolved(*reason, format!("token issuer {name}: {why}; since {since} {meanwhile}"))
    }));
    let directories = world.namespaces_of(domain.metadata.name.as_deref().unwrap_or_default());
    let directories = directories.iter().filter_map(|namespace| world.directory_of(namespace));
    let taken = directories.filter(|key| world.config_map(key).is_some_and(|found| !is_ours(world, found)));
    problems.extend(taken.map(|key| name_taken("ConfigMap", &key)));
    problems
}

/// The first namespace of a domain of which the token service is yet to be told.
pub(super) fn untold_namespace(world: &World, domain: &str) -> Option<String> {
    let untold = |namespace: &String| {
        let key = world.directory_of(namespace)?;
        (world.directory_due(&key).is_some() && world.config_map(&key).is_none()).then_some(())
    };
    world.namespaces_of(domain).into_iter().find(|namespace| untold(namespace).is_some())
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
