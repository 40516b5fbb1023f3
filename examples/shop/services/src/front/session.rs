//! A customer who is logged in.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::{Instrument, Span, info, warn};
use zeroize::Zeroizing;

use super::issuer::{Fault, Issuer, LoggedIn, Tokens};
use super::metrics::{Ended, Metrics};

/// A session. The tokens in it never leave this service, but for the access token, which goes to the gateway.
pub(super) struct Session {
    /// The URL of the issuer that gave the tokens. They are shown to no other.
    issuer: String,
    name: Option<String>,
    /// None once it has ended.
    tokens: Arc<Mutex<Option<Held>>>,
}

/// Tokens in use.
struct Held {
    tokens: Tokens,
    /// When they could not be renewed last.
    failed_at: Option<Instant>,
}

/// Why a session gives no access token.
#[derive(Debug)]
pub(super) enum NoToken {
    /// It has ended: the customer has to log in again.
    Ended,
    /// The issuer can't be asked for another one.
    IssuerUnavailable,
}

impl Session {
    pub(super) fn of(login: LoggedIn) -> Arc<Self> {
        let tokens = Arc::new(Mutex::new(Some(Held::of(login.tokens))));
        Arc::new(Self { issuer: login.issuer, name: login.name, tokens })
    }

    /// The URL of the issuer that the access token is of.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the customer is called, if the issuer said it.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The access token, good for a while yet: near its end it is renewed, once however many ask, and all of them wait for that.
    /// If the issuer can't renew it, it is used until it is over.
    ///
    /// Who waits does so as long as its browser does. Renewing is done in a task of its own: the issuer may take a refresh token
    /// only once, so that the answer must not be lost when the browser that asked goes away meanwhile.
    pub(super) async fn access_token(
        &self,
        issuer: &Arc<Issuer>,
        metrics: &Metrics,
    ) -> Result<Zeroizing<String>, NoToken> {
        if let Err(fault @ Fault::Another(_)) = issuer.still(&self.issuer) {
            info!(reason = %fault, "a session ended");
            return Err(NoToken::Ended);
        }
        let asked = Instant::now();
        let kept = self.tokens.clone().lock_owned().await;
        let held = kept.as_ref().ok_or(NoToken::Ended)?;
        let now = Instant::now();
        // What failed while this one waited is not tried again for it.
        if now < held.tokens.renew_at || held.failed_at.is_some_and(|failed| asked < failed) {
            return held.access(now);
        }
        let renewing = renew(kept, self.issuer.clone(), issuer.clone(), metrics.clone());
        tokio::spawn(renewing.instrument(Span::current())).await.unwrap_or(Err(NoToken::Ended))
    }

    /// Ends it, and gives its refresh token back to the issuer. If it is being renewed, it ends after that.
    pub(super) async fn end(self: Arc<Self>, issuer: Arc<Issuer>) {
        let ending = async move {
            let held = self.tokens.lock().await.take();
            let Some(refresh) = held.and_then(|held| held.tokens.refresh) else { return };
            match issuer.revoke(&self.issuer, &refresh).await {
                Ok(true) => info!("a refresh token was revoked"),
                Ok(false) => info!("the issuer revokes no tokens: a refresh token is good until it ends by itself"),
                Err(fault) => warn!(error = %fault, "a refresh token could not be revoked"),
            }
        };
        // It is done whether or not the browser waits for it.
        let _ = tokio::spawn(ending.instrument(Span::current())).await;
    }
}

impl Held {
    fn of(tokens: Tokens) -> Self {
        Self { tokens, failed_at: None }
    }

    /// The access token, unless it is over.
    fn access(&self, now: Instant) -> Result<Zeroizing<String>, NoToken> {
        if now < self.tokens.ends_at { Ok(self.tokens.access.clone()) } else { Err(NoToken::IssuerUnavailable) }
    }
}

/// Renews the tokens of a session that nobody else has in hand.
async fn renew(
    mut kept: OwnedMutexGuard<Option<Held>>,
    url: String,
    issuer: Arc<Issuer>,
    metrics: Metrics,
) -> Result<Zeroizing<String>, NoToken> {
    let held = kept.as_mut().ok_or(NoToken::Ended)?;
    let renewed = match &held.tokens.refresh {
        None => Err(None),
        Some(refresh) => issuer.refresh(&url, refresh).await.map_err(Some),
    };
    let (outcome, result) = match renewed {
        Ok(renewed) => {
            *held = Held::of(renewed);
            ("Done", Ok(held.tokens.access.clone()))
        }
        Err(None) => {
            *kept = None;
            info!("a session ended: its access token is over, and the issuer gave no refresh token");
            ("NoRefreshToken", Err(NoToken::Ended))
        }
        Err(Some(fault)) if fault.is_final() => {
            *kept = None;
            info!("a session ended: the issuer takes its refresh token no more");
            ("Refused", Err(NoToken::Ended))
        }
        Err(Some(fault)) => {
            warn!(error = %fault, "an access token could not be renewed");
            let now = Instant::now();
            held.failed_at = Some(now);
            ("IssuerUnavailable", held.access(now))
        }
    };
    metrics.refreshes.get_or_create(&Ended { outcome }).inc();
    result
}
