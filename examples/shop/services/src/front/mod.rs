//! The shop in a browser: a page without frameworks, and the small server behind it that logs customers in.
//!
//! Tokens are kept here and never reach the browser, which has a cookie and nothing else that is worth stealing: what the draft
//! "OAuth 2.0 for Browser-Based Applications" calls a backend for frontend.

mod api;
mod cookie;
mod guard;
mod id_token;
mod issuer;
mod kept;
mod login;
mod metrics;
mod page;
mod session;
mod ticket;

#[cfg(test)]
mod stage;
#[cfg(test)]
mod stories;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use clap::Args;
use http::Uri;
use oauth2::RedirectUrl;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use ringfence_workload::Workload;

use self::api::Gateway;
use self::issuer::Issuer;
use self::kept::{Kept, Limits};
use self::login::{ATTEMPT_MINUTES, Attempt};
use self::metrics::Metrics;
use self::session::Session;
use crate::service::{Options, Service};
use crate::throttle::Throttle;

/// Most sessions, and most logins under way, at once.
const MOST: usize = 10_000;
/// Between two looks for sessions that have ended by themselves.
const SWEEP: Duration = Duration::from_secs(60);

/// `shop front`
#[derive(Debug, Args)]
pub(crate) struct Front {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    shopfront: Settings,
}

#[derive(Debug, Args)]
struct Settings {
    /// Where customers log in: the issuer's name in the TrustDomain. The client's id and secret there are in the folder
    /// `issuers/<name>` of what Ringfence delivers.
    #[arg(long, default_value = "keycloak")]
    issuer: String,
    /// Under which browsers know this service. The issuer sends them back to `/callback` there.
    #[arg(long, default_value = "https://front.storefront.svc:8443")]
    public_url: Uri,
    /// What is asked for at the login. With `openid`, the issuer says what the customer is called.
    #[arg(long, default_value = "openid customer")]
    scope: String,
    /// The gateway.
    #[arg(long, default_value = "https://gateway.storefront.svc")]
    gateway: Uri,
    /// How long a session stays open that is not used.
    #[arg(long, default_value = "30m", value_parser = crate::tls::duration)]
    session_idle: Duration,
    /// How long a session stays open at all.
    #[arg(long, default_value = "8h", value_parser = crate::tls::duration)]
    session_lifetime: Duration,
    /// Logins a second that may begin at one address; twice as many in a moment. With more than 16, one address can take all the
    /// room that there is for logins under way, so that those of others come to nothing.
    #[arg(long, default_value = "5")]
    login_rate: NonZeroU32,
}

/// What all requests share.
struct Shopfront {
    issuer: Arc<Issuer>,
    gateway: Gateway,
    /// Of beginning logins, by address.
    throttle: Throttle,
    attempts: Kept<Arc<Attempt>>,
    /// The refresh token of one that is let go, since its time is over or there is no room, is not revoked: it runs out by itself
    /// at the issuer, by the idle time that sessions have there.
    sessions: Kept<Arc<Session>>,
    metrics: Metrics,
}

impl Front {
    pub(crate) async fn run(self) -> Result<()> {
        let mut service = Service::start("front", self.options)?;
        let front = Arc::new(Shopfront::new(&service.workload, self.shopfront, &mut service.metrics.registry)?);
        let swept = front.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                swept.attempts.sweep(Instant::now());
                swept.sessions.sweep(Instant::now());
            }
        });
        service.serve(front.router()).await
    }
}

impl Shopfront {
    fn new(workload: &Workload, settings: Settings, registry: &mut Registry) -> Result<Self> {
        let Settings { issuer, public_url, scope, gateway, session_idle, session_lifetime, login_rate } = settings;
        let is_origin = |url: &Uri| url.scheme_str() == Some("https") && url.path() == "/" && url.query().is_none();
        ensure!(
            is_origin(&public_url),
            "--public-url {public_url} is not written as https://HOST or https://HOST:PORT"
        );
        ensure!(is_origin(&gateway), "--gateway {gateway} is not written as https://HOST or https://HOST:PORT");
        let redirect = RedirectUrl::new(format!("{public_url}callback"));
        let redirect = redirect.with_context(|| format!("--public-url {public_url} is no URL"))?;
        let metrics = Metrics::register(registry);
        let attempt_life = Duration::from_mins(u64::from(ATTEMPT_MINUTES));
        let attempts = Limits { most: MOST, idle: attempt_life, life: attempt_life };
        let sessions = Limits { most: MOST, idle: session_idle, life: session_lifetime };
        Ok(Self {
            issuer: Arc::new(Issuer::new(workload.clone(), issuer, redirect, &scope)),
            gateway: Gateway::new(workload.client(), gateway.into_parts().authority.context("--gateway has no host")?),
            throttle: Throttle::new(login_rate),
            attempts: Kept::new(attempts, Gauge::default()),
            sessions: Kept::new(sessions, metrics.sessions.clone()),
            metrics,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/login", get(login::begin))
            .route("/callback", get(login::finish))
            .route("/session", get(login::session))
            .route("/logout", post(login::log_out))
            .nest("/api", api::routes())
            .merge(page::routes())
            .layer(from_fn(guard::from_the_page))
            .with_state(self)
    }
}
