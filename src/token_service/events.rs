//! Refusals that a declaration could cure, as Kubernetes Events. All of them regard the token service's own ServiceIdentity:
//! it may write nothing anywhere else. Who was refused is in the note, and what the event is related to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use ringfence_core::api::ServiceIdentity;
use ringfence_core::pki::SpiffeId;
use ringfence_core::tokens::{self, DenialReason, TokenGraph};
use ringfence_core::world::NamespacedName;
use ringfence_workload::PeerCertificate;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::peers::Peer;
use crate::controller::{Repeats, said};

/// For so long nothing is told of a client and a reason that was told of.
const QUIET: Duration = Duration::from_mins(10);
/// Events of all clients in a moment.
const BURST: std::num::NonZeroU32 = std::num::NonZeroU32::new(20).unwrap();
/// How fast there may be more.
const PACE: Duration = Duration::from_secs(10);
/// Events that wait to be written.
const WAITING: usize = 32;
/// Who tells.
const REPORTER: &str = "ringfence-token-service";

/// Chooses the refusals that are told.
pub(super) struct Events {
    sender: Sender<Event>,
    /// When it was told of a client and a reason last.
    told: Mutex<HashMap<(String, DenialReason), Instant>>,
    pace: DefaultDirectRateLimiter,
    /// UID of the ServiceIdentity, once it is known.
    uid: Arc<ArcSwapOption<String>>,
}

/// Writes the events.
pub(super) struct Publisher {
    receiver: Receiver<Event>,
    identity: NamespacedName,
    uid: Arc<ArcSwapOption<String>>,
}

impl Events {
    /// Events about a token service's ServiceIdentity.
    pub(super) fn new(identity: NamespacedName) -> (Self, Publisher) {
        let (sender, receiver) = channel(WAITING);
        let uid = Arc::new(ArcSwapOption::empty());
        let pace = Quota::with_period(PACE).expect("the period is not zero").allow_burst(BURST);
        let told = Mutex::default();
        let events = Self { sender, told, pace: RateLimiter::direct(pace), uid: Arc::clone(&uid) };
        (events, Publisher { receiver, identity, uid })
    }

    /// Learns the UID of the ServiceIdentity from a ConfigMap that belongs to it.
    pub(super) fn learn_uid(&self, config_map: &ConfigMap) {
        let owners = config_map.metadata.owner_references.iter().flatten();
        let uid = owners.filter(|owner| owner.kind == ServiceIdentity::kind(&())).map(|owner| owner.uid.clone()).next();
        if let Some(uid) = uid {
            self.uid.store(Some(Arc::new(uid)));
        }
    }

    /// Someone was refused. `client` is there once it has proved who it is.
    pub(super) fn refused(
        &self,
        graph: &TokenGraph,
        client: Option<&tokens::Client>,
        peer: &Peer,
        audience: Option<&str>,
        reason: DenialReason,
    ) {
        let Some(remedy) = remedy(reason) else { return };
        let certificate = peer.certificate.as_ref().map(PeerCertificate::spiffe_id);
        let service = match client {
            Some(tokens::Client::Identity(service)) => Some(&service.spiffe_id),
            Some(tokens::Client::Registered(_)) => None,
            None => certificate,
        };
        let known = service.map(ToString::to_string).or(client.map(tokens::Client::id));
        if !self.is_news(known.clone().unwrap_or_default(), reason) {
            return;
        }
        let who = known.unwrap_or_else(|| format!("someone at {}", peer.address));
        // What nobody has declared may be anything, a secret too.
        let what = match audience {
            Some(audience) if graph.is_audience(audience) => format!("a token for {audience}"),
            Some(_) => "a token for an audience that no AccessPolicy in force is about".to_owned(),
            None => "what it asked for".to_owned(),
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_string(),
            note: Some(format!("{who} was refused {what}: {remedy}")),
            action: "Refuse".to_owned(),
            secondary: service.and_then(|id| identity_of(graph, id)),
        };
        // The log has all that there is no room for.
        let _ = self.sender.try_send(event);
    }

    fn is_news(&self, client: String, reason: DenialReason) -> bool {
        let (now, key) = (Instant::now(), (client, reason));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now < *at + QUIET);
        // What keeps the pace keeps the map small, too.
        let is_news = !told.contains_key(&key) && self.pace.check().is_ok();
        if is_news {
            told.insert(key, now);
        }
        is_news
    }
}

impl Publisher {
    /// Writes them until told to stop.
    pub(super) async fn run(self, client: Client, stop: CancellationToken) {
        stop.run_until_cancelled(self.publish(client)).await;
    }

    async fn publish(mut self, client: Client) {
        let mut repeats = Repeats::default();
        while let Some(event) = self.receiver.recv().await {
            let NamespacedName { namespace, name } = &self.identity;
            let uid = self.uid.load().as_deref().cloned();
            let regarding = ObjectReference { uid, ..reference(namespace, name) };
            // One that is kept folds events of one reason into the first, whomever they are about.
            let recorder = Recorder::new(client.clone(), Reporter::from(REPORTER));
            if let Err(error) = recorder.publish(&event, &regarding).await {
                let error = said(&error);
                if repeats.is_news(&error) {
                    warn!(error, "an event could not be published");
                }
            }
        }
    }
}

