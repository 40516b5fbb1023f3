//! Requests that are no requests, or two at once.

use super::shop::{Shop, asserting, basic};
use super::wire::Request;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn oversize_bodies_heads_and_values_are_refused() {
    let shop = Shop::open("oversize").await;
    let wire = shop.wire(Some("gateway"));
    for path in ["/token", "/introspect", "/revoke"] {
        for body in [format!("token={}", "a".repeat(65 * 1024)), "&".repeat(1024 * 1024), "a=1&".repeat(20_000)] {
            let answers = wire.send_octets(&Request::post(path, FORM, body).octets(wire.host())).await;
            // Whoever is refused before all of it is read may find the connection reset.
            assert!(answers.iter().all(|answer| [400, 413].contains(&answer.status)), "{path}: {answers:?}");
        }
    }
    let announced = Request::post("/token", FORM, "").without("content-length").header("content-length: 99999999999");
    let answer = wire.send(&announced).await;
    assert_eq!(answer.status, 413, "what is announced is not waited for: {answer:?}");
    let chunks = format!("10000\r\n{}\r\n", "a".repeat(0x10000)).repeat(4) + "0\r\n\r\n";
    let chunked = Request::post("/token", FORM, chunks).without("content-length").header("transfer-encoding: chunked");
    let answers = wire.send_octets(&chunked.octets(wire.host())).await;
    assert!(answers.iter().all(|answer| [400, 413].contains(&answer.status)), "{answers:?}");

    let order = &shop["order"].id();
    for head in [format!("x-filler: {}", "a".repeat(20 * 1024)), "x-filler: a\r\n".repeat(500) + "x-last: a"] {
        let request = Request::form("/token", [("grant_type", "client_credentials"), ("audience", order)]).header(head);
        let answers = wire.send_octets(&request.octets(wire.host())).await;
        assert!(answers.iter().all(|answer| [400, 431].contains(&answer.status)), "{answers:?}");
    }
    let long = format!("/token?{}", "a".repeat(20 * 1024));
    let answers = wire.send_octets(&Request::form(&long, [("a", "b")]).octets(wire.host())).await;
    assert!(answers.iter().all(|answer| [400, 404, 414, 431].contains(&answer.status)), "{answers:?}");
    shop.is_well().await;
}

#[tokio::test]
async fn a_body_that_is_no_form_and_a_method_or_path_that_is_not_there_are_refused() {
    let shop = Shop::open("malformed").await;
    let wire = shop.wire(Some("gateway"));
    let good = format!("grant_type=client_credentials&audience={}", shop["order"].id());
    for (media_type, body, error) in [
        ("application/json", good.as_str(), "invalid_request"),
        ("text/plain", &good, "invalid_request"),
        (
            "multipart/form-data; boundary=a",
            "--a\r\ncontent-disposition: form-data; name=\"grant_type\"\r\n\r\na\r\n--a--",
            "invalid_request",
        ),
        (FORM, "", "invalid_request"),
        (FORM, "grant_type", "invalid_request"),
        (FORM, "=", "invalid_request"),
        (FORM, "%", "invalid_request"),
        (FORM, "grant_type=%zz", "invalid_request"),
        (FORM, "grant_type=%ff", "invalid_request"),
        (FORM, "grant_type=client%00credentials", "unsupported_grant_type"),
        (FORM, "{\"grant_type\":\"client_credentials\"}", "invalid_request"),
        (FORM, "grant_type=client_credentials", "invalid_target"),
        (FORM, "audience=a", "invalid_request"),
        (FORM, "grant_type=password&username=a&password=b", "unsupported_grant_type"),
        (FORM, "grant_type=authorization_code&code=a", "unsupported_grant_type"),
        (FORM, "grant_type=refresh_token&refresh_token=a", "unsupported_grant_type"),
        (FORM, "grant_type=CLIENT_CREDENTIALS&audience=a", "unsupported_grant_type"),
        (FORM, "grant_type=urn:ietf:params:oauth:grant-type:token-exchange", "invalid_target"),
        (FORM, "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&audience=a", "invalid_request"),
    ] {
        let answer = wire.send(&Request::post("/token", media_type, body)).await;
        assert_eq!(answer.refusal(), (400, error), "{media_type} {body}");
        assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    }
    let untyped = Request::post("/token", FORM, good.as_str()).without("content-type");
    for request in [untyped.clone(), untyped.header(format!("content-type: {FORM}")).header("content-type: text/plain")]
    {
        assert_eq!(wire.send(&request).await.refusal(), (400, "invalid_request"), "{request:?}");
    }
    for path in ["/token", "/introspect", "/revoke"] {
        let query = format!("{path}?{good}");
        assert_eq!(wire.send(&Request::get(&query)).await.status, 405, "secrets don't belong into a URL");
    }
    for path in ["/Token", "/token/", "//token", "/token%2f", "/../token", "/jwks/../token", "/admin", "/metrics", "/"]
    {
        let answer = wire.send(&Request::post(path, FORM, good.as_str())).await;
        assert!([400, 404, 405].contains(&answer.status), "{path}: {answer:?}");
    }
    // Parameters of the URL don't count.
    let answer = wire.send(&Request::post(&format!("/token?{good}"), FORM, "a=b")).await;
    assert_eq!(answer.refusal(), (400, "invalid_request"));
    shop.is_well().await;
}

