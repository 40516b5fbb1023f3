//! The URLs by which issuers are named and found.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Longest URL, in bytes.
const LONGEST: usize = 512;

/// An `https` URL with a host, without credentials and without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    text: String,
    uri: Uri,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It can't be read.
    #[error("is no URL of at most {LONGEST} characters")]
    NoUrl,
    /// Another scheme: what is fetched could come from anyone.
    #[error("is not an https URL")]
    NotHttps,
    /// User and password, which would be in the open.
    #[error("holds a user name")]
    Credentials,
    /// A part that is never sent.
    #[error("has a fragment")]
    Fragment,
}

impl HttpsUrl {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For a request.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether both name the same host and port.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.host().eq_ignore_ascii_case(other.host()) && self.port() == other.port()
    }

    fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(443)
    }

    /// Another path at the same host and port.
    pub(super) fn at(&self, path: &str) -> Option<Self> {
        format!("https://{}{path}", self.uri.authority()?).parse().ok()
    }
}

impl FromStr for HttpsUrl {
    type Err = UrlFault;

    fn from_str(text: &str) -> Result<Self, UrlFault> {
        if text.len() > LONGEST {
            return Err(UrlFault::NoUrl);
        }
        if text.contains('#') {
            return Err(UrlFault::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlFault::NoUrl)?;
        let authority = uri.authority().ok_or(UrlFault::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(UrlFault::Credentials);
        }
        // A port that is no number counts as none there.
        let has_port = authority.as_str().len() > authority.host().len();
        if authority.host().is_empty() || has_port != authority.port_u16().is_some() {
            return Err(UrlFault::NoUrl);
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self { text: text.to_owned(), uri }),
            _ => Err(UrlFault::NotHttps),
        }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_url_with_a_host_is_taken_and_nothing_else() {
        let long = format!("https://login.example.com/{}", "a".repeat(LONGEST));
        for (text, fault) in [
            ("https://login.example.com", None),
            ("https://login.example.com/realms/shop?x=1", None),
            ("https://[2001:db8::1]:8443/", None),
            ("http://login.example.com", Some(UrlFault::NotHttps)),
            ("file:///etc/passwd", Some(UrlFault::NoUrl)),
            ("ftp://login.example.com/", Some(UrlFault::NotHttps)),
            ("//login.example.com", Some(UrlFault::NoUrl)),
            ("/keys", Some(UrlFault::NoUrl)),
            ("", Some(UrlFault::NoUrl)),
            ("https://", Some(UrlFault::NoUrl)),
            ("https:///keys", Some(UrlFault::NoUrl)),
            ("https://login.example.com:", Some(UrlFault::NoUrl)),
            ("https://login.example.com:99999", Some(UrlFault::NoUrl)),
            ("https://login.example.com/a b", Some(UrlFault::NoUrl)),
            ("https://login.example.com/\r\nHost: other", Some(UrlFault::NoUrl)),
            ("https://user:password@login.example.com/", Some(UrlFault::Credentials)),
            ("https://login.example.com/#keys", Some(UrlFault::Fragment)),
            (&long, Some(UrlFault::NoUrl)),
        ] {
            assert_eq!(text.parse::<HttpsUrl>().err(), fault, "{text}");
        }
    }

    #[test]
    fn an_origin_is_host_and_port() {
        let url = |text: &str| text.parse::<HttpsUrl>().unwrap();
        let issuer = url("https://login.example.com/realms/shop");
        assert!(issuer.is_same_origin(&url("https://LOGIN.example.com:443/keys")));
        for other in
            ["https://login.example.com:8443/keys", "https://example.com/keys", "https://login.example.com.evil/"]
        {
            assert!(!issuer.is_same_origin(&url(other)), "{other}");
        }
        assert_eq!(url("https://[2001:db8::1]:8443/").host(), "2001:db8::1");
    }
}
