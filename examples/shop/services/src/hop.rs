//! What each hop presented and verified, gathered along the chain, so that the customer sees the whole story. A tutorial
//! wants that; a real shop would keep it in its logs.

use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use ringfence_workload::Caller;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behalf::OnBehalfOf;

/// The header, of HTTP and of gRPC alike.
pub(crate) const HEADER: &str = "x-hops";

/// One call, as the one being called saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// Who was called.
    pub(crate) service: String,
    /// Who called.
    pub(crate) caller: String,
    /// What proved that.
    pub(crate) by: String,
    /// The AccessPolicy that lets it.
    pub(crate) policy: String,
}

impl Hop {
    /// The call that a service was let through for.
    pub(crate) fn of(service: &str, caller: &Caller) -> Self {
        let claims = caller.claims.as_deref();
        let customer = claims.and_then(OnBehalfOf::of_token);
        let name = caller.spiffe_id.as_ref().map(ToString::to_string).or_else(|| customer.map(|one| one.client_id));
        let certificate = caller.by_certificate.then(|| "its certificate".to_owned());
        let proofs: Vec<String> = certificate.into_iter().chain(claims.map(token_in_words)).collect();
        Self {
            service: service.to_owned(),
            caller: name.unwrap_or_else(|| caller.address.to_string()),
            by: if proofs.is_empty() { "nothing".to_owned() } else { proofs.join(" and ") },
            policy: caller.policy.clone().unwrap_or_default(),
        }
    }
}

/// Extension of a response: whom a service took its caller for, where it knows that by something of its own, of which
/// `access.json` says nothing.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) name: String,
    pub(crate) by: String,
}

/// What a token says, as far as it matters for who may call.
fn token_in_words(claims: &Value) -> String {
    let claim = |name: &str| claims[name].as_str().unwrap_or_default();
    match OnBehalfOf::of_claim(claims) {
        Some(customer) => {
            let OnBehalfOf { client_id, scope, .. } = customer;
            format!("a token that it signed, on behalf of {client_id} with scope {scope}")
        }
        None if claim("iss") == claim("sub") => "a token that it signed".to_owned(),
        None => format!("a token of {} with scope {}", claim("iss"), claim("scope")),
    }
}

/// Several of them, the first call first. In the extensions of a response: those of the calls that were made for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hops(pub(crate) Vec<Hop>);

impl Hops {
    /// Of a response's headers; none if they say none.
    pub(crate) fn of_response(headers: &HeaderMap) -> Self {
        headers.get(HEADER).and_then(|value| serde_json::from_slice(value.as_bytes()).ok()).unwrap_or_default()
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Writes the header of a response: the hop to this service, and those that came after it.
    pub(crate) fn write(mut first: Option<Hop>, response: &mut Response) {
        let visitor = response.extensions_mut().remove::<Visitor>();
        if let (Some(first), Some(visitor)) = (&mut first, visitor) {
            (first.caller, first.by) = (visitor.name, visitor.by);
        }
        let later = response.extensions_mut().remove::<Self>().unwrap_or_default();
        let all: Vec<Hop> = first.into_iter().chain(later.0).collect();
        let value = serde_json::to_vec(&all).ok().and_then(|json| HeaderValue::from_bytes(&json).ok());
        if let Some(value) = value {
            response.headers_mut().insert(HEADER, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn hop(service: &str, caller: &str) -> Hop {
        let text = str::to_owned;
        Hop { service: text(service), caller: text(caller), by: text("certificate"), policy: text("storefront/order") }
    }

    #[test]
    fn hops_accumulate_along_the_chain_in_the_order_of_the_calls() {
        // Inventory and payment answer order; order answers the gateway; the gateway answers the customer.
        let answer = |first: Hop, later: Hops| {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(later);
            Hops::write(Some(first), &mut response);
            Hops::of_response(response.headers())
        };
        let mut of_order = answer(hop("inventory", "order"), Hops::default());
        of_order.extend(answer(hop("payment", "order"), Hops::default()));
        let of_gateway = answer(hop("order", "gateway"), of_order);
        let told = answer(hop("gateway", "web"), of_gateway);
        let services: Vec<_> = told.0.iter().map(|hop| (&*hop.caller, &*hop.service)).collect();
        let calls = [("web", "gateway"), ("gateway", "order"), ("order", "inventory"), ("order", "payment")];
        assert_eq!(services, calls);
    }

    #[test]
    fn a_visitor_is_named_by_what_the_service_knows_of_it() {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Visitor { name: "alice".to_owned(), by: "its session".to_owned() });
        Hops::write(Some(hop("front", "10.0.0.7")), &mut response);
        let told = Hops::of_response(response.headers()).0;
        assert_eq!((&*told[0].caller, &*told[0].by, &*told[0].service), ("alice", "its session", "front"));
    }

    #[test]
    fn what_is_no_list_of_hops_is_none() {
        for text in ["", "[", "{}", "[{\"service\": 1}]"] {
            let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), text.parse().unwrap())]);
            assert_eq!(Hops::of_response(&headers), Hops::default(), "{text}");
        }
    }
}
