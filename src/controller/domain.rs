//! Reconciling a TrustDomain: its finalizer, its CA, its bundle, its status.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use ringfence_core::api::{ConditionType, Reason, TrustDomain};
use ringfence_core::issuers::RECORD_SUFFIX;
use ringfence_core::pki::{CaGenerations, SecretData, adopt_secret};
use ringfence_core::plan::{
    AuthorityStep, DomainPlan, FINALIZER, MakeAuthorityError, Outcome, Step, authority_secret, domain_plan,
    domain_status, make_authority, name_taken, with_adopted,
};
use ringfence_core::world::{AUTHORITY_SECRET_TYPE, AuthorityFacts, Change, NamespacedName, Problem, Unit};
use tracing::Instrument;

use super::clock::SKEW_PAUSE;
use super::contest::{Output, contested};
use super::context::Context;
use super::error::{Error, tell, write_failed};
use super::finalizers::{record_authority, set_finalizers};
use super::queue::Ended;
use super::report::{Reported, report};
use super::revocation::{self, Revised};
use super::trace;
use super::watch::operator_secret;
use super::write::{MANAGER, Written, delete, write};

/// The ConfigMaps of a domain: the ends of their names, and their steps.
const CONFIG_MAPS: [(&str, StepOf); 2] = [("-trust", |plan| plan.trust), (RECORD_SUFFIX, |plan| plan.issuers)];

type StepOf = fn(DomainPlan) -> Step<ConfigMap>;

struct Pass<'a> {
    context: &'a Context,
    unit: Unit,
    name: &'a str,
    namespace: String,
    now: Timestamp,
    outcome: Outcome,
    failed: bool,
    event: Option<(Reason, String)>,
    /// What was put right.
    corrected: Option<String>,
    /// What was revoked.
    revoked: Option<String>,
    /// When to look again although nothing failed.
    again: Option<Timestamp>,
}

/// Brings one TrustDomain to what is declared.
pub(super) async fn reconcile(context: &Context, name: &str) -> Ended {
    let namespace = context.world().settings.operator_namespace.clone();
    let mut pass = Pass {
        context,
        unit: Unit::Domain(name.to_owned()),
        name,
        namespace,
        now: context.clock.now(),
        outcome: Outcome::default(),
        failed: false,
        event: None,
        corrected: None,
        revoked: None,
        again: None,
    };
    let (domain, plan) = trace::plan().in_scope(|| {
        let world = context.world();
        (world.domain(name).cloned(), domain_plan(&world, name))
    });
    let domain = domain.filter(|domain| domain.metadata.deletion_timestamp.is_none());
    context.issuers.declare(name, domain.as_deref());
    let Some(plan) = plan else {
        context.memory().forget(&pass.unit);
        context.memory().outdated.forget(&pass.unit);
        return Ended::Done;
    };
    if plan.clean_up {
        return pass.clean_up().await;
    }
    if plan.add_finalizer {
        let result = pass.finalizers(|finalizers| finalizers.push(FINALIZER.to_owned())).await;
        pass.conclude(result);
    }
    if !pass.failed {
        let result = pass.authority(&plan.authority).await;
        pass.conclude(result);
        let result = pass.record().await;
        pass.conclude(result);
        let result = pass.lists().await;
        pass.conclude(result);
        for (suffix, step) in CONFIG_MAPS {
            let result = pass.config_map(suffix, step).await;
            pass.conclude(result);
        }
    }
    pass.report().await
}

