//! Who logged in, by the ID token that comes with the access token.
//!
//! Its signature is not verified: it came over TLS from the token endpoint of the issuer, whose certificate was verified, and from
//! nobody else's hands. OpenID Connect Core 1.0 lets that stand for it (section 3.1.3.7, number 6). What it says is checked all the same.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use oauth2::ExtraTokenFields;
use serde::{Deserialize, Serialize};

/// How far the issuer's clock may be behind this one, in seconds.
const LEEWAY: i64 = 30;

/// The member of the token endpoint's answer; absent where the scope has no `openid`. `Debug` does not show it.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct IdToken {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdToken(redacted)")
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audiences,
    exp: i64,
    sub: String,
    preferred_username: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

/// An ID token that is not for this login. Nothing of it is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its ID token is not one of this issuer, for this client, and good now")]
pub(super) struct Misfit;

impl IdToken {
    /// The name that whoever logged in goes by.
    ///
    /// # Errors
    /// [`Misfit`], where there is a token and it is another's, or too old.
    pub(super) fn name(&self, issuer: &str, client_id: &str, now: Timestamp) -> Result<Option<String>, Misfit> {
        let Some(token) = &self.id_token else { return Ok(None) };
        let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
        let claims = payload.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok()).ok_or(Misfit)?;
        let is_meant = match &claims.aud {
            Audiences::One(audience) => audience == client_id,
            Audiences::Several(audiences) => audiences.iter().any(|audience| audience == client_id),
        };
        let is_good = claims.exp.saturating_add(LEEWAY) > now.as_second();
        if claims.iss != issuer || !is_meant || !is_good {
            return Err(Misfit);
        }
        Ok(Some(claims.preferred_username.unwrap_or(claims.sub)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://keycloak.login.svc:8443/realms/shop";

    fn token(claims: &Value) -> IdToken {
        IdToken { id_token: Some(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))) }
    }

    #[test]
    fn the_name_is_what_people_call_themselves_or_else_what_the_issuer_calls_them() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let good = json!({
            "iss": ISSUER, "aud": "shop-front", "exp": now.as_second() + 60, "sub": "f3a1", "preferred_username": "alice",
        });
        let changed = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            token(&claims)
        };
        let some = |name: &str| Ok(Some(name.to_owned()));
        let cases = [
            ("all fits", token(&good), some("alice")),
            ("it says no name", changed("preferred_username", Value::Null), some("f3a1")),
            ("for several", changed("aud", json!(["account", "shop-front"])), some("alice")),
            ("for someone else", changed("aud", json!("account")), Err(Misfit)),
            ("for several others", changed("aud", json!(["account", "other"])), Err(Misfit)),
            ("of another issuer", changed("iss", json!("https://other.svc")), Err(Misfit)),
            ("of long ago", changed("exp", json!(now.as_second() - 30)), Err(Misfit)),
            ("without an end", changed("exp", Value::Null), Err(Misfit)),
            ("no token at all", IdToken { id_token: Some("a.b".to_owned()) }, Err(Misfit)),
            ("none was asked for", IdToken::default(), Ok(None)),
        ];
        for (what, token, expected) in cases {
            assert_eq!(token.name(ISSUER, "shop-front", now), expected, "{what}");
            assert_eq!(format!("{token:?}"), "IdToken(redacted)");
        }
    }
}
