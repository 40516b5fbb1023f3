//! The book as a whole: nothing is missing from it, and nothing in it leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::page::{DOCS, Page};

/// The table of contents.
pub const SUMMARY: &str = "SUMMARY.md";

/// The pages of the book in their order.
pub fn pages() -> Vec<Page> {
    let pages = Page::read(SUMMARY).links;
    pages.iter().map(|file| Page::read(file)).collect()
}

/// All pages that there are.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(path.strip_prefix(DOCS).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn every_page_is_in_the_table_of_contents_once() {
    let mut listed = Page::read(SUMMARY).links;
    listed.push(SUMMARY.to_owned());
    let found = files(Path::new(DOCS));
    let missing: Vec<&String> = found.iter().filter(|file| !listed.contains(file)).collect();
    assert!(missing.is_empty(), "not in docs/{SUMMARY}, so that nobody finds them: {missing:?}");
    assert_eq!(listed.len(), found.len(), "docs/{SUMMARY} lists a page twice, or one that is not there");
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<String, Page> =
        files(Path::new(DOCS)).into_iter().map(|file| (file.clone(), Page::read(&file))).collect();
    let broken = pages.values().flat_map(|page| {
        let is_broken = |link: &&String| !leads_somewhere(&pages, page, link);
        page.links.iter().filter(is_broken).map(|link| format!("docs/{}: {link}", page.file))
    });
    let mut broken: Vec<String> = broken.collect();
    // Beside the book, files of the repository may link to each other and to its pages.
    for file in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let page = Page::read(&format!("../{file}"));
        let is_broken = |link: &&String| !is_elsewhere(link) && !Path::new(DOCS).join("..").join(link).exists();
        broken.extend(page.links.iter().filter(is_broken).map(|link| format!("{file}: {link}")));
    }
    assert!(broken.is_empty(), "these links lead nowhere, or out of the book:\n{}", broken.join("\n"));
}

/// Nobody asks other sites here.
fn is_elsewhere(link: &str) -> bool {
    link.starts_with("https://")
}

fn leads_somewhere(pages: &BTreeMap<String, Page>, from: &Page, link: &str) -> bool {
    if is_elsewhere(link) {
        return true;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { Some(PathBuf::from(&from.file)) } else { below(&from.file, path) };
    // The book has no pages of what lies outside of its folder.
    let Some(target) = target else { return false };
    match (pages.get(target.to_str().unwrap()), anchor) {
        (Some(page), Some(anchor)) => page.anchors.contains(anchor),
        (Some(_), None) => true,
        (None, anchor) => anchor.is_none() && Path::new(DOCS).join(target).is_file(),
    }
}

/// Where a relative path leads from a page, unless it leads out of the book.
fn below(page: &str, path: &str) -> Option<PathBuf> {
    let mut target = Path::new(page).parent()?.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => target = target.pop().then_some(target)?,
            Component::Normal(name) => target.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(target)
}

#[test]
fn a_path_out_of_the_book_is_noticed() {
    assert_eq!(below("how-to/adopt.md", "../concepts.md"), Some(PathBuf::from("concepts.md")));
    assert_eq!(below("concepts.md", "how-to/adopt.md"), Some(PathBuf::from("how-to/adopt.md")));
    assert_eq!(below("concepts.md", "../README.md"), None);
}
