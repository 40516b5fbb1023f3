//! Whether a command prints what the page shows.

use regex::Regex;

/// Whether what was printed is what is shown. A line `...` stands for any lines. Times, ages, hashes and addresses are
/// never the same twice: there any other will do. So will any number of spaces, since columns are as wide as they must be.
pub fn is_shown(shown: &str, printed: &str) -> bool {
    let volatile = Volatile::new();
    let lines = |text: &str| text.trim_end().lines().map(|line| volatile.hide(line)).collect::<Vec<_>>();
    matches(&lines(shown), &lines(printed))
}

fn matches(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([first, rest @ ..], _) if first == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        ([first, shown @ ..], [line, printed @ ..]) => first == line && matches(shown, printed),
        ([], []) => true,
        _ => false,
    }
}

/// What is never the same twice.
struct Volatile(Vec<(Regex, &'static str)>);

impl Volatile {
    fn new() -> Self {
        let patterns = [
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}( GMT)?", "TIME"),
            (r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4}", "TIME"),
            (r"\b\d+ ms\b", "AGE"),
            (r"\b(\d+(ms|[dhms]))+( (\d+(ms|[dhms]))+)*\b", "AGE"),
            (r"\b[0-9a-f]{8,}\b", "HASH"),
            (r"\b10(\.\d+){3}\b", "ADDRESS"),
            (r"\s+", " "),
        ];
        Self(patterns.map(|(pattern, word)| (Regex::new(pattern).unwrap(), word)).into())
    }

    fn hide(&self, line: &str) -> String {
        let hidden =
            self.0.iter().fold(line.to_owned(), |line, (pattern, word)| pattern.replace_all(&line, *word).into());
        hidden.trim().to_owned()
    }
}

#[test]
fn only_what_is_never_the_same_twice_may_differ() {
    assert!(is_shown("api   True  4s\n", "api True   12m"));
    assert!(is_shown("a\n...\nd", "a\nb\nc\nd\n") && is_shown("a\n...", "a"));
    assert!(is_shown("until 2026-11-24T00:00:00Z (in 23h 57m)", "until 2027-01-01T10:00:01Z (in 4d)"));
    assert!(is_shown("10.96.0.1:443 after 5 ms, serial 0123456789ab", "10.96.3.9:443 after 71 ms, serial ffffffffff"));
    for (shown, printed) in [("True", "False"), ("a", ""), ("", "a"), ("a\nb", "a"), ("port 443", "port 8443")] {
        assert!(!is_shown(shown, printed), "{shown:?} and {printed:?}");
    }
}
