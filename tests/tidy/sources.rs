//! What no source file says.

use crate::faults::gather;
use crate::purity::pure;
use crate::rooms::folder;
use crate::rust::{code, is_test, production_code, production_lines, sources, test_modules};
use crate::tree::{self, File};

const LINES_MAX: usize = 520;
/// What everybody who changes anything reads first.
const ARCHITECTURE_LINES_MAX: usize = 300;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "common", "types", "core", "base", "misc"];

/// Unfinished or switched off, wherever it stands.
const NOWHERE: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Of the command line's crate: what a dashboard, a gateway or an auditor's library needs as well.
const LIBRARY: &[&str] = &["audit_privacy/", "demo/", "files.rs", "incident/report.rs", "plan/"];

/// A test that sleeps is slow, or wrong on a slow machine.
const SLEEPS: [&str; 3] = ["thread::sleep", "time::sleep", "sleep_until"];

/// Where a panic on a peer's input would be an attack, beside the pure crates.
const READS_PEERS: [&str; 1] = ["wire"];

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    gather(|faults| {
        for file in sources() {
            for (number, line) in code(&file.text) {
                for word in NOWHERE.iter().filter(|word| line.contains(**word)) {
                    faults.add(format!("{}:{number} says {word}", file.path));
                }
            }
        }
    });
}

/// What takes an update apart, to hand it from a trainer to the rest of its silo.
const INTO_ANSWER: &str = "into_answer";
/// Where alone it is named outside of tests.
const ANSWERS: [&str; 2] = ["crates/privacy/dp/src/update.rs", "crates/documents/plan/src/answer.rs"];

#[test]
fn an_update_is_taken_apart_for_an_answer_alone() {
    let test_modules = test_modules();
    gather(|faults| {
        for file in sources() {
            if is_test(&file.path, &test_modules) || ANSWERS.contains(&&*file.path) {
                continue;
            }
            for (number, _) in production_code(&file.text).filter(|(_, line)| line.contains(INTO_ANSWER)) {
                faults.add(format!(
                    "{}:{number} takes an update apart: plan::TrainerAnswer does that",
                    file.path
                ));
            }
        }
    });
}

/// What lets an update go without noise.
const WITHOUT_NOISE: [&str; 2] = ["plan_has_no_privacy", "the_coordinator_adds_it"];
/// Where alone it is named outside of tests.
const NOISE: [&str; 2] = ["crates/privacy/dp/src/noise.rs", "crates/documents/plan/src/mechanism.rs"];

#[test]
fn only_the_plans_mechanism_lets_an_update_go_without_noise() {
    let test_modules = test_modules();
    let others = |file: &File| !is_test(&file.path, &test_modules) && !NOISE.contains(&&*file.path);
    gather(|faults| {
        for file in sources().into_iter().filter(others) {
            for (number, line) in production_code(&file.text) {
                for word in WITHOUT_NOISE.iter().filter(|word| line.contains(**word)) {
                    faults.add(format!(
                        "{}:{number} names {word}: the plan's mechanism decides that",
                        file.path
                    ));
                }
            }
        }
    });
}

#[test]
fn no_test_sleeps() {
    let test_modules = test_modules();
    gather(|faults| {
        for file in sources() {
            let from = if is_test(&file.path, &test_modules) { 0 } else { production_lines(&file.text) };
            for (number, line) in code(&file.text).filter(|(number, _)| *number > from) {
                if SLEEPS.iter().any(|word| line.contains(word)) {
                    faults.add(format!("{}:{number} sleeps; wait for the event itself", file.path));
                }
            }
        }
    });
}

