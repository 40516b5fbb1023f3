//! On whose behalf a service calls the next one: the customer, as the gateway saw it in the access token.

use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The header that carries it between services that prove themselves by certificate. Towards payment and delivery it is the
/// claim `obo` of the token that order signs.
pub(crate) const HEADER: &str = "x-on-behalf-of";
/// The scope that a customer's token has.
const CUSTOMER: &str = "customer";

/// The customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OnBehalfOf {
    pub(crate) sub: String,
    #[serde(default)]
    pub(crate) scope: String,
    #[serde(default)]
    pub(crate) client_id: String,
}

impl OnBehalfOf {
    /// Of the verified claims of an access token.
    pub(crate) fn of_token(claims: &Value) -> Option<Self> {
        let claim = |name: &str| claims[name].as_str().map(str::to_owned);
        let sub = claim("sub").or_else(|| claim("client_id"))?;
        // Keycloak names the client azp.
        let client_id = claim("client_id").or_else(|| claim("azp")).unwrap_or_else(|| sub.clone());
        Some(Self { sub, scope: claim("scope").unwrap_or_default(), client_id })
    }

    /// Of the header that a caller with a certificate sent.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        serde_json::from_slice(headers.get(HEADER)?.as_bytes()).ok()
    }

    /// Of the claim `obo` in the verified claims of a token.
    pub(crate) fn of_claim(claims: &Value) -> Option<Self> {
        serde_json::from_value(claims.get("obo")?.clone()).ok()
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&serde_json::to_vec(self).ok()?).ok()
    }

    /// Whether it is someone who may buy.
    pub(crate) fn is_customer(&self) -> bool {
        self.scope.split(' ').any(|scope| scope == CUSTOMER)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_customer_is_the_same_from_the_token_to_the_last_hop() {
        let token = json!({"iss": "https://sts", "sub": "web", "client_id": "web", "scope": "customer openid"});
        let seen = OnBehalfOf::of_token(&token).unwrap();
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), seen.header().unwrap())]);
        let passed_on = OnBehalfOf::of_request(&headers).unwrap();
        let claimed = OnBehalfOf::of_claim(&json!({"obo": passed_on})).unwrap();
        assert_eq!(claimed, seen);
        assert!(claimed.is_customer());
    }

    #[test]
    fn a_scope_that_only_looks_like_it_makes_no_customer() {
        for scope in ["", "customers", "not-customer", "CUSTOMER", "customer\tadmin"] {
            let someone = OnBehalfOf { sub: "web".to_owned(), scope: scope.to_owned(), client_id: String::new() };
            assert!(!someone.is_customer(), "{scope}");
        }
    }

    #[test]
    fn other_issuers_name_the_client_otherwise() {
        let of = |claims| OnBehalfOf::of_token(&claims).map(|customer| (customer.sub, customer.client_id));
        let pair = |sub: &str, client: &str| Some((sub.to_owned(), client.to_owned()));
        assert_eq!(of(json!({"sub": "u-1", "azp": "spa"})), pair("u-1", "spa"));
        assert_eq!(of(json!({"client_id": "web"})), pair("web", "web"));
        assert_eq!(of(json!({"scope": "customer"})), None);
    }
}
