//! The planted bugs still fit the code that they are planted in.

use crate::faults::{Faults, gather};
use crate::tree;

#[test]
fn every_planted_bug_applies_and_names_the_tests_that_catch_it() {
    let patches = tree::files("tests/mutations", "patch");
    assert!(patches.len() >= 12, "{} planted bugs", patches.len());
    gather(|faults| patches.iter().for_each(|patch| check(faults, patch)));
}

fn check(faults: &mut Faults, tree::File { path: name, text }: &tree::File) {
    let named = text.lines().any(|line| line.starts_with("caught by: -p "));
    faults.unless(named, || format!("{name}: caught by nobody"));
    let mut file = String::new();
    for part in text.split_inclusive('\n').collect::<Vec<_>>().chunk_by(|_, next| !next.starts_with("@@ ")) {
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
            faults.unless(lengths(part[0]) == Some((lines('+'), lines('-'))), || {
                format!("{name}: the lines before and after, of {}", part[0].trim_end())
            });
            faults.unless(file.contains(&expected), || {
                format!("{name}: plant it anew, its place has changed:\n{expected}")
            });
        }
        if let Some(target) = part.iter().find_map(|line| line.strip_prefix("+++ b/")) {
            file = tree::read(target.trim_end()).unwrap_or_default();
        }
    }
    faults.unless(!file.is_empty(), || format!("{name}: changes no file"));
}

/// How many lines a hunk says that it covers, before and after.
fn lengths(header: &str) -> Option<(usize, usize)> {
    let mut sides = header.strip_prefix("@@ ")?.split(' ').take(2).map(|side| match side.split_once(',') {
        Some((_, lines)) => lines.parse().ok(),
        None => Some(1),
    });
    Some((sides.next()??, sides.next()??))
}