/// The ServiceIdentity with a SPIFFE ID.
fn identity_of(graph: &TokenGraph, id: &SpiffeId) -> Option<ObjectReference> {
    Some(reference(id.namespace(), &graph.service(id)?.identity.name))
}

fn reference(namespace: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(ServiceIdentity::api_version(&()).into_owned()),
        kind: Some(ServiceIdentity::kind(&()).into_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// What to declare, for reasons that a declaration can cure.
fn remedy(reason: DenialReason) -> Option<&'static str> {
    Some(match reason {
        DenialReason::NoGrant => {
            "grant it in an AccessPolicy with authentication.jwt.signer Issuer, or see in the status of the one that is there why it is not in force"
        }
        DenialReason::ScopeMissing => "it asked for less than authentication.jwt.scopes of the AccessPolicy demands",
        DenialReason::ScopeNotAllowed => {
            "it asked for a scope that neither the AccessPolicy nor builtIn.scopes of the callee's TrustDomain has: add it there, or ask for less"
        }
        DenialReason::ScopeTooWide => {
            "it asked for a scope that its registration, or the token that it exchanges, has not: add it there, or ask for less"
        }
        DenialReason::OneTimeOnly => {
            "the AccessPolicy takes one-time tokens alone: let it ask for one, or take oneTime out of the policy"
        }
        DenialReason::NotOneTime => {
            "the AccessPolicy takes no one-time tokens: let it ask for an access token, or set oneTime in the policy"
        }
        DenialReason::CertificateNeeded => {
            "the AccessPolicy demands mtls: let it ask with its certificate, or take mtls out of the policy"
        }
        DenialReason::UnknownClient => {
            "it is not known here: list the issuer in tokenIssuers of its ServiceIdentity, in a TrustDomain that names it with builtIn; a client outside needs an entry in the TrustDomain's Secret"
        }
        DenialReason::ClientGone => "its identity or its registration is gone, or suspended",
        DenialReason::AmbiguousClient => "several Secrets register a client of this id: leave it in one of them",
        DenialReason::AddressNotRegistered => {
            "its address is not in builtIn.clients.cidrs of the TrustDomain, or not in its registration"
        }
        DenialReason::UntrustedIssuer => "its TrustDomain does not name the issuer of the token that it exchanges",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ringfence_core::tokens::RegisteredClient;

    use super::*;

    fn events() -> (Events, Publisher) {
        Events::new(NamespacedName::new("sts", "token-service"))
    }

    fn refuse(events: &Events, id: &str, audience: &str, reason: DenialReason) {
        let (id, secret_name) = (id.to_owned(), "clients".to_owned());
        let client = tokens::Client::Registered(RegisteredClient { id, secret_name, address: None });
        let peer = Peer { address: [192, 0, 2, 1].into(), certificate: None };
        events.refused(&TokenGraph::default(), Some(&client), &peer, Some(audience), reason);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_told_of_once_for_each_reason_and_again_after_a_while() {
        let (events, mut publisher) = events();
        let mut told = || {
            let told = std::iter::from_fn(|| publisher.receiver.try_recv().ok());
            told.map(|event| (event.note.unwrap().split(' ').next().unwrap().to_owned(), event.reason))
                .collect::<Vec<_>>()
        };
        let was = |client: &str, reason: &str| (client.to_owned(), reason.to_owned());
        for _ in 0..100 {
            refuse(&events, "web", "order", DenialReason::NoGrant);
            refuse(&events, "app", "order", DenialReason::NoGrant);
            refuse(&events, "web", "order", DenialReason::ScopeMissing);
        }
        assert_eq!(told(), [was("web", "NoGrant"), was("app", "NoGrant"), was("web", "ScopeMissing")]);
        tokio::time::advance(QUIET).await;
        refuse(&events, "web", "order", DenialReason::NoGrant);
        assert_eq!(told(), [was("web", "NoGrant")]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_are_no_flood_of_events() {
        let (events, mut publisher) = events();
        for number in 0..1000 {
            refuse(&events, &format!("client-{number}"), "order", DenialReason::NoGrant);
        }
        let told = std::iter::from_fn(|| publisher.receiver.try_recv().ok()).count();
        assert!((20..=21).contains(&told), "{told}");
        assert!(events.told.lock().unwrap().len() <= 21);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_says_what_to_do_and_repeats_nothing_that_nobody_declared() {
        let (events, mut publisher) = events();
        refuse(&events, "web", "eyJhbGciOi.secret", DenialReason::NoGrant);
        for incurable in [DenialReason::WrongSecret, DenialReason::Replayed, DenialReason::StoreUnavailable] {
            refuse(&events, "web", "order", incurable);
        }
        let event = publisher.receiver.try_recv().unwrap();
        assert_eq!(
            event.note.unwrap(),
            "web was refused a token for an audience that no AccessPolicy in force is about: grant it in an AccessPolicy with \
             authentication.jwt.signer Issuer, or see in the status of the one that is there why it is not in force"
        );
        assert!(publisher.receiver.try_recv().is_err());
    }
}
