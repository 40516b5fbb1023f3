//! What one identity needs to verify its peers: the ConfigMap `<identity>-trust`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;

use super::authority::left_as_it_is;
use super::objects::{Owner, metadata};
use super::{Step, content_step, name_taken};
use crate::access::{
    Grant, GrantSource, GrantTarget, JudgedPolicy, ResolvedSigner, access_document, bundle_file, declared_issuer,
    issuer_key_set_file, issuer_roots_file, key_set_file, verified_issuers,
};
use crate::api::{ConditionType, Reason};
use crate::jwt::{PublicJwk, jwks_json};
use crate::pki::{CaGenerations, Certificate, SpiffeId, bundle_pem, issuing_bundle};
use crate::world::{Identity, NamespacedName, Problem, SecretFacts, World, config_map_hash};

/// Largest content of a ConfigMap that the API server takes, in bytes.
pub(super) const MAX_CONTENT: usize = 1_048_576;

/// Plans the ConfigMap from the grants that the identity is an end of.
pub(super) fn trust_step(
    world: &World,
    identity: &Identity,
    judged: &[Arc<JudgedPolicy>],
    grants: &[&Grant],
    owner: &Owner,
) -> Step<ConfigMap> {
    let key = NamespacedName::new(identity.key.namespace.clone(), identity.trust_config_map());
    let peers = grants.iter().filter_map(|grant| peer_domain(grant, identity));
    if let Some(lost) = world.lost_authority_of(peers) {
        return Step::Blocked(left_as_it_is("ConfigMap", &key, &lost));
    }
    let data = trust_data(world, identity, judged, grants);
    let size: usize = data.iter().map(|(name, text)| name.len() + text.len()).sum();
    if size > MAX_CONTENT {
        return Step::Blocked(Problem {
            condition: ConditionType::TooLarge,
            reason: Reason::TooLarge,
            message: format!(
                "ConfigMap {key} would hold {size} bytes, more than Kubernetes takes: split the callers over several identities"
            ),
        });
    }
    let mut desired = ConfigMap { data: Some(data), ..ConfigMap::default() };
    let hash = config_map_hash(&desired);
    desired.metadata = metadata(&key.namespace, &key.name, Some(owner), Some(&hash));
    content_step(world.config_map(&key), desired, &hash, owner, || name_taken("ConfigMap", &key))
}

/// The files of the trust ConfigMap.
pub(super) fn trust_data(
    world: &World,
    identity: &Identity,
    judged: &[Arc<JudgedPolicy>],
    grants: &[&Grant],
) -> BTreeMap<String, String> {
    let (mut domains, mut calling, mut called) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut signers: BTreeMap<NamespacedName, SpiffeId> = BTreeMap::new();
    for grant in grants {
        if grant.is_target(identity) {
            let domain = caller_domain(grant).map(str::to_owned);
            domains.extend(domain.clone());
            calling.extend(domain.filter(|_| grant.authentication.mtls));
            if let (GrantSource::Identity(peer), Some(ResolvedSigner::Caller)) =
                (&grant.source, grant.authentication.signer())
            {
                signers.insert(peer.key.clone(), peer.spiffe_id.clone());
            }
        }
        if let (true, GrantTarget::Identity(peer)) = (grant.is_source(identity), &grant.target) {
            domains.insert(peer.domain.clone());
            called.insert(peer.domain.clone());
        }
    }
    let mut data = BTreeMap::from([
        ("callers.pem".to_owned(), roots_of(world, &calling)),
        ("callees.pem".to_owned(), roots_of(world, &called)),
        ("crl.pem".to_owned(), world.revocation_lists(domains.iter().map(String::as_str))),
        ("access.json".to_owned(), access_document(world, identity, judged).to_json()),
    ]);
    for domain in &domains {
        if let (Some(name), Some(generations)) = (world.trust_domain_name(domain), world.generations(domain)) {
            data.insert(bundle_file(name.as_str()), issuing_bundle(generations));
        }
    }
    let signers: Vec<(SpiffeId, Vec<PublicJwk>)> =
        signers.into_iter().filter_map(|(key, spiffe_id)| Some((spiffe_id, public_keys(world, &key)?))).collect();
    for signer in &signers {
        data.insert(key_set_file(&signer.0), jwks_json(std::slice::from_ref(signer)));
    }
    data.insert("jwks.json".to_owned(), jwks_json(&signers));
    let incoming = grants.iter().copied().filter(|grant| grant.is_target(identity));
    for issuer in verified_issuers(incoming) {
        // Until its keys are known nothing verifies, and readers have a file to watch.
        let known = world.issuer(&issuer.key).map(|known| known.jwks.to_string());
        data.insert(issuer_key_set_file(&issuer.name), known.unwrap_or_else(|| jwks_json(&[])));
    }
    for issuer in &identity.issuers {
        if let Some(roots) = declared_issuer(world, identity, issuer).and_then(|issuer| issuer.ca_bundle.clone()) {
            data.insert(issuer_roots_file(&issuer.name), roots);
        }
    }
    data
}

/// The domain that a grant's callers are members of.
fn caller_domain(grant: &Grant) -> Option<&str> {
    match &grant.source {
        GrantSource::Identity(peer) => Some(&peer.domain),
        GrantSource::TrustDomain { name, .. } => Some(name),
        _ => None,
    }
}

/// The domain at the other end of a grant.
fn peer_domain<'a>(grant: &'a Grant, identity: &Identity) -> Option<&'a str> {
    match &grant.target {
        _ if grant.is_target(identity) => caller_domain(grant),
        GrantTarget::Identity(peer) => Some(&peer.domain),
        _ => None,
    }
}

fn roots_of(world: &World, domains: &BTreeSet<String>) -> String {
    let generations: Vec<&Arc<CaGenerations>> = domains.iter().filter_map(|domain| world.generations(domain)).collect();
    let roots: Vec<&Certificate> = generations.iter().flat_map(|generations| generations.roots()).collect();
    bundle_pem(roots)
}

/// The public keys of an identity's signing key, as its Secret holds it now.
pub(super) fn public_keys(world: &World, key: &NamespacedName) -> Option<Vec<PublicJwk>> {
    let signer = world.identity(key)?;
    let (algorithm, secret) = signer.signing_key.as_ref()?;
    let found = world.secret(&NamespacedName::new(key.namespace.clone(), secret.clone()))?;
    match &found.content {
        SecretFacts::SigningKey(Ok(facts)) if found.is_of(&signer.uid) => Some(facts.public_jwks(*algorithm)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
