//! The same shop with another issuer: Keycloak, which is not in the cluster, in place of the token service. Programs come
//! with client credentials, people with their name and password or through the front, which keeps their tokens.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringfence_cluster::{KEYCLOAK_HOST, KEYCLOAK_PORT, Keycloak, OPERATOR_NAMESPACE};
use serde_json::{Value, json};

use super::browser::Browser;
use super::changes::Load;
use super::ledger::Ledger;
use super::stage::{Stage, domains, said};

const FOLDER: &str = "examples/shop/keycloak";
/// Whoever has a secret or a password at Keycloak.
const KNOWN: [&str; 6] = ["gateway", "web", "kiosk", "front", "alice", "bob"];
const TOKEN_ENDPOINT: &str = "https://keycloak.login.svc:8443/realms/shop/protocol/openid-connect/token";
const FRONT: &str = "https://front.storefront.svc:8443";

/// Keycloak with the shop's realm, and what everybody proves themselves by there.
pub struct Login<'a> {
    stage: &'a Stage<'a>,
    address: Ipv4Addr,
    secrets: BTreeMap<&'static str, String>,
}

impl<'a> Login<'a> {
    /// Starts it outside of the cluster.
    pub fn begin(stage: &'a Stage<'a>) -> Self {
        let secrets: BTreeMap<&str, String> = KNOWN.into_iter().map(|name| (name, secret())).collect();
        let cluster = stage.story.cluster();
        let address = cluster.node().unwrap().outside_address();
        let variable = |name: &str| {
            let kind = if ["alice", "bob"].contains(&name) { "PASSWORD" } else { "SECRET" };
            format!("SHOP_{}_{kind}", name.to_uppercase())
        };
        let environment = secrets.iter().map(|(name, secret)| (variable(name), secret.clone())).collect();
        let realm = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER).join("realm.json");
        Keycloak::start(cluster, &realm, address.into(), &environment).unwrap();
        Self { stage, address, secrets }
    }

    /// Declares Keycloak in place of the token service; gives a token of that, which was good until then.
    pub fn takes_over(&self) -> String {
        let (stage, story) = (self.stage, self.stage.story);
        let before = stage.customer(&["token"]);
        let answer = stage.outside_request("gateway.storefront.svc", "/items?search=tea", Some(&before));
        assert!(answer.starts_with("answered 200"), "{answer}");
        story.apply_file(&format!("{FOLDER}/1-keycloak.yaml"));
        story.apply(&[self.endpoint(), self.credentials(), self.domain()]);
        story.apply_file(&format!("{FOLDER}/3-storefront.yaml"));
        for kind in ["serviceidentities.ringfence.dev", "accesspolicies.ringfence.dev"] {
            story.all_ready(kind, "storefront");
        }
        let patch = format!("{}/{FOLDER}/gateway.patch.yaml", env!("CARGO_MANIFEST_DIR"));
        story.kubectl(&format!("patch deployment gateway --namespace=storefront --patch-file={patch}"));
        story.apply_file(&format!("{FOLDER}/4-front.yaml"));
        for name in ["gateway", "front"] {
            story.kubectl(&format!("rollout status deployment/{name} --timeout=180s --namespace=storefront"));
        }
        for name in ["web", "kiosk", "alice", "bob"] {
            stage.save(name, self.secrets[name].as_bytes());
        }
        stage.believe(story.cluster().authority());
        before
    }

    /// Where Keycloak is.
    fn endpoint(&self) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "keycloak", "namespace": "login", "labels": {"kubernetes.io/service-name": "keycloak"}},
            "ports": [{"name": "https", "port": KEYCLOAK_PORT}],
            "endpoints": [{"addresses": [self.address.to_string()]}],
        })
    }

    /// What Keycloak knows gateway and front by.
    fn credentials(&self) -> Value {
        let entries = [("gateway", "gateway.storefront.svc"), ("front", "front")];
        let data = entries.into_iter().flat_map(|(name, id)| {
            let pair = [("client-id", id), ("client-secret", self.secrets[name].as_str())];
            pair.map(|(key, value)| (format!("storefront.{name}.{key}"), value))
        });
        json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": data.collect::<BTreeMap<_, _>>(),
            "metadata": {"name": "shop-keycloak", "namespace": OPERATOR_NAMESPACE},
        })
    }

    /// The TrustDomain, with the address and the root of this Keycloak.
    fn domain(&self) -> Value {
        let mut domain = domains(&format!("{FOLDER}/2-trust-domain.yaml")).remove(0);
        let issuer = &mut domain["spec"]["tokenIssuers"][0];
        issuer["endpoint"]["cidrs"] = json!([format!("{}/32", self.address)]);
        issuer["caBundle"] = json!(self.stage.story.cluster().authority());
        domain
    }

    /// What came of a customer's command with a client at Keycloak, for itself or for somebody with a password.
    fn customer(&self, client: &str, person: Option<&str>, arguments: &[&str]) -> String {
        said(&self.customer_command(client, person, arguments).output().unwrap())
    }

    fn customer_command(&self, client: &str, person: Option<&str>, arguments: &[&str]) -> Command {
        let known = format!("{KEYCLOAK_HOST}={}", self.address);
        let mut all = vec!["--token-endpoint", TOKEN_ENDPOINT, "--resolve", &known];
        let password = self.stage.saved(person.unwrap_or_default());
        if let Some(person) = person {
            all.extend(["--username", person, "--password-file", &password]);
        }
        all.extend(arguments);
        self.stage.customer_command(client, &all)
    }

    fn browser(&self) -> Browser {
        let front = self.stage.address_of("storefront", "front");
        let known = [(KEYCLOAK_HOST, self.address.to_string()), ("front.storefront.svc", front)];
        Browser::new(&self.stage.saved("roots.pem"), &known.map(|(name, address)| format!("{name}:8443:{address}")))
    }
}

