//! Which tokens of issuers a policy may demand, and of whom.

use super::*;
use crate::testing::{ISSUERS, SHOP, apply, complaints, identity, installation, judged, verdicts, world};
use crate::world::IssuerKey;

/// Told one world after the other: what is declared besides, and what comes of each entry of a policy of payment.
fn tell(stories: &[(&str, &str, &str, &[&str])]) {
    for (sentence, given, spec, then) in stories {
        let mut world = installation(&[SHOP, ISSUERS]);
        apply(&mut world, given);
        apply(
            &mut world,
            &format!(
                "{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, {spec}}}}}"
            ),
        );
        assert_eq!(verdicts(&world, "settlement/p"), *then, "{sentence}");
    }
}

const ORDER: &str = "from: [{identity: {name: order, namespace: storefront}}], authentication";

#[test]
fn whoever_can_get_a_token_may_be_asked_for_it() {
    let order = |jwt: &str| format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: {jwt}}}}}");
    tell(&[
        (
            "the built-in issuer is the same one under whatever name",
            "",
            &order("sts"),
            &["identity storefront/order -> identity settlement/payment 8443/TCP issuer-jwt"],
        ),
        (
            "another issuer is known by its URL",
            "",
            &order("login"),
            &["identity storefront/order -> identity settlement/payment 8443/TCP issuer-jwt"],
        ),
        (
            "a certificate may be demanded too",
            "",
            "from: [{trustDomain: storefront}], authentication: {mtls: {}, jwt: {signer: Issuer, issuer: sts}}",
            &["trustDomain storefront -> identity settlement/payment 8443/TCP mtls+issuer-jwt"],
        ),
        (
            "a token of an issuer is the one proof that those without an identity can bring",
            "",
            "from: [{anywhere: {}}, {cidr: 203.0.113.0/24}, {pods: {namespaces: [monitoring]}}, {kubernetesAPI: {}}], authentication: {jwt: {signer: Issuer, issuer: sts}}",
            &[
                "anywhere -> identity settlement/payment 8443/TCP issuer-jwt",
                "cidr 203.0.113.0/24 -> identity settlement/payment 8443/TCP issuer-jwt",
                "pods in monitoring -> identity settlement/payment 8443/TCP issuer-jwt",
                "ApiServerUnknown: the addresses of the API server are not known yet: its EndpointSlice default/kubernetes is missing or empty",
            ],
        ),
        (
            "but no certificate with it",
            "",
            "from: [{anywhere: {}}], authentication: {mtls: {}, jwt: {signer: Issuer, issuer: sts}}",
            &[
                "Invalid: anywhere has no identity that it could prove: put it into a policy of its own, and demand the issuer's token alone",
            ],
        ),
    ]);
}

#[test]
fn who_cannot_get_or_check_a_token_is_not_asked_for_one() {
    let inventory = "from: [{identity: {name: inventory, namespace: storefront}}], authentication: {jwt: {signer: Issuer, issuer: sts}}";
    let issuers = |of: &str, issuers: &str| {
        format!(
            "{{kind: TrustDomain, metadata: {{name: {of}}}, spec: {{trustDomain: {of}.example, namespaces: [{of}], certificateAuthority: {{selfSigned: {{}}}}, tokenIssuers: [{issuers}], inbound: [{{trustDomains: [storefront]}}, {{anywhere: {{}}}}], outbound: [{{trustDomains: [settlement]}}]}}}}"
        )
    };
    let opaque = issuers("settlement", "{name: sts, builtIn: {tokenFormat: Opaque}}");
    let none = issuers("settlement", "");
    let no_endpoint = issuers("storefront", "{name: login, issuer: 'https://login.example'}");
    let other_url = issuers(
        "storefront",
        "{name: login, issuer: 'https://login.example/other', endpoint: {cidrs: [198.51.100.7/32], ports: [{port: 443}]}}",
    );
    tell(&[
        (
            "a caller that does not talk to the issuer",
            "",
            inventory,
            &[
                "NoTokenIssuer: ServiceIdentity storefront/inventory can't get a token of https://sts.example: add tokens to tokenIssuers in it",
            ],
        ),
        (
            "a caller whose domain does not know the issuer",
            &other_url,
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: login}}}}"),
            &[
                "NoTokenIssuer: ServiceIdentity storefront/order can't get a token of https://login.example: ask the platform team to add the issuer to TrustDomain storefront, and then add it to tokenIssuers in it",
            ],
        ),
        (
            "a domain whose members can't go to the issuer",
            &no_endpoint,
            "from: [{trustDomain: storefront}], authentication: {jwt: {signer: Issuer, issuer: login}}",
            &[
                "NoTokenIssuer: no member of TrustDomain storefront can get a token of https://login.example: ask the platform team to add the issuer to its tokenIssuers",
            ],
        ),
        (
            "an issuer that the callee's domain does not know",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: tokens}}}}"),
            &[
                "IssuerNotFound: TrustDomain settlement has no token issuer tokens, only sts, login: correct authentication.jwt.issuer, or ask the platform team to add it",
            ],
        ),
        (
            "any issuer where the callee's domain has none",
            &none,
            &format!("{ORDER}: {{jwt: {{signer: Issuer}}}}"),
            &[
                "IssuerNotFound: TrustDomain settlement has no token issuer: ask the platform team to add one to tokenIssuers",
            ],
        ),
        (
            "one of several",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer}}}}"),
            &[
                "IssuerAmbiguous: TrustDomain settlement has the token issuers sts, login: name one of them in authentication.jwt.issuer",
            ],
        ),
        (
            "the only one goes without saying",
            &opaque,
            &format!("{ORDER}: {{jwt: {{signer: Issuer, validation: Introspection}}}}"),
            &["identity storefront/order -> identity settlement/payment 8443/TCP issuer-jwt"],
        ),
        (
            "keys verify nothing that is opaque",
            &opaque,
            &format!("{ORDER}: {{jwt: {{signer: Issuer}}}}"),
            &[
                "OpaqueToken: tokens for callees of TrustDomain settlement are opaque, so that no key verifies them: set validation: Introspection",
            ],
        ),
        (
            "who introspects talks to the issuer",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: login, validation: Introspection}}}}"),
            &[
                "IssuerNotListed: ServiceIdentity settlement/payment does not talk to token issuer login and so can't introspect its tokens: add it to tokenIssuers there, or set validation: Jwks",
            ],
        ),
        (
            "one-time tokens of someone else",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: login, validation: Introspection, oneTime: true}}}}"),
            &[
                "Invalid: one-time tokens come from the built-in issuer alone, which login is not: leave oneTime out, or name the built-in one",
            ],
        ),
        (
            "one-time tokens that nobody uses up",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: sts, oneTime: true}}}}"),
            &["Invalid: a one-time token is used up by introspection: set validation: Introspection"],
        ),
        (
            "what only issuers sign is not asked of a caller's own token",
            "",
            &format!("{ORDER}: {{jwt: {{scopes: [customer]}}}}"),
            &[
                "Invalid: issuer, validation, scopes and oneTime are about tokens of an issuer: set signer: Issuer, or leave them out",
            ],
        ),
        (
            "the API server",
            crate::testing::CLUSTER,
            "from: [{kubernetesAPI: {}}], authentication: {jwt: {signer: Issuer, issuer: sts}}",
            &[
                "Invalid: the API server brings no token of an issuer: put kubernetesAPI into a policy of its own, without authentication",
            ],
        ),
        (
            "an audience of nobody",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: sts, audiences: [account]}}}}"),
            &[
                "AudienceNotFound: account is no audience of ServiceIdentity settlement/payment, which has spiffe://settlement.example/ns/settlement/sa/payment: name one of these in authentication.jwt.audiences, or add it there",
            ],
        ),
        (
            "an audience that an issuer's tokens carry for everybody",
            "",
            &format!("{ORDER}: {{jwt: {{signer: Issuer, issuer: login, audiences: [account]}}}}"),
            &["identity storefront/order -> identity settlement/payment 8443/TCP issuer-jwt"],
        ),
    ]);
}

