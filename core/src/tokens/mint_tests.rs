use serde_json::json;

use super::*;
use crate::tokens::DenialReason::*;
use crate::tokens::testing::*;

fn ask(client: &Client, request: &TokenRequest) -> Result<Minting, Denial> {
    client_credentials(&shop(), client, request, &issuance())
}

#[test]
fn a_token_says_who_asked_for_whom_and_what_the_grant_demands() {
    let minting = ask(&with_certificate(GATEWAY), &asking("order")).unwrap();
    assert_eq!(
        json_of(&minting.claims),
        json!({
            "iss": ISSUER, "sub": GATEWAY, "client_id": GATEWAY, "aud": "order", "scope": "customer",
            "iat": in_seconds(0), "exp": in_seconds(120), "jti": "AQEBAQEBAQEBAQEBAQEBAQ",
            "cnf": {"x5t#S256": format!("thumbprint of {GATEWAY}")},
        })
    );
    assert_eq!((minting.kind, minting.format), (TokenKind::Access, TokenFormat::Jwt));
    assert_eq!((minting.callee.as_str(), minting.policy.as_str()), (ORDER, "storefront/order"));
    assert_eq!(minting.lifetime_seconds(), 120);
}

#[test]
fn the_callees_domain_says_the_form_and_the_longest_life() {
    let minting = ask(&with_key(ORDER), &asking(LEDGER)).unwrap();
    assert_eq!((minting.format, minting.lifetime_seconds()), (TokenFormat::Opaque, 60));
    assert_eq!(minting.claims.aud, LEDGER);
}

#[test]
fn a_token_is_bound_to_the_certificate_if_its_client_showed_one_and_the_grant_demands_it() {
    let thumbprint = |minting: Minting| minting.claims.cnf.map(|cnf| cnf.x5t_s256);
    let bound = thumbprint(ask(&with_certificate(GATEWAY), &asking("order")).unwrap());
    assert_eq!(bound, Some(format!("thumbprint of {GATEWAY}")));
    assert_eq!(thumbprint(ask(&with_certificate(ORDER), &asking("ledger")).unwrap()), None, "mtls is not demanded");
}

#[test]
fn where_a_certificate_is_demanded_nobody_gets_a_token_without_one() {
    let with_account =
        Client::Identity(ServiceClient { spiffe_id: spiffe_id(GATEWAY), proof: ClientProof::ServiceAccount });
    for client in [with_key(GATEWAY), with_account] {
        let denied = Denial::new(OAuthError::InvalidTarget, CertificateNeeded);
        assert_eq!(ask(&client, &asking("order")), Err(denied), "{client:?}");
    }
    let mut storefront = storefront();
    let weaker = grant(identity(GATEWAY), ORDER, &["customer", "profile"], &json!({"policy": "storefront/weaker"}));
    storefront["grants"].as_array_mut().unwrap().push(weaker);
    let graph = graph_of(&[storefront]);
    let policy = |client: &Client| client_credentials(&graph, client, &asking("order"), &issuance()).unwrap().policy;
    assert_eq!(policy(&with_certificate(GATEWAY)), "storefront/order");
    assert_eq!(policy(&with_key(GATEWAY)), "storefront/weaker", "by the grant that demands none");
}

