//! The service with an issuer and a gateway on this machine, and a browser in front of it.

#[path = "../../../../../workload/tests/delivered/mod.rs"]
mod delivered;
mod gateway;
mod issuer;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::request::Builder;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use ringfence_core::access::CallerName;
use ringfence_workload::{Caller, Workload};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

pub(super) use self::delivered::{Domain, Pod};
pub(super) use self::gateway::Gateway;
pub(super) use self::issuer::{Keycloak, basic, query};
use super::metrics::Ended;
use super::{Settings, Shopfront};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::service::observed;

/// Where browsers know the service.
pub(super) const PUBLIC: &str = "https://front.storefront.svc:8443";
/// The name of the service at the issuer, and its secret.
pub(super) const CLIENT: (&str, &str) = ("shop-front", "the-client-secret");

/// All of it. It ends with this value.
pub(super) struct Stage {
    pub(super) keycloak: Keycloak,
    pub(super) gateway: Gateway,
    pub(super) front: Arc<Shopfront>,
    pub(super) workload: Workload,
    router: Router,
    _pod: Pod,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let (storefront, login) = (Domain::new("storefront"), Domain::new("login"));
        let keycloak = Keycloak::start(&login).await;
        let gateway = Gateway::start(&storefront).await;
        let pod = storefront.service("front").open().calls("gateway", Some(&keycloak.url));
        let pod = pod.talks_to("keycloak", &keycloak.url, &login).known_to("keycloak", CLIENT.0, CLIENT.1).pod();
        let mut settings = settings(&gateway.url);
        change(&mut settings);
        let mut metrics = Metrics::default();
        let workload = pod.workload();
        let front = Arc::new(Shopfront::new(&workload, settings, &mut metrics.registry).unwrap());
        let observer = Observer { spiffe_id: storefront.id("front"), metrics: Arc::new(metrics) };
        let router = observed(front.clone().router(), observer);
        Self { keycloak, gateway, front, workload, router, _pod: pod }
    }

    pub(super) fn browser(&self) -> Browser {
        self.browser_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A browser at an address.
    pub(super) fn browser_at(&self, address: IpAddr) -> Browser {
        Browser { router: self.router.clone(), address, cookies: BTreeMap::new() }
    }

    /// A browser in which a customer is logged in.
    pub(super) async fn logged_in(&self) -> Browser {
        let mut browser = self.browser();
        let back = self.keycloak.log_in(&browser.begin().await);
        assert_eq!(browser.arrive(&back).await.status, StatusCode::SEE_OTHER);
        browser
    }

    /// How many logins ended so.
    pub(super) fn logins(&self, outcome: &'static str) -> u64 {
        self.front.metrics.logins.get_or_create(&Ended { outcome }).get()
    }

    /// How many renewals of access tokens ended so.
    pub(super) fn refreshes(&self, outcome: &'static str) -> u64 {
        self.front.metrics.refreshes.get_or_create(&Ended { outcome }).get()
    }
}

pub(super) fn settings(gateway: &str) -> Settings {
    Settings {
        issuer: "keycloak".to_owned(),
        public_url: PUBLIC.parse().unwrap(),
        scope: "openid customer".to_owned(),
        gateway: gateway.parse().unwrap(),
        session_idle: Duration::from_mins(30),
        session_lifetime: Duration::from_hours(8),
        login_rate: NonZeroU32::new(1000).unwrap(),
    }
}

/// Whom the workload library takes a browser at an address for.
fn anyone(address: IpAddr) -> Caller {
    Caller {
        name: CallerName::Anywhere,
        spiffe_id: None,
        by_certificate: false,
        claims: None,
        policy: Some("storefront/front".to_owned()),
        address,
    }
}

/// A port of this machine with something behind it. It ends with this value.
pub(super) struct Server {
    pub(super) port: u16,
    _pod: Pod,
    _stop: DropGuard,
}

impl Server {
    async fn start(listener: TcpListener, pod: Pod, router: Router) -> Self {
        let (port, stop) = (listener.local_addr().unwrap().port(), CancellationToken::new());
        tokio::spawn(pod.workload().server(delivered::PORT).serve(listener, router, stop.clone()));
        Self { port, _pod: pod, _stop: stop.drop_guard() }
    }
}

/// A browser, as far as cookies go.
#[derive(Clone)]
pub(super) struct Browser {
    router: Router,
    address: IpAddr,
    /// By name: the value, and what else the server said of it.
    pub(super) cookies: BTreeMap<String, (String, String)>,
}

/// What a browser was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {:?} is no JSON", self.status, self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Browser {
    /// The page's script asks for something.
    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    /// The page's script changes something.
    pub(super) async fn post(&mut self, path: &str, content: &str) -> Answer {
        let request = Request::post(path).header("x-shop", "1").header("sec-fetch-site", "same-origin");
        self.send(request.header("content-type", "application/json"), content).await
    }

    /// Follows the link to the login; where the browser is sent to.
    pub(super) async fn begin(&mut self) -> String {
        let answer = self.get("/login").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer.header(LOCATION.as_str()).to_owned()
    }

    /// Is sent here by another site: cookies that are for this site alone do not come along.
    pub(super) async fn arrive(&mut self, path: &str) -> Answer {
        let request = Request::get(path).header("sec-fetch-site", "cross-site");
        self.exchange(request, "", |attributes| !attributes.contains("SameSite=Strict")).await
    }

    /// Whatever it may be.
    pub(super) async fn send(&mut self, request: Builder, content: &str) -> Answer {
        self.exchange(request, content, |_| true).await
    }

    pub(super) async fn is_signed_in(&mut self) -> bool {
        self.get("/session").await.json()["signedIn"] == true
    }

    async fn exchange(&mut self, mut request: Builder, content: &str, shown: fn(&str) -> bool) -> Answer {
        for (name, (value, attributes)) in &self.cookies {
            if shown(attributes) {
                request = request.header(COOKIE, format!("{name}={value}"));
            }
        }
        let request = request.extension(anyone(self.address)).body(Body::from(content.to_owned())).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        for cookie in head.headers.get_all(SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), (value.to_owned(), attributes.to_owned())),
            };
        }
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        for header in ["content-security-policy", "x-content-type-options", "referrer-policy", "cache-control"] {
            assert!(head.headers.contains_key(header), "an answer without {header}");
        }
        Answer { status: head.status, headers: head.headers, text }
    }
}
