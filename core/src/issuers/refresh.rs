//! How long a key set holds before it is asked for again: what its issuer says (RFC 9111), within bounds.

use jiff::{SignedDuration, Timestamp};

/// Shortest time until a key set is asked for again, whatever the issuer says.
pub const SHORTEST_FRESHNESS: SignedDuration = SignedDuration::from_mins(1);
/// Longest time: so late a new key of an issuer may be known.
pub const LONGEST_FRESHNESS: SignedDuration = SignedDuration::from_hours(1);
/// Where the issuer says nothing.
const DEFAULT_FRESHNESS: SignedDuration = SignedDuration::from_mins(15);

/// How long an answer holds that has these values of `Cache-Control`, `Age`, `Expires` and `Date`.
pub fn freshness(
    cache_control: &[&str],
    age: Option<&str>,
    expires: Option<&str>,
    date: Option<&str>,
    now: Timestamp,
) -> SignedDuration {
    let directives = cache_control.iter().flat_map(|value| value.split(',')).map(str::trim);
    let mut lifetime = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').map_or((directive, ""), |(name, value)| (name, value));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return SHORTEST_FRESHNESS,
            // The first counts. What can't be read is stale.
            "max-age" if lifetime.is_none() => lifetime = Some(seconds(value.trim().trim_matches('"')).unwrap_or(0)),
            _ => {}
        }
    }
    let http_date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let lifetime = lifetime.map(SignedDuration::from_secs).or_else(|| {
        let sent = date.and_then(http_date).unwrap_or(now);
        // An invalid date, in particular 0, means that it has expired.
        expires.map(|expires| http_date(expires).map_or(SignedDuration::ZERO, |expires| expires.duration_since(sent)))
    });
    let age = SignedDuration::from_secs(age.and_then(|age| seconds(age.trim())).unwrap_or(0));
    let left = lifetime.map_or(DEFAULT_FRESHNESS, |lifetime| lifetime.saturating_sub(age));
    left.clamp(SHORTEST_FRESHNESS, LONGEST_FRESHNESS)
}

/// Digits as seconds; more than fit are as many as fit.
fn seconds(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse::<u32>().map_or(i64::from(u32::MAX), i64::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_as_long_as_its_issuer_says_from_a_minute_to_an_hour() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let date = "Sun, 01 Mar 2026 12:00:00 GMT";
        type Case<'a> = (&'a [&'a str], Option<&'a str>, Option<&'a str>, Option<&'a str>, i64);
        let cases: [Case<'_>; 24] = [
            (&[], None, None, None, 900),
            (&["public"], None, None, None, 900),
            (&["max-age=600"], None, None, None, 600),
            (&["public, Max-Age=600, must-revalidate"], None, None, None, 600),
            (&["public", "max-age=600"], None, None, None, 600),
            (&["max-age=\"600\""], None, None, None, 600),
            (&["max-age=600, max-age=1200"], None, None, None, 600),
            (&["s-maxage=600"], None, None, None, 900),
            (&["max-age=5"], None, None, None, 60),
            (&["max-age=0"], None, None, None, 60),
            (&["max-age=-1"], None, None, None, 60),
            (&["max-age=soon"], None, None, None, 60),
            (&["max-age"], None, None, None, 60),
            (&["max-age=86400"], None, None, None, 3600),
            (&["max-age=99999999999999999999"], None, None, None, 3600),
            (&["no-store"], None, Some("Sun, 01 Mar 2026 12:30:00 GMT"), None, 60),
            (&["max-age=1800, no-cache"], None, None, None, 60),
            (&["max-age=1800"], Some("1200"), None, None, 600),
            (&["max-age=1800"], Some("99999999999999999999"), None, None, 60),
            (&["max-age=600"], None, Some("Sun, 01 Mar 2026 12:30:00 GMT"), Some(date), 600),
            (&[], None, Some("Sun, 01 Mar 2026 12:30:00 GMT"), Some(date), 1800),
            (&[], None, Some("Sun, 01 Mar 2026 12:30:00 GMT"), None, 1800),
            (&[], None, Some("Sun, 01 Mar 2026 11:00:00 GMT"), Some(date), 60),
            (&[], None, Some("0"), Some(date), 60),
        ];
        for (cache_control, age, expires, date, expected) in cases {
            let found = freshness(cache_control, age, expires, date, now);
            assert_eq!(found.as_secs(), expected, "{cache_control:?} {age:?} {expires:?}");
        }
    }
}