/// Programs and people get through with Keycloak's tokens, and nobody without, or with those of the issuer from before.
pub fn tokens_of_keycloak_are_taken(login: &Login<'_>, ledger: &Ledger, before: &str) {
    let stage = login.stage;
    let order = format!("{}:1", stage.sku);
    let ask = |token: &str| stage.outside_request("gateway.storefront.svc", "/items?search=tea", Some(token));
    ledger.comes_to(
        "a token of the issuer from before is refused",
        || ask(before),
        |seen| seen.starts_with("answered 401") && seen.contains("WrongIssuer") | seen.contains("NotActive"),
    );
    let ordered = |seen: &str| seen.contains("a token that it signed") && seen.contains(KEYCLOAK_HOST);
    ledger.comes_to(
        "Keycloak, client credentials: a customer searches",
        || login.customer("web", None, &["search", "tea"]),
        |seen| seen.contains("storefront/inventory") && seen.contains(KEYCLOAK_HOST),
    );
    ledger.comes_to(
        "Keycloak, client credentials: a customer orders",
        || login.customer("web", None, &["order", &order]),
        ordered,
    );
    ledger.comes_to(
        "Keycloak, name and password: alice orders",
        || login.customer("web", Some("alice"), &["order", &order]),
        ordered,
    );
    ledger.comes_to(
        "Keycloak, refresh: the token after the first gets through",
        || ask(&login.customer("web", Some("alice"), &["token", "--refreshed"])),
        |seen| seen.starts_with("answered 200"),
    );
    ledger.comes_to(
        "Keycloak, a token that says nothing by itself gets through, since the gateway asks",
        || login.customer("kiosk", None, &["order", &order]),
        ordered,
    );
    ledger.comes_to(
        "bob, who is no customer, is refused",
        || login.customer("web", Some("bob"), &["search", "tea"]),
        |seen| seen.contains("refused: 40"),
    );
}

