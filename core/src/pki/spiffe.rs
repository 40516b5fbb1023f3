//! SPIFFE IDs: the names of workloads, in the one shape that Kubernetes service accounts give them
//! (`spiffe://<trust domain>/ns/<namespace>/sa/<service account>`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a trust domain: 1 to 63 lower-case letters, digits, `.`, `-` and `_` (SPIFFE-ID, section 2.1; the
/// standard allows 255 characters, we allow as many as fit into one label of a Kubernetes name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomainName(String);

/// Text that is not the name of a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustDomainNameError {
    /// The name has no or too many characters.
    #[error("the trust domain name has {length} characters; it needs 1 to {MAX_TRUST_DOMAIN_LENGTH}")]
    Length {
        /// Its length in octets.
        length: usize,
    },
    /// The name has a character that SPIFFE does not allow there.
    #[error("the trust domain name has the character {character:?}; allowed are a-z, 0-9, '.', '-' and '_'")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// The SPIFFE ID of a Kubernetes service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomainName,
    namespace: String,
    service_account: String,
}

/// Text that is not the SPIFFE ID of a Kubernetes service account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// The text does not have the four fixed parts in their places.
    #[error("the SPIFFE ID is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Form,
    /// The trust domain's name is not one.
    #[error(transparent)]
    TrustDomain(#[from] TrustDomainNameError),
    /// The namespace is not a DNS label (RFC 1123).
    #[error("the SPIFFE ID's namespace {namespace:?} is not a name that Kubernetes allows")]
    Namespace {
        /// The namespace as given.
        namespace: String,
    },
    /// The service account is not a DNS subdomain (RFC 1123).
    #[error("the SPIFFE ID's service account {service_account:?} is not a name that Kubernetes allows")]
    ServiceAccount {
        /// The service account as given.
        service_account: String,
    },
}

impl TrustDomainName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID of the trust domain itself, `spiffe://<trust domain>`: what its authorities carry.
    #[must_use]
    pub fn spiffe_id(&self) -> String {
        format!("{SCHEME}{self}")
    }
}

