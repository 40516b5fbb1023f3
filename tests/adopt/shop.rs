//! Two trust domains below one root. Order, of storefront, calls payment, of settlement; cart, of storefront, may not.

use std::collections::{BTreeMap, BTreeSet};

use ringfence::controller::SystemEntropy;
use ringfence_core::access::{
    ACCESS_VERSION, AccessCallee, AccessCaller, AccessDocument, AccessPort, AccessProof, AccessToken, CalleeName,
    CallerName, ClientCertificates, PortRange, bundle_file, key_set_file,
};
use ringfence_core::api::{Protocol, Signer, SigningAlgorithm};
use ringfence_core::jwt::{SigningKey, jwks_json, key_algorithm, signing_key_secret_data};
use ringfence_core::pki::{Entropy, IssuedLeaf, SecretData};

use crate::issued::Domain;
use crate::pod::Pod;

pub const ORDER: &str = "spiffe://storefront/ns/storefront/sa/order";
pub const CART: &str = "spiffe://storefront/ns/storefront/sa/cart";
pub const PAYMENT: &str = "spiffe://settlement/ns/settlement/sa/payment";
pub const DELIVERY: &str = "spiffe://settlement/ns/settlement/sa/delivery";
/// The port of payment's pods.
pub const PORT: u16 = 8443;
/// What payment takes for itself in tokens.
pub const AUDIENCE: &str = "payment.settlement.svc";
/// How long a token may be good, in seconds.
pub const LIFETIME: u64 = 120;

/// How order proves itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Certificate,
    Token,
}

/// All that is issued.
pub struct Shop {
    pub root: Domain,
    pub storefront: Domain,
    pub settlement: Domain,
    pub order: IssuedLeaf,
    pub payment: IssuedLeaf,
    /// Order's.
    pub signing_key: SigningKey,
}

impl Shop {
    pub fn new(algorithm: SigningAlgorithm) -> Self {
        let root = Domain::root("shop-root");
        let (storefront, settlement) = (Domain::below("storefront", &root), Domain::below("settlement", &root));
        let (order, payment) = (storefront.issue(ORDER), settlement.issue(PAYMENT));
        Self { root, storefront, settlement, order, payment, signing_key: signing_key(algorithm) }
    }

    /// Order's pod, or one that has another certificate in the place of order's.
    pub fn caller(&self, by: By, tls: &SecretData) -> Pod {
        let pod = Pod::new();
        pod.mount("tls", tls).mount("trust", &self.callers_trust(by));
        pod.mount("signing-key", &signing_key_secret_data(&self.signing_key, None));
        pod
    }

    pub fn order(&self, by: By) -> Pod {
        self.caller(by, &self.storefront.secret(&self.order))
    }

    /// Payment's pod, or one that has another certificate in the place of payment's.
    pub fn callee(&self, by: By, tls: &SecretData) -> Pod {
        let pod = Pod::new();
        pod.mount("tls", tls).mount("trust", &self.callees_trust(by));
        pod
    }

    pub fn payment(&self, by: By) -> Pod {
        self.callee(by, &self.settlement.secret(&self.payment))
    }

    /// The ConfigMap of order.
    pub fn callers_trust(&self, by: By) -> SecretData {
        let callee = CalleeName::Identity {
            spiffe_id: PAYMENT.to_owned(),
            trust_domain: "settlement".to_owned(),
            dns_names: BTreeSet::from(["localhost".to_owned()]),
        };
        let callee =
            AccessCallee { callee, ports: vec![range()], proof: proof(by, None), rules: Vec::new(), policy: policy() };
        let access = AccessDocument { callees: vec![callee], ..document(ORDER) };
        self.trust(&access, [])
    }

    /// The ConfigMap of payment.
    pub fn callees_trust(&self, by: By) -> SecretData {
        let order = ORDER.parse().unwrap();
        let keys = key_set_file(&order);
        let caller = AccessCaller {
            caller: CallerName::Identity { spiffe_id: ORDER.to_owned(), trust_domain: "storefront".to_owned() },
            proof: proof(by, Some(keys.clone())),
            rules: Vec::new(),
            policy: policy(),
        };
        let client_certificates =
            if by == By::Certificate { ClientCertificates::Required } else { ClientCertificates::None };
        let access = AccessDocument {
            key_sets: BTreeMap::from([(ORDER.to_owned(), keys.clone())]),
            ports: vec![AccessPort { range: range(), client_certificates, callers: vec![caller] }],
            ..document(PAYMENT)
        };
        self.trust(&access, [(keys, jwks_json(&[(order, vec![self.signing_key.public_jwk().clone()])]))])
    }

    /// Both services have peers in both domains.
    fn trust<const N: usize>(&self, access: &AccessDocument, more: [(String, String); N]) -> SecretData {
        let files = [
            ("access.json".to_owned(), access.to_json()),
            (bundle_file("settlement"), self.settlement.bundle()),
            (bundle_file("storefront"), self.storefront.bundle()),
            ("crl.pem".to_owned(), self.settlement.lists() + &self.storefront.lists()),
        ];
        files.into_iter().chain(more).map(|(name, text)| (name, text.into_bytes())).collect()
    }
}

/// A key to sign with.
pub fn signing_key(algorithm: SigningAlgorithm) -> SigningKey {
    SigningKey::new(SystemEntropy.private_key(key_algorithm(algorithm)).unwrap(), algorithm).unwrap()
}

fn document(id: &str) -> AccessDocument {
    AccessDocument {
        version: ACCESS_VERSION,
        spiffe_id: id.to_owned(),
        audiences: BTreeSet::new(),
        bundles: ["settlement", "storefront"].map(|domain| (domain.to_owned(), bundle_file(domain))).into(),
        key_sets: BTreeMap::new(),
        issuers: BTreeMap::new(),
        ports: Vec::new(),
        callees: Vec::new(),
        content_hash: String::new(),
    }
}

fn proof(by: By, key_set: Option<String>) -> AccessProof {
    let token = AccessToken {
        signer: Signer::Caller,
        issuer: None,
        key_set,
        validation: None,
        scopes: BTreeSet::new(),
        one_time: false,
        audiences: BTreeSet::from([AUDIENCE.to_owned()]),
        max_lifetime_seconds: Some(LIFETIME),
    };
    AccessProof { mtls: by == By::Certificate, token: (by == By::Token).then_some(token) }
}

fn range() -> PortRange {
    PortRange { port: PORT, end_port: None, protocol: Protocol::Tcp }
}

fn policy() -> Option<String> {
    Some("settlement/payment".to_owned())
}