#[tokio::test]
async fn a_parameter_that_stands_twice_is_refused_whatever_it_says() {
    let shop = Shop::open("duplicates").await;
    let wire = shop.wire(Some("gateway"));
    let order = shop["order"].id().replace(':', "%3A").replace('/', "%2F");
    let good = format!("grant_type=client_credentials&audience={order}&scope=shop.read");
    assert_eq!(wire.send(&Request::post("/token", FORM, good.as_str())).await.status, 200);
    for again in [
        "grant_type=client_credentials",
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange",
        &format!("audience={order}"),
        "audience=",
        "%61udience=x",
        "scope=shop.read",
        "scope",
        "client_id=a&client_id=b",
        "unknown=1&unknown=2",
    ] {
        for body in [format!("{good}&{again}"), format!("{again}&{good}")] {
            let answer = wire.send(&Request::post("/token", FORM, body)).await;
            assert_eq!(answer.refusal(), (400, "invalid_request"), "{again}");
        }
    }
    let token = shop.token("gateway", "order").await;
    let answer = shop.post(Some("order"), "/introspect", &[("token", &token), ("token", &token)]).await;
    assert_eq!(answer.refusal(), (400, "invalid_request"));
    let answer = shop.post(Some("gateway"), "/revoke", &[("token", "a"), ("token", &token)]).await;
    assert_eq!(answer.refusal(), (400, "invalid_request"));
    assert_eq!(shop.introspect("order", &token).await["active"], true);
}

#[tokio::test]
async fn a_request_that_two_servers_would_cut_in_different_places_is_refused_and_the_connection_closed() {
    let shop = Shop::open("smuggling").await;
    let wire = shop.wire(Some("gateway"));
    let order = shop["order"].id();
    // A second request, that would be answered with a token if it were taken for one.
    let inner = Request::form("/token", [("grant_type", "client_credentials"), ("audience", &order)]);
    let inner = String::from_utf8(inner.octets(wire.host())).unwrap();
    let head = format!("POST /token HTTP/1.1\r\nhost: {}\r\ncontent-type: {FORM}\r\n", wire.host());
    let length = inner.len() + 5;
    for (what, octets) in [
        (
            "a length and chunks",
            format!("{head}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "chunks and a length",
            format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{inner}"),
        ),
        ("two lengths", format!("{head}content-length: 0\r\ncontent-length: {length}\r\n\r\n{inner}")),
        ("two lengths in one", format!("{head}content-length: 0, {length}\r\n\r\n{inner}")),
        ("a length with a sign", format!("{head}content-length: +0\r\n\r\n{inner}")),
        ("a length below zero", format!("{head}content-length: -1\r\n\r\n{inner}")),
        ("a length that is no number", format!("{head}content-length: 0x0\r\n\r\n{inner}")),
        ("a space before the colon", format!("{head}content-length : 0\r\ntransfer-encoding: chunked\r\n\r\n{inner}")),
        ("a strange encoding", format!("{head}transfer-encoding: xchunked\r\n\r\n{inner}")),
        ("chunks that are not last", format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}")),
        ("chunks with a tab before", format!("{head}transfer-encoding:\u{b}chunked\r\n\r\n0\r\n\r\n{inner}")),
        ("a folded line", format!("{head}x: a\r\n transfer-encoding: chunked\r\n\r\n{inner}")),
        (
            "a chunk size that overflows",
            format!("{head}transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{inner}"),
        ),
        ("a chunk size that is none", format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{inner}")),
        ("a null in a name", format!("{head}content-length\0: 0\r\n\r\n{inner}")),
        ("no blank", format!("POST /token\r\n\r\n{inner}")),
    ] {
        let answers = wire.send_octets(octets.as_bytes()).await;
        assert!(answers.len() <= 1, "{what}: {answers:#?}");
        assert!(answers.iter().all(|answer| (400..600).contains(&answer.status)), "{what}: {answers:#?}");
    }
    // One after the other in one connection is allowed, and each stands for itself.
    let first = inner.replace("connection: close\r\n", "");
    let answers = wire.send_octets(format!("{first}{inner}").as_bytes()).await;
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200]);
    shop.is_well().await;
}

