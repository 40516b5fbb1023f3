//! The parameters of a request, as `application/x-www-form-urlencoded` has them.

use std::borrow::Cow;

/// Most parameters in a request; the standards know about twenty.
const MOST: usize = 64;

/// Each parameter once. One without a value counts as left out (RFC 6749, section 3.2).
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Why a body holds no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It is not what it should be: octets that are not UTF-8, or a `%` without two hexadecimal digits.
    Encoding,
    /// A parameter stands there twice. Which of them counts must not be up to who reads it.
    Duplicate,
    /// There are too many.
    TooMany,
}

impl<'a> Parameters<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        if !is_well_formed(body) {
            return Err(Malformed::Encoding);
        }
        let mut found: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(8);
        for (name, value) in form_urlencoded::parse(body) {
            // The parser's mark for what is not UTF-8. A parameter may not have it in any other way either.
            if [&name, &value].iter().any(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
                return Err(Malformed::Encoding);
            }
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Malformed::Duplicate);
            }
            if found.len() == MOST {
                return Err(Malformed::TooMany);
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// The value of a parameter, unless it is left out.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value)
    }
}

/// Whether each `%` stands before two hexadecimal digits.
fn is_well_formed(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(place) = rest.iter().position(|octet| *octet == b'%') {
        match rest.get(place + 1..place + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[place + 3..],
            _ => return false,
        }
    }
    true
}

/// Names alone: values may be secrets.
impl std::fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded_and_empty_ones_are_left_out() {
        let body = b"grant_type=client_credentials&scope=a+b%20c&audience=&resource=https%3A%2F%2Fpayment&&x";
        let parameters = Parameters::parse(body).unwrap();
        assert_eq!(parameters.get("grant_type"), Some("client_credentials"));
        assert_eq!(parameters.get("scope"), Some("a b c"));
        assert_eq!(parameters.get("resource"), Some("https://payment"));
        assert_eq!([parameters.get("audience"), parameters.get("x"), parameters.get("y")], [None; 3]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for body in ["a=1&a=2", "a=1&a=1", "a=1&b=2&%61=3", "a=&a=1", "a&a"] {
            assert_eq!(Parameters::parse(body.as_bytes()).unwrap_err(), Malformed::Duplicate, "{body}");
        }
        for body in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%ff", b"a=\xff", b"%=1", b"a=%EF%BF%BD"] {
            assert_eq!(Parameters::parse(body).unwrap_err(), Malformed::Encoding, "{body:?}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("p{number}=1")).collect();
        assert_eq!(Parameters::parse(many.join("&").as_bytes()).unwrap_err(), Malformed::TooMany);
        assert!(Parameters::parse(many[1..].join("&").as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_octets_are_read_in_one_way_or_in_none(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let Ok(parameters) = Parameters::parse(&body) else { return Ok(()) };
            let names: HashSet<_> = parameters.0.iter().map(|(name, _)| name).collect();
            prop_assert!(names.len() == parameters.0.len() && names.len() <= MOST);
            for (name, value) in &parameters.0 {
                prop_assert_eq!(parameters.get(name), Some(&**value).filter(|value| !value.is_empty()));
            }
            let read: Vec<_> = form_urlencoded::parse(&body).collect();
            prop_assert_eq!(read, parameters.0);
        }

        #[test]
        fn a_form_is_read_as_it_was_written_and_any_parameter_twice_spoils_it(
            written in proptest::collection::btree_map("[^\u{fffd}]{1,12}", "[^\u{fffd}]{0,40}", 1..20),
            twice in any::<prop::sample::Index>(),
            value in "[a-z]{0,4}",
        ) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&written).finish();
            let parameters = Parameters::parse(body.as_bytes()).unwrap();
            for (name, value) in &written {
                prop_assert_eq!(parameters.get(name), Some(&**value).filter(|value| !value.is_empty()));
            }
            let names: Vec<&String> = written.keys().collect();
            let body = form_urlencoded::Serializer::new(body).append_pair(names[twice.index(names.len())], &value).finish();
            prop_assert_eq!(Parameters::parse(body.as_bytes()).unwrap_err(), Malformed::Duplicate);
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let parameters = Parameters::parse(b"client_secret=hush").unwrap();
        assert_eq!(format!("{parameters:?}"), r#"["client_secret"]"#);
    }
}
