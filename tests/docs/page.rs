//! A page as its source has it: what is to be done, what it links to, and what can be linked to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// Its file, below `docs`.
    pub file: String,
    /// Its blocks, in their order.
    pub blocks: Vec<Block>,
    /// Where its links and pictures lead, as they are written.
    pub links: Vec<String>,
    /// The names of its headings in links.
    pub anchors: BTreeSet<String>,
}

/// A block of code.
#[derive(Debug)]
pub enum Block {
    /// A file of the reader's.
    File { name: String, content: String },
    /// A script, of which each command succeeds.
    Script(String),
    /// Commands, each with what it prints.
    Dialogue(Vec<(String, String)>),
    /// Commands that nobody runs here.
    NotRun(String),
}

/// The folder of the pages.
pub const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

impl Page {
    /// Reads a page.
    pub fn read(file: &str) -> Self {
        let path = Path::new(DOCS).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut page = Self { file: file.to_owned(), ..Self::default() };
        let (mut code, mut heading) = (None, None);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => code = Some((info, String::new())),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Text(text) | Event::Code(text) => {
                    code.iter_mut().for_each(|(_, code)| code.push_str(&text));
                    heading.iter_mut().for_each(|heading| heading.push_str(&text));
                }
                Event::End(TagEnd::CodeBlock) => {
                    let block = code.take().and_then(|(info, code)| Block::new(&info, &code));
                    page.blocks.extend(block);
                }
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(|text| anchor(&text))),
                _ => {}
            }
        }
        page
    }

    /// The commands that nobody runs here.
    pub fn not_run(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().filter_map(|block| if let Block::NotRun(text) = block { Some(text.as_str()) } else { None })
    }
}

impl Block {
    /// Nothing for an excerpt, a picture, or the like.
    fn new(info: &str, text: &str) -> Option<Self> {
        let mut words = info.split_whitespace();
        match (words.next().unwrap_or_default(), words.next()) {
            ("sh" | "console", Some("not-run")) => Some(Self::NotRun(text.to_owned())),
            ("sh", None) => Some(Self::Script(text.to_owned())),
            ("console", None) => Some(Self::Dialogue(dialogue(text))),
            ("yaml", None) => {
                let name = text.lines().next()?.strip_prefix("# ")?;
                let is_file = name.ends_with(".yaml") && !name.contains(' ');
                is_file.then(|| Self::File { name: name.to_owned(), content: text.to_owned() })
            }
            ("sh" | "console" | "yaml", Some(_)) | ("bash" | "shell", _) => {
                panic!("no block is called {info:?}: see the head of tests/docs/main.rs")
            }
            _ => None,
        }
    }
}

/// Commands and what each prints. A command goes on in the next line after a backslash.
fn dialogue(text: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if goes_on => *command += &format!("\n{line}"),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("a console block begins with a command after `$ `, not with {line:?}"),
        }
        let is_command = goes_on || line.starts_with("$ ");
        goes_on = is_command && line.ends_with('\\');
    }
    steps
}

/// The name of a heading in links, as mdBook and code forges make it.
fn anchor(heading: &str) -> String {
    let characters = heading.trim().to_lowercase();
    let characters = characters.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    characters.map(|c| if c == ' ' { '-' } else { c }).collect()
}