#[test]
fn the_graph_decides() {
    let cases = [
        ("a callee that has no policy for the caller", GATEWAY, asking("payment"), NoGrant),
        ("a callee whose policy is for others", PAYMENT, asking("order"), NoGrant),
        ("the way back", ORDER, asking("gateway"), NoGrant),
        ("a policy for anyone is for clients outside", ORDER, asking(GATEWAY), NoGrant),
        ("an audience of nobody", GATEWAY, asking("nobody"), NoGrant),
        ("another spelling", GATEWAY, asking("Order"), NoGrant),
        ("no audience", GATEWAY, asking(""), AudienceNotOne),
        ("a wildcard", GATEWAY, asking("*.order"), AudienceNotOne),
        ("an identity that does not list the issuer", CART, asking("cart"), ClientGone),
        (
            "an identity that nobody knows",
            "spiffe://storefront.example/ns/storefront/sa/who",
            asking("cart"),
            ClientGone,
        ),
        (
            "a known account under another trust domain",
            "spiffe://evil.example/ns/storefront/sa/order",
            asking("cart"),
            ClientGone,
        ),
        ("a one-time callee without a transaction", ORDER, asking("payment"), OneTimeOnly),
        ("a transaction for a callee that takes none", ORDER, asking_once("ledger"), NotOneTime),
    ];
    for (what, client, request, expected) in cases {
        assert_eq!(reason(ask(&with_key(client), &request)), expected, "{what}");
    }
}

#[test]
fn the_caller_learns_the_standards_words_alone() {
    let cases = [
        (with_key(GATEWAY), asking("payment"), OAuthError::InvalidTarget),
        (with_key(CART), asking("cart"), OAuthError::InvalidClient),
        (with_certificate(GATEWAY), asking_scope("order", "customer admin"), OAuthError::InvalidScope),
    ];
    for (client, request, error) in cases {
        assert_eq!(ask(&client, &request).unwrap_err().error, error);
        assert!(!error.description().contains("policy"));
    }
}

#[test]
fn scopes_are_what_the_grant_demands_and_what_the_domain_allows_besides() {
    let scope = |scope: &str| {
        ask(&with_certificate(GATEWAY), &asking_scope("order", scope)).map(|m| m.claims.scope.to_string())
    };
    assert_eq!(scope("customer"), Ok("customer".to_owned()));
    assert_eq!(scope("orders.read customer"), Ok("customer orders.read".to_owned()));
    assert_eq!(reason(scope("orders.read")), ScopeMissing);
    assert_eq!(reason(scope("")), ScopeMissing);
    assert_eq!(reason(scope("customer admin")), ScopeNotAllowed);
    assert_eq!(reason(scope("customer ledger.read")), ScopeNotAllowed, "of another domain");
}

#[test]
fn two_grants_never_mix() {
    let mut storefront = storefront();
    let grants = storefront["grants"].as_array_mut().unwrap();
    grants.push(grant(identity(GATEWAY), ORDER, &["admin"], &json!({"policy": "storefront/admin"})));
    grants.push(grant(identity(GATEWAY), ORDER, &["customer", "gold"], &json!({"policy": "storefront/gold"})));
    let graph = graph_of(&[storefront, settlement()]);
    let ask = |request| {
        let minting = client_credentials(&graph, &with_certificate(GATEWAY), &request, &issuance());
        minting.map(|minting| (minting.policy, minting.claims.scope.to_string()))
    };
    let is = |policy: &str, scope: &str| Ok((policy.to_owned(), scope.to_owned()));
    assert_eq!(ask(asking("order")), is("storefront/admin", "admin"), "the least, and of these the first");
    assert_eq!(ask(asking_scope("order", "customer")), is("storefront/order", "customer"));
    assert_eq!(ask(asking_scope("order", "customer gold")), is("storefront/gold", "customer gold"));
    assert_eq!(ask(asking_scope("order", "customer profile")), is("storefront/order", "customer profile"));
    assert_eq!(ask(asking_scope("order", "admin customer")).map_err(|d| d.error), Err(OAuthError::InvalidScope));
}

#[test]
fn what_names_the_caller_goes_before_what_names_its_domain() {
    let mut storefront = storefront();
    storefront["grants"].as_array_mut().unwrap().push(grant(
        identity(ORDER),
        CART,
        &["profile"],
        &json!({"policy": "storefront/z"}),
    ));
    let graph = graph_of(&[storefront]);
    let minting = client_credentials(&graph, &with_key(ORDER), &asking("cart"), &issuance()).unwrap();
    assert_eq!(minting.policy, "storefront/z");
    let minting = client_credentials(&graph, &with_key(GATEWAY), &asking("cart"), &issuance()).unwrap();
    assert_eq!(minting.policy, "storefront/cart");
}

