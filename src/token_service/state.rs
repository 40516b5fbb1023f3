//! What all requests share. None of it is waited for: what changes is swapped.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use ringfence_core::tokens::{DenialReason, OAuthError, OwnToken};
use rustls::crypto::CryptoProvider;
use tokio::sync::Semaphore;
use tracing::warn;

use super::answer::Refusal;
use super::certificate::ServerCertificate;
use super::endpoints::Endpoints;
use super::events::Events;
use super::graph::Snapshot;
use super::issuers::Issuers;
use super::keys::Keys;
use super::limits::Limits;
use super::metrics::Metrics;
use super::reviews::Reviews;
use super::store::{Once, Store, StoreError};
use crate::controller::{Now, Repeats};

/// The state of one process.
pub(super) struct State {
    pub(super) endpoints: Endpoints,
    /// Who may call whom.
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Its own keys, once there are some.
    pub(super) keys: ArcSwapOption<Keys>,
    /// Its own certificate.
    pub(super) certificate: Arc<ServerCertificate>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    /// What all replicas remember together.
    pub(super) store: Store,
    /// What was said of its failures last.
    pub(super) store_repeats: Mutex<Repeats>,
    pub(super) reviews: Reviews,
    pub(super) issuers: Issuers,
    /// Room for the bodies that are larger than most.
    pub(super) large_bodies: Semaphore,
    pub(super) events: Events,
    pub(super) now: Now,
}

impl State {
    /// What requests would have to wait for, if there is something.
    pub(super) fn is_missing(&self) -> Option<String> {
        let missing = [
            ("its certificate", self.certificate.is_there()),
            ("its keys", self.keys.load().is_some()),
            ("the documents of the operator", self.snapshot.load().epoch > 0),
        ];
        let missing: Vec<&str> = missing.into_iter().filter(|(_, is_there)| !is_there).map(|(what, _)| what).collect();
        (!missing.is_empty()).then(|| format!("not there yet: {}", missing.join(", ")))
    }
}

impl State {
    /// Its keys.
    ///
    /// # Errors
    /// `temporarily_unavailable` as long as there are none.
    pub(super) fn keys(&self) -> Result<Arc<Keys>, Refusal> {
        let missing = Refusal::new(OAuthError::TemporarilyUnavailable, DenialReason::NoKeys);
        self.keys.load_full().ok_or(missing)
    }

    /// Lets a token pass that was not revoked and, if that is for one use, was not used in this way: then it is used up. What
    /// the store can't be asked about does not pass.
    ///
    /// # Errors
    /// `invalid_grant`, or `temporarily_unavailable` without an answer of the store.
    pub(super) async fn spend(&self, token: &OwnToken, once: Option<Once<'_>>) -> Result<(), Refusal> {
        let invalid_grant = |reason| Refusal::new(OAuthError::InvalidGrant, reason);
        let jti = token.claims.jti.as_str();
        match self.store.is_revoked(&[jti]).await {
            Ok(false) => {}
            Ok(true) => return Err(invalid_grant(DenialReason::Revoked)),
            Err(error) => return Err(self.store_failed(&error)),
        }
        let Some(once) = once else { return Ok(()) };
        match self.store.consume(once, self.until(token)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(invalid_grant(DenialReason::Replayed)),
            Err(error) => Err(self.store_failed(&error)),
        }
    }

    /// When a token has ended by itself.
    pub(super) fn until(&self, token: &OwnToken) -> Timestamp {
        Timestamp::from_second(token.claims.exp).unwrap_or_else(|_| (self.now)())
    }

    /// What the caller is told when the store gave no answer.
    pub(super) fn store_failed(&self, error: &StoreError) -> Refusal {
        if self.store_repeats.lock().unwrap_or_else(PoisonError::into_inner).is_news(&error.to_string()) {
            warn!(%error, "the store can't be asked: what needs it is refused");
        }
        Refusal::new(OAuthError::TemporarilyUnavailable, DenialReason::StoreUnavailable)
    }
}
