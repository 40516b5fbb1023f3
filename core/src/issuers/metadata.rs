//! An issuer's metadata: OAuth 2.0 Authorization Server Metadata (RFC 8414) and OpenID Connect Discovery 1.0.

use serde::Deserialize;

use super::{HttpsUrl, UrlFault};

/// Longest identifier that a fault repeats, in bytes.
const LONGEST_TOLD: usize = 256;

/// What is taken over of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where its keys are, if it has any.
    pub jwks_uri: Option<HttpsUrl>,
    /// Where its tokens are introspected, if they can be.
    pub introspection_uri: Option<HttpsUrl>,
}

/// Why metadata are not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    /// Something else was answered, such as a web page.
    #[error("are no JSON object with the text issuer")]
    NoMetadata,
    /// They are those of another issuer: exactly the same text is asked for (RFC 8414, section 3.3).
    #[error("are those of {0}")]
    WrongIssuer(String),
    /// A member can't be used.
    #[error("have a {0} that {1}")]
    BadUrl(&'static str, UrlFault),
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
}

/// Where the metadata of an issuer may be, in the order in which they are looked for: its well-known path put before its own
/// path (RFC 8414, section 3.1), then the one of OpenID Connect behind it.
pub fn metadata_urls(issuer: &HttpsUrl) -> Vec<HttpsUrl> {
    let path = issuer.uri().path().trim_end_matches('/');
    let places =
        [format!("/.well-known/oauth-authorization-server{path}"), format!("{path}/.well-known/openid-configuration")];
    places.iter().filter_map(|place| issuer.at(place)).collect()
}

/// Reads the metadata of an issuer.
///
/// # Errors
/// [`MetadataFault`] unless they are those of this very issuer, with `https` URLs alone.
pub fn parse_metadata(text: &[u8], issuer: &HttpsUrl) -> Result<Metadata, MetadataFault> {
    let document: Document = serde_json::from_slice(text).map_err(|_| MetadataFault::NoMetadata)?;
    if document.issuer != issuer.as_str() {
        return Err(MetadataFault::WrongIssuer(told(&document.issuer)));
    }
    let url = |member, text: Option<String>| {
        text.map(|text| text.parse().map_err(|fault| MetadataFault::BadUrl(member, fault))).transpose()
    };
    Ok(Metadata {
        jwks_uri: url("jwks_uri", document.jwks_uri)?,
        introspection_uri: url("introspection_endpoint", document.introspection_endpoint)?,
    })
}

/// Another issuer's identifier, if it looks like one: whatever else a server answers is repeated nowhere.
fn told(issuer: &str) -> String {
    let looks_like_one = issuer.len() <= LONGEST_TOLD
        && (issuer.starts_with("https://") || issuer.starts_with("http://"))
        && issuer.bytes().all(|octet| octet.is_ascii_graphic());
    if looks_like_one { issuer.to_owned() } else { "another issuer".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn url(text: &str) -> HttpsUrl {
        text.parse().unwrap()
    }

    #[test]
    fn the_well_known_path_stands_before_the_issuers_own_and_that_of_openid_behind_it() {
        for (issuer, places) in [
            (
                "https://login.example.com",
                [
                    "https://login.example.com/.well-known/oauth-authorization-server",
                    "https://login.example.com/.well-known/openid-configuration",
                ],
            ),
            (
                "https://login.example.com/",
                [
                    "https://login.example.com/.well-known/oauth-authorization-server",
                    "https://login.example.com/.well-known/openid-configuration",
                ],
            ),
            (
                "https://login.example.com:8443/realms/shop",
                [
                    "https://login.example.com:8443/.well-known/oauth-authorization-server/realms/shop",
                    "https://login.example.com:8443/realms/shop/.well-known/openid-configuration",
                ],
            ),
        ] {
            let found = metadata_urls(&url(issuer));
            assert_eq!(found.iter().map(HttpsUrl::as_str).collect::<Vec<_>>(), places, "{issuer}");
        }
    }

    #[test]
    fn metadata_are_taken_over_if_they_are_the_issuers_own_and_name_https_alone() {
        const ISSUER: &str = "https://login.example.com/realms/shop";
        let keys = "https://keys.example.com/jwks";
        let wrong = |told: &str| Err(MetadataFault::WrongIssuer(told.to_owned()));
        type Expected<'a> = Result<(Option<&'a str>, Option<&'a str>), MetadataFault>;
        let cases: [(&str, Value, Expected<'_>); 13] = [
            ("both", json!({"issuer": ISSUER, "jwks_uri": keys, "introspection_endpoint": ISSUER, "x": [1]}), {
                Ok((Some(keys), Some(ISSUER)))
            }),
            ("keys alone", json!({"issuer": ISSUER, "jwks_uri": keys}), Ok((Some(keys), None))),
            ("neither", json!({"issuer": ISSUER, "jwks_uri": null}), Ok((None, None))),
            ("a slash more", json!({"issuer": format!("{ISSUER}/")}), wrong(&format!("{ISSUER}/"))),
            ("other letters", json!({"issuer": ISSUER.to_uppercase()}), wrong("another issuer")),
            ("another", json!({"issuer": "https://evil.example", "jwks_uri": keys}), wrong("https://evil.example")),
            ("what is no URL", json!({"issuer": "password=secret"}), wrong("another issuer")),
            ("a list", json!({"issuer": [ISSUER]}), Err(MetadataFault::NoMetadata)),
            ("no issuer", json!({"jwks_uri": keys}), Err(MetadataFault::NoMetadata)),
            ("no object", json!([ISSUER]), Err(MetadataFault::NoMetadata)),
            ("keys over http", json!({"issuer": ISSUER, "jwks_uri": "http://login.example.com/keys"}), {
                Err(MetadataFault::BadUrl("jwks_uri", UrlFault::NotHttps))
            }),
            ("keys in a file", json!({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}), {
                Err(MetadataFault::BadUrl("jwks_uri", UrlFault::NoUrl))
            }),
            (
                "introspection with a password",
                { json!({"issuer": ISSUER, "introspection_endpoint": "https://a:b@login.example.com/"}) },
                { Err(MetadataFault::BadUrl("introspection_endpoint", UrlFault::Credentials)) },
            ),
        ];
        for (what, document, expected) in cases {
            let read = parse_metadata(document.to_string().as_bytes(), &url(ISSUER));
            let text = |url: Option<HttpsUrl>| url.map(|url| url.to_string());
            let read = read.map(|metadata| (text(metadata.jwks_uri), text(metadata.introspection_uri)));
            let expected = expected.map(|(keys, ask)| (keys.map(str::to_owned), ask.map(str::to_owned)));
            assert_eq!(read, expected, "{what}");
        }
        let twice = format!(r#"{{"issuer": "https://evil.example", "issuer": "{ISSUER}"}}"#);
        assert_eq!(parse_metadata(twice.as_bytes(), &url(ISSUER)), Err(MetadataFault::NoMetadata));
        assert_eq!(parse_metadata(b"<html>", &url(ISSUER)), Err(MetadataFault::NoMetadata));
    }

    proptest! {
        #[test]
        fn no_octets_are_more_than_a_fault(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse_metadata(&octets, &url("https://login.example.com")).is_err());
        }
    }
}
