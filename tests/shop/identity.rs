//! From the right place in the network, with the wrong proof. An intruder has the labels and the account of a service that
//! may call, and whatever it got hold of.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ringfence::controller::SystemEntropy;
use ringfence_core::api::SigningAlgorithm;
use ringfence_core::jwt::{ServiceToken, SigningKey, TokenSigner, key_algorithm};
use ringfence_core::pki::{Entropy as _, SpiffeId};
use serde_json::{Value, json};

use super::attempts::{GATEWAY, ORDER};
use super::ledger::Ledger;
use super::stage::Stage;

const CHARGE: &str = "shop.payment.v1.Payment/Charge";
const PAYMENT_URL: &str = "https://payment.settlement.svc";
const INVENTORY_URL: &str = "https://inventory.storefront.svc/items?search=tea";

/// mTLS services: inventory, from the pods of gateway, which may reach it.
pub fn certificates_that_are_not_the_callers_are_refused(stage: &Stage<'_>, ledger: &Ledger) {
    let ask = |certificate: &str| {
        let (cert, key) = (format!("/loot/{certificate}.crt"), format!("/loot/{certificate}.key"));
        stage.intruder("gateway").request(
            stage.story,
            &["--insecure", "--cert", &cert, "--key", &key, INVENTORY_URL],
            None,
        )
    };
    ledger.comes_to(
        "gateway's own certificate gets through",
        || ask("gateway"),
        |seen| seen.starts_with("answered 200"),
    );
    let none = || GATEWAY.request(stage.story, &["--insecure", INVENTORY_URL], None);
    ledger.comes_to("no certificate is refused", none, |seen| seen.starts_with("failed at"));
    for (what, certificate) in
        [("a certificate of another domain is refused", "payment"), ("an expired certificate is refused", "expired")]
    {
        ledger.comes_to(what, || ask(certificate), |seen| seen.starts_with("failed at"));
    }
}

/// Payment, from the pods of order, which may reach it.
pub fn tokens_that_order_did_not_sign_for_payment_are_refused(stage: &Stage<'_>, ledger: &Ledger) {
    let story = stage.story;
    let order: SpiffeId = "spiffe://storefront/ns/storefront/sa/order".parse().unwrap();
    let own = TokenSigner::of_secret(&stage.secret("storefront", "order-signing-key")).unwrap();
    let other = TokenSigner::new(
        &SigningKey::new(
            SystemEntropy.private_key(key_algorithm(SigningAlgorithm::ES256)).unwrap(),
            SigningAlgorithm::ES256,
        )
        .unwrap(),
    );
    let now = Timestamp::now();
    let ago = now.checked_sub(SignedDuration::from_mins(10)).unwrap();
    let obo = json!({"sub": "web", "client_id": "web", "scope": "customer"});
    let token = |signer: &TokenSigner, audience: &str, at: Timestamp, obo: &Value| {
        let lifetime = SignedDuration::from_mins(1);
        let wanted = ServiceToken { caller: &order, audience, lifetime, id: "attempt", on_behalf_of: Some(obo) };
        signer.sign(&wanted, at).unwrap()
    };
    let payment = "payment.settlement.svc";
    let good = token(&own, payment, now, &obo);
    let charge = json!({"order": "attempt", "cents": 1}).to_string();
    let call =
        |token: &str| ORDER.request(story, &["--insecure", "--grpc", CHARGE, "-d", &charge, PAYMENT_URL], Some(token));
    ledger.comes_to("order's own token gets through", || call(&good), |seen| seen.starts_with("grpc Ok"));
    let public = stage.delivered("settlement", "payment-trust", "jwks.storefront.order.json");
    let cases = [
        ("a token by another key is refused", token(&other, payment, now, &obo)),
        ("a token for another audience is refused", token(&own, "delivery.settlement.svc", now, &obo)),
        ("an expired token is refused", token(&own, payment, ago, &obo)),
        ("alg none is refused", unsigned(&good)),
        ("a token under the public key as a shared secret is refused", by_shared_secret(&good, public.as_bytes())),
        ("no token is refused", String::new()),
    ];
    for (what, token) in cases {
        ledger.comes_to(what, || call(&token), |seen| seen.starts_with("grpc Unauthenticated"));
    }
    let nobody = json!({"sub": "web", "client_id": "web", "scope": "visitor"});
    let without = token(&own, payment, now, &nobody);
    ledger.comes_to(
        "order on behalf of one who is no customer is refused",
        || call(&without),
        |seen| seen.starts_with("grpc PermissionDenied"),
    );
}

/// The gateway, from outside.
pub fn customers_need_a_token_that_is_in_force(stage: &Stage<'_>, ledger: &Ledger) {
    let token = stage.customer(&["token"]);
    let ask = |token: Option<&str>| stage.outside_request("gateway.storefront.svc", "/items?search=tea", token);
    ledger.comes_to("a customer's token gets through", || ask(Some(&token)), |seen| seen.starts_with("answered 200"));
    ledger.comes_to("no token is refused", || ask(None), |seen| seen.starts_with("answered 401"));
    let mut broken = token.clone();
    broken.push('x');
    ledger.comes_to(
        "a token that was tampered with is refused",
        || ask(Some(&broken)),
        |seen| seen.starts_with("answered 401"),
    );
    ledger.comes_to(
        "no token without the scope customer is issued for the gateway",
        || stage.customer_of("visitor", &["token"]),
        |seen| seen.contains("invalid_scope"),
    );
    stage.revoke(&token);
    ledger.comes_to("a revoked token is refused", || ask(Some(&token)), |seen| seen.starts_with("answered 401"));
}

/// The same claims, and no signature.
fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "service+jwt"}).to_string());
    format!("{header}.{claims}.")
}

/// The same claims, under what everyone has.
fn by_shared_secret(token: &str, secret: &[u8]) -> String {
    let mut parts = token.split('.');
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
    let header = json!({"alg": "HS256", "typ": "service+jwt", "kid": header["kid"]});
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), parts.next().unwrap());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}