impl Pass<'_> {
    fn conclude(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.failed = true;
            self.outcome.problems.push(write_failed(&error));
        }
    }

    async fn finalizers(&self, change: impl FnOnce(&mut Vec<String>)) -> Result<(), Error> {
        let Some(domain) = self.context.world().domain(self.name).cloned() else { return Ok(()) };
        let api = Api::<TrustDomain>::all(self.context.client.clone());
        Ok(set_finalizers(self.context, &self.unit, &api, domain.as_ref(), change).await?)
    }

    /// Puts the CA on record, planned again since it may be new: before anything hangs on it, so that it is missed when it
    /// is lost.
    async fn record(&self) -> Result<(), Error> {
        let (domain, id) = {
            let world = self.context.world();
            let id = domain_plan(&world, self.name).and_then(|plan| plan.record);
            (world.domain(self.name).cloned(), id)
        };
        let (Some(domain), Some(id)) = (domain, id) else { return Ok(()) };
        let api = Api::<TrustDomain>::all(self.context.client.clone());
        Ok(record_authority(self.context, &self.unit, &api, domain.as_ref(), &id).await?)
    }

    async fn authority(&mut self, step: &AuthorityStep) -> Result<(), Error> {
        if let AuthorityStep::Supplied { secret } = step {
            return self.adopt(secret).await;
        }
        let make = matches!(step, AuthorityStep::Root(_) | AuthorityStep::Intermediate(..));
        if make && let Some(problem) = self.context.skew() {
            self.outcome.problems.push(problem);
            return Ok(());
        }
        let (step, entropy, now) = (step.clone(), Arc::clone(&self.context.entropy), self.now);
        let made = tokio::task::spawn_blocking(move || make_authority(&step, entropy.as_ref(), now)).await??;
        match made {
            Some(generations) => self.create(&self.with_lists(generations).await?).await,
            None => Ok(()),
        }
    }

    /// Stores a new CA. One that is there already, perhaps restored from a backup, is taken instead.
    async fn create(&mut self, generations: &CaGenerations) -> Result<(), Error> {
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.namespace);
        let secret = authority_secret(&self.namespace, self.name, generations);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &secret).await {
            Ok(written) => {
                self.fold_authority(&written);
                self.event = Some((
                    Reason::AuthorityCreated,
                    format!("a CA was generated; its key is in Secret {}/{}-ca", self.namespace, self.name),
                ));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                if let Some(found) = api.get_opt(&format!("{}-ca", self.name)).await? {
                    if found.type_.as_deref() == Some(AUTHORITY_SECRET_TYPE) {
                        self.fold_authority(&found);
                    } else {
                        let key = NamespacedName::new(self.namespace.clone(), format!("{}-ca", self.name));
                        self.outcome.problems.push(name_taken("Secret", &key));
                    }
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn fold_authority(&self, secret: &Secret) {
        let key = NamespacedName::new(self.namespace.clone(), format!("{}-ca", self.name));
        self.context.fold_own(&self.unit, operator_secret(key, Some(secret)));
    }

    /// Looks at the CA that the user brings. A bad one changes nothing.
    async fn adopt(&mut self, secret: &str) -> Result<(), Error> {
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.namespace);
        let gathered = api.get_opt(secret).instrument(trace::gather::<Secret>(&self.namespace, secret)).await;
        let Some(found) = gathered? else {
            self.refuse(ConditionType::ResolvedRefs, Reason::SecretNotFound, format!(
                "Secret {}/{secret} does not exist: create it with tls.crt, tls.key and, unless the chain ends in a root, ca.crt",
                self.namespace
            ));
            return Ok(());
        };
        let (existing, trust_domain, authority) = {
            let world = self.context.world();
            let authority = world.authority(self.name).map(|facts| (facts.uid.clone(), facts.resource_version.clone()));
            (world.generations(self.name).cloned(), world.trust_domain_name(self.name), authority)
        };
        let Some(trust_domain) = trust_domain else { return Ok(()) };
        let data = found.data.as_ref().map(SecretData::from).unwrap_or_default();
        let brought = match adopt_secret(&data, &trust_domain, self.now) {
            Ok(brought) => brought,
            Err(refused) => {
                let kept = if existing.is_some() { ", the last good one stays in use meanwhile" } else { "" };
                self.refuse(
                    ConditionType::Accepted,
                    Reason::InvalidCertificateAuthority,
                    format!(
                        "Secret {}/{secret} can't be used as a CA ({}): {refused}; replace it{kept}",
                        self.namespace,
                        refused.reason()
                    ),
                );
                return Ok(());
            }
        };
        if !brought.can_sign_crls() {
            self.refuse(
                ConditionType::Programmed,
                Reason::RevocationUnavailable,
                format!(
                    "the CA in Secret {}/{secret} lacks the key usage cRLSign: it can't revoke certificates",
                    self.namespace
                ),
            );
        }
        let Some(generations) = with_adopted(existing.as_deref(), brought).map_err(MakeAuthorityError::from)? else {
            return Ok(());
        };
        let generations = self.with_lists(generations).await?;
        match authority {
            None => self.create(&generations).await?,
            Some((uid, version)) => {
                let secret = authority_secret(&self.namespace, self.name, &generations);
                match write::<Secret>(&self.context.client, secret, Some((uid, version))).await? {
                    Written::Done(written) => self.fold_authority(&written),
                    _ => self.failed = true,
                }
            }
        }
        self.event =
            Some((Reason::AuthorityCreated, format!("the CA in Secret {}/{secret} signs from now on", self.namespace)));
        Ok(())
    }

    /// A CA that is about to be stored has its lists at once.
    async fn with_lists(&self, generations: CaGenerations) -> Result<CaGenerations, Error> {
        let revised = revocation::revise(self.context, self.name, Arc::new(generations.clone()), self.now).await?;
        Ok(revised.map_or(generations, |revised| revised.generations))
    }

    /// The revocation lists: with what is to be revoked now, and signed anew before they end.
    async fn lists(&mut self) -> Result<(), Error> {
        let known = self.context.world().authority(self.name).cloned();
        let Some(AuthorityFacts { uid, resource_version, generations: Ok(generations) }) = known else { return Ok(()) };
        let revised = revocation::revise(self.context, self.name, Arc::clone(&generations), self.now).await?;
        let Some(Revised { generations, plan }) = revised else {
            self.again = self.again.into_iter().chain(generations.next_list()).min();
            return Ok(());
        };
        if let Some(problem) = self.context.skew() {
            self.outcome.problems.push(problem);
            return Ok(());
        }
        let secret = authority_secret(&self.namespace, self.name, &generations);
        match write::<Secret>(&self.context.client, secret, Some((uid, resource_version))).await? {
            Written::Done(written) => self.fold_authority(&written),
            _ => self.failed = true,
        }
        self.again = self.again.into_iter().chain(generations.next_list()).min();
        if !self.failed {
            self.revoked = revocation::note(&plan);
        }
        Ok(())
    }

    fn refuse(&mut self, condition: ConditionType, reason: Reason, message: String) {
        self.outcome.problems.push(Problem { condition, reason, message });
    }

    /// A ConfigMap, planned again since the CA may be new.
    async fn config_map(&mut self, suffix: &str, step_of: StepOf) -> Result<(), Error> {
        let step = domain_plan(&self.context.world(), self.name).map(step_of);
        let key = NamespacedName::new(self.namespace.clone(), format!("{}{suffix}", self.name));
        let output = ("ConfigMap", key.clone());
        let (desired, replaces, drift) = match step {
            Some(Step::Write { desired, replaces, drift }) => (desired, replaces, drift),
            Some(Step::Delete { uid }) => {
                delete::<ConfigMap>(&self.context.client, &key.namespace, &key.name, &uid).await?;
                self.context.fold_own(&self.unit, [Change::ConfigMap(key, None)]);
                self.note_in_place(&output);
                return Ok(());
            }
            Some(Step::Keep) => {
                self.note_in_place(&output);
                return Ok(());
            }
            Some(Step::Blocked(_)) | None => return Ok(()),
        };
        let drift = drift || replaces.is_none() && self.context.memory().was_in_place(&self.unit, &output);
        let left_alone = self.context.memory().contests.until(&output, self.now);
        if let Some(until) = left_alone {
            self.outcome.problems.push(contested(&output, until));
            self.again = self.again.into_iter().chain([until]).min();
            return Ok(());
        }
        match write::<ConfigMap>(&self.context.client, *desired, replaces).await? {
            Written::Done(written) => {
                if drift {
                    self.context.memory().contests.corrected(&output, self.now);
                    self.corrected = Some(format!("someone else changed an output: put ConfigMap {key} right"));
                }
                self.context.fold_own(&self.unit, [Change::ConfigMap(key, Some((&written).into()))]);
                self.note_in_place(&output);
                // Someone on the way may have changed it.
                let kept = domain_plan(&self.context.world(), self.name).map(step_of);
                self.failed |= matches!(kept, Some(Step::Write { .. })) && !self.context.queue.comes_again(&self.unit);
            }
            Written::Found(found) => {
                self.context.fold_found(&self.unit, Change::ConfigMap(key, Some((&found).into())));
                self.failed = true;
            }
            // Nothing tells when it goes: it is looked at again and again, with growing pauses.
            Written::Taken => {
                self.outcome.problems.push(name_taken("ConfigMap", &key));
                self.failed = true;
            }
            Written::Conflict => self.failed = true,
            Written::Terminating => {}
        }
        Ok(())
    }

    fn note_in_place(&self, output: &Output) {
        let found = self.context.world().config_map(&output.1).is_some();
        let mut memory = self.context.memory();
        let mut outputs = memory.in_place.get(&self.unit).cloned().unwrap_or_default();
        outputs.retain(|other| other != output);
        outputs.extend(found.then(|| output.clone()));
        memory.note_in_place(&self.unit, outputs);
    }

    /// Nothing holds the object any more: its CA goes with it.
    async fn clean_up(mut self) -> Ended {
        // Only what was read as a CA of ours is known; a Secret of someone else with its name stays.
        let authority = self.context.world().authority(self.name).map(|facts| facts.uid.clone());
        let deleted = match authority {
            Some(uid) => {
                delete::<Secret>(&self.context.client, &self.namespace, &format!("{}-ca", self.name), &uid).await
            }
            None => Ok(()),
        };
        let result = match deleted.map_err(Error::from) {
            Ok(()) => self.finalizers(|finalizers| finalizers.retain(|finalizer| finalizer != FINALIZER)).await,
            Err(error) => Err(error),
        };
        self.conclude(result);
        if self.failed { Ended::Failed } else { Ended::Done }
    }

    async fn report(mut self) -> Ended {
        let fences = self.context.world().namespaces_of(self.name);
        let contests = fences.iter().filter_map(|namespace| super::fence::contest(self.context, namespace));
        self.outcome.problems.extend(contests);
        self.outcome.problems.extend(fences.iter().filter_map(|namespace| self.context.members.problem(namespace)));
        self.outcome.problems.extend(super::directory::problems(self.context, self.name));
        let (object, status) = {
            let world = self.context.world();
            let Some(object) = world.domain(self.name).cloned() else { return Ended::Done };
            (object, domain_status(&world, self.name, &self.outcome, self.now))
        };
        let api = Api::<TrustDomain>::all(self.context.client.clone());
        match report(self.context, &self.unit, &api, &object, status).await {
            Ok(Reported::Unchanged | Reported::Written) => {}
            Ok(Reported::Nowhere) => return Ended::Done,
            Err(error) => {
                tell(&error, "the status could not be written and is tried again");
                return Ended::Failed;
            }
        }
        if let Some((reason, note)) = self.event.take() {
            self.context.events.normal(object.as_ref(), reason, note).await;
        }
        if let Some(note) = self.revoked.take() {
            self.context.events.normal(object.as_ref(), Reason::Revoked, note).await;
        }
        if let Some(note) = self.corrected.take() {
            self.context.events.warning(object.as_ref(), Reason::DriftCorrected, note).await;
        }
        match (self.failed, self.again, self.context.clock.skew()) {
            (true, ..) => Ended::Failed,
            (.., Some(_)) => Ended::After(SKEW_PAUSE),
            (_, Some(again), _) => Ended::At(again),
            _ => Ended::Done,
        }
    }
}
