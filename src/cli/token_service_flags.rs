//! Where the installation's token service is: told to the operator and to `render` alike.

use anyhow::{Result, bail};
use clap::Args;
use ringfence_core::pki::is_dns_label;
use ringfence_core::world::{NamespacedName, TokenService, may_be_member};

/// Where the token service is, if the installation runs one.
#[derive(Debug, Args)]
pub(super) struct TokenServiceFlags {
    /// ServiceIdentity of the installation's token service, `<namespace>/<name>`, e.g.
    /// `ringfence-token-service/token-service`: what `builtIn` in a TrustDomain's `tokenIssuers` stands for. Without it
    /// there is none.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = identity)]
    token_service: Option<NamespacedName>,
    /// Port of the token service's pods.
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..), requires = "token_service")]
    token_service_port: u16,
    /// Identifier of the token service as an issuer (`iss` of its tokens), an `https` URL. Without it,
    /// `https://<name>.<namespace>.svc:<port>`.
    #[arg(long, value_name = "URL", value_parser = issuer, requires = "token_service")]
    token_service_issuer: Option<String>,
}

impl TokenServiceFlags {
    /// The token service as the operator knows it.
    ///
    /// # Errors
    /// When it is said to be where no identity can be.
    pub(super) fn settings(&self, operator_namespace: &str) -> Result<Option<TokenService>> {
        let Some(identity) = self.token_service.clone() else { return Ok(None) };
        if !may_be_member(&identity.namespace, operator_namespace) {
            bail!(
                "--token-service {identity}: namespace {} can't be in a TrustDomain, so that the token service could have no identity; give it a namespace of its own",
                identity.namespace
            );
        }
        let port = self.token_service_port;
        let by_default = || format!("https://{}.{}.svc:{port}", identity.name, identity.namespace);
        let issuer = self.token_service_issuer.clone().unwrap_or_else(by_default);
        Ok(Some(TokenService { identity, port, issuer }))
    }
}

fn identity(text: &str) -> Result<NamespacedName, String> {
    let wrong =
        || "expected the namespace and the name of a ServiceIdentity, such as ringfence-token-service/token-service";
    let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
    let fits = is_dns_label(namespace) && is_dns_label(name);
    fits.then(|| NamespacedName::new(namespace, name)).ok_or_else(|| wrong().to_owned())
}

/// An issuer's identifier (RFC 8414, section 2): https, and neither query nor fragment.
fn issuer(text: &str) -> Result<String, String> {
    let wrong = || {
        "expected an https URL of at most 512 characters, without user, query and fragment, such as https://tokens.example.com".to_owned()
    };
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let has_host =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let fits = uri.scheme_str() == Some("https") && has_host && text.len() <= 512 && !text.contains(['?', '#']);
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        service: TokenServiceFlags,
    }

    fn told(arguments: &[&str]) -> Result<Option<TokenService>, String> {
        let line = Line::try_parse_from(["ringfence"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        line.service.settings("ringfence-system").map_err(|error| error.to_string())
    }

    #[test]
    fn the_rest_follows_from_the_identity() {
        assert_eq!(told(&[]), Ok(None));
        let expected = |port, issuer: &str| {
            let identity = NamespacedName::new("sts", "tokens");
            Ok(Some(TokenService { identity, port, issuer: issuer.to_owned() }))
        };
        let of = "--token-service=sts/tokens";
        assert_eq!(told(&[of]), expected(8443, "https://tokens.sts.svc:8443"));
        assert_eq!(told(&[of, "--token-service-port=9443"]), expected(9443, "https://tokens.sts.svc:9443"));
        let url = "https://tokens.example.com/shop";
        assert_eq!(told(&[of, &format!("--token-service-issuer={url}")]), expected(8443, url));
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_was_expected() {
        let of = "--token-service=sts/tokens";
        for (arguments, complaint) in [
            (vec!["--token-service=tokens"], "expected the namespace and the name"),
            (vec!["--token-service=sts/"], "expected the namespace and the name"),
            (vec!["--token-service=a/b/c"], "expected the namespace and the name"),
            (vec!["--token-service=STS/tokens"], "expected the namespace and the name"),
            (vec!["--token-service=ringfence-system/tokens"], "namespace ringfence-system can't be in a TrustDomain"),
            (vec!["--token-service=kube-system/tokens"], "namespace kube-system can't be in a TrustDomain"),
            (vec![of, "--token-service-port=0"], "0 is not in 1..=65535"),
            (vec![of, "--token-service-issuer=http://a.example"], "expected an https URL"),
            (vec![of, "--token-service-issuer=https://a.example?b"], "expected an https URL"),
            (vec![of, "--token-service-issuer=https://a.example/#b"], "expected an https URL"),
            (vec![of, "--token-service-issuer=https://me@a.example"], "expected an https URL"),
            (vec![of, "--token-service-issuer=https:///a"], "expected an https URL"),
            (vec![of, "--token-service-issuer=a.example"], "expected an https URL"),
            (vec!["--token-service-issuer=https://a.example"], "--token-service <NAMESPACE/NAME>"),
            (vec!["--token-service-port=8443"], "--token-service <NAMESPACE/NAME>"),
        ] {
            let error = told(&arguments).unwrap_err();
            assert!(error.contains(complaint), "{arguments:?}: {error}");
        }
    }
}
