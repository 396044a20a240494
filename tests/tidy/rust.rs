//! Rust sources as the tests read them: line by line, in the shape that rustfmt gives them.

use std::collections::BTreeSet;

use crate::tree::{self, File};

/// All Rust files but the one that spells out what sources may not say.
pub(crate) fn sources() -> Vec<File> {
    let files = tree::files("", "rs");
    assert!(files.len() > 100, "only {} files were found", files.len());
    files.into_iter().filter(|file| file.path != "tests/tidy/sources.rs").collect()
}

/// Numbered lines without comments; documentation's examples are tests of their own.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The number of the last line before the tests at a file's end.
pub(crate) fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

pub(crate) fn is_test(path: &str, test_modules: &BTreeSet<String>) -> bool {
    let folder = |name: &str| path.split('/').any(|part| part == name);
    folder("tests") || folder("benches") || test_modules.contains(path.trim_end_matches(".rs"))
}

/// Modules in files of their own that only tests compile, by path without the ending.
pub(crate) fn test_modules() -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name = pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ");
            if let Some(name) = name.and_then(|rest| rest.strip_suffix(';')) {
                modules.insert(format!("{}/{name}", module_folder(&file.path)));
            }
        }
    }
    modules
}

/// Where a file's submodules lie.
fn module_folder(path: &str) -> &str {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if ["lib.rs", "main.rs", "mod.rs"].contains(&name) { folder } else { path.trim_end_matches(".rs") }
}
