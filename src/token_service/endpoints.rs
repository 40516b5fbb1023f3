//! Where the token service answers, by its issuer URL, and the document that says so (RFC 8414, OpenID Connect Discovery).

use axum::body::Bytes;
use http::Uri;
use serde_json::json;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Token,
    Introspection,
    Revocation,
    Keys,
    Metadata,
}

/// All paths, and the metadata document.
pub(super) struct Endpoints {
    issuer: String,
    token: String,
    paths: Vec<(String, Endpoint)>,
    metadata: Bytes,
}

/// An issuer that can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no issuer: write an https URL without query, fragment or slash at its end, such as https://sts.example.com"
)]
pub struct IssuerFault(String);

impl Endpoint {
    /// As a label of a metric has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspection => "introspection",
            Self::Revocation => "revocation",
            Self::Keys => "jwks",
            Self::Metadata => "metadata",
        }
    }

    /// Whether it is asked with POST; else with GET.
    pub(super) fn takes_post(self) -> bool {
        matches!(self, Self::Token | Self::Introspection | Self::Revocation)
    }
}

impl Endpoints {
    /// The endpoints of an issuer.
    ///
    /// # Errors
    /// [`IssuerFault`].
    pub(super) fn new(issuer: &str) -> Result<Self, IssuerFault> {
        let wrong = || IssuerFault(issuer.to_owned());
        let uri: Uri = issuer.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let prefix = uri.path().trim_end_matches('/');
        if uri.scheme_str() != Some("https") || issuer != format!("https://{authority}{prefix}") {
            return Err(wrong());
        }
        let mut paths = vec![
            (format!("{prefix}/token"), Endpoint::Token),
            (format!("{prefix}/introspect"), Endpoint::Introspection),
            (format!("{prefix}/revoke"), Endpoint::Revocation),
            (format!("{prefix}/jwks"), Endpoint::Keys),
        ];
        for document in ["oauth-authorization-server", "openid-configuration"] {
            paths.push((format!("{prefix}/.well-known/{document}"), Endpoint::Metadata));
            if !prefix.is_empty() {
                paths.push((format!("/.well-known/{document}{prefix}"), Endpoint::Metadata));
            }
        }
        let metadata = Bytes::from(metadata(issuer).to_string());
        Ok(Self { issuer: issuer.to_owned(), token: format!("{issuer}/token"), paths, metadata })
    }

    /// What is at a path.
    pub(super) fn at(&self, path: &str) -> Option<Endpoint> {
        self.paths.iter().find(|(known, _)| known == path).map(|(_, endpoint)| *endpoint)
    }

    /// The issuer.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// URL of the token endpoint.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The metadata document.
    pub(super) fn metadata(&self) -> Bytes {
        self.metadata.clone()
    }
}

fn metadata(issuer: &str) -> serde_json::Value {
    let methods = json!(["tls_client_auth", "private_key_jwt", "client_secret_basic", "client_secret_post"]);
    let algorithms = json!(["ES256", "ES384", "EdDSA", "RS256", "PS256"]);
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "jwks_uri": format!("{issuer}/jwks"),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        // The standard asks for the member, and libraries ask for something in it; there is no authorization endpoint.
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_with_a_path_has_everything_below_it_and_its_metadata_where_both_standards_look() {
        let endpoints = Endpoints::new("https://example.com:8443/tenants/shop").unwrap();
        assert_eq!(endpoints.at("/tenants/shop/token"), Some(Endpoint::Token));
        for path in
            ["/tenants/shop/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenants/shop"]
        {
            assert_eq!(endpoints.at(path), Some(Endpoint::Metadata), "{path}");
        }
        for path in ["/token", "/.well-known/openid-configuration", "/tenants/shop/token/", ""] {
            assert_eq!(endpoints.at(path), None, "{path}");
        }
    }

    #[test]
    fn what_a_token_could_not_name_in_one_way_alone_is_no_issuer() {
        for good in ["https://a", "https://a.b.svc:8443", "https://a/b"] {
            assert_eq!(Endpoints::new(good).map(|endpoints| endpoints.issuer().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "a", "http://a", "https://a/", "https://a/b/", "https://a?b", "https://a#b", "https://x@a"] {
            assert_eq!(Endpoints::new(bad).map(|_| ()), Err(IssuerFault(bad.to_owned())), "{bad}");
        }
    }
}
