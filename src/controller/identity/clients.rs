//! Client credentials of an identity: copied from a Secret of the operator's namespace, which is read for them alone.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use ringfence_core::api::Reason;
use ringfence_core::issuers::credentials_for;
use ringfence_core::pki::SecretData;
use ringfence_core::plan::{ClientStep, IdentityPlan, client_secret};
use ringfence_core::world::Client;
use tracing::Instrument;

use super::Pass;
use crate::controller::error::Error;
use crate::controller::trace;

impl Pass<'_> {
    /// Delivers credentials, and takes away those that are not to be there any more.
    pub(super) async fn clients(&mut self, plan: &IdentityPlan) {
        for step in &plan.clients.steps {
            let result = match step {
                ClientStep::Blocked(_) => continue,
                ClientStep::Delete(leftover) => {
                    let note = format!("removed the credentials in Secret {}", leftover.key.name);
                    self.remove(leftover).await.map(|()| Some((Reason::CredentialsRemoved, note)))
                }
                ClientStep::Copy { client, version, replaces, drift } => {
                    let output = self.output("Secret", &client.secret);
                    let drift = *drift || replaces.is_none() && self.context.memory().was_in_place(&self.unit, &output);
                    if drift && self.leaves_alone(&output) {
                        continue;
                    }
                    let copied = self.copy(plan, client, version, replaces.clone()).await;
                    if drift && matches!(copied, Ok(true)) {
                        self.context.memory().contests.corrected(&output, self.now);
                    }
                    let event = if drift {
                        (Reason::DriftCorrected, format!("put Secret {} right", client.secret))
                    } else {
                        let (issuer, secret) = (&client.issuer, &client.secret);
                        let note = format!("delivered the credentials for token issuer {issuer} in Secret {secret}");
                        (Reason::CredentialsDelivered, note)
                    };
                    copied.map(|done| done.then_some(event))
                }
            };
            self.conclude(result);
        }
    }

    /// Copies from the very version that this was planned with; another one is planned again.
    async fn copy(
        &mut self,
        plan: &IdentityPlan,
        client: &Client,
        version: &str,
        replaces: Option<(String, String)>,
    ) -> Result<bool, Error> {
        let namespace = self.context.world().settings.operator_namespace.clone();
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &namespace);
        let gathered =
            api.get_opt(&client.source).instrument(trace::gather::<Secret>(&namespace, &client.source)).await;
        let source = gathered?.filter(|source| source.metadata.resource_version.as_deref() == Some(version));
        let data = source.map(|source| source.data.as_ref().map(SecretData::from).unwrap_or_default());
        let Some(Ok(credentials)) = data.map(|data| credentials_for(&data, self.key)) else {
            self.failed = true;
            return Ok(false);
        };
        let secret = client_secret(&plan.identity, &plan.owner, client, version, credentials);
        self.write_secret(&client.secret, secret, replaces).await
    }
}
