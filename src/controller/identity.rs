//! Reconciling a ServiceIdentity: its Secrets, its ConfigMap, its NetworkPolicy, its status.

mod clients;
mod drift;
mod memory;
mod renewal;
mod restart;
mod suspension;
mod tls_secret;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use ringfence_core::api::{CertificateAlgorithm, ConditionType, Reason, ServiceIdentity};
use ringfence_core::jwt::{SigningKey, key_algorithm, rewrite_signing_key_secret, signing_key_secret_data};
use ringfence_core::pki::{PrivateKey, SecretData};
use ringfence_core::plan::{
    CertificateStep, IdentityPlan, Outcome, SigningKeyStep, Step, identity_plan, identity_status, may_go, name_taken,
    refused_step, signing_key_secret, suspension_plan,
};
use ringfence_core::world::{Change, NamespacedName, OutputFacts, Problem, SecretFacts, Unit};
use tracing::Instrument;

use drift::{is_drift, is_drift_of_key, may_be_contested, put_right};

use suspension::lossy_rotation;

use super::clock::SKEW_PAUSE;
use super::contest::{Output, contested};
use super::context::Context;
use super::error::{Error, tell, write_failed};
use super::keystores::unavailable;
use super::members::Access;
use super::queue::Ended;
use super::report::{Reported, report};
use super::trace;
use super::write::{Written, delete, write};

/// One pass over one identity.
struct Pass<'a> {
    context: &'a Context,
    unit: Unit,
    key: &'a NamespacedName,
    now: Timestamp,
    outcome: Outcome,
    failed: bool,
    /// Whether an output was written.
    wrote: bool,
    /// When to look again although nothing failed.
    again: Option<Timestamp>,
    events: Vec<(Reason, String)>,
}

/// Brings one identity to what is declared.
pub(super) async fn reconcile(context: &Context, key: &NamespacedName) -> Ended {
    let mut pass = Pass {
        context,
        unit: Unit::Identity(key.clone()),
        key,
        now: context.clock.now(),
        outcome: Outcome::default(),
        failed: false,
        wrote: false,
        again: None,
        events: Vec::new(),
    };
    if context.members.awaits(&context.world(), key) {
        return Ended::Done;
    }
    if may_go(&context.world(), key, pass.now) {
        return pass.release().await;
    }
    let (plan, refused, suspension, access) = trace::plan().in_scope(|| {
        let world = context.world();
        let access = context.members.access(&world, &key.namespace);
        let (plan, refused) = (identity_plan(&world, key, pass.now), refused_step(&world, key));
        (plan, refused, suspension_plan(&world, key, pass.now), access)
    });
    match (&plan, &suspension, access) {
        (_, Some(suspension), Access::Open) => pass.suspend(suspension).await,
        (Some(plan), None, Access::Open) => {
            if pass.hold().await {
                pass.carry_out(plan).await;
                pass.restart(plan).await;
            }
        }
        (None, None, Access::Open) => pass.network_policy(format!("ringfence-{}", key.name), &refused).await,
        (_, _, closed) => pass.outcome.problems.extend(closed.problem()),
    }
    pass.report().await
}

