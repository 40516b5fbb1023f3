//! What the page shows is what the examples have.

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/how-to/adopt-a-service.md";

/// An excerpt in the page begins with the name of its file; its lines are in the file, together and in that order.
#[test]
fn excerpts_are_from_the_examples() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(house.join(PAGE)).unwrap();
    let mut excerpts = 0;
    for block in page.split("\n```").filter(|block| ["go\n", "python\n", "java\n"].iter().any(|l| block.starts_with(l)))
    {
        let mut lines = block.lines().skip(1);
        let name = lines.next().unwrap().trim_start_matches(['/', '#', ' ']);
        let file = fs::read_to_string(house.join("examples/adopt").join(name)).unwrap();
        let excerpt: Vec<&str> = lines.collect();
        assert!(
            file.contains(&excerpt.join("\n")),
            "{PAGE} shows of {name} what is not there:\n{}",
            excerpt.join("\n")
        );
        excerpts += 1;
    }
    assert!(excerpts > 5, "{excerpts} excerpts");
}