#[test]
fn an_audience_of_two_callees_of_the_caller_is_none() {
    let mut settlement = settlement();
    for place in [0, 1] {
        settlement["identities"][place]["audiences"].as_array_mut().unwrap().push(json!("money"));
        settlement["grants"][place]["audiences"].as_array_mut().unwrap().push(json!("money"));
    }
    settlement["grants"][2]["audiences"].as_array_mut().unwrap().push(json!("money"));
    let graph = graph_of(&[storefront(), settlement]);
    let ask = |client: &str| client_credentials(&graph, &with_key(client), &asking("money"), &issuance());
    assert_eq!(reason(ask(ORDER)), AmbiguousAudience);
    assert_eq!(ask(ORDER).unwrap_err().error, OAuthError::InvalidTarget);
    assert_eq!(ask(PAYMENT).unwrap().callee, LEDGER, "among those that it may call it is one");
}

#[test]
fn a_transaction_token_is_bound_to_a_purpose_and_to_details() {
    let minting = ask(&with_key(ORDER), &asking_once("payment")).unwrap();
    assert_eq!(minting.kind, TokenKind::Transaction);
    let claims = json_of(&minting.claims);
    assert_eq!(claims["txn"], claims["jti"]);
    assert_eq!(
        (&claims["purp"], &claims["tctx"], &claims["req_wl"]),
        (&json!("charge"), &json!({"amount": "12.50", "currency": "EUR"}), &json!(ORDER))
    );
}

