//! The id that a request keeps through all services, so that what they log of it is found.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceId;

/// The header that carries it.
pub(crate) const HEADER: &str = "x-correlation-id";
/// Longest that is taken from outside.
const LONGEST: usize = 64;

/// Visible ASCII, so that it can be logged and passed on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// The one that a request brought, if it is one.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(HEADER)?;
        let fits = (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        fits.then(|| Self(value.clone()))
    }

    /// For a request that brought none: the id of its trace.
    pub(crate) fn of_trace(trace: TraceId) -> Self {
        Self(HeaderValue::try_from(trace.to_string()).expect("hexadecimal digits are a header's value"))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("visible ASCII is text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_of_at_most_64_characters_is_taken_from_outside() {
        let longest = "x".repeat(64);
        let too_long = "x".repeat(65);
        for (given, taken) in [
            ("order-4711", true),
            ("a", true),
            (&*longest, true),
            (&*too_long, false),
            ("", false),
            ("two words", false),
            ("tab\tinside", false),
            ("Bestellung-größer", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(given.as_bytes()).unwrap());
            let read = CorrelationId::of_request(&headers);
            assert_eq!(read.as_ref().map(CorrelationId::as_str), taken.then_some(given), "{given}");
        }
        assert_eq!(CorrelationId::of_request(&HeaderMap::new()), None);
    }

    #[test]
    fn a_request_without_one_gets_that_of_its_trace() {
        assert_eq!(CorrelationId::of_trace(TraceId::from(0xabc)).as_str(), "00000000000000000000000000000abc");
    }
}