/// Who logs in by the front has a cookie; the tokens stay with the front.
pub fn the_front_keeps_the_tokens(login: &Login<'_>, ledger: &Ledger) {
    let browser = login.browser();
    let order = json!({"items": [{"sku": login.stage.sku, "quantity": 1}]}).to_string();
    let api = || order_with(&browser, &order, &["x-shop: 1"]);
    ledger.comes_to(
        "the front has a page for everyone",
        || browser.get(&format!("{FRONT}/")),
        |seen| seen.starts_with("200") && seen.contains("<html"),
    );
    ledger.comes_to("without a session the front orders nothing", api, |seen| seen.starts_with("401"));
    ledger.comes_to(
        "alice logs in at Keycloak, by a code with PKCE, and comes back to the front",
        || browser.log_in(&format!("{FRONT}/login"), "alice", &login.secrets["alice"]),
        |seen| seen.starts_with("200") && seen.lines().next().is_some_and(|line| line.ends_with(&format!("{FRONT}/"))),
    );
    let session = || browser.get(&format!("{FRONT}/session"));
    ledger.comes_to("the session is alice's", session, |seen| seen.contains("alice"));
    ledger
        .comes_to("alice orders with her session", api, |seen| seen.starts_with("201") && seen.contains("payment-of"));
    let forged = || order_with(&browser, &order, &[]);
    ledger.comes_to("a form of another site orders nothing with it", forged, |seen| seen.starts_with("403"));
    let cookies = browser.cookies("front.storefront.svc");
    let holds = cookies == ["__Host-session"];
    ledger.is(
        "all that the browser has of the front is the session's cookie, which no script sees",
        &cookies.join(", "),
        holds,
    );
    let refreshed = || {
        let ordered = api();
        let measured = login.stage.measured("front", "refreshes");
        format!("{} {measured}", ordered.lines().next().unwrap_or_default())
    };
    ledger.comes_to("the front gets new tokens when the old ones end, and orders go on", refreshed, |seen| {
        seen.starts_with("201") && seen.contains("Done")
    });
    let copy = browser.copy();
    let log_out = || browser.post(&format!("{FRONT}/logout"), "application/json", "", &["x-shop: 1"]);
    ledger.comes_to("alice logs out", log_out, |seen| seen.starts_with("204"));
    ledger.comes_to(
        "after that a copy of her cookie orders nothing",
        || order_with(&copy, &order, &["x-shop: 1"]),
        |seen| seen.starts_with("401"),
    );
}

/// With keys in place of questions the gateway takes tokens that say what they allow, and no others.
pub fn tokens_are_verified_by_key(login: &Login<'_>, ledger: &Ledger) {
    let story = login.stage.story;
    let patch = r#"[{"op":"remove","path":"/spec/authentication/jwt/validation"}]"#;
    story.kubectl(&format!("patch accesspolicy gateway --namespace=storefront --type=json --patch={patch}"));
    ledger.comes_to(
        "by key, a token that says nothing by itself is refused",
        || login.customer("kiosk", None, &["search", "tea"]),
        |seen| seen.contains("refused: 401"),
    );
    ledger.comes_to(
        "by key, a token that says what it allows gets through",
        || login.customer("web", Some("alice"), &["search", "tea"]),
        |seen| seen.contains("storefront/inventory"),
    );
}

/// One client that calls too often waits; the others don't, and the calls of each are counted.
pub fn each_client_has_its_share(login: &Login<'_>, ledger: &Ledger) {
    let order = format!("{}:1", login.stage.sku);
    // A burst, and not more than this machine can bear.
    let load =
        Load::of(login.customer_command("web", None, &["order", &order, "--count", "300", "--interval-ms", "1"]));
    let counted = || login.stage.measured("gateway", "calls");
    let throttled = |client: &str| format!(r#"client="{client}",outcome="Throttled""#);
    ledger
        .comes_to("a client that calls too often is counted as such", counted, |seen| seen.contains(&throttled("web")));
    let other = login.customer("kiosk", None, &["search", "tea"]);
    ledger.is("another one is served meanwhile", &other, other.contains("storefront/inventory"));
    let told = load.end();
    ledger.is("the one that calls too often was told to wait", &told, told.contains("429 too many calls"));
    let counted = counted();
    let served = counted.contains(r#"client="kiosk",outcome="Served""#) && !counted.contains(&throttled("kiosk"));
    ledger.is("and the other one was not", &counted, served);
}

fn order_with(browser: &Browser, order: &str, headers: &[&str]) -> String {
    browser.post(&format!("{FRONT}/api/orders"), "application/json", order, headers)
}

fn secret() -> String {
    let mut octets = [0; 24];
    rand::fill(&mut octets).unwrap();
    URL_SAFE_NO_PAD.encode(octets)
}
