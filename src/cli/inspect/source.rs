//! Where to look.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Where to look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Secret(String),
    ConfigMap(String),
    File(PathBuf),
    Live { host: String, port: u16 },
}

impl Source {
    /// What a text means: an object, then a file that is there, then an address.
    pub(super) fn of(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some(("secret" | "secrets", name)) if !name.is_empty() => return Ok(Self::Secret(name.to_owned())),
            Some(("configmap" | "configmaps" | "cm", name)) if !name.is_empty() => {
                return Ok(Self::ConfigMap(name.to_owned()));
            }
            _ => {}
        }
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Self::File(path));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && let Ok(port) = port.parse()
            && !host.is_empty()
            && !host.contains('/')
        {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            return Ok(Self::Live { host: host.to_owned(), port });
        }
        bail!("there is no file {text}; write secret/NAME, configmap/NAME, a PEM file that is there, or HOST:PORT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_the_others() {
        let live = |host: &str, port| Source::Live { host: host.to_owned(), port };
        let cases = [
            ("secret/order-tls", Source::Secret("order-tls".to_owned())),
            ("secrets/order-tls", Source::Secret("order-tls".to_owned())),
            ("configmap/order-trust", Source::ConfigMap("order-trust".to_owned())),
            ("cm/order-trust", Source::ConfigMap("order-trust".to_owned())),
            ("Cargo.toml", Source::File(PathBuf::from("Cargo.toml"))),
            ("order.shop.svc:8443", live("order.shop.svc", 8443)),
            ("127.0.0.1:443", live("127.0.0.1", 443)),
            ("[::1]:443", live("::1", 443)),
        ];
        for (text, expected) in cases {
            assert_eq!(Source::of(text).unwrap(), expected, "{text}");
        }
        for text in ["secret/", "nowhere.pem", "host:99999", "host:", ":443", "./localhost:443", ""] {
            let error = Source::of(text).unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{text}: {error}");
        }
    }
}
