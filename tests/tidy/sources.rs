//! What no source file says.

use std::collections::BTreeSet;

use crate::tree::{self, File};

const LINES_MAX: usize = 520;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "common", "types", "core", "base", "misc"];

/// Unfinished or switched off, wherever it stands.
const NOWHERE: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// A test that sleeps is slow, or wrong on a slow machine.
const SLEEPS: [&str; 3] = ["thread::sleep", "time::sleep", "sleep_until"];

/// Where a panic on a peer's input would be an attack.
const NO_UNWRAP: [&str; 10] =
    ["accounting", "attest", "checkpoint", "dp", "identity", "optim", "params", "protocol", "secagg", "wire"];

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    for file in sources() {
        for (number, line) in code(&file.text) {
            for word in NOWHERE {
                assert!(!line.contains(word), "{}:{number} says {word}", file.path);
            }
        }
    }
}

#[test]
fn no_test_sleeps() {
    let test_modules = test_modules();
    for file in sources() {
        let from = if is_test(&file.path, &test_modules) { 0 } else { production_lines(&file.text) };
        for (number, line) in code(&file.text).filter(|(number, _)| *number > from) {
            for word in SLEEPS {
                assert!(!line.contains(word), "{}:{number} sleeps; wait for the event itself", file.path);
            }
        }
    }
}

#[test]
fn nothing_unwraps_outside_tests_where_a_peer_could_make_it_panic() {
    let test_modules = test_modules();
    let mut looked_at = 0;
    for name in NO_UNWRAP {
        for file in tree::files(&format!("crates/{name}/src"), "rs") {
            if is_test(&file.path, &test_modules) {
                continue;
            }
            looked_at += 1;
            let until = production_lines(&file.text);
            for (number, line) in code(&file.text).take_while(|(number, _)| *number <= until) {
                assert!(!line.contains(".unwrap()"), "{}:{number} unwraps", file.path);
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} files were looked at");
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    let test_modules = test_modules();
    for file in sources() {
        let in_tests = is_test(&file.path, &test_modules);
        let production = production_lines(&file.text);
        for (number, line) in (1..).zip(file.text.lines()) {
            for path in ["/work/", "/home/", "/root/"] {
                assert!(!line.contains(path), "{}:{number} names {path}", file.path);
            }
            let temporary = line.contains("/tmp/") && !in_tests && number <= production;
            assert!(!temporary, "{}:{number} names /tmp/ outside tests", file.path);
        }
    }
}

#[test]
fn no_crate_and_no_module_has_a_name_that_says_nothing() {
    for a_crate in tree::crates() {
        assert!(!EMPTY_NAMES.contains(&a_crate.name.as_str()), "{}", a_crate.folder);
    }
    for file in sources() {
        let names = file.path.trim_end_matches(".rs").split('/');
        let empty: Vec<&str> = names.filter(|name| EMPTY_NAMES.contains(name)).collect();
        assert!(empty.is_empty(), "{} is named {empty:?}: say what it owns", file.path);
    }
}

#[test]
fn nothing_but_simulations_and_tests_names_what_a_liar_needs() {
    let word = ["advers", "ary"].concat();
    for File { path, text } in sources() {
        let may =
            path.starts_with("crates/secagg/") || path.starts_with("crates/sim/") || path.contains("tests/");
        assert!(may || !text.contains(&format!("{word}::")), "{path} names secagg's {word}: it is for liars");
    }
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    for file in sources() {
        let lines = file.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}: split it", file.path);
    }
}

/// All Rust files but this one, which spells out what it forbids.
fn sources() -> Vec<File> {
    let files = tree::files("", "rs");
    assert!(files.len() > 100, "only {} files were found", files.len());
    files.into_iter().filter(|file| file.path != "tests/tidy/sources.rs").collect()
}

/// Numbered lines without comments; documentation's examples are tests of their own.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The number of the last line before the tests at a file's end.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

fn is_test(path: &str, test_modules: &BTreeSet<String>) -> bool {
    let folder = |name: &str| path.split('/').any(|part| part == name);
    folder("tests") || folder("benches") || test_modules.contains(path.trim_end_matches(".rs"))
}

/// Modules in files of their own that only tests compile, by path without the ending.
fn test_modules() -> BTreeSet<String> {
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
