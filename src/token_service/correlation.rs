//! By what a request is known elsewhere, and how who is asked on its behalf learns it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Longest ID of a request that is written down, in octets.
const LONGEST_ID: usize = 128;

/// W3C Trace Context.
static TRACE: HeaderName = HeaderName::from_static("traceparent");
/// Where an ID may be.
static IDS: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), HeaderName::from_static("x-correlation-id")];

/// What a request says it belongs to: a trace, and an ID that someone gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Correlation<'a> {
    /// The header, whole.
    trace: Option<&'a str>,
    id: Option<&'a str>,
}

impl<'a> Correlation<'a> {
    /// Reads the headers.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let trace = plain(headers, &TRACE).filter(|trace| trace_id(trace).is_some());
        Self { trace, id: IDS.iter().find_map(|name| plain(headers, name)) }
    }

    /// The trace's ID, or else the other one.
    pub(super) fn as_str(self) -> Option<&'a str> {
        self.trace.and_then(trace_id).or(self.id)
    }

    /// Makes the request's trace, if it has one, the one that a span is part of.
    pub(super) fn follow(self, span: &Span) {
        struct Trace<'a>(&'a str);
        impl Extractor for Trace<'_> {
            fn get(&self, key: &str) -> Option<&str> {
                (key == TRACE).then_some(self.0)
            }
            fn keys(&self) -> Vec<&str> {
                vec![TRACE.as_str()]
            }
        }
        if let Some(trace) = self.trace {
            // Without a collector there is no trace to be part of.
            let _ = span.set_parent(TraceContextPropagator::new().extract(&Trace(trace)));
        }
    }

    /// The headers of a request that is made on behalf of this one: the span that it is made in, and the ID.
    pub(super) fn onward(self) -> HeaderMap {
        struct Headers<'a>(&'a mut HeaderMap);
        impl Injector for Headers<'_> {
            fn set(&mut self, key: &str, value: String) {
                if key == TRACE
                    && let Ok(value) = value.try_into()
                {
                    self.0.insert(TRACE.clone(), value);
                }
            }
        }
        let mut headers = HeaderMap::new();
        for (name, text) in [(TRACE.clone(), self.trace), (IDS[0].clone(), self.id)] {
            headers.extend(text.and_then(|text| HeaderValue::from_str(text).ok()).map(|value| (name, value)));
        }
        // Without a collector the span is none of a trace, and what came is passed on as it is.
        TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Headers(&mut headers));
        headers
    }
}

/// The value of a header, unless it could be taken for something else in a line.
fn plain<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?;
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b':');
    ((1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_plain)).then_some(text)
}

fn trace_id(trace: &str) -> Option<&str> {
    trace.split('-').nth(1).filter(|id| id.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    type Header<'a> = (&'static str, &'a str);

    fn headers(headers: &[Header<'_>]) -> HeaderMap {
        let header = |(name, value): &Header<'_>| (HeaderName::from_static(name), value.parse().unwrap());
        headers.iter().map(header).collect()
    }

    #[test]
    fn a_request_is_known_by_its_trace_or_else_by_its_id() {
        let long = "x".repeat(129);
        let cases: [(&[Header<'_>], Option<&str>); 7] = [
            (&[("traceparent", PARENT), ("x-request-id", "1")], Some("0af7651916cd43dd8448eb211c80319c")),
            (&[("traceparent", "00-1-2-01"), ("x-correlation-id", "order:42")], Some("order:42")),
            (&[("x-correlation-id", "b"), ("x-request-id", "a")], Some("a")),
            (&[("x-request-id", "a b"), ("x-correlation-id", "c")], Some("c")),
            (&[("x-request-id", "a\" b")], None),
            (&[("x-request-id", &long)], None),
            (&[], None),
        ];
        for (given, expected) in cases {
            assert_eq!(Correlation::of(&headers(given)).as_str(), expected, "{given:?}");
        }
    }

    #[test]
    fn who_is_asked_on_its_behalf_learns_of_both() {
        let given = headers(&[("traceparent", PARENT), ("x-correlation-id", "order:42"), ("cookie", "a=b")]);
        let onward = Correlation::of(&given).onward();
        assert_eq!(onward, headers(&[("traceparent", PARENT), ("x-request-id", "order:42")]));
        assert!(Correlation::of(&HeaderMap::new()).onward().is_empty());
    }
}