impl FromStr for TrustDomainName {
    type Err = TrustDomainNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if let Some(character) = text.chars().find(|&c| !allowed(c)) {
            return Err(TrustDomainNameError::Character { character });
        }
        if text.is_empty() || text.len() > MAX_TRUST_DOMAIN_LENGTH {
            return Err(TrustDomainNameError::Length { length: text.len() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl SpiffeId {
    /// Names a service account of a namespace within a trust domain.
    ///
    /// # Errors
    /// [`SpiffeIdError`] if the namespace or the service account is not a name that Kubernetes would allow.
    pub fn new(trust_domain: TrustDomainName, namespace: &str, service_account: &str) -> Result<Self, SpiffeIdError> {
        if !is_dns_label(namespace) {
            return Err(SpiffeIdError::Namespace { namespace: namespace.to_owned() });
        }
        if service_account.len() > MAX_SUBDOMAIN_LENGTH || !service_account.split('.').all(is_dns_label) {
            return Err(SpiffeIdError::ServiceAccount { service_account: service_account.to_owned() });
        }
        Ok(Self { trust_domain, namespace: namespace.to_owned(), service_account: service_account.to_owned() })
    }

    /// The trust domain that vouches for the ID: the one whose bundle verifies it.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomainName {
        &self.trust_domain
    }

    /// The service account's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account's name.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Form)?.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", service_account] = parts[..] else {
            return Err(SpiffeIdError::Form);
        };
        Self::new(trust_domain.parse()?, namespace, service_account)
    }
}

/// A DNS label (RFC 1123) as Kubernetes writes it: 1 to 63 lower-case letters, digits and inner hyphens.
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl fmt::Display for TrustDomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl TryFrom<String> for TrustDomainName {
    type Error = TrustDomainNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomainName> for String {
    fn from(name: TrustDomainName) -> Self {
        name.0
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

const SCHEME: &str = "spiffe://";

/// Longest trust-domain name, in octets.
const MAX_TRUST_DOMAIN_LENGTH: usize = 63;

/// Longest name of a service account: a DNS subdomain, in octets.
const MAX_SUBDOMAIN_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_printed_as_it_was_parsed() {
        let text = "spiffe://shop.example/ns/storefront/sa/order";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(
            (id.trust_domain().as_str(), id.namespace(), id.service_account()),
            ("shop.example", "storefront", "order")
        );
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("{text:?}"));
        assert_eq!(serde_json::from_str::<SpiffeId>(&format!("{text:?}")).unwrap(), id);
    }

    #[test]
    fn what_is_not_the_id_of_a_service_account_is_refused() {
        let namespace = |text: &str| SpiffeIdError::Namespace { namespace: text.to_owned() };
        let service_account = |text: &str| SpiffeIdError::ServiceAccount { service_account: text.to_owned() };
        let cases = [
            ("", SpiffeIdError::Form),
            ("https://td/ns/a/sa/b", SpiffeIdError::Form),
            ("SPIFFE://td/ns/a/sa/b", SpiffeIdError::Form),
            ("spiffe://td", SpiffeIdError::Form),
            ("spiffe://td/ns/a/sa", SpiffeIdError::Form),
            ("spiffe://td/ns/a/sa/b/", SpiffeIdError::Form),
            ("spiffe://td/sa/b/ns/a", SpiffeIdError::Form),
            ("spiffe://td/ns/a//sa/b", SpiffeIdError::Form),
            ("spiffe:///ns/a/sa/b", TrustDomainNameError::Length { length: 0 }.into()),
            ("spiffe://td:1/ns/a/sa/b", TrustDomainNameError::Character { character: ':' }.into()),
            ("spiffe://u@td/ns/a/sa/b", TrustDomainNameError::Character { character: '@' }.into()),
            ("spiffe://td/ns//sa/b", namespace("")),
            ("spiffe://td/ns/../sa/b", namespace("..")),
            ("spiffe://td/ns/A/sa/b", namespace("A")),
            ("spiffe://td/ns/a.b/sa/b", namespace("a.b")),
            ("spiffe://td/ns/a-/sa/b", namespace("a-")),
            ("spiffe://td/ns/a%20/sa/b", namespace("a%20")),
            ("spiffe://td/ns/a/sa/", service_account("")),
            ("spiffe://td/ns/a/sa/.", service_account(".")),
            ("spiffe://td/ns/a/sa/b..c", service_account("b..c")),
            ("spiffe://td/ns/a/sa/b?q", service_account("b?q")),
            ("spiffe://td/ns/a/sa/b#f", service_account("b#f")),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        }
        assert!("spiffe://td/ns/a/sa/b.c-d.e1".parse::<SpiffeId>().is_ok());
    }

    #[test]
    fn a_trust_domain_has_1_to_63_characters_of_the_allowed_ones() {
        let longest = "a".repeat(63);
        for name in ["a", "storefront", "shop.example", "a_b-c.9", &longest] {
            assert_eq!(name.parse::<TrustDomainName>().unwrap().to_string(), name);
        }
        let cases = [
            (String::new(), TrustDomainNameError::Length { length: 0 }),
            ("a".repeat(64), TrustDomainNameError::Length { length: 64 }),
            ("Shop".to_owned(), TrustDomainNameError::Character { character: 'S' }),
            ("shöp".to_owned(), TrustDomainNameError::Character { character: 'ö' }),
            ("a/b".to_owned(), TrustDomainNameError::Character { character: '/' }),
            ("a b".to_owned(), TrustDomainNameError::Character { character: ' ' }),
        ];
        for (name, error) in cases {
            assert_eq!(name.parse::<TrustDomainName>(), Err(error), "{name}");
        }
    }

    proptest! {
        #[test]
        fn parts_survive_printing_and_parsing(
            trust_domain in "[a-z0-9._-]{1,63}",
            namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            service_account in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,20}){0,3}",
        ) {
            let id = SpiffeId::new(trust_domain.parse().unwrap(), &namespace, &service_account).unwrap();
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn whatever_parses_is_printed_as_it_was(text in "spiffe://[a-zA-Z0-9._/%-]{0,40}(/ns/[a-z.-]{0,9}/sa/[a-z./-]{0,9})?") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
