//! What a public item is must be said; what a field or a variant is, only where its name does not say it: the compiler's
//! lint knows no such difference, and what it got was "Who" above `who`.

use crate::faults::gather;
use crate::rust;
use crate::tree::{self, File};

const ITEMS: [&str; 10] =
    ["struct ", "enum ", "trait ", "fn ", "const ", "static ", "type ", "async fn ", "macro ", "union "];

#[test]
fn every_public_type_function_and_constant_is_documented() {
    let test_modules = rust::test_modules();
    gather(|faults| {
        for a_crate in tree::crates() {
            for File { path, text } in tree::files(&format!("{}/src", a_crate.folder), "rs") {
                if rust::is_test(&path, &test_modules) {
                    continue;
                }
                for (line, item) in undocumented(&text) {
                    faults.add(format!("{path}:{line}: `{item}` has no documentation"));
                }
            }
        }
    });
}

/// Public items without documentation, by the number of their line, up to the tests at the file's end.
fn undocumented(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let until = rust::production_lines(text);
    let named = lines[..until].iter().enumerate().filter(|(_, line)| {
        // What a macro names has the documentation that each of its uses passes on.
        let item = line.strip_prefix("pub ").filter(|item| !item.contains('$'));
        item.is_some_and(|item| ITEMS.iter().any(|kind| item.starts_with(kind)))
    });
    let bare = named.filter(|(at, _)| {
        // Attributes stand between the two, on lines that end like none before an item does.
        let above = lines[..*at].iter().rev();
        let documented = above.take_while(|line| !line.is_empty() && !line.ends_with([';', '{', '}']));
        !documented.into_iter().any(|line| line.starts_with("///") || *line == "#[doc(hidden)]")
    });
    bare.map(|(at, line)| (at + 1, *line)).collect()
}

#[test]
fn documentation_is_found_above_attributes_and_asked_for_of_items_alone() {
    let text = "/// One.\n#[derive(Debug)]\n#[error(\n    \"a\"\n)]\npub struct One {\n    pub a: u8,\n}\n\npub fn two() {}\n\
                impl One {\n    pub const fn three() {}\n    /// Four.\n    pub const FOUR: u8 = 4;\n}\npub(crate) fn five() {}\n";
    assert_eq!(undocumented(text), [(10, "pub fn two() {}"), (12, "pub const fn three() {}")]);
}
