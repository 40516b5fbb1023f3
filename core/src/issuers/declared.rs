//! The issuers that a TrustDomain names by URL, as far as they can be fetched.

use super::HttpsUrl;
use crate::api::{TokenIssuer, TrustDomain};
use crate::pki::certificates;

/// An issuer that is run by others, as a TrustDomain declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredIssuer {
    /// Its name in the TrustDomain.
    pub name: String,
    /// Its identifier.
    pub issuer: HttpsUrl,
    /// Where its keys are, if it is declared.
    pub jwks_uri: Option<HttpsUrl>,
    /// Where its tokens are introspected, if it is declared.
    pub introspection_uri: Option<HttpsUrl>,
    /// The roots that its certificate is verified by, in DER; nothing for the public ones.
    pub roots: Option<Vec<Vec<u8>>>,
}

/// The issuers of a domain that can be fetched, and why others can't, with what to do.
pub fn declared_issuers(domain: &TrustDomain) -> (Vec<DeclaredIssuer>, Vec<String>) {
    let (mut issuers, mut faults) = (Vec::new(), Vec::new());
    for issuer in domain.spec.token_issuers.iter().filter(|issuer| issuer.built_in.is_none()) {
        match declared(issuer) {
            Ok(declared) => issuers.push(declared),
            Err(fault) => {
                faults.push(format!("token issuer {} is not asked for its keys: its {fault}; correct it", issuer.name))
            }
        }
    }
    (issuers, faults)
}

fn declared(issuer: &TokenIssuer) -> Result<DeclaredIssuer, String> {
    let url = |field: &str, text: &str| text.parse::<HttpsUrl>().map_err(|fault| format!("{field} {fault}"));
    let optional = |field: &str, text: Option<&String>| text.map(|text| url(field, text)).transpose();
    let roots = issuer.ca_bundle.as_ref().map(|bundle| certificates(bundle.as_bytes())).transpose();
    let roots = roots.map_err(|error| format!("caBundle can't be used: {error}"))?;
    Ok(DeclaredIssuer {
        name: issuer.name.clone(),
        issuer: url("issuer", issuer.issuer.as_deref().unwrap_or_default())?,
        jwks_uri: optional("jwksUri", issuer.jwks_uri.as_ref())?,
        introspection_uri: optional("introspectionUri", issuer.introspection_uri.as_ref())?,
        roots: roots.map(|roots| roots.iter().map(|root| root.der().to_vec()).collect()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pki::roots_bundle;
    use crate::pki::testing::{generations, root};

    #[test]
    fn what_can_not_be_fetched_is_named_with_what_to_do_and_the_others_stand() {
        let bundle = roots_bundle(&generations([root("shop")]));
        let domain = json!({"metadata": {"name": "shop"}, "spec": {
            "certificateAuthority": {"selfSigned": {}},
            "tokenIssuers": [
                {"name": "sts", "builtIn": {}},
                {"name": "plain", "issuer": "https://a.example", "caBundle": bundle},
                {"name": "user", "issuer": "https://me:secret@b.example"},
                {"name": "keys", "issuer": "https://c.example", "jwksUri": "https://c.example:x/"},
                {"name": "ask", "issuer": "https://d.example", "introspectionUri": "http://d.example"},
                {"name": "roots", "issuer": "https://e.example", "caBundle": "-----BEGIN CERTIFICATE-----\n"},
                {"name": "none", "issuer": "https://f.example", "caBundle": "nothing"},
            ],
        }});
        let (issuers, faults) = declared_issuers(&serde_json::from_value(domain).unwrap());
        assert_eq!(issuers.iter().map(|issuer| issuer.name.as_str()).collect::<Vec<_>>(), ["plain"]);
        assert_eq!(issuers[0].roots.as_ref().map(Vec::len), Some(1));
        assert_eq!(
            faults,
            [
                "token issuer user is not asked for its keys: its issuer holds a user name; correct it",
                "token issuer keys is not asked for its keys: its jwksUri is no URL of at most 512 characters; correct it",
                "token issuer ask is not asked for its keys: its introspectionUri is not an https URL; correct it",
                "token issuer roots is not asked for its keys: its caBundle can't be used: the PEM text is cut off: an END line is missing; correct it",
                "token issuer none is not asked for its keys: its caBundle can't be used: the PEM text holds no certificate; correct it",
            ]
        );
    }
}
