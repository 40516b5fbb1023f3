//! Which entries of `access.json` a request may be let through by. What is decided here needs no waiting; the tokens that
//! are left to be looked at are looked at in [`crate::authorize`].

use std::net::IpAddr;

use ringfence_core::access::{AccessCaller, AccessRule, AddressBlock, CallerName};
use ringfence_core::pki::SpiffeId;

use crate::material::Material;
use crate::refusal::Refusal;

/// What is known of a request before any token is looked at.
pub(crate) struct Attempt<'a> {
    pub(crate) port: u16,
    pub(crate) address: IpAddr,
    /// By its certificate, if it shows a good one.
    pub(crate) certificate: Option<&'a SpiffeId>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

/// The entries that the request satisfies but for a token. Without any: why not.
pub(crate) fn candidates<'a>(material: &'a Material, attempt: &Attempt<'_>) -> Result<Vec<&'a AccessCaller>, Refusal> {
    let port = material.port(attempt.port).ok_or(Refusal::PortNotListed)?;
    let mut closest = Refusal::CallerNotListed;
    let candidates: Vec<&AccessCaller> = port
        .callers
        .iter()
        .filter(|entry| match judge(entry, attempt) {
            Ok(()) => true,
            Err(refusal) => {
                closest = closest.max(refusal);
                false
            }
        })
        .collect();
    if candidates.is_empty() { Err(closest) } else { Ok(candidates) }
}

fn judge(entry: &AccessCaller, attempt: &Attempt<'_>) -> Result<(), Refusal> {
    let is_about = match &entry.caller {
        // Who proves itself by a token shows it there.
        CallerName::Identity { spiffe_id, .. } => {
            !entry.proof.mtls || attempt.certificate.is_none_or(|shown| shown.to_string() == *spiffe_id)
        }
        CallerName::TrustDomain { trust_domain } => {
            !entry.proof.mtls || attempt.certificate.is_none_or(|shown| shown.trust_domain().as_str() == trust_domain)
        }
        CallerName::Cidr { blocks, .. } => blocks.iter().any(|block| holds(block, attempt.address)),
        // Labels and the API server's addresses are the network's business.
        CallerName::Pods { .. } | CallerName::Anywhere | CallerName::KubernetesApi => true,
    };
    if !is_about {
        return Err(Refusal::CallerNotListed);
    }
    if entry.proof.mtls && attempt.certificate.is_none() {
        return Err(Refusal::CertificateRequired);
    }
    if !admits(&entry.rules, attempt.method, attempt.path) {
        return Err(Refusal::CallNotAllowed);
    }
    Ok(())
}

fn holds(block: &AddressBlock, address: IpAddr) -> bool {
    let within = |range: &String| range.parse::<ipnet::IpNet>().is_ok_and(|range| range.contains(&address));
    within(&block.cidr) && !block.except.iter().any(within)
}

fn admits(rules: &[AccessRule], method: &str, path: &str) -> bool {
    rules.is_empty() || (is_plain(path) && rules.iter().any(|rule| matches(rule, method, path)))
}

/// Whether a path means the same to everyone: where rules decide, nothing is let through that a server could read as
/// another path.
fn is_plain(path: &str) -> bool {
    let is_step = |segment: &str| segment == "." || segment == "..";
    !path.contains("//") && !path.contains(['\\', '%']) && !path.split('/').any(is_step)
}

fn matches(rule: &AccessRule, method: &str, path: &str) -> bool {
    if let Some(service) = &rule.grpc_service {
        let call = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        return method == "POST"
            && call.is_some_and(|(called, grpc_method)| {
                called == service
                    && (rule.grpc_methods.is_empty() || rule.grpc_methods.iter().any(|m| m == grpc_method))
            });
    }
    let by_method = rule.methods.is_empty() || rule.methods.iter().any(|allowed| allowed == method);
    let by_path = rule.paths.is_empty()
        || rule.paths.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == allowed,
        });
    by_method && by_path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(methods: &[&str], paths: &[&str]) -> AccessRule {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        AccessRule { methods: owned(methods), paths: owned(paths), grpc_service: None, grpc_methods: Vec::new() }
    }

    fn grpc(service: &str, methods: &[&str]) -> AccessRule {
        let grpc_methods = methods.iter().map(|word| (*word).to_owned()).collect();
        AccessRule { methods: Vec::new(), paths: Vec::new(), grpc_service: Some(service.to_owned()), grpc_methods }
    }

    #[test]
    fn rules_say_what_may_be_called() {
        let read = http(&["GET"], &["/items", "/items/*"]);
        let charge = grpc("shop.payment.v1.Payment", &["Charge"]);
        let all_of_it = grpc("shop.payment.v1.Payment", &[]);
        let cases: [(&[AccessRule], &str, &str, bool); 18] = [
            (&[], "DELETE", "/a//../%2e", true),
            (&[http(&[], &[])], "PUT", "/x", true),
            (std::slice::from_ref(&read), "GET", "/items", true),
            (std::slice::from_ref(&read), "GET", "/items/1/x", true),
            (std::slice::from_ref(&read), "GET", "/items/", true),
            (std::slice::from_ref(&read), "GET", "/itemsx", false),
            (std::slice::from_ref(&read), "POST", "/items", false),
            (std::slice::from_ref(&read), "get", "/items", false),
            (std::slice::from_ref(&read), "GET", "/items/../admin", false),
            (std::slice::from_ref(&read), "GET", "/items/%2e%2e/admin", false),
            (std::slice::from_ref(&read), "GET", "/items//admin", false),
            (std::slice::from_ref(&read), "GET", "/items/.", false),
            (std::slice::from_ref(&read), "GET", "/items\\..\\admin", false),
            (std::slice::from_ref(&charge), "POST", "/shop.payment.v1.Payment/Charge", true),
            (std::slice::from_ref(&charge), "POST", "/shop.payment.v1.Payment/Refund", false),
            (std::slice::from_ref(&charge), "GET", "/shop.payment.v1.Payment/Charge", false),
            (std::slice::from_ref(&all_of_it), "POST", "/shop.payment.v1.Payment/Refund", true),
            (std::slice::from_ref(&all_of_it), "POST", "/shop.payment.v1.PaymentX/Refund", false),
        ];
        for (rules, method, path, expected) in cases {
            assert_eq!(admits(rules, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_address_is_in_a_block_but_not_in_what_is_taken_out_of_it() {
        let block = AddressBlock { cidr: "203.0.113.0/24".to_owned(), except: vec!["203.0.113.128/25".to_owned()] };
        for (address, expected) in [("203.0.113.7", true), ("203.0.113.129", false), ("198.51.100.1", false)] {
            assert_eq!(holds(&block, address.parse().unwrap()), expected, "{address}");
        }
    }
}
