//! Two replicas before a market, and what anyone can ask of them.

use std::net::Ipv4Addr;
use std::ops::Index;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use rcgen::{CertificateParams, KeyPair, SanType};
use ringfence_core::access::CallerName;
use ringfence_core::tokens::Directory;
use serde_json::{Value, json};

use super::forge::with;
use super::wire::{Answer, Certificate, Request, Wire};
use crate::support::{Domain, Installation, Market, Member, Replica, eventually, now};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const TRANSACTION_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// Where the clients are let in.
const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A market with two replicas, seen by who asks one of them from some address.
#[derive(Clone)]
pub struct Shop {
    market: Arc<Market>,
    replicas: Arc<[Replica; 2]>,
    asked: usize,
    from: Ipv4Addr,
}

impl Shop {
    /// Opens one, seen from where all clients are let in.
    pub async fn open(title: &str) -> Self {
        Self::open_with(title, &[]).await
    }

    /// One whose replicas are started with these flags.
    pub async fn open_with(title: &str, flags: &[&str]) -> Self {
        let market = Market::open(title).await;
        let replicas = [market.sts.first(flags).ready().await, market.sts.another(flags).ready().await];
        for replica in &replicas {
            market.is_registered(replica).await;
        }
        let (market, replicas) = (Arc::new(market), Arc::new(replicas));
        // Failures count for an address, and this one has none yet.
        Self { market, replicas, asked: 0, from: OWN_ADDRESS }
    }

    /// The same, asking the first replica or the second.
    pub fn at(&self, replica: usize) -> Self {
        Self { asked: replica, ..self.clone() }
    }

