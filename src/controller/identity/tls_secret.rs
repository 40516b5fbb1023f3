//! The Secret of a certificate, as it is written: issued or put right, with its keystores.

use k8s_openapi::api::core::v1::Secret;
use ringfence_core::api::Reason;
use ringfence_core::pki::{
    CaGenerations, KeystoreContent, LeafFacts, RewriteReason, SecretData, issue_leaf, keystore_record,
    rewrite_tls_secret, tls_secret_data,
};
use ringfence_core::plan::{IdentityPlan, keystore_password, leaf_profile, tls_secret};

use super::{Pass, put_right};
use crate::controller::contest::Output;
use crate::controller::error::Error;
use crate::controller::keystores::{self, Keystores};

fn updated((kind, key): &Output, reason: RewriteReason) -> (Reason, String) {
    (Reason::SecretUpdated, format!("updated {kind} {} ({})", key.name, reason.as_str()))
}

impl Pass<'_> {
    pub(super) async fn issue(
        &mut self,
        plan: &IdentityPlan,
        replaces: Option<(String, String)>,
    ) -> Result<bool, Error> {
        let identity = &plan.identity;
        let generations = self.context.world().generations(&identity.domain).cloned();
        let Some((generations, profile)) = generations.map(|generations| (generations, leaf_profile(identity))) else {
            return Ok(false);
        };
        let Some(authority) = generations.signing() else { return Ok(false) };
        let key = self.private_key(profile.algorithm).await?;
        let leaf = issue_leaf(&profile, authority, &key, &self.context.entropy.serial(), self.now)?;
        // Keystores with another key would seem to serve until they expire: without a password there are none.
        let data = tls_secret_data(&leaf, &generations);
        let secret = self.with_keystores(plan, &generations, data, None).await?;
        self.write_secret(&identity.tls_secret, secret, replaces).await
    }

    /// Puts everything around the leaf right, and tells of it.
    pub(super) async fn put_around(
        &mut self,
        plan: &IdentityPlan,
        reason: RewriteReason,
        replaces: &(String, String),
    ) -> Result<Option<(Reason, String)>, Error> {
        let generations = self.context.world().generations(&plan.identity.domain).cloned();
        let Some(generations) = generations else { return Ok(None) };
        let output = self.output("Secret", &plan.identity.tls_secret);
        let Some(found) = self.as_planned(&output, replaces).await? else { return Ok(None) };
        let data = rewrite_tls_secret(&found, &generations).map_err(|error| Error::Rewrite(error.to_string()))?;
        let secret = self.with_keystores(plan, &generations, data, Some(&found)).await?;
        let asked_for = match reason {
            RewriteReason::TemplateChanged | RewriteReason::KeystoresChanged => self.is_newly_declared(),
            _ => false,
        };
        let done = self.rewritten(&output, secret, replaces, asked_for).await?;
        Ok(done.then(|| match reason {
            // Of a password that changed, only the keystores tell.
            RewriteReason::KeystoresChanged => updated(&output, reason),
            _ if asked_for => updated(&output, reason),
            _ => put_right(&output, reason.as_str()),
        }))
    }

    /// Whether the spec has changed since the status was last written.
    fn is_newly_declared(&self) -> bool {
        let world = self.context.world();
        world.service_identity(self.key).is_some_and(|object| {
            object.status.as_ref().and_then(|status| status.observed_generation) != object.metadata.generation
        })
    }

    /// The Secret with keystores of what is in it. Where there is no password, those that the same leaf has stay.
    async fn with_keystores(
        &self,
        plan: &IdentityPlan,
        generations: &CaGenerations,
        mut data: SecretData,
        found: Option<&SecretData>,
    ) -> Result<Secret, Error> {
        let (password, recorded) = {
            let world = self.context.world();
            let known = world.secret(&self.output("Secret", &plan.identity.tls_secret).1);
            let recorded = known.and_then(|known| known.keystore_record.clone());
            (keystore_password(&world, &plan.identity).cloned(), recorded)
        };
        let record = match (password, found) {
            (Some(password), _) => {
                let content = KeystoreContent::of(&data).map_err(|error| Error::Rewrite(error.to_string()))?;
                let (alias, secret) = (self.key.name.clone(), password.clone());
                // Not on a thread that others wait for.
                let written = tokio::task::spawn_blocking(move || keystores::write(&content, &secret, &alias)).await?;
                let Keystores { keystore, truststore } = written?;
                data.put_keystores(keystore, truststore);
                let facts = LeafFacts::of_secret(&data).map_err(|error| Error::Rewrite(error.to_string()))?;
                facts.issuer(generations).map(|authority| keystore_record(authority, &facts, &password))
            }
            (None, Some(found)) if plan.identity.options.keystores.is_some() => {
                data.keep_keystores(found);
                recorded
            }
            (None, _) => None,
        };
        Ok(tls_secret(&plan.identity, &plan.owner, data, record))
    }
}
