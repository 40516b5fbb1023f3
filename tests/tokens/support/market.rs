//! Services that call each other hop by hop, one of them of another domain, and a client outside the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

use aws_lc_rs::rand;
use ringfence_core::access::CallerName;
use ringfence_core::api::{TokenFormat, TokenValidation};
use ringfence_core::tokens::{Directory, DirectoryClients, DirectoryGrant, NewRegistration};

use super::{Client, Domain, Installation, Member, Replica, directory, eventually, grant};

/// The members of the first domain. `stranger` may call nobody; `bystander` may not even talk to the token service.
const SERVICES: [&str; 7] = ["gateway", "order", "payment", "ledger", "kiosk", "stranger", "bystander"];
/// The one member of the other domain, whose tokens are opaque.
const COURIER: &str = "delivery";
/// Id of the client outside the cluster.
const WEB: &str = "web";
/// How long a token for `kiosk` lives, in seconds: it expires while a story waits.
const SHORT: u64 = 5;

/// An installation with all of them, and no replica yet.
pub struct Market {
    pub sts: Installation,
    /// The first domain.
    pub domain: Domain,
    /// What the operator has written of its members.
    pub directory: Directory,
    /// The same of the other domain.
    pub couriers: Directory,
    members: BTreeMap<&'static str, Member>,
    secret: String,
}

impl Market {
    /// Opens one.
    pub async fn open(title: &str) -> Self {
        let sts = Installation::begin(title).await;
        let (domain, another) = (Domain::new("shop.example"), Domain::new("couriers.example"));
        let (namespace, of_couriers) = (format!("{}-shop", sts.namespace), format!("{}-couriers", sts.namespace));
        let mut members = BTreeMap::from(SERVICES.map(|name| (name, domain.member(&namespace, name))));
        members.insert(COURIER, another.member(&of_couriers, COURIER));

        let (secret, registration) = registration();
        sts.write_secret("shop-clients", &[(WEB, &registration)]).await;

        let mut directory = directory(&namespace, &domain, &SERVICES.map(|name| &members[name]));
        directory.domain.scopes = scopes(&["shop.read", "shop.pay"]);
        directory.domain.clients =
            Some(DirectoryClients { secret_name: "shop-clients".to_owned(), cidrs: vec!["127.0.0.0/8".to_owned()] });
        let bystander = members["bystander"].id();
        for identity in &mut directory.identities {
            identity.client = identity.spiffe_id != bystander;
        }
        directory.grants = grants(&members);
        sts.publish(&directory).await;

        let mut couriers = super::directory(&of_couriers, &another, &[&members[COURIER]]);
        couriers.domain.token_format = TokenFormat::Opaque;
        couriers.grants = vec![
            introspected(edge(&members, "order", COURIER, &["shop.read"])),
            introspected(edge(&members, "ledger", COURIER, &[])),
        ];
        sts.publish(&couriers).await;
        Self { sts, domain, directory, couriers, members, secret }
    }

    /// Id and secret of the client outside the cluster.
    pub fn web(&self) -> (&'static str, &str) {
        (WEB, &self.secret)
    }

    /// Waits until a replica lets the client outside the cluster in.
    pub async fn is_registered(&self, replica: &Replica) {
        let (client, audience) = (Client::anonymous(&self.sts, replica), self["gateway"].id());
        let proof = [("client_id", WEB), ("client_secret", self.secret.as_str())];
        eventually("the client is registered", async || {
            (client.client_credentials(&audience, &proof).await.status == 200).then_some(())
        })
        .await;
    }

    /// The names of all services.
    #[allow(dead_code, reason = "it is for tests/conformance, which shares these")]
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.members.keys().copied()
    }
}

impl Index<&str> for Market {
    type Output = Member;

    fn index(&self, name: &str) -> &Member {
        &self.members[name]
    }
}

/// A client's secret, and what registers it.
pub fn registration() -> (String, String) {
    let mut entropy = [0; 32];
    rand::fill(&mut entropy).unwrap();
    let cidrs = ["127.0.0.0/16".parse().unwrap()].into();
    let NewRegistration { secret, registration } =
        NewRegistration::new(&entropy, scopes(&["shop.read", "shop.pay"]), cidrs);
    (secret.to_string(), registration)
}

/// Who may call whom within the first domain.
fn grants(members: &BTreeMap<&'static str, Member>) -> Vec<DirectoryGrant> {
    let edge = |caller, callee, demanded: &[&str]| edge(members, caller, callee, demanded);
    let from_outside = |grant| DirectoryGrant { caller: CallerName::Anywhere, ..grant };
    let short = |grant| DirectoryGrant { max_lifetime_seconds: SHORT, ..grant };
    vec![
        from_outside(edge("order", "gateway", &["shop.read"])),
        from_outside(short(edge("order", "kiosk", &[]))),
        edge("gateway", "order", &["shop.read"]),
        short(edge("gateway", "kiosk", &[])),
        edge("kiosk", "payment", &[]),
        DirectoryGrant { mtls: true, ..edge("order", "payment", &["shop.pay"]) },
        introspected(DirectoryGrant { one_time: true, ..edge("order", "ledger", &["shop.pay"]) }),
        edge("ledger", "payment", &["shop.pay"]),
    ]
}

fn edge(members: &BTreeMap<&'static str, Member>, caller: &str, callee: &str, demanded: &[&str]) -> DirectoryGrant {
    DirectoryGrant { scopes: scopes(demanded), ..grant(&members[caller], &members[callee]) }
}

fn introspected(grant: DirectoryGrant) -> DirectoryGrant {
    DirectoryGrant { validation: TokenValidation::Introspection, ..grant }
}

fn scopes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
