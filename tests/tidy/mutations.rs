//! The planted bugs still fit the code that they are planted in.

use crate::tree;

#[test]
fn every_planted_bug_applies_and_names_the_tests_that_catch_it() {
    let patches = tree::files("tests/mutations", "patch");
    for tree::File { path: name, text } in &patches {
        assert!(text.lines().any(|line| line.starts_with("caught by: -p ")), "{name}: caught by nobody");
        let mut file = String::new();
        for part in
            text.split_inclusive('\n').collect::<Vec<_>>().chunk_by(|_, next| !next.starts_with("@@ "))
        {
            if part[0].starts_with("@@ ") {
                // What the hunk expects to find: its context, and what it takes away.
                let hunk: Vec<_> = part[1..]
                    .iter()
                    .take_while(|line| line.starts_with([' ', '-', '+']) && !line.starts_with("--- "))
                    .collect();
                let expected: String =
                    hunk.iter().filter(|line| !line.starts_with('+')).map(|line| &line[1..]).collect();
                // A line too many or too few moves where the hunk ends, and it fits nowhere then.
                let lines = |but: char| hunk.iter().filter(|line| !line.starts_with(but)).count();
                assert_eq!(
                    lengths(part[0]),
                    Some((lines('+'), lines('-'))),
                    "{name}: the lines before and after, of {}",
                    part[0]
                );
                assert!(
                    file.contains(&expected),
                    "{name}: plant it anew, its place has changed:\n{expected}"
                );
            }
            if let Some(target) = part.iter().find_map(|line| line.strip_prefix("+++ b/")) {
                file = tree::read(target.trim_end()).unwrap();
            }
        }
        assert!(!file.is_empty(), "{name}: changes no file");
    }
    assert!(patches.len() >= 12, "{} planted bugs", patches.len());
}

/// How many lines a hunk says that it covers, before and after.
fn lengths(header: &str) -> Option<(usize, usize)> {
    let mut sides = header.strip_prefix("@@ ")?.split(' ').take(2).map(|side| match side.split_once(',') {
        Some((_, lines)) => lines.parse().ok(),
        None => Some(1),
    });
    Some((sides.next()??, sides.next()??))
}