    /// The same, from an address of which there are many.
    pub fn from(&self, number: usize) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self { from: Ipv4Addr::new(127, 1, high, low), ..self.clone() }
    }

    pub fn issuer(&self) -> &str {
        &self.market.sts.issuer
    }

    /// A URL of the token service.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }

    /// Id and secret of the client outside the cluster.
    pub fn web(&self) -> (&str, &str) {
        self.market.web()
    }

    pub fn sts(&self) -> &Installation {
        &self.market.sts
    }

    /// What the operator has written of the other domain.
    pub fn couriers(&self) -> &Directory {
        &self.market.couriers
    }

    /// The replica that is asked.
    pub fn replica(&self) -> &Replica {
        &self.replicas[self.asked]
    }

    /// The way to it, showing a member's certificate or none.
    pub fn wire(&self, who: Option<&str>) -> Wire {
        self.wire_with(who.map(|who| Certificate::of(&self[who])).as_ref())
    }

    fn wire_with(&self, certificate: Option<&Certificate>) -> Wire {
        Wire::new(self.from, self.replica().address, "localhost", self.market.sts.roots(), certificate)
    }

    /// Posts a form.
    pub async fn post(&self, who: Option<&str>, path: &str, form: &[(&str, &str)]) -> Answer {
        self.wire(who).send(&Request::form(path, form.iter().copied())).await
    }

    /// Asks for a token in one's own name, by certificate.
    pub async fn ask_token(&self, who: &str, form: &[(&str, &str)]) -> Answer {
        let form = [&[("grant_type", "client_credentials")], form].concat();
        self.post(Some(who), "/token", &form).await
    }

    /// A token of one service for another.
    pub async fn token(&self, who: &str, callee: &str) -> String {
        self.ask_token(who, &[("audience", &self[callee].id())]).await.token()
    }

    /// One with these scopes.
    pub async fn token_with(&self, who: &str, callee: &str, scope: &str) -> String {
        self.ask_token(who, &[("audience", &self[callee].id()), ("scope", scope)]).await.token()
    }

    /// A token of one service for one call of another.
    pub async fn transaction_token(&self, who: &str, callee: &str) -> String {
        let audience = self[callee].id();
        let form = [("audience", audience.as_str()), ("requested_token_type", TRANSACTION_TOKEN), ("purpose", "story")];
        self.ask_token(who, &form).await.token()
    }

    /// Asks for a token as the client outside the cluster.
    pub async fn ask_web_token(&self, callee: &str, scope: &str) -> Answer {
        let (id, secret) = self.web();
        let audience = self[callee].id();
        let form = [("grant_type", "client_credentials"), ("audience", &audience), ("scope", scope)];
        self.wire(None).send(&Request::form("/token", form).header(basic(id, secret))).await
    }

    /// A token of the client outside the cluster.
    pub async fn web_token(&self, callee: &str, scope: &str) -> String {
        self.ask_web_token(callee, scope).await.token()
    }

    /// Presents a token for the next hop, by certificate.
    pub async fn exchange(&self, who: &str, token: &str, callee: &str, more: &[(&str, &str)]) -> Answer {
        self.exchange_of(who, token, ACCESS_TOKEN, callee, more).await
    }

    /// Presents a token of some type for the next hop.
    pub async fn exchange_of(&self, who: &str, token: &str, kind: &str, callee: &str, more: &[(&str, &str)]) -> Answer {
        let audience = self[callee].id();
        let form = exchanging(token, kind, &audience);
        self.post(Some(who), "/token", &[&form, more].concat()).await
    }

    /// Presents a token for the next hop with nothing but an assertion.
    pub async fn exchange_by_assertion(&self, assertion: &str, token: &str, callee: &str) -> Answer {
        let audience = self[callee].id();
        let form = exchanging(token, ACCESS_TOKEN, &audience);
        self.post(None, "/token", &[&form[..], &asserting(assertion)].concat()).await
    }

    /// The token for the next hop.
    pub async fn exchanged(&self, who: &str, token: &str, callee: &str, more: &[(&str, &str)]) -> String {
        self.exchange(who, token, callee, more).await.token()
    }

    /// What a service is told of a token.
    pub async fn introspect(&self, who: &str, token: &str) -> Value {
        let answer = self.post(Some(who), "/introspect", &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    pub async fn revoke(&self, who: &str, token: &str) -> Answer {
        self.post(Some(who), "/revoke", &[("token", token)]).await
    }

    /// An assertion by which a service proves itself.
    pub fn assertion(&self, who: &str) -> String {
        self[who].assertion(&self.market.sts)
    }

    /// One that says something else besides, or instead; `null` for what it does not say.
    pub fn assertion_with(&self, who: &str, more: Value) -> String {
        self[who].sign("JWT", &with(&self[who].assertion_claims(&self.market.sts), more))
    }

    /// Asks for a token with nothing but an assertion.
    pub async fn by_assertion(&self, assertion: &str, callee: &str) -> Answer {
        self.asserted(None, assertion, callee, &[]).await
    }

    /// The same, saying who one is.
    pub async fn by_assertion_named(&self, client_id: &str, assertion: &str, callee: &str) -> Answer {
        self.asserted(None, assertion, callee, &[("client_id", client_id)]).await
    }

    /// The same, beside a member's certificate.
    pub async fn with_certificate_and_assertion(&self, who: &str, assertion: &str, callee: &str) -> Answer {
        self.asserted(Some(who), assertion, callee, &[]).await
    }

    async fn asserted(&self, who: Option<&str>, assertion: &str, callee: &str, more: &[(&str, &str)]) -> Answer {
        let audience = self[callee].id();
        let form = [("grant_type", "client_credentials"), ("audience", audience.as_str())];
        self.post(who, "/token", &[&form, &asserting(assertion)[..], more].concat()).await
    }

    /// Has a token introspected with nothing but an assertion.
    pub async fn introspect_by_assertion(&self, assertion: &str, token: &str) -> Answer {
        self.post(None, "/introspect", &[&[("token", token)], &asserting(assertion)[..]].concat()).await
    }

    /// All answers to who asks for a token with any certificate: none if it isn't let in.
    pub async fn with_certificate(&self, certificate: &Certificate, callee: &str) -> Vec<Answer> {
        let audience = self[callee].id();
        let request = Request::form("/token", [("grant_type", "client_credentials"), ("audience", &audience)]);
        let wire = self.wire_with(Some(certificate));
        wire.send_octets(&request.octets(wire.host())).await
    }

    /// A certificate with a member's name that nobody signed but itself.
    pub fn self_signed(&self, who: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(self[who].id().try_into().unwrap())];
        Certificate { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A certificate with a member's name, by the CA of a domain that has the same name.
    pub fn signed_by_another_domain(&self, who: &str) -> Certificate {
        let id = &self[who].spiffe_id;
        let another = Domain::new(id.trust_domain().as_str());
        Certificate::of(&another.member(id.namespace(), id.service_account()))
    }

    /// A certificate that the member had once.
    pub fn expired(&self, who: &str) -> Certificate {
        let id = &self[who].spiffe_id;
        let issued = now() - SignedDuration::from_hours(3);
        Certificate::of(&self.market.domain.member_since(id.namespace(), id.service_account(), issued))
    }

    /// Gives service accounts to these members.
    pub async fn create_accounts(&self, names: &[&str]) {
        self.market.sts.create_accounts(self["order"].spiffe_id.namespace(), names).await;
    }

    /// A token of one of these service accounts.
    pub async fn service_account_token(&self, name: &str, audiences: &[&str]) -> String {
        self.market.sts.account_token(self["order"].spiffe_id.namespace(), name, audiences).await
    }

    /// The public key that verifies a token.
    pub async fn issuer_key(&self, token: &str) -> Value {
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let set = self.wire(None).send(&Request::get("/jwks")).await.json;
        set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone()
    }

    /// Has a member suspended: nothing that the operator writes names it any more.
    pub async fn suspend(&self, who: &str) {
        let id = self[who].id();
        let mut directory = self.market.directory.clone();
        directory.identities.retain(|identity| identity.spiffe_id != id);
        directory.grants.retain(|grant| grant.callee != id && !is_of(&grant.caller, &id));
        self.market.sts.publish(&directory).await;
    }

    /// Takes back the policy by which a service may call the other domain.
    pub async fn close_to_couriers(&self, caller: &str) {
        let id = self[caller].id();
        let mut directory = self.market.couriers.clone();
        directory.grants.retain(|grant| !is_of(&grant.caller, &id));
        assert_eq!(directory.grants.len() + 1, self.market.couriers.grants.len());
        self.market.sts.publish(&directory).await;
    }

    /// Waits until a service is not even talked to by its certificate.
    pub async fn eventually_shut_out(&self, who: &str, callee: &str) {
        let certificate = Certificate::of(&self[who]);
        eventually("it is shut out", async || {
            self.with_certificate(&certificate, callee).await.is_empty().then_some(())
        })
        .await;
    }

    /// Waits until a service is refused a token for another.
    pub async fn eventually_refused(&self, who: &str, callee: &str, error: &str) {
        let audience = self[callee].id();
        eventually("it is refused a token", async || {
            let answer = self.ask_token(who, &[("audience", &audience)]).await;
            (answer.status != 200).then(|| assert_eq!(answer.error(), error))
        })
        .await;
    }

    /// Waits until a token is not active any more.
    pub async fn eventually_inactive(&self, who: &str, token: &str) {
        eventually("the token is not active", async || (self.introspect(who, token).await == inactive()).then_some(()))
            .await;
    }

    /// Both replicas do what they are there for.
    pub async fn is_well(&self) {
        for replica in [0, 1] {
            let shop = Self { from: OWN_ADDRESS, ..self.at(replica) };
            let token = shop.token("gateway", "order").await;
            assert_eq!(shop.introspect("order", &token).await["active"], true);
            let (id, _) = shop.web();
            assert_eq!(shop.introspect("gateway", &shop.web_token("gateway", "shop.read").await).await["sub"], id);
        }
    }

    /// Memory that the replicas hold, in octets.
    pub fn memory(&self) -> u64 {
        let of = |replica: &Replica| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", replica.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        self.replicas.iter().map(of).sum()
    }
}

impl Index<&str> for Shop {
    type Output = Member;

    fn index(&self, name: &str) -> &Member {
        &self.market[name]
    }
}

/// All that is said of a token that is not active, or not one's own business.
pub fn inactive() -> Value {
    json!({"active": false})
}

/// The parameters of a client that proves itself by an assertion.
pub fn asserting(assertion: &str) -> [(&'static str, &str); 2] {
    [("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]
}

/// The parameters of an exchange.
fn exchanging<'a>(token: &'a str, kind: &'a str, audience: &'a str) -> [(&'static str, &'a str); 4] {
    [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind), ("audience", audience)]
}

/// The header of a client that proves itself by its secret.
pub fn basic(id: &str, secret: &str) -> String {
    format!("authorization: Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn is_of(caller: &CallerName, id: &str) -> bool {
    matches!(caller, CallerName::Identity { spiffe_id, .. } if spiffe_id == id)
}
