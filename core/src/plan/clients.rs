//! The Secrets with client credentials of an identity: copies of what the platform team keeps in the operator's namespace.

use k8s_openapi::api::core::v1::Secret;

use super::identity::secret;
use super::name_taken;
use super::objects::Owner;
use super::suspension::Leftover;
use crate::api::{ConditionType, Reason};
use crate::issuers::CredentialsFault;
use crate::pki::SecretData;
use crate::world::{
    CLIENT_SECRET_TYPE, Client, HASH_ANNOTATION, Identity, NamespacedName, Problem, SecretFacts, World, content_hash,
};

/// What to do about the Secrets with client credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientsPlan {
    /// What is to be done.
    pub steps: Vec<ClientStep>,
    /// What can't be had, while everything else can. What was delivered before stays.
    pub problems: Vec<Problem>,
}

/// What to do about one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Copy the credentials.
    Copy {
        /// For which issuer, from where and to where.
        client: Client,
        /// Version of the Secret that they come from.
        version: String,
        /// UID and version of the Secret to replace.
        replaces: Option<(String, String)>,
        /// Someone else changed what was written.
        drift: bool,
    },
    /// Delete a copy that is not to be there any more.
    Delete(Leftover),
    /// Nothing, until this is resolved.
    Blocked(Problem),
}

impl ClientsPlan {
    /// What keeps steps from being done, and what can't be had.
    pub(super) fn told(&self) -> impl Iterator<Item = &Problem> {
        let blocked = self.steps.iter().filter_map(|step| match step {
            ClientStep::Blocked(problem) => Some(problem),
            _ => None,
        });
        blocked.chain(&self.problems)
    }
}

/// The Secret with the credentials of an identity for an issuer, copied from a Secret of this version.
pub fn client_secret(identity: &Identity, owner: &Owner, client: &Client, version: &str, data: SecretData) -> Secret {
    let mut secret = secret(&identity.key.namespace, &client.secret, owner, CLIENT_SECRET_TYPE, data);
    secret
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(HASH_ANNOTATION.to_owned(), origin_hash(client, version));
    secret
}

/// What the annotation says in place of a hash of the content, from which a secret could be guessed: where it came from.
fn origin_hash(client: &Client, version: &str) -> String {
    content_hash(&(&client.source, version))
}

/// Plans the Secrets with credentials of one identity.
pub(super) fn clients_plan(world: &World, identity: &Identity) -> ClientsPlan {
    let mut plan = ClientsPlan::default();
    for client in &identity.clients {
        match client_step(world, identity, client) {
            Ok(step) => plan.steps.extend(step),
            Err(problem) => plan.problems.push(problem),
        }
    }
    let stays = |key: &NamespacedName| identity.clients.iter().any(|client| client.secret == key.name);
    let left = world.client_secrets_of(&identity.key, &identity.uid).filter(|(key, _)| !stays(key));
    plan.steps.extend(
        left.map(|(key, found)| {
            ClientStep::Delete(Leftover { kind: "Secret", key: key.clone(), uid: found.uid.clone() })
        }),
    );
    plan
}

fn client_step(world: &World, identity: &Identity, client: &Client) -> Result<Option<ClientStep>, Problem> {
    let Some(facts) = world.credentials(&client.source) else {
        let what = "does not exist, or holds no credentials".to_owned();
        return Err(not_found(world, client, Reason::SecretNotFound, &what));
    };
    let wanted = facts.of_identity(&identity.key).map_err(|fault| {
        let reason = match fault {
            CredentialsFault::Missing(_) => Reason::SecretNotFound,
            CredentialsFault::Invalid(_) => Reason::Invalid,
        };
        not_found(world, client, reason, &fault.to_string())
    })?;
    let key = NamespacedName::new(identity.key.namespace.clone(), client.secret.clone());
    let copy = |replaces, drift| {
        let (client, version) = (client.clone(), facts.version.clone());
        Ok(Some(ClientStep::Copy { client, version, replaces, drift }))
    };
    let Some(found) = world.secret(&key) else { return copy(None, false) };
    match &found.content {
        SecretFacts::Client(delivered) if found.is_of(&identity.uid) => {
            if delivered.as_ref() == Some(wanted) && found.marked {
                return Ok(None);
            }
            let drift = found.recorded_hash.as_deref() == Some(&origin_hash(client, &facts.version));
            copy(Some((found.uid.clone(), found.resource_version.clone())), drift)
        }
        _ => Ok(Some(ClientStep::Blocked(name_taken("Secret", &key)))),
    }
}

fn not_found(world: &World, client: &Client, reason: Reason, what: &str) -> Problem {
    let Client { issuer, source, .. } = client;
    let namespace = &world.settings.operator_namespace;
    Problem {
        condition: ConditionType::ResolvedRefs,
        reason,
        message: format!(
            "the credentials for token issuer {issuer} can't be delivered: Secret {namespace}/{source} {what}; ask the platform team to put client-id and client-secret there"
        ),
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