impl Pass<'_> {
    async fn carry_out(&mut self, plan: &IdentityPlan) {
        if let Some(problem) = self.context.skew() {
            self.outcome.problems.push(problem);
        } else {
            self.certificate(plan).await;
            self.signing_key(plan).await;
        }
        self.clients(plan).await;
        self.outcome.problems.extend(unavailable(plan.identity.options.keystores.is_some()));
        if self.closes(plan) {
            self.network_policy(plan.identity.network_policy(), &plan.network_policy).await;
            self.trust(plan).await;
        } else {
            self.trust(plan).await;
            self.network_policy(plan.identity.network_policy(), &plan.network_policy).await;
        }
        if !self.failed {
            self.context.memory().edges.insert(self.key.clone(), plan.edges.clone());
        }
    }

    /// Whether an edge goes that was there: after a restart, which has forgotten what was there, one might.
    fn closes(&self, plan: &IdentityPlan) -> bool {
        match self.context.memory().edges.get(self.key) {
            Some(before) => !before.is_subset(&plan.edges),
            None => matches!(&plan.network_policy, Step::Write { replaces: Some(_), .. } | Step::Delete { .. }),
        }
    }

    async fn certificate(&mut self, plan: &IdentityPlan) {
        let result = match &plan.certificate {
            CertificateStep::Keep | CertificateStep::Blocked(_) => return,
            CertificateStep::Issue { reason, replaces } => {
                let output = self.output("Secret", &plan.identity.tls_secret);
                let corrects = match replaces {
                    Some(_) => may_be_contested(*reason),
                    None => self.context.memory().was_in_place(&self.unit, &output),
                };
                if corrects && self.leaves_alone(&output) {
                    return;
                }
                let renewed = replaces.is_some();
                let note = format!("certificate for {} ({})", plan.identity.spiffe_id, reason.as_str());
                let issued = self.issue(plan, replaces.clone()).await;
                if corrects && matches!(issued, Ok(true)) {
                    self.context.memory().contests.corrected(&output, self.now);
                }
                match issued {
                    Ok(true) if corrects && is_drift(*reason) => {
                        Ok(Some((Reason::DriftCorrected, format!("issued a new {note}"))))
                    }
                    Ok(true) if renewed => Ok(Some((Reason::Renewed, format!("renewed the {note}")))),
                    Ok(true) => Ok(Some((Reason::Issued, format!("issued the {note}")))),
                    Ok(false) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            CertificateStep::Rewrite { reason, replaces } => self.put_around(plan, *reason, replaces).await,
        };
        self.conclude(result);
    }

    async fn signing_key(&mut self, plan: &IdentityPlan) {
        let (Some(step), Some((algorithm, name))) = (&plan.signing_key, &plan.identity.signing_key) else { return };
        let result = match step {
            SigningKeyStep::Keep | SigningKeyStep::Blocked(_) => return,
            SigningKeyStep::Generate { reason, replaces } => {
                let output = self.output("Secret", name);
                let corrects = match replaces {
                    Some(_) => is_drift_of_key(*reason),
                    None => self.context.memory().was_in_place(&self.unit, &output),
                };
                if corrects && self.leaves_alone(&output) {
                    return;
                }
                let note = format!("generated the signing key in Secret {name} ({})", reason.as_str());
                let generated = async {
                    let key = SigningKey::new(self.private_key(key_algorithm(*algorithm)).await?, *algorithm)?;
                    let secret = signing_key_secret(&plan.identity, &plan.owner, signing_key_secret_data(&key, None));
                    match secret {
                        Some(secret) => self.write_secret(name, secret, replaces.clone()).await,
                        None => Ok(false),
                    }
                };
                let generated = generated.await;
                if corrects && matches!(generated, Ok(true)) {
                    self.context.memory().contests.corrected(&output, self.now);
                }
                let event = if corrects { Reason::DriftCorrected } else { Reason::SigningKeyGenerated };
                generated.map(|done| done.then_some((event, note)))
            }
            SigningKeyStep::Rewrite { reason, replaces } => {
                let output = self.output("Secret", name);
                let rewritten = async {
                    let Some(found) = self.as_planned(&output, replaces).await? else { return Ok(false) };
                    let data = rewrite_signing_key_secret(&found).map_err(|error| Error::Rewrite(error.to_string()))?;
                    match signing_key_secret(&plan.identity, &plan.owner, data) {
                        Some(secret) => self.rewritten(&output, secret, replaces, false).await,
                        None => Ok(false),
                    }
                };
                rewritten.await.map(|done| done.then(|| put_right(&output, reason.as_str())))
            }
        };
        self.conclude(result);
    }

    /// RSA keys take long to find: not on a thread that others wait for.
    async fn private_key(&self, algorithm: CertificateAlgorithm) -> Result<PrivateKey, Error> {
        let entropy = Arc::clone(&self.context.entropy);
        Ok(match algorithm {
            CertificateAlgorithm::Rsa2048 | CertificateAlgorithm::Rsa3072 | CertificateAlgorithm::Rsa4096 => {
                tokio::task::spawn_blocking(move || entropy.private_key(algorithm)).await??
            }
            _ => entropy.private_key(algorithm)?,
        })
    }

    /// Reads a Secret of ours, for its key alone, so that it can be written back as it should be. One that is not as it was
    /// when this was planned is planned again.
    async fn as_planned(
        &mut self,
        output: &Output,
        (uid, version): &(String, String),
    ) -> Result<Option<SecretData>, Error> {
        if self.leaves_alone(output) {
            return Ok(None);
        }
        let name = &output.1.name;
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.key.namespace);
        let planned = |found: &Secret| {
            found.metadata.uid.as_ref() == Some(uid) && found.metadata.resource_version.as_ref() == Some(version)
        };
        let gathered = api.get_opt(name).instrument(trace::gather::<Secret>(&self.key.namespace, name)).await;
        let found = gathered?.filter(planned);
        self.failed |= found.is_none();
        Ok(found.map(|found| found.data.as_ref().map(SecretData::from).unwrap_or_default()))
    }

    /// Writes it back; it is counted as a correction unless it follows from what is newly declared.
    async fn rewritten(
        &mut self,
        output: &Output,
        secret: Secret,
        replaces: &(String, String),
        declared: bool,
    ) -> Result<bool, Error> {
        let done = self.write_secret(&output.1.name, secret, Some(replaces.clone())).await?;
        if done && !declared {
            self.context.memory().contests.corrected(output, self.now);
        }
        Ok(done)
    }

    async fn write_secret(
        &mut self,
        name: &str,
        secret: Secret,
        replaces: Option<(String, String)>,
    ) -> Result<bool, Error> {
        let key = NamespacedName::new(self.key.namespace.clone(), name);
        let written = write(&self.context.client, secret, replaces).await?;
        Ok(self.fold(written, &key, "Secret", |key, secret: &Secret| {
            Change::Secret(key, Some(OutputFacts::<SecretFacts>::from(secret)))
        }))
    }

    async fn trust(&mut self, plan: &IdentityPlan) {
        let Step::Write { desired, replaces, drift } = &plan.trust else { return };
        let unseen = self.context.members.unseen_peer(&self.context.world(), self.key);
        if unseen.is_some() {
            return self.outcome.problems.extend(unseen);
        }
        let output = self.output("ConfigMap", &plan.identity.trust_config_map());
        let drift = *drift || replaces.is_none() && self.context.memory().was_in_place(&self.unit, &output);
        if drift && self.leaves_alone(&output) {
            return;
        }
        let result = write::<ConfigMap>(&self.context.client, desired.as_ref().clone(), replaces.clone()).await;
        let fold = |key, object: &ConfigMap| Change::ConfigMap(key, Some(object.into()));
        let result = result.map_err(Error::from).map(|written| self.fold_content(written, &output, drift, fold));
        self.conclude(result);
    }

    async fn network_policy(&mut self, name: String, step: &Step<NetworkPolicy>) {
        let output = self.output("NetworkPolicy", &name);
        let key = output.1.clone();
        let result = match step {
            Step::Keep | Step::Blocked(_) => return,
            Step::Delete { uid } => {
                let deleted = delete::<NetworkPolicy>(&self.context.client, &key.namespace, &key.name, uid).await;
                deleted.map_err(Error::from).map(|()| {
                    self.context.fold_own(&self.unit, [Change::NetworkPolicy(key, None)]);
                    None
                })
            }
            Step::Write { desired, replaces, drift } => {
                let drift = *drift || replaces.is_none() && self.context.memory().was_in_place(&self.unit, &output);
                if drift && self.leaves_alone(&output) {
                    return;
                }
                let result =
                    write::<NetworkPolicy>(&self.context.client, desired.as_ref().clone(), replaces.clone()).await;
                let fold = |key, object: &NetworkPolicy| Change::NetworkPolicy(key, Some(object.into()));
                result.map_err(Error::from).map(|written| self.fold_content(written, &output, drift, fold))
            }
        };
        self.conclude(result);
    }

    /// Folds what a write was answered with; returns whether it was done.
    fn fold<K>(
        &mut self,
        written: Written<K>,
        key: &NamespacedName,
        kind: &str,
        change: impl FnOnce(NamespacedName, &K) -> Change,
    ) -> bool {
        match written {
            Written::Done(object) => {
                self.context.fold_own(&self.unit, [change(key.clone(), &object)]);
                self.wrote = true;
                return true;
            }
            Written::Found(object) => {
                self.context.fold_found(&self.unit, change(key.clone(), &object));
                self.failed = true;
            }
            // Nothing tells when it goes: it is looked at again and again, with growing pauses.
            Written::Taken => {
                self.outcome.problems.push(name_taken(kind, key));
                self.failed = true;
            }
            Written::Conflict => self.failed = true,
            Written::Terminating => self.outcome.problems.push(Problem {
                condition: ConditionType::Programmed,
                reason: Reason::NamespaceTerminating,
                message: format!("namespace {} is being deleted: nothing is written any more", key.namespace),
            }),
        }
        false
    }

    /// Folds an output whose whole content was written.
    fn fold_content<K>(
        &mut self,
        written: Written<K>,
        output: &Output,
        drift: bool,
        change: impl FnOnce(NamespacedName, &K) -> Change,
    ) -> Option<(Reason, String)> {
        let done = self.fold(written, &output.1, output.0, change);
        if done && drift {
            self.context.memory().contests.corrected(output, self.now);
        }
        (done && drift).then(|| (Reason::DriftCorrected, format!("put {} {} right", output.0, output.1.name)))
    }

    fn output(&self, kind: &'static str, name: &str) -> Output {
        (kind, NamespacedName::new(self.key.namespace.clone(), name))
    }

    /// Whether an output has been put right so often lately that someone must be fighting over it.
    fn leaves_alone(&mut self, output: &Output) -> bool {
        let until = self.context.memory().contests.until(output, self.now);
        if let Some(until) = until {
            self.outcome.problems.push(contested(output, until));
            self.again = self.again.into_iter().chain([until]).min();
        }
        until.is_some()
    }

    fn conclude(&mut self, result: Result<Option<(Reason, String)>, Error>) {
        match result {
            Ok(event) => self.events.extend(event),
            Err(error) => {
                self.failed = true;
                self.outcome.problems.push(write_failed(&error));
            }
        }
    }

    async fn report(self) -> Ended {
        let (object, status, done) = {
            let world = self.context.world();
            let Some(object) = world.service_identity(self.key).cloned() else {
                let mut memory = self.context.memory();
                memory.edges.remove(self.key);
                memory.unprogrammed.remove(self.key);
                memory.forget(&self.unit);
                memory.outdated.forget(&self.unit);
                return Ended::Done;
            };
            let plan = identity_plan(&world, self.key, self.now);
            let suspended = suspension_plan(&world, self.key, self.now).is_some_and(|plan| plan.is_done());
            (
                object,
                identity_status(&world, self.key, &self.outcome, self.now),
                suspended || plan.is_some_and(|plan| plan.is_done()),
            )
        };
        self.note_programmed(done);
        self.note_in_place();
        // What came in meanwhile is carried out next, and the status then written once; but a key that took the place of
        // the one on record is recorded at once, or it would be taken for someone else's.
        let unfinished = !done && !self.failed && self.outcome.problems.is_empty();
        let recorded = object.status.as_ref().and_then(|status| status.signing_key.as_ref());
        let status = status.filter(|status| {
            let another_key = recorded.is_some() && recorded != status.signing_key.as_ref();
            another_key || !(unfinished && self.context.queue.comes_again(&self.unit))
        });
        let api = Api::<ServiceIdentity>::namespaced(self.context.client.clone(), &self.key.namespace);
        let lossy = lossy_rotation(&object, status.as_ref());
        let reported = report(self.context, &self.unit, &api, &object, status).await;
        if let (Ok(Reported::Written), Some(note)) = (&reported, lossy) {
            self.context.events.warning(object.as_ref(), Reason::Compromised, note).await;
        }
        self.publish(&object).await;
        match reported {
            Ok(Reported::Written) if !done => {
                // What is on record now, such as the key that is to be expected, may leave nothing to do.
                self.context.queue.add([self.unit.clone()]);
            }
            Ok(Reported::Unchanged | Reported::Written) => {}
            Ok(Reported::Nowhere) => return Ended::Done,
            Err(error) => {
                tell(&error, "the status could not be written and is tried again");
                return Ended::Failed;
            }
        }
        match (self.failed, self.again, done) {
            (true, ..) => Ended::Failed,
            (_, None, false) if self.context.clock.skew().is_some() => Ended::After(SKEW_PAUSE),
            // What is stored is not what was sent, and not because something came in meanwhile: someone on the way changes
            // it, and nothing tells when that ends.
            (_, None, false) if self.wrote && !self.context.queue.comes_again(&self.unit) => Ended::Failed,
            _ => self.until_renewal(),
        }
    }

    /// One event for one pass: what was issued and what was put right.
    async fn publish(&self, object: &ServiceIdentity) {
        let notes = |drift: bool| {
            let of_kind = self.events.iter().filter(|(reason, _)| (*reason == Reason::DriftCorrected) == drift);
            let notes: Vec<&str> = of_kind.clone().map(|(_, note)| note.as_str()).collect();
            of_kind.map(|(reason, _)| *reason).next().map(|reason| (reason, notes.join(", ")))
        };
        if let Some((reason, notes)) = notes(true) {
            self.context.events.warning(object, reason, format!("someone else changed an output: {notes}")).await;
        }
        if let Some((reason, notes)) = notes(false) {
            self.context.events.normal(object, reason, notes).await;
        }
    }
}
