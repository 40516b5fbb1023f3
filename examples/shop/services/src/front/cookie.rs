//! The two cookies that a browser has of the shop. Both have the prefix `__Host-`, by which a browser takes them over TLS alone,
//! from this host alone, and shows them to nobody else; and no script sees them.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use http::header::{COOKIE, HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::login::ATTEMPT_MINUTES;
use super::ticket::Ticket;

/// A cookie with a ticket in it.
pub(super) struct Slot {
    name: &'static str,
    same_site: SameSite,
    /// How long the browser keeps it; without, until it is closed.
    life: Option<Duration>,
}

/// The session of who is logged in. Strict: pages of others can make no request with it, not even by a link. The page itself
/// needs no session, and its script's requests come from here, so that nothing is lost by it.
pub(super) const SESSION: Slot = Slot { name: "__Host-session", same_site: SameSite::Strict, life: None };

/// A login that is under way. Lax: the issuer sends the browser back, and that comes from another site.
pub(super) const LOGIN: Slot =
    Slot { name: "__Host-login", same_site: SameSite::Lax, life: Some(Duration::minutes(ATTEMPT_MINUTES as i64)) };

impl Slot {
    /// The ticket that a browser shows.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<Ticket> {
        let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = texts.flat_map(Cookie::split_parse).flatten();
        cookies.find(|cookie| cookie.name() == self.name).and_then(|cookie| Ticket::shown(cookie.value()))
    }

    /// `Set-Cookie` with a ticket.
    pub(super) fn with(&self, ticket: &Ticket) -> HeaderValue {
        self.written(ticket.text(), self.life)
    }

    /// `Set-Cookie` that takes it away.
    pub(super) fn without(&self) -> HeaderValue {
        self.written("", Some(Duration::ZERO))
    }

    fn written(&self, value: &str, life: Option<Duration>) -> HeaderValue {
        let cookie = Cookie::build((self.name, value)).path("/").secure(true).http_only(true).same_site(self.same_site);
        let mut cookie = cookie.build();
        cookie.set_max_age(life);
        let text = Zeroizing::new(cookie.to_string());
        let mut header = HeaderValue::from_str(&text).expect("a ticket is letters and digits");
        header.set_sensitive(true);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_for_this_host_over_tls_and_for_no_script() {
        let ticket = Ticket::draw();
        let written = |header: HeaderValue| header.to_str().unwrap().to_owned();
        let expected = format!("__Host-session={}; HttpOnly; SameSite=Strict; Secure; Path=/", ticket.text());
        assert_eq!(written(SESSION.with(&ticket)), expected);
        let expected = format!("__Host-login={}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600", ticket.text());
        assert_eq!(written(LOGIN.with(&ticket)), expected);
        assert!(written(SESSION.without()).starts_with("__Host-session=; "));
        assert!(written(SESSION.without()).ends_with("; Max-Age=0"));
        assert!(!format!("{:?}", SESSION.with(&ticket)).contains(ticket.text()));
    }

    #[test]
    fn a_ticket_is_found_among_other_cookies_however_they_are_sent() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("theme=dark; session=no; __Host-sessions=no"));
        assert!(SESSION.read(&headers).is_none());
        headers.append(COOKIE, HeaderValue::from_static("=; ;;broken; __Host-session=the-ticket; last=1"));
        assert_eq!(SESSION.read(&headers).unwrap().text(), "the-ticket");
        assert!(LOGIN.read(&headers).is_none());
    }
}