#[test]
fn without_a_token_service_nobody_has_its_tokens() {
    let mut world = world(&[SHOP, ISSUERS]);
    apply(
        &mut world,
        &format!(
            "{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, {ORDER}: {{jwt: {{signer: Issuer, issuer: sts}}}}}}}}"
        ),
    );
    assert_eq!(verdicts(&world, "settlement/p"), [format!("TokenServiceNotFound: {NO_TOKEN_SERVICE}")]);
    let told = |text: &str| format!("ResolvedRefs TokenServiceNotFound: {text}");
    assert_eq!(complaints(&world, "settlement/payment"), [told(NO_TOKEN_SERVICE)]);
    assert_eq!(identity(&world, "settlement/payment").issuers, []);
}

#[test]
fn what_is_asked_of_a_token_is_said_in_full() {
    let asked = |jwt: &str| {
        let mut world = installation(&[SHOP, ISSUERS]);
        apply(
            &mut world,
            &format!(
                "{{kind: AccessPolicy, metadata: {{name: p, namespace: settlement}}, spec: {{to: {{identity: payment, ports: [{{port: 8443}}]}}, {ORDER}: {{jwt: {{signer: Issuer, {jwt}}}}}}}}}"
            ),
        );
        let ResolvedJwt { signer, audiences, max_lifetime } =
            judged(&world, "settlement/p").grants[0].authentication.jwt.clone().unwrap();
        let ResolvedSigner::Issuer(token) = signer else { panic!("{signer:?}") };
        (token, audiences.into_iter().collect::<Vec<_>>(), max_lifetime.map(|lifetime| lifetime.as_secs()))
    };
    let payment = "spiffe://settlement.example/ns/settlement/sa/payment".to_owned();
    let (token, audiences, lifetime) =
        asked("issuer: sts, scopes: [pay, charge], validation: Introspection, oneTime: true, maxLifetime: 30s");
    assert_eq!((token.issuer.key, token.issuer.name.as_str()), (IssuerKey::BuiltIn, "sts"));
    assert_eq!((token.validation, token.one_time, lifetime), (TokenValidation::Introspection, true, Some(30)));
    assert_eq!(token.scopes.iter().collect::<Vec<_>>(), ["charge", "pay"]);
    assert_eq!(audiences, std::slice::from_ref(&payment));
    assert_eq!(asked("issuer: sts").2, Some(300), "five minutes when nobody says anything");
    assert_eq!(asked("issuer: sts, maxLifetime: 1h").2, Some(300), "a policy never goes beyond a domain");
    let (token, audiences, lifetime) = asked("issuer: login");
    assert_eq!(lifetime, None, "how long the tokens of others live is their affair");
    assert_eq!(asked("issuer: login, maxLifetime: 1h").2, Some(3600));
    assert_eq!(audiences, ["account".to_owned(), payment]);
    let key = IssuerKey::external("settlement", "login");
    assert_eq!((token.issuer.key, token.validation), (key, TokenValidation::Jwks));
}
