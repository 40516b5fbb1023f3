//! Counts writes where all of them pass: between the client and the API server.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tower::{Layer, Service};

use super::Labels;

/// What can come of a write.
const RESULTS: [&str; 6] = ["done", "conflict", "missing", "refused", "throttled", "failed"];

/// How often something was written, by verb, kind and what came of it.
#[derive(Clone, Debug, Default)]
pub(in crate::controller) struct Writes(pub(super) Family<Labels<3>, Counter>);

impl Writes {
    fn count(&self, verb: &'static str, kind: &'static str, result: &'static str) {
        let labels = |result| [("verb", verb), ("kind", kind), ("result", result)];
        // What did not happen yet is told as well: a rate is seen only of what was counted before.
        for other in RESULTS.into_iter().filter(|other| *other != result) {
            drop(self.0.get_or_create(&labels(other)));
        }
        self.0.get_or_create(&labels(result)).inc();
    }
}

impl<S> Layer<S> for Writes {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, writes: self.clone() }
    }
}

/// A client whose writes are counted.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Counted<S> {
    inner: S,
    writes: Writes,
}

impl<S, Req, Res> Service<Request<Req>> for Counted<S>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let write = verb(request.method()).map(|verb| (verb, kind(request.uri().path())));
        let answer = self.inner.call(request);
        let writes = self.writes.clone();
        Box::pin(async move {
            let answer = answer.await;
            if let Some((verb, kind)) = write {
                writes.count(verb, kind, answer.as_ref().map_or("failed", |answer| result(answer.status())));
            }
            answer
        })
    }
}

fn verb(method: &Method) -> Option<&'static str> {
    match *method {
        Method::POST => Some("create"),
        Method::PUT => Some("update"),
        Method::PATCH => Some("patch"),
        Method::DELETE => Some("delete"),
        _ => None,
    }
}

fn result(status: StatusCode) -> &'static str {
    match status {
        status if status.is_success() => "done",
        StatusCode::CONFLICT => "conflict",
        StatusCode::NOT_FOUND => "missing",
        StatusCode::TOO_MANY_REQUESTS => "throttled",
        status if status.is_client_error() => "refused",
        _ => "failed",
    }
}

/// The kind that a path is about, `other` for one that Ringfence is not known to write.
fn kind(path: &str) -> &'static str {
    let mut parts = path.trim_matches('/').split('/');
    // `api/v1` or `apis/<group>/<version>` comes first.
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts = parts.skip(skipped).peekable();
    let plural = match parts.next() {
        Some("namespaces") => {
            let of_namespace = parts.nth(1);
            of_namespace.unwrap_or("namespaces")
        }
        plural => plural.unwrap_or_default(),
    };
    match plural {
        "trustdomains" => "TrustDomain",
        "serviceidentities" => "ServiceIdentity",
        "accesspolicies" => "AccessPolicy",
        "secrets" => "Secret",
        "configmaps" => "ConfigMap",
        "networkpolicies" => "NetworkPolicy",
        "events" => "Event",
        "rolebindings" => "RoleBinding",
        "deployments" => "Deployment",
        "statefulsets" => "StatefulSet",
        "daemonsets" => "DaemonSet",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_kind_whatever_else_is_in_it() {
        let cases = [
            ("/api/v1/namespaces/shop/secrets", "Secret"),
            ("/api/v1/namespaces/secrets/configmaps/events", "ConfigMap"),
            ("/apis/ringfence.dev/v1alpha1/trustdomains/shop/status", "TrustDomain"),
            ("/apis/ringfence.dev/v1alpha1/namespaces/shop/serviceidentities/order/status", "ServiceIdentity"),
            ("/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/ringfence-order", "NetworkPolicy"),
            ("/api/v1/namespaces/shop", "other"),
            ("/api/v1/namespaces/shop/pods/a/eviction", "other"),
            ("/", "other"),
        ];
        for (path, expected) in cases {
            assert_eq!(kind(path), expected, "{path}");
        }
    }

    #[test]
    fn every_answer_is_one_of_the_results() {
        for code in 100..600 {
            assert!(RESULTS.contains(&result(StatusCode::from_u16(code).unwrap())), "{code}");
        }
    }
}
