//! Text for people: tables and paragraphs of at most 100 columns, times as they stand from now, and a little colour.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};

/// What fits on one line.
const WIDTH: usize = 100;

/// What no column is narrowed below.
const NARROWEST: usize = 12;

/// Between two columns.
const GAP: &str = "  ";

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(super) const PLAIN: Style = Style::new();
pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();

/// Text in a style.
#[derive(Clone, Debug)]
pub(super) struct Cell(Style, String);

impl Cell {
    pub(super) fn new(style: Style, text: impl Into<String>) -> Self {
        Self(style, text.into())
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(PLAIN, text.into())
    }
}

/// A table. Columns that would make it too wide are narrowed, the widest first, and what no longer fits into one loses
/// its middle: names differ at their ends.
pub(super) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(header: [&'static str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        Self { header, rows: rows.into_iter().collect() }
    }

    pub(super) fn render(&self) -> String {
        let widths = self.widths();
        let mut text = line(&self.header.map(|name| Cell::new(FAINT, name)), &widths);
        for row in &self.rows {
            text.push_str(&line(row, &widths));
        }
        text
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.header.map(length);
        for row in &self.rows {
            for (width, Cell(_, text)) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(text));
            }
        }
        let room = WIDTH - GAP.len() * N.saturating_sub(1);
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line<const N: usize>(cells: &[Cell; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (place, (Cell(style, text), width)) in cells.iter().zip(widths).enumerate() {
        let text = narrowed(text, *width);
        let padding = if place + 1 == N { 0 } else { width - length(&text) + GAP.len() };
        line.push_str(&styled(*style, &text));
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// Text in a style, for a stream that knows whether it may be coloured.
pub(super) fn styled(style: Style, text: &str) -> String {
    if style == PLAIN || text.is_empty() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

/// Text without its middle, if it is too long.
pub(super) fn narrowed(text: &str, width: usize) -> String {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept / 3, kept - kept / 3);
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
}

/// A paragraph, every line of it indented. Words that are too long stand alone.
pub(super) fn paragraph(text: &str, indent: usize) -> String {
    let (mut paragraph, mut column) = (String::new(), WIDTH);
    for word in text.split_whitespace() {
        if column + 1 + length(word) > WIDTH {
            let end = if paragraph.is_empty() { "" } else { "\n" };
            let _ = write!(paragraph, "{end}{:indent$}{word}", "");
            column = indent + length(word);
        } else {
            let _ = write!(paragraph, " {word}");
            column += 1 + length(word);
        }
    }
    paragraph + "\n"
}

/// A number of things, e.g. `1 identity` or `2 identities`.
pub(super) fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// How far a time is from now, in its two largest units, e.g. `in 23h 59m` or `2d 3h ago`.
pub(super) fn distance(time: Timestamp, now: Timestamp) -> String {
    let away = time.duration_since(now);
    let span = span(away.abs());
    if away >= SignedDuration::ZERO { format!("in {span}") } else { format!("{span} ago") }
}

fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = if days > 0 {
        [(days, 'd'), (hours, 'h')]
    } else if hours > 0 {
        [(hours, 'h'), (minutes, 'm')]
    } else {
        [(minutes, 'm'), (seconds % 60, 's')]
    };
    let shown: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}

/// The same in its largest unit alone, for tables, e.g. `in 23h` or `2d ago`.
pub(super) fn about(time: Timestamp, now: Timestamp) -> String {
    let distance = distance(time, now);
    let largest = |span: &str| span.split(' ').next().unwrap_or_default().to_owned();
    match (distance.strip_prefix("in "), distance.strip_suffix(" ago")) {
        (Some(span), _) => format!("in {}", largest(span)),
        (_, Some(span)) => format!("{} ago", largest(span)),
        _ => distance,
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_names_keep_their_ends() {
        let long = format!("spiffe://{}/ns/shop/sa/order", "x".repeat(120));
        let table =
            Table::new(["IDENTITY", "SPIFFE ID", "EXPIRES"], [["shop/order".into(), long.into(), "in 23h".into()]]);
        let text = table.render();
        assert!(text.lines().all(|line| strip(line).chars().count() <= WIDTH), "{text}");
        let row = strip(text.lines().nth(1).unwrap());
        assert!(row.starts_with("shop/order  spiffe://"), "{row}");
        assert!(row.contains('…') && row.ends_with("/ns/shop/sa/order  in 23h"), "{row}");
    }

    #[test]
    fn what_fits_is_left_alone() {
        let table = Table::new(["A", "B"], [["a".into(), "long enough".into()], [Cell::new(GOOD, "bcd"), "".into()]]);
        assert_eq!(strip(&table.render()), "A    B\na    long enough\nbcd\n");
    }

    #[test]
    fn paragraphs_are_wrapped_and_indented() {
        let text = paragraph(&"word ".repeat(40), 4);
        assert!(text.lines().all(|line| line.starts_with("    word") && line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
    }

    #[test]
    fn distances_have_at_most_two_units() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |seconds| distance(now.checked_add(SignedDuration::from_secs(seconds)).unwrap(), now);
        let cases = [
            (0, "in 0s"),
            (59, "in 59s"),
            (60, "in 1m"),
            (-61, "1m 1s ago"),
            (3 * 3600 + 90, "in 3h 1m"),
            (-86_400, "1d ago"),
            (400 * 86_400 + 7200, "in 400d 2h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(at(seconds), expected);
        }
        let later = now.checked_add(SignedDuration::from_secs(86_399)).unwrap();
        assert_eq!((about(later, now), about(now, later)), ("in 23h".to_owned(), "23h ago".to_owned()));
    }

    fn strip(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }
}
