//! Rust sources as the tests read them: line by line, in the shape that rustfmt gives them.

use std::collections::BTreeSet;

use crate::tree::{self, File};

/// All Rust files but the one that spells out what sources may not say.
pub(crate) fn sources() -> Vec<File> {
    let files = tree::files("", "rs");
    assert!(files.len() > 100, "only {} files were found", files.len());
    let by_hand = |path: &str| path != "tests/tidy/sources.rs" && !path.starts_with("proto/generated/");
    files.into_iter().filter(|file| by_hand(&file.path)).collect()
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

/// [`code`] before the tests at a file's end.
pub(crate) fn production_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let until = production_lines(text);
    code(text).take_while(move |(number, _)| *number <= until)
}

pub(crate) fn is_test(path: &str, test_modules: &BTreeSet<String>) -> bool {
    let folder = |name: &str| path.split('/').any(|part| part == name);
    folder("tests") || folder("benches") || test_modules.contains(path.trim_end_matches(".rs"))
}

/// What stands over a module that only tests compile: a crate's own, or those of others too.
const FOR_TESTS: [&str; 2] = ["#[cfg(test)]", "#[cfg(any(test, feature = \"samples\"))]"];

/// Modules in files of their own that only tests compile, by path without the ending.
pub(crate) fn test_modules() -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for file in sources() {
        let lines: Vec<&str> = file.text.lines().collect();
        for pair in lines.windows(2).filter(|pair| FOR_TESTS.contains(&pair[0])) {
            let name =
                pair[1].trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ");
            if let Some(name) = name.and_then(|rest| rest.strip_suffix(';')) {
                modules.insert(format!("{}/{name}", module_folder(&file.path)));
            }
        }
    }
    modules
}

/// Where a file's submodules lie.
pub(crate) fn module_folder(path: &str) -> &str {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if ["lib.rs", "main.rs", "mod.rs"].contains(&name) { folder } else { path.trim_end_matches(".rs") }
}

/// A function that has a body of more than one line.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line that names it, counted from 1.
    pub(crate) first: usize,
    /// Signature and braces included.
    pub(crate) lines: usize,
    /// Whether a comment stands in it, which is no documentation.
    pub(crate) commented: bool,
}

/// Every function. Sources are formatted, so that a function ends at the first brace that closes in the column where it
/// began.
pub(crate) fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_begun(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let (close, at_once) = (format!("{indent}}}"), line.ends_with(['}', ';']));
        let declared = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|rest| !rest.starts_with(' ') && rest.ends_with(';'))
        };
        let mut after = lines[start + 1..].iter().take_while(|line| !declared(line));
        if let (false, Some(more)) = (at_once, after.position(|line| *line == close)) {
            let body = &lines[start + 1..start + 1 + more];
            let name = name.to_owned();
            found.push(Function {
                name,
                first: start + 1,
                lines: more + 2,
                commented: body.iter().any(is_commented),
            });
        }
    }
    found
}

fn is_commented(line: &&str) -> bool {
    let line = line.trim_start();
    (line.starts_with("//") && !line.starts_with("///")) || line.contains(" // ")
}

/// The name of the function that a line begins.
fn function_begun(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if let Some(public) = rest.strip_prefix("pub") {
        rest =
            public.strip_prefix('(').and_then(|scope| scope.split_once(')')).map_or(public, |(_, rest)| rest);
        rest = rest.trim_start();
    }
    for word in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
}

/// How often a look-up that found nothing is answered with a value made up on the spot: `.get(…)`, in whatever way it
/// goes on, and at its end `unwrap_or…` or `map_or…`.
pub(crate) fn made_up_look_ups(code: &str) -> usize {
    let dense: String = code.split_whitespace().collect();
    let made_up = |at: usize| {
        let mut rest = after_call(&dense[at..]);
        while let Some((name, call)) = rest.strip_prefix('.').and_then(|rest| rest.split_once('(')) {
            if name.starts_with("unwrap_or") || name.starts_with("map_or") {
                return true;
            }
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_:<>".contains(c)) {
                return false;
            }
            rest = after_call(&rest[rest.len() - call.len() - 1..]);
        }
        false
    };
    dense.match_indices(".get(").filter(|(at, found)| made_up(at + found.len() - 1)).count()
}

/// What follows a call's closing parenthesis; the text begins at or before the opening one.
fn after_call(text: &str) -> &str {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' if open == 1 => return &text[at + 1..],
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    ""
}

/// How many pieces of documentation are one line of at most `most` words.
pub(crate) fn docs_of_few_words(text: &str, most: usize) -> usize {
    let lines: Vec<Option<&str>> = text.lines().map(|line| line.trim_start().strip_prefix("///")).collect();
    let alone = |at: usize| {
        let beside = |at: Option<usize>| at.and_then(|at| lines.get(at).copied().flatten()).is_some();
        !beside(at.checked_sub(1)) && !beside(Some(at + 1))
    };
    let few = |doc: &str| doc.split_whitespace().count() <= most;
    lines.iter().enumerate().filter(|(at, doc)| doc.is_some_and(few) && alone(*at)).count()
}

/// Words of a text in small letters, one space before each and one after the last; an identifier is its words.
pub(crate) fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + text.len() / 4);
    let mut before = ' ';
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() { c } else { ' ' };
        let begins = before == ' ' || (before.is_ascii_lowercase() && c.is_ascii_uppercase());
        if c != ' ' {
            if begins {
                words.push(' ');
            }
            words.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.push(' ');
    words
}

#[test]
fn a_function_is_measured_from_its_name_to_its_brace() {
    let text = "pub(crate) const fn one() {}\n\ntrait T {\n    fn two(\n        &self,\n    ) -> u8;\n    async fn three(&self)\n    \
                where\n        Self: Sized,\n    {\n        if true {\n        }\n    }\n}\nfn four() {\n    // Why.\n}\n";
    let function =
        |name: &str, first, lines, commented| Function { name: name.into(), first, lines, commented };
    assert_eq!(functions(text), [function("three", 7, 7, false), function("four", 15, 3, true)]);
}

#[test]
fn a_look_up_is_made_up_where_nothing_found_becomes_something() {
    for made_up in [
        "a.get(i).copied().unwrap_or_default()",
        "a.get(f(i, g(j)))\n    .map_or(0, |x| x.len())",
        "a.get(i..).map(|b| b.iter().sum::<u32>()).unwrap_or(0)",
    ] {
        assert_eq!(made_up_look_ups(made_up), 1, "{made_up}");
    }
    for honest in ["a.get(i)?.max(b.unwrap_or(0))", "a.get(i).ok_or(E)?", "b(a.get(i)).unwrap_or(0)"] {
        assert_eq!(made_up_look_ups(honest), 0, "{honest}");
    }
}

#[test]
fn documentation_is_counted_where_it_is_one_short_line() {
    let text = "/// Who.\npub a: u8,\n    /// The file.\n    b: u8,\n/// Who.\n/// Why.\nc: u8,\n/// Who did it.\nd: u8,\n";
    assert_eq!(docs_of_few_words(text, 2), 2);
}

#[test]
fn an_identifier_is_its_words() {
    assert_eq!(
        words("RosterFixed::accept_roster(x) // told,\n/// Mend"),
        " roster fixed accept roster x told mend "
    );
}
