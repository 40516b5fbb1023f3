//! What is seen in the namespaces that the operator has rights in. Secrets and ConfigMaps are watched there and nowhere
//! else, so that the watches come and go with the RoleBindings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client};
use ringfence_core::api::{ConditionType, Reason};
use ringfence_core::plan::{MEMBER_ROLE, Step, is_entered, member_step};
use ringfence_core::world::{MEMBER_BINDING, NamespacedName, Problem, World};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::tell;
use super::passwords::PasswordWatches;
use super::watch::{Seen, Watch, outputs};

/// First pause before the API server is asked again whether it knows a new RoleBinding; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a RoleBinding may be without effect before somebody is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many namespaces are listed at once when many are entered.
const AT_ONCE: usize = 32;

/// Which namespaces are entered, and in which of them everything is seen.
#[derive(Debug, Default)]
pub(super) struct Members {
    state: Mutex<State>,
    touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Namespaces with a RoleBinding as it should be.
    entered: BTreeSet<String>,
    /// Those of them whose Secrets and ConfigMaps are known.
    seen: BTreeSet<String>,
    /// Namespaces that can't be entered, and why.
    refused: BTreeMap<String, String>,
    /// Entered or left, which the watches don't know yet.
    touched: BTreeSet<String>,
}

/// What the operator can do in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Access {
    /// Everything: what is there is known.
    Open,
    /// Nothing yet. When its turn comes, everything in the namespace is planned.
    Awaited,
    /// Nothing: it is in no domain, or it can't be entered.
    Closed(Option<Problem>),
}

impl Access {
    /// Why nothing can be done, where somebody is to be told.
    pub(super) fn problem(self) -> Option<Problem> {
        if let Self::Closed(problem) = self { problem } else { None }
    }
}

impl Members {
    /// Looks whether a namespace has been entered or left. Once it is left, nothing in it counts as seen.
    pub(super) fn look(&self, world: &World, namespace: &str) {
        let entered = is_entered(world, namespace);
        let mut state = self.lock();
        if entered == state.entered.contains(namespace) {
            return;
        }
        if entered {
            state.entered.insert(namespace.to_owned());
        } else {
            state.entered.remove(namespace);
            state.seen.remove(namespace);
        }
        state.refused.remove(namespace);
        state.touched.insert(namespace.to_owned());
        drop(state);
        self.touched.notify_one();
    }

    /// All that is in a namespace has been told.
    pub(super) fn note_seen(&self, namespace: &str) {
        let mut state = self.lock();
        state.refused.remove(namespace);
        if state.entered.contains(namespace) && !state.touched.contains(namespace) {
            state.seen.insert(namespace.to_owned());
        }
    }

    /// A namespace can't be entered.
    pub(super) fn note_refused(&self, namespace: &str, why: String) {
        self.lock().refused.insert(namespace.to_owned(), why);
    }

    /// A namespace can be entered after all, or is not to be any more.
    pub(super) fn forget_refusal(&self, namespace: &str) {
        self.lock().refused.remove(namespace);
    }

    /// Whether each namespace is seen that can be.
    pub(super) fn all_seen(&self) -> bool {
        let state = self.lock();
        state.entered.iter().all(|namespace| state.seen.contains(namespace) || state.refused.contains_key(namespace))
    }

    /// What can be done in a namespace.
    pub(super) fn access(&self, world: &World, namespace: &str) -> Access {
        let state = self.lock();
        if state.seen.contains(namespace) {
            return Access::Open;
        }
        if let Some(why) = state.refused.get(namespace) {
            return Access::Closed(Some(refusal(why.clone())));
        }
        if world.namespace(namespace).is_none_or(|facts| facts.terminating) {
            return Access::Closed(None);
        }
        match member_step(world, namespace).step {
            Step::Blocked(problem) => Access::Closed(Some(problem)),
            _ if world.domain_of(namespace).is_some() || state.entered.contains(namespace) => Access::Awaited,
            _ => Access::Closed(None),
        }
    }

    /// Whether the turn of an identity is yet to come. Nothing waits for one that is gone.
    pub(super) fn awaits(&self, world: &World, identity: &NamespacedName) -> bool {
        world.service_identity(identity).is_some() && self.access(world, &identity.namespace) == Access::Awaited
    }

    /// Why the keys of an identity's peers, and of the token service, are not all known: one of them may be in a Secret or
    /// ConfigMap that is not seen yet, and would seem to be missing.
    pub(super) fn unseen_peer(&self, world: &World, identity: &NamespacedName) -> Option<Problem> {
        let peers = world.peers_of(identity).into_iter().map(|peer| peer.namespace);
        let service = world.settings.token_service.as_ref().filter(|_| world.verifies_by_token_service(identity));
        let issuer = service.map(|service| service.identity.namespace.clone());
        let namespaces: BTreeSet<String> = peers.chain(issuer).collect();
        let unseen =
            |namespace: &&String| matches!(self.access(world, namespace), Access::Awaited | Access::Closed(Some(_)));
        namespaces.iter().find(unseen).map(|namespace| Problem {
            condition: ConditionType::Programmed,
            reason: Reason::Pending,
            message: format!(
                "namespace {namespace}, which it has to do with, is not seen yet: ConfigMap {}-trust waits for it",
                identity.name
            ),
        })
    }