#[tokio::test]
async fn two_ways_to_authenticate_at_once_are_refused() {
    let shop = Shop::open("two-methods").await;
    let (web, secret) = shop.web();
    let (gateway, assertion) = (shop["gateway"].id(), shop.assertion("gateway"));
    let form = |audience: &str, more: &[(&str, &str)]| {
        let mut form = vec![("grant_type", "client_credentials"), ("audience", audience)];
        form.extend_from_slice(more);
        Request::form("/token", form.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    let asserted = asserting(&assertion);
    let in_body = [("client_id", web), ("client_secret", secret)];
    let order = &shop["order"].id();
    for (what, certificate, request) in [
        ("header and body", None, form(order, &in_body).header(basic(web, secret))),
        ("two headers", None, form(order, &[]).header(basic(web, secret)).header(basic(web, secret))),
        ("header and assertion", None, form(order, &asserted).header(basic(web, secret))),
        ("body and assertion", None, form(order, &[in_body[1], asserted[0], asserted[1]])),
        ("a bearer token and a secret", None, form(order, &in_body).header("authorization: Bearer a")),
        ("an assertion without its type", None, form(order, &[asserted[1]])),
        ("a type without its assertion", None, form(order, &[asserted[0]])),
        (
            "an assertion of another type",
            None,
            form(
                order,
                &[("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), asserted[1]],
            ),
        ),
        ("a certificate and another's id", Some("gateway"), form(order, &[("client_id", order)])),
        ("a certificate and a registered id", Some("gateway"), form(order, &[("client_id", web)])),
        ("header and another id", None, form(order, &[("client_id", "another")]).header(basic(web, secret))),
        ("an id alone", None, form(order, &[("client_id", gateway.as_str())])),
    ] {
        let answer = shop.wire(certificate).send(&request).await;
        assert!([400, 401].contains(&answer.status), "{what}: {answer:?}");
        assert!(["invalid_request", "invalid_client"].contains(&answer.error()), "{what}: {answer:?}");
    }
    // None of these has used up the assertion, or it would be of no use to who has to ask once more.
    let answer = shop.wire(None).send(&form(order, &asserted)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_registered_client_with_a_wrong_secret_or_from_elsewhere_learns_nothing() {
    let shop = Shop::open("secrets").await;
    let (web, secret) = shop.web();
    let gateway = shop["gateway"].id();
    let request = |header: String| {
        let form = [("grant_type", "client_credentials"), ("audience", gateway.as_str())];
        Request::form("/token", form).header(header)
    };
    let mut bodies = Vec::new();
    for header in [
        basic(web, "wrong"),
        basic(web, ""),
        basic("nobody", secret),
        basic("", ""),
        basic(&gateway, secret),
        basic(web, &format!("{secret}x")),
        basic(web, &secret[1..]),
        "authorization: Basic !!!".to_owned(),
        "authorization: Basic".to_owned(),
        format!("authorization: Digest {secret}"),
    ] {
        let answer = shop.wire(None).send(&request(header.clone())).await;
        assert_eq!(answer.refusal(), (401, "invalid_client"), "{header}");
        assert!(answer.head.contains("www-authenticate: basic"), "{header}: {}", answer.head);
        bodies.push(answer.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "who has a name right is not told so: {bodies:?}");
    assert_eq!(shop.wire(None).send(&request(basic(web, secret))).await.status, 200);
    let answer = shop.from(1).wire(None).send(&request(basic(web, secret))).await;
    assert_eq!(answer.refusal(), (401, "invalid_client"), "the address is not registered");
}
