//! What a public item is must be said; what a field or a variant is, only where its name does not say it: the compiler's
//! lint knows no such difference, and what it got was "Who" above `who`.

use crate::faults::gather;
use crate::rust;
use crate::tree::{self, File};

const ITEMS: [&str; 10] =
    ["struct ", "enum ", "trait ", "fn ", "const ", "static ", "type ", "async fn ", "macro ", "union "];
const OF_TRAITS: [&str; 4] = ["fn ", "async fn ", "const ", "type "];

#[test]
fn every_public_type_trait_method_function_constant_and_module_is_documented() {
    let test_modules = rust::test_modules();
    let sources = rust::sources();
    // A module says inside what it is, or where it is named.
    let described =
        |path: String| sources.iter().any(|file| file.path == path && file.text.starts_with("//!"));
    gather(|faults| {
        for a_crate in tree::crates() {
            for File { path, text } in tree::files(&format!("{}/src", a_crate.folder), "rs") {
                if rust::is_test(&path, &test_modules) {
                    continue;
                }
                let folder = rust::module_folder(&path);
                for (line, item) in undocumented(&text) {
                    let module = item.strip_prefix("pub mod ").map(|name| name.trim_end_matches(';'));
                    let inside = module.is_some_and(|name| {
                        ["", "/mod"].iter().any(|end| described(format!("{folder}/{name}{end}.rs")))
                    });
                    faults.unless(inside, || format!("{path}:{line}: `{item}` has no documentation"));
                }
            }
        }
    });
}

/// Public items and what their traits ask for, where there is no documentation above, by the number of their line, up to the
/// tests at the file's end.
fn undocumented(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut of_trait: Option<&str> = None;
    let mut bare = Vec::new();
    for (at, line) in lines[..rust::production_lines(text)].iter().enumerate() {
        let item = line.trim_start();
        let indent = &line[..line.len() - item.len()];
        if item == "}" && of_trait == Some(indent) {
            of_trait = None;
        }
        // What a macro names has the documentation that each of its uses passes on.
        let named = match (item.strip_prefix("pub ").filter(|named| !named.contains('$')), of_trait) {
            (Some(named), _) => ITEMS.iter().chain(&["mod "]).any(|kind| named.starts_with(kind)),
            (None, Some(above)) => {
                indent.len() == above.len() + 4 && OF_TRAITS.iter().any(|kind| item.starts_with(kind))
            }
            (None, None) => false,
        };
        if item.starts_with("pub trait ") && !item.ends_with('}') {
            of_trait = Some(indent);
        }
        if named && !documented(&lines[..at]) {
            bare.push((at + 1, item));
        }
    }
    bare
}

/// Whether documentation ends these lines, or stands above the attributes that do: on lines that end like none before an item.
fn documented(above: &[&str]) -> bool {
    let above = above.iter().rev().map(|line| line.trim());
    let mut attributes = above.take_while(|line| !line.is_empty() && !line.ends_with([';', '{', '}']));
    attributes.any(|line| line.starts_with("///") || line.starts_with("#[doc"))
}

#[test]
fn documentation_is_found_above_attributes_and_asked_for_of_items_alone() {
    let text = "/// One.\n#[derive(Debug)]\n#[error(\n    \"a\"\n)]\npub struct One {\n    pub a: u8,\n}\n\npub fn two() {}\n\
                impl One {\n    pub const fn three() {}\n    /// Four.\n    pub const FOUR: u8 = 4;\n}\npub(crate) fn five() {}\n";
    assert_eq!(undocumented(text), [(10, "pub fn two() {}"), (12, "pub const fn three() {}")]);
}

#[test]
fn documentation_is_asked_for_of_traits_methods_and_of_modules() {
    let text = "/// One.\npub trait One {\n    /// A.\n    fn a(&self) {\n        fn inner() {}\n    }\n    fn b(&self);\n}\n\
                impl One for u8 {\n    fn b(&self) {}\n}\npub mod two;\nmod three;\n";
    assert_eq!(undocumented(text), [(7, "fn b(&self);"), (12, "pub mod two;")]);
}