#[test]
fn purpose_and_details_are_read_within_bounds() {
    let good = Transaction::parse(Some("charge"), Some(r#"{"a": [1]}"#), Some("{}")).unwrap();
    assert_eq!(good.details, json!({"a": [1]}).as_object().cloned());
    let long = "x".repeat(257);
    let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(4096));
    let deep = format!(r#"{{"a": {}{}}}"#, "[".repeat(500), "]".repeat(500));
    let cases = [
        (None, None, None),
        (Some(""), None, None),
        (Some(long.as_str()), None, None),
        (Some("a\nb"), None, None),
        (Some("a"), Some("[]"), None),
        (Some("a"), Some("{"), None),
        (Some("a"), Some(""), None),
        (Some("a"), None, Some("1")),
        (Some("a"), Some(large.as_str()), None),
        (Some("a"), Some(deep.as_str()), None),
    ];
    for (purpose, details, context) in cases {
        let denial = Transaction::parse(purpose, details, context).unwrap_err();
        assert_eq!(denial, Denial::new(OAuthError::InvalidRequest, TransactionMalformed), "{purpose:?} {details:?}");
    }
}

#[test]
fn a_registered_client_gets_tokens_for_what_its_domain_opens_to_its_addresses() {
    let minting = ask(&web(), &asking("gateway")).unwrap();
    assert_eq!((minting.claims.sub.as_str(), minting.claims.client_id.as_str()), ("web", "web"));
    assert_eq!(minting.claims.scope.to_string(), "customer");
    assert_eq!(ask(&web(), &asking_scope("gateway", "customer orders.read")).unwrap().claims.aud, "gateway");

    let cases = [
        ("a callee for services", asking("order"), NoGrant),
        ("a callee for its own domain's members", asking("cart"), NoGrant),
        ("a callee of another domain", asking("ledger"), NoGrant),
        ("a scope that is not registered", asking_scope("gateway", "customer profile"), ScopeTooWide),
    ];
    for (what, request, expected) in cases {
        assert_eq!(reason(ask(&web(), &request)), expected, "{what}");
    }
}

#[test]
fn a_range_opens_to_a_registered_client_if_it_holds_all_of_its_addresses() {
    let opens = |caller: &str, domain: &[&str], registered: &[&str]| {
        let mut storefront = storefront();
        storefront["domain"]["clients"]["cidrs"] = json!(domain);
        storefront["grants"][0]["caller"] = json!({"kind": "Cidr", "cidr": caller, "blocks": []});
        let mut graph = graph_of(&[storefront]);
        let cidrs = registered.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let registration = crate::tokens::NewRegistration::new(&[7; 32], ["customer".to_owned()].into(), cidrs);
        let data = [("web".to_owned(), registration.registration.into_bytes())].into_iter().collect();
        assert_eq!(graph.replace_clients("shop-clients", Some(&data)), []);
        client_credentials(&graph, &web(), &asking("gateway"), &issuance()).is_ok()
    };
    assert!(opens("203.0.113.0/24", &["203.0.113.0/24"], &[]));
    assert!(opens("203.0.113.0/24", &["203.0.113.0/25", "203.0.113.128/25"], &[]));
    assert!(opens("203.0.113.0/25", &["203.0.113.0/24"], &["203.0.113.7/32"]));
    assert!(opens("0.0.0.0/0", &["0.0.0.0/0"], &[]));
    assert!(opens("::/0", &["203.0.113.0/24", "2001:db8::/32"], &[]), "length 0 means both families");
    assert!(!opens("203.0.113.0/25", &["203.0.113.0/24"], &[]));
    assert!(!opens("203.0.113.0/24", &["203.0.113.0/24", "198.51.100.0/24"], &[]));
    assert!(!opens("203.0.113.0/24", &["0.0.0.0/0"], &[]));
    assert!(!opens("203.0.113.0/25", &["203.0.113.0/24"], &["203.0.113.7/32", "203.0.113.200/32"]));
    assert!(!opens("203.0.113.0/24", &["203.0.113.0/24"], &["2001:db8::/32"]));
    assert!(!opens("203.0.113.0/24", &[], &[]), "from nowhere");
}

#[test]
fn a_client_of_one_domain_is_none_of_another() {
    let mut settlement = settlement();
    settlement["domain"]["clients"] = json!({"secretName": "bank-clients", "cidrs": ["203.0.113.0/24"]});
    settlement["grants"].as_array_mut().unwrap().push(grant(json!({"kind": "Anywhere"}), LEDGER, &[], &json!({})));
    let graph = graph_of(&[storefront(), settlement]);
    assert_eq!(reason(client_credentials(&graph, &web(), &asking("ledger"), &issuance())), NoGrant);
    let other = registered("web", "bank-clients", None);
    let denied = client_credentials(&graph, &other, &asking("ledger"), &issuance());
    assert_eq!(reason(denied), ClientGone, "the same id in another Secret is another client");
}

/// Both domains know the web client, and each from addresses of its own.
#[test]
fn a_registered_client_calls_from_where_the_callees_domain_knows_it() {
    let mut settlement = settlement();
    settlement["domain"]["clients"] = json!({"secretName": "shop-clients", "cidrs": ["198.51.100.0/24"]});
    settlement["grants"].as_array_mut().unwrap().push(grant(json!({"kind": "Anywhere"}), LEDGER, &[], &json!({})));
    let graph = graph_of(&[storefront(), settlement]);
    let cases = [
        ("203.0.113.7", "gateway", Ok(())),
        ("198.51.100.7", "ledger", Ok(())),
        ("198.51.100.7", "gateway", Err(NoGrant)),
        ("203.0.113.7", "ledger", Err(NoGrant)),
    ];
    for (address, audience, expected) in cases {
        let client = graph.authenticate_registered("web", &web_secret(), address.parse().unwrap()).unwrap();
        let minting = client_credentials(&graph, &client, &asking(audience), &issuance());
        assert_eq!(minting.map(|_| ()).map_err(|denial| denial.reason), expected, "{address} {audience}");
    }
}