#[test]
fn nothing_unwraps_outside_tests_where_a_peer_could_make_it_panic() {
    let test_modules = test_modules();
    let mut looked_at = 0;
    gather(|faults| {
        for name in pure().chain(READS_PEERS) {
            for file in tree::files(&format!("{}/src", folder(name)), "rs") {
                if is_test(&file.path, &test_modules) {
                    continue;
                }
                looked_at += 1;
                for (number, line) in production_code(&file.text) {
                    faults.unless(!line.contains(".unwrap()"), || format!("{}:{number} unwraps", file.path));
                }
            }
        }
    });
    assert!(looked_at > 40, "only {looked_at} files were looked at");
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    let test_modules = test_modules();
    let machines = ["work", "home", "root"].map(|folder| format!("/{folder}/"));
    gather(|faults| {
        for file in sources() {
            let in_tests = is_test(&file.path, &test_modules);
            let production = production_lines(&file.text);
            for (number, line) in (1..).zip(file.text.lines()) {
                for path in &machines {
                    faults.unless(!line.contains(path), || format!("{}:{number} names {path}", file.path));
                }
                let temporary = line.contains("/tmp/") && !in_tests && number <= production;
                faults.unless(!temporary, || format!("{}:{number} names /tmp/ outside tests", file.path));
            }
        }
    });
}

#[test]
fn no_crate_and_no_module_has_a_name_that_says_nothing() {
    gather(|faults| {
        for a_crate in tree::crates() {
            faults.unless(!EMPTY_NAMES.contains(&a_crate.name.as_str()), || a_crate.folder.clone());
        }
        for file in sources() {
            let names = file.path.trim_end_matches(".rs").split('/');
            for name in names.filter(|name| EMPTY_NAMES.contains(name)) {
                faults.add(format!("{} is named {name}: say what it owns", file.path));
            }
        }
    });
}

#[test]
fn nothing_but_simulations_and_tests_names_what_a_liar_needs() {
    let word = ["advers", "ary"].concat();
    let test_modules = test_modules();
    gather(|faults| {
        for File { path, text } in sources() {
            let own = ["secagg", "sim"].iter().any(|own| path.starts_with(&format!("{}/", folder(own))));
            if own || is_test(&path, &test_modules) {
                continue;
            }
            for (number, line) in production_code(&text) {
                faults.unless(!line.contains(&word), || {
                    format!("{path}:{number} names secagg's {word}: it is for liars")
                });
            }
        }
    });
}

#[test]
fn what_others_than_the_command_line_need_does_not_know_its_exit_codes() {
    gather(|faults| {
        for File { path, text } in tree::files("cli/src", "rs") {
            let inside = path.trim_start_matches("cli/src/");
            if LIBRARY.iter().any(|part| inside.starts_with(part)) {
                let mut lines = production_code(&text);
                if let Some((number, _)) = lines.find(|(_, line)| line.contains("Failure")) {
                    let why = "give it an error of its own, and make Failure of that in failure.rs";
                    faults.add(format!("{path}:{number} names Failure: {why}"));
                }
            } else {
                let own = ["failure.rs", "failure/of_trials.rs"].contains(&inside);
                let made = !own && text.contains(" for Failure {");
                faults.unless(!made, || format!("{path} makes a Failure of an error: failure.rs alone does"));
            }
        }
    });
}

#[test]
fn text_of_another_machine_is_made_safe_to_show_in_one_place() {
    let replacement = ["'\\u{", "fffd}'"].concat();
    gather(|faults| {
        for File { path, text } in sources() {
            let own = path == "crates/documents/identity/src/shown.rs";
            faults.unless(own || !text.contains(&replacement), || {
                format!("{path} replaces characters by a rule of its own: identity::printable knows which")
            });
        }
    });
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    gather(|faults| {
        let lines = tree::read("ARCHITECTURE.md").unwrap().lines().count();
        faults.unless(lines <= ARCHITECTURE_LINES_MAX, || {
            format!("ARCHITECTURE.md has {lines} lines, more than {ARCHITECTURE_LINES_MAX}: say it shorter")
        });
        for file in sources() {
            let lines = file.text.lines().count();
            faults.unless(lines <= LINES_MAX, || {
                format!("{} has {lines} lines, more than {LINES_MAX}: split it", file.path)
            });
        }
    });
}
