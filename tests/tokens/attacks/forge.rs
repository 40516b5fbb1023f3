//! JWTs that say anything, signed in any way.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use ringfence_core::jwt::SigningKey;
use serde_json::{Value, json};

/// By what a JWT is signed.
pub enum Signer<'a> {
    /// A private key of P-256.
    Es256(&'a SigningKey),
    /// A shared secret.
    Hs256(&'a [u8]),
    /// Nothing.
    None,
}

/// A JWT in its compact form.
pub fn jwt(header: &Value, claims: &Value, signer: &Signer<'_>) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = match signer {
        Signer::Es256(key) => {
            let key = EncodingKey::from_ec_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
            sign(message.as_bytes(), &key, Algorithm::ES256).unwrap()
        }
        Signer::Hs256(secret) => sign(message.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap(),
        Signer::None => String::new(),
    };
    format!("{message}.{signature}")
}

/// Header and claims of a JWT, as anyone can read them.
pub fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

/// The claims of a JWT.
pub fn claims(token: &str) -> Value {
    parts(token).1
}

/// The one with these members besides; `null` takes one away.
pub fn with(object: &Value, more: Value) -> Value {
    let mut object = object.clone();
    let members = object.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    object
}

/// Times of a JWT that lives from now for so many seconds.
pub fn lives(seconds: i64) -> Value {
    let now = Timestamp::now().as_second();
    json!({"iat": now, "exp": now + seconds})
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
