//! The page that users read when something is wrong: what it quotes is what the program says.

use std::collections::BTreeSet;

use serde_json::Value;

/// The page.
const PAGE: &str = include_str!("../../docs/operations/troubleshooting.md");

/// What stands for anything in a quote.
const ANYTHING: char = '…';

/// One symptom, with what the page quotes about it.
#[derive(Debug)]
pub struct Section {
    heading: &'static str,
    quotes: Vec<&'static str>,
}

/// The section with this heading.
pub fn section(heading: &str) -> Section {
    sections().into_iter().find(|section| section.heading == heading).unwrap_or_else(|| panic!("no section {heading}"))
}

fn sections() -> Vec<Section> {
    let sections = PAGE.split("\n## ").skip(1).map(|text| {
        let (heading, text) = text.split_once('\n').unwrap();
        let quotes = text.split("```text\n").skip(1).flat_map(|rest| rest.split_once("```").unwrap().0.lines());
        Section { heading, quotes: quotes.collect() }
    });
    sections.collect()
}

impl Section {
    /// Demands that each quote of the section is in one of the texts, in one line of it.
    pub fn is_what_they_say(&self, texts: &[String]) {
        assert!(!self.quotes.is_empty(), "{} quotes nothing", self.heading);
        let lines: Vec<String> = texts.iter().flat_map(|text| text.lines()).flat_map(spoken).collect();
        for quote in &self.quotes {
            assert!(lines.iter().any(|line| holds(line, quote)), "nobody says {quote:?}, but {lines:#?}");
        }
    }

    /// Demands that the section quotes nothing, where nothing can be said.
    pub fn is_silent(&self) {
        assert!(self.quotes.is_empty(), "{self:?}");
    }
}

/// What a line says: as it is, or in the fields of a JSON object.
fn spoken(line: &str) -> Vec<String> {
    let Ok(Value::Object(line)) = serde_json::from_str::<Value>(line) else { return vec![line.to_owned()] };
    let fields = line.get("fields").and_then(Value::as_object).cloned().unwrap_or_default();
    fields.values().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Whether the parts of a quote are in a line, in order.
fn holds(line: &str, quote: &str) -> bool {
    let mut rest = line;
    quote.split(ANYTHING).all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn every_section_is_compared_with_what_the_program_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let tests: String = files.collect();
    let headings: BTreeSet<_> = sections().into_iter().map(|section| section.heading).collect();
    assert!(headings.len() > 10, "{headings:?}");
    let untested: Vec<_> =
        headings.iter().filter(|heading| !tests.contains(&format!("section(\"{heading}\")"))).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn a_quote_is_found_only_where_all_of_it_is_said_in_order() {
    let line = r#"{"fields":{"message":"the watch of 3 kinds ended","error":"no \"such\" file"}}"#;
    let said = spoken(line);
    let holds = |quote: &str| said.iter().any(|line| holds(line, quote));
    assert!(holds("the watch of … ended") && holds("no \"such\" file"));
    assert!(!holds("ended … the watch") && !holds("the watch of … such") && !holds("fields"));
}
