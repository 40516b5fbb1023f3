//! The client credentials that identities get for issuers which gave some out.

use std::sync::Arc;

use super::claims::Claim;
use super::fold::{Dirty, replace};
use super::{Identity, ListedIssuer, NamespacedName, OutputFacts, Problem, SecretFacts, Unit, World};
use crate::api::{ConditionType, Reason, TrustDomain};
use crate::issuers::CredentialsFacts;

/// Credentials that an identity gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The issuer's name in the TrustDomain.
    pub issuer: String,
    /// The Secret that they come from, in the operator's namespace.
    pub source: String,
    /// The Secret that they are copied to.
    pub secret: String,
}

/// Name of the Secret with an identity's credentials for an issuer.
pub fn client_secret_name(identity: &str, issuer: &str) -> String {
    format!("{identity}-{issuer}-client")
}

impl World {
    /// What is known of a Secret of the operator's namespace with credentials.
    pub fn credentials(&self, secret: &str) -> Option<&Arc<CredentialsFacts>> {
        self.credentials.get(secret)
    }

    /// The Secrets with credentials that belong to an identity.
    pub fn client_secrets_of<'a>(
        &'a self,
        identity: &'a NamespacedName,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a OutputFacts<SecretFacts>)> {
        let prefix = format!("{}-", identity.name);
        let first = NamespacedName::new(identity.namespace.clone(), prefix.clone());
        let named = self.secrets.range(first..);
        let named =
            named.take_while(move |(key, _)| key.namespace == identity.namespace && key.name.starts_with(&prefix));
        named.filter(move |(_, found)| matches!(found.content, SecretFacts::Client(_)) && found.is_of(uid))
    }

    /// Folds what is known of a Secret with credentials; whoever gets some out of it looks at them.
    pub(super) fn fold_credentials(&mut self, secret: &str, new: Option<Arc<CredentialsFacts>>, dirty: &mut Dirty) {
        let old = replace(&mut self.credentials, secret, new);
        let new = self.credentials.get(secret);
        let alike = match (&old, new) {
            (Some(old), Some(new)) => old.is_alike(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if alike {
            return;
        }
        let names_it =
            |domain: &TrustDomain| domain.spec.token_issuers.iter().any(|issuer| source(issuer) == Some(secret));
        let domains = self.domains.iter().filter(|(_, domain)| names_it(domain));
        let gets_some = |identity: &&Identity| identity.clients.iter().any(|client| client.source == secret);
        let clients = domains.flat_map(|(name, _)| self.identities_of(name)).filter(gets_some);
        dirty.units.extend(clients.map(|identity| Unit::Identity(identity.key.clone())));
    }
}

fn source(issuer: &crate::api::TokenIssuer) -> Option<&str> {
    Some(issuer.client_authentication.as_ref()?.secret_ref.as_ref()?.name.as_str())
}

/// The credentials that an identity gets for the issuers that it lists, and by which of them it can't prove itself.
pub(super) fn clients(world: &World, domain: &TrustDomain, identity: &Identity) -> (Vec<Client>, Vec<Problem>) {
    let (mut clients, mut problems) = (Vec::new(), Vec::new());
    for ListedIssuer { name, .. } in &identity.issuers {
        let Some(issuer) = domain.token_issuer(name) else { continue };
        let Some(by) = &issuer.client_authentication else { continue };
        let mut refuse = |reason, message| {
            problems.push(Problem { condition: ConditionType::Accepted, reason, message });
        };
        if by.private_key_jwt.is_some() && identity.signing_key.is_none() {
            refuse(
                Reason::NoSigningKey,
                format!(
                    "token issuer {name} knows its clients by JWTs that they sign (privateKeyJwt), and this identity has no signing key: set signingKey, or take {name} out of tokenIssuers"
                ),
            );
        }
        if by.mtls.is_some() && !identity.options.usages.client_auth {
            refuse(
                Reason::UsageMissing,
                format!(
                    "token issuer {name} knows its clients by their certificates (mtls), and this one's is not for clients: add ClientAuth to certificate.usages, or take {name} out of tokenIssuers"
                ),
            );
        }
        let Some(source) = source(issuer) else { continue };
        let secret = client_secret_name(&identity.key.name, name);
        let claim = Claim::Secret(NamespacedName::new(identity.key.namespace.clone(), secret.clone()));
        let own = identity.signing_key.iter().map(|(_, secret)| secret).chain([&identity.tls_secret]);
        match world.claims.holder_before(&claim, &identity.key) {
            _ if own.into_iter().any(|own| *own == secret) => refuse(
                Reason::SecretNameTaken,
                format!(
                    "Secret {secret} is to hold the credentials for token issuer {name}: choose another secretName for certificate or signingKey"
                ),
            ),
            Some(holder) => refuse(
                Reason::SecretNameTaken,
                format!(
                    "Secret {secret}, which is to hold the credentials for token issuer {name}, is written by ServiceIdentity {holder}: rename one of the two"
                ),
            ),
            None => clients.push(Client { issuer: name.clone(), source: source.to_owned(), secret }),
        }
    }
    (clients, problems)
}