    /// Why a namespace can't be entered, if it can't.
    pub(super) fn problem(&self, namespace: &str) -> Option<Problem> {
        self.lock().refused.get(namespace).cloned().map(refusal)
    }

    /// Waits until namespaces have been entered or left; those that are entered now come with `true`.
    async fn touched(&self) -> Vec<(String, bool)> {
        loop {
            let more = self.touched.notified();
            {
                let mut state = self.lock();
                let touched = std::mem::take(&mut state.touched);
                if !touched.is_empty() {
                    let is_entered = |namespace: String| {
                        let entered = state.entered.contains(&namespace);
                        (namespace, entered)
                    };
                    return touched.into_iter().map(is_entered).collect();
                }
            }
            more.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(message: String) -> Problem {
    Problem { condition: ConditionType::Programmed, reason: Reason::WriteFailed, message }
}

/// The watches of the whole cluster, and those of each namespace that is entered.
pub(super) struct Watches {
    streams: SelectAll<BoxStream<'static, Seen>>,
    running: BTreeMap<String, CancellationToken>,
    passwords: PasswordWatches,
    slots: Arc<Semaphore>,
}

impl Watches {
    /// Only the watches of the whole cluster.
    pub(super) fn new(streams: Vec<BoxStream<'static, Seen>>) -> Self {
        Self {
            streams: stream::select_all(streams),
            running: BTreeMap::new(),
            passwords: PasswordWatches::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What is told next.
    pub(super) async fn next(&mut self, context: &Context) -> Option<Seen> {
        tokio::select! {
            seen = self.streams.next() => seen,
            touched = context.passwords.touched() => {
                let (begun, forgotten) = self.passwords.follow(&context.client, touched);
                self.streams.extend(begun);
                Some(Seen::Changed(forgotten))
            }
            touched = context.members.touched() => {
                let mut forgotten = Vec::new();
                for (namespace, entered) in touched {
                    if let Some(running) = self.running.remove(&namespace) {
                        running.cancel();
                    }
                    // Nothing tells when they go, until they are listed anew.
                    forgotten.extend(self.passwords.leave(&context.passwords, &namespace));
                    forgotten.extend(context.world().outputs_in(&namespace));
                    if entered {
                        let stop = CancellationToken::new();
                        let slots = Arc::clone(&self.slots);
                        let service = context.world().settings.token_service.clone();
                        let watches = outputs(&context.client, &namespace, service.as_ref(), &context.clock);
                        self.streams.push(of_namespace(&context.client, &namespace, watches, slots, stop.clone()));
                        self.running.insert(namespace, stop);
                    }
                }
                Some(Seen::Changed(forgotten))
            }
        }
    }
}

/// Everything about one namespace, from the moment that the API server lets us see it.
fn of_namespace(
    client: &Client,
    namespace: &str,
    watches: Vec<Watch>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
) -> BoxStream<'static, Seen> {
    let (asking, name) = (client.clone(), namespace.to_owned());
    // Kept until everything is listed, and given back also when the watch ends before that.
    let slot = Arc::new(Mutex::new(None));
    let (kept, done) = (Arc::clone(&slot), slot);
    let waited = async move {
        // It is never closed.
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = slots.acquire_owned().await.ok();
        let mut refused = false;
        while !refused {
            let asking = granted(&asking, &name, &mut refused);
            if tokio::time::timeout(PATIENCE, asking).await.is_ok() {
                return stream::empty().boxed();
            }
        }
        kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let again = name.clone();
        let after_all = async move { granted(&asking, &again, &mut refused).await };
        let after_all = stream::once(after_all).filter_map(|()| async { None });
        stream::once(async { Seen::Withheld(name) }).chain(after_all).boxed()
    };
    let streams: Vec<_> = watches.into_iter().map(|(_, stream)| stream).collect();
    let (mut unlisted, name) = (streams.len(), namespace.to_owned());
    let told = stream::select_all(streams).filter_map(move |seen| {
        let seen = match seen {
            Seen::Listed(_) => {
                unlisted -= 1;
                if unlisted == 0 {
                    done.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                (unlisted == 0).then(|| Seen::Entered(name.clone()))
            }
            other => Some(other),
        };
        std::future::ready(seen)
    });
    stream::once(waited).flatten().chain(told).take_until(stop.cancelled_owned()).boxed()
}

/// Asks until the API server knows of our rights in a namespace: it learns of a RoleBinding a moment after it has stored
/// it, and a list before that would be refused. Nothing could be watched instead. Notes whether the last answer was no.
async fn granted(client: &Client, namespace: &str, refused: &mut bool) {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("list".to_owned()),
        resource: Some("secrets".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let mut pause = FIRST_PAUSE;
    loop {
        match api.create(&PostParams::default(), &review).await {
            Ok(SelfSubjectAccessReview { status: Some(SubjectAccessReviewStatus { allowed: true, .. }), .. }) => return,
            Ok(_) => *refused = true,
            Err(error) => {
                *refused = false;
                let what =
                    format!("the API server did not say what the operator may do in {namespace}; it is asked again");
                tell(&error, &what);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What is said of a namespace whose RoleBinding has no effect.
pub(super) fn withheld(namespace: &str) -> String {
    format!(
        "RoleBinding {namespace}/{MEMBER_BINDING} gives the operator no rights: check that ClusterRole {MEMBER_ROLE} is installed as the chart has it"
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::RoleBinding;
    use ringfence_core::api::TrustDomain;
    use ringfence_core::world::{Change, NamespaceFacts, Settings};
    use serde_json::json;

    use super::*;

    /// A world in which a domain has the namespace `shop`.
    fn world() -> World {
        let mut world = World::new(Settings::default());
        let domain: TrustDomain = serde_json::from_value(json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "TrustDomain", "metadata": {"name": "shop", "uid": "1"},
            "spec": {"namespaces": ["shop"], "certificateAuthority": {"selfSigned": {}}},
        }))
        .unwrap();
        world.apply(Change::Namespace("shop".to_owned(), Some(NamespaceFacts::default())));
        world.apply(Change::Namespace("other".to_owned(), Some(NamespaceFacts::default())));
        world.apply(Change::Domain("shop".to_owned(), Some(domain.into())));
        world.listed();
        world
    }

    /// The RoleBinding that is planned comes to be there, or goes.
    fn bind(world: &mut World, members: &Members, is_there: bool) {
        let key = NamespacedName::new("shop", MEMBER_BINDING);
        let facts = is_there.then(|| {
            let Step::Write { desired, .. } = member_step(world, "shop").step else { panic!("nothing is planned") };
            let mut binding: RoleBinding = *desired;
            (binding.metadata.uid, binding.metadata.resource_version) = (Some("2".to_owned()), Some("2".to_owned()));
            (&binding).into()
        });
        world.apply(Change::RoleBinding(key, facts));
        members.look(world, "shop");
    }

    #[tokio::test]
    async fn a_namespace_is_open_when_it_is_entered_and_everything_in_it_was_told() {
        let (mut world, members) = (world(), Members::default());
        assert_eq!(members.access(&world, "shop"), Access::Awaited);
        assert_eq!(members.access(&world, "other"), Access::Closed(None));
        assert!(members.all_seen(), "nothing is there to be seen");
        bind(&mut world, &members, true);
        assert!(!members.all_seen());
        members.note_seen("shop");
        assert_eq!(members.access(&world, "shop"), Access::Awaited, "it was not even watched yet");
        assert_eq!(members.touched().await, [("shop".to_owned(), true)]);
        members.note_seen("shop");
        assert_eq!(members.access(&world, "shop"), Access::Open);
        assert!(members.all_seen());
    }

    #[tokio::test]
    async fn what_was_seen_before_the_rights_went_counts_no_more() {
        let (mut world, members) = (world(), Members::default());
        bind(&mut world, &members, true);
        members.touched().await;
        members.note_seen("shop");
        bind(&mut world, &members, false);
        assert_eq!(members.access(&world, "shop"), Access::Awaited);
        // It is back before the watches have heard of it: they begin anew all the same.
        bind(&mut world, &members, true);
        members.note_seen("shop");
        assert_eq!(members.access(&world, "shop"), Access::Awaited);
        assert_eq!(members.touched().await, [("shop".to_owned(), true)]);
    }

    #[tokio::test]
    async fn a_namespace_that_can_not_be_entered_holds_up_nothing_else_and_says_why() {
        let (mut world, members) = (world(), Members::default());
        bind(&mut world, &members, true);
        members.touched().await;
        members.note_refused("shop", withheld("shop"));
        assert!(members.all_seen());
        let problem = members.problem("shop").unwrap();
        assert!(problem.message.contains("shop/ringfence gives the operator no rights"), "{}", problem.message);
        assert_eq!(members.access(&world, "shop"), Access::Closed(Some(problem)));
        members.note_seen("shop");
        assert_eq!(members.access(&world, "shop"), Access::Open);
        assert_eq!(members.problem("shop"), None);
    }
}
