//! Numbers that may only fall: sizes, lengths of functions, silence where an error belongs, words. They are in
//! `ratchets.toml`; who brings one down writes the new one there, and nobody raises one without a reason in the change.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::faults::{Faults, gather};
use crate::rust;
use crate::tree::{self, File};

/// More than anyone keeps in mind of one crate, tests beside the code included.
const CRATE_LINES_MAX: usize = 5_500;
/// Those with a number of their own: the tool is arguments and words, and the core is one thing and stays whole.
const OWN_LINES_MAX: [(&str, usize); 2] = [("cli", 5_000), ("protocol", 7_000)];
const FUNCTION_LINES_MAX: usize = 70;
/// A longer function says somewhere inside why it does what it does.
const UNCOMMENTED_LINES_MAX: usize = 50;
/// Documentation of as many words says what the name beside it said already.
const FILLER_WORDS_MAX: usize = 2;

#[test]
fn no_crate_grows_beyond_what_one_person_keeps_in_mind() {
    let mut counted = BTreeMap::new();
    for a_crate in tree::crates() {
        let files = tree::files(&format!("{}/src", a_crate.folder), "rs");
        let lines: usize = files.iter().map(|file| file.text.lines().count()).sum();
        let own = OWN_LINES_MAX.iter().find(|(name, _)| *name == a_crate.name);
        let most = own.map_or(CRATE_LINES_MAX, |(_, most)| *most);
        if lines > most {
            counted.insert(a_crate.name, lines);
        }
    }
    gather(|faults| compare(faults, "lines", &counted));
}

/// What tries the program, and what only that needs.
const TRIALS: [&str; 5] = ["bench v", "empirical v", "privacy_audit v", "rehearsal v", "sim v"];

#[test]
fn the_readmes_first_command_compiles_no_more_than_it_did_and_nothing_that_no_federation_needs() {
    let packages = tree::compiled_for("cli");
    assert!(packages.iter().any(|package| package.starts_with("demo v")), "{packages:?}");
    gather(|faults| {
        for package in packages.iter().filter(|package| TRIALS.iter().any(|trial| package.starts_with(trial)))
        {
            faults.add(format!("{package} is in the tool without its feature `trials`"));
        }
        let of_the_registry = packages.iter().filter(|package| !package.contains(" (/")).count();
        compare(faults, "packages", &BTreeMap::from([("cli".to_owned(), of_the_registry)]));
    });
}

#[test]
fn no_function_is_longer_than_a_screen() {
    gather(|faults| {
        for File { path, text } in rust::sources() {
            for rust::Function { name, first, lines, .. } in rust::functions(&text) {
                faults.unless(lines <= FUNCTION_LINES_MAX, || {
                    format!("{path}:{first}: {name} has {lines} lines, and {FUNCTION_LINES_MAX} are the most")
                });
            }
        }
    });
}

#[test]
fn a_long_function_says_why() {
    let test_modules = rust::test_modules();
    gather(|faults| {
        for File { path, text } in rust::sources() {
            if rust::is_test(&path, &test_modules) {
                continue;
            }
            let until = rust::production_lines(&text);
            for rust::Function { name, first, lines, commented } in rust::functions(&text) {
                let says = commented || lines <= UNCOMMENTED_LINES_MAX || first > until;
                faults.unless(says, || {
                    format!("{path}:{first}: {name} has {lines} lines and no comment that says why")
                });
            }
        }
    });
}

#[test]
fn documentation_that_repeats_a_name_gets_less() {
    let mut counted = BTreeMap::new();
    for a_crate in tree::crates() {
        let files = tree::files(&format!("{}/src", a_crate.folder), "rs");
        let fillers: usize =
            files.iter().map(|file| rust::docs_of_few_words(&file.text, FILLER_WORDS_MAX)).sum();
        if fillers > 0 {
            counted.insert(a_crate.name, fillers);
        }
    }
    gather(|faults| compare(faults, "filler", &counted));
}

#[test]
fn what_cannot_be_is_not_passed_over_in_silence_more_often_than_it_was() {
    let test_modules = rust::test_modules();
    let mut counted: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for a_crate in tree::crates() {
        for File { path, text } in tree::files(&format!("{}/src", a_crate.folder), "rs") {
            if rust::is_test(&path, &test_modules) {
                continue;
            }
            let lines: Vec<&str> = rust::production_code(&text).map(|(_, line)| line).collect();
            let code = lines.join("\n");
            for (kind, count) in [
                ("unwrap_or_default", code.matches(".unwrap_or_default()").count()),
                ("saturating", code.matches(".saturating_").count()),
                ("made_up_look_ups", rust::made_up_look_ups(&code)),
            ] {
                if count > 0 {
                    *counted.entry(kind).or_default().entry(a_crate.name.clone()).or_default() += count;
                }
            }
        }
    }
    gather(|faults| {
        for (kind, counted) in &counted {
            compare(faults, &format!("silence.{kind}"), counted);
        }
    });
}

#[test]
fn words_that_mean_two_things_or_are_no_english_are_not_used() {
    let mut files = rust::sources();
    files.retain(|file| !file.path.starts_with("tests/tidy/"));
    files.extend(tree::files("proto", "proto"));
    let documents = tree::files("", "md").into_iter();
    // What was said in a release stays said, and a report is what a program printed.
    files.extend(documents.filter(|file| file.path != "CHANGELOG.md" && !file.path.starts_with("reports/")));
    let listed = ratchets();
    let table = |name: &str| listed["words"][name].as_table().unwrap().clone();
    let (banned, allowed) = (table("instead"), table("allowed"));
    gather(|faults| {
        for File { path, text } in &files {
            let words = allowed
                .keys()
                .fold(rust::words(text), |words, phrase| words.replace(&format!(" {phrase} "), " "));
            for (word, instead) in &banned {
                let found = words.contains(&format!(" {word} "));
                faults.unless(!found, || format!("{path}: \"{word}\": say {instead}"));
            }
        }
    });
}

/// Holds what was counted against a table of `ratchets.toml`: nothing above its number, and no number left that is far
/// above what it is about.
fn compare(faults: &mut Faults, name: &str, counted: &BTreeMap<String, usize>) {
    let listed = ratchets();
    let table = name.split('.').fold(&listed, |table, key| table[key].as_table().unwrap());
    let most =
        |key: &str| table.get(key).and_then(Value::as_integer).map_or(0, |most| most.try_into().unwrap());
    for (key, count) in counted {
        let most: usize = most(key);
        faults.unless(*count <= most, || {
            format!("{name}: {key}: {count}, and ratchets.toml has {most}, which may only fall")
        });
        faults.unless(*count + count / 10 + 5 >= most, || {
            format!("{name}: {key} = {count} is the new number, not {most}")
        });
    }
    for key in table.keys().filter(|key| !counted.contains_key(*key)) {
        faults.add(format!("{name}: {key} is no longer to be listed"));
    }
}

fn ratchets() -> Table {
    toml::from_str(&tree::read("tests/tidy/ratchets.toml").unwrap()).unwrap()
}
