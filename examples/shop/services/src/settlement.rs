//! What payment and delivery have in common: whom they serve, and what they keep of who asked.

use ringfence_workload::Caller;
use tonic::{Request, Status};
use tracing::info;

use crate::behalf::OnBehalfOf;
use crate::protocols::evidence::v1::Evidence;

/// Who asks, as its token proves it. The workload library has verified the token; that it is for a customer is demanded here.
pub(crate) fn evidence<M>(request: &Request<M>) -> Result<Evidence, Status> {
    let claims = request.extensions().get::<Caller>().and_then(|caller| caller.claims.as_deref());
    let claims = claims.ok_or_else(|| Status::unauthenticated("a token that the caller signed is needed"))?;
    let customer = OnBehalfOf::of_claim(claims).filter(OnBehalfOf::is_customer);
    let nobody = || Status::permission_denied("the token's obo is no customer: it needs the scope customer");
    let customer = customer.ok_or_else(nobody)?;
    let claim = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    Ok(Evidence {
        signed_by: claim("iss"),
        token_id: claim("jti"),
        subject: customer.sub,
        client_id: customer.client_id,
    })
}

/// Logs what nobody can deny later.
pub(crate) fn log(what: &str, order: &str, evidence: &Evidence) {
    let Evidence { signed_by, token_id, subject, client_id } = evidence;
    info!(order, signed_by, token_id, subject, client_id, "{what}");
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tonic::Code;

    use super::*;

    const ORDER: &str = "spiffe://storefront/ns/storefront/sa/order";

    fn asked(claims: Option<Value>) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Caller {
            name: serde_json::from_value(json!({"kind": "Identity", "spiffeID": ORDER, "trustDomain": "storefront"}))
                .unwrap(),
            spiffe_id: Some(ORDER.parse().unwrap()),
            by_certificate: false,
            claims: claims.map(Arc::new),
            policy: Some("settlement/payment".to_owned()),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        });
        request
    }

    #[test]
    fn who_signed_for_whom_is_kept() {
        let customer = json!({"sub": "web", "scope": "openid customer", "client_id": "web"});
        let kept = evidence(&asked(Some(json!({"iss": ORDER, "jti": "j-1", "obo": customer})))).unwrap();
        assert_eq!((&*kept.signed_by, &*kept.token_id, &*kept.client_id), (ORDER, "j-1", "web"));
    }

    #[test]
    fn a_token_for_nobody_or_for_no_customer_is_refused() {
        let refused = |claims| evidence(&asked(claims)).unwrap_err().code();
        assert_eq!(refused(None), Code::Unauthenticated);
        assert_eq!(refused(Some(json!({"iss": ORDER, "jti": "j-1"}))), Code::PermissionDenied);
        let staff = json!({"sub": "web", "scope": "staff"});
        assert_eq!(refused(Some(json!({"iss": ORDER, "jti": "j-1", "obo": staff}))), Code::PermissionDenied);
    }
}
