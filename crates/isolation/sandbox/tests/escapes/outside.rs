//! The tests, and a harness of a page for them.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use sandbox::Level;

use crate::inside::REFUSED;
use crate::place::{End, House};
use crate::{attempts, python};

pub(crate) const MANUAL: &str = include_str!("../../src/manual.md");

const TESTS: &[(&str, fn())] = &[
    ("no_escape_works_from_a_native_program", || no_escape_works("native")),
    ("no_escape_works_from_an_interpreter", || no_escape_works("interpreter")),
    ("no_rarer_system_call_works_from_python", python::no_rare_call_works),
    ("a_sealed_process_does_its_work_all_the_same", a_sealed_process_does_its_work),
    ("a_sealed_python_does_its_work_all_the_same", python::sealed_python_works),
    ("a_sealed_process_holds_no_capability_and_gains_none", a_sealed_process_holds_no_capability),
    ("a_file_is_bounded_also_where_the_signal_for_that_is_ignored", a_file_is_bounded),
    ("the_level_says_what_this_machine_holds_a_process_by", the_level_says_what_was_reached),
    ("required_refuses_a_kernel_without_landlock_and_one_without_filters", required_refuses),
    ("best_effort_goes_on_with_what_there_is_and_says_what", best_effort_goes_on),
    ("a_network_connection_as_a_standard_stream_is_refused", a_network_stream_is_refused),
    ("a_path_that_is_not_there_is_refused_and_named", a_missing_path_is_refused),
];

/// Options of the library's harness that are followed by a value.
const WITH_A_VALUE: [&str; 6] =
    ["--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];

/// Which names of tests are asked for, as of any test's executable: those that contain, or with `--exact` are, one of the words.
fn chosen(arguments: &[String]) -> impl Iterator<Item = &'static (&'static str, fn())> {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--skip" => skipped.extend(words.next()),
            option if WITH_A_VALUE.contains(&option) => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => wanted.push(word),
        }
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let matches = move |name: &str, words: &[&String]| {
        words.iter().any(|word| if exact { name == word.as_str() } else { name.contains(word.as_str()) })
    };
    TESTS
        .iter()
        .filter(move |(name, _)| (wanted.is_empty() || matches(name, &wanted)) && !matches(name, &skipped))
}

/// Runs the tests that are asked for, or lists them with `--list`.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    if House::new().run("unsealed", "required").said.contains("this kernel offers no Landlock") {
        println!("not shown on this machine, whose kernel has no Landlock");
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in chosen(arguments) {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(*name);
        }
    }
    // As the library's harness names them, for whoever looks for the names.
    failed.iter().for_each(|name| println!("---- {name} stdout ----"));
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// How an attempt came out: as the manual's table has it, or `escaped`.
fn outcome(end: &End) -> String {
    match (end.status.code(), end.status.signal()) {
        (Some(0), _) => "escaped".to_owned(),
        (Some(code), _) if code == i32::from(REFUSED) => end.said.clone(),
        (_, Some(_)) if end.status.core_dumped() => "escaped".to_owned(),
        // By the second where musl's abort, which signals a thread by its number alone, is refused that.
        (_, Some(libc::SIGABRT | libc::SIGSEGV)) => "no dump".to_owned(),
        (_, Some(libc::SIGSYS)) => "SIGSYS".to_owned(),
        (_, Some(libc::SIGXFSZ)) => "SIGXFSZ".to_owned(),
        other => panic!("{other:?}: {}{}", end.said, end.complained),
    }
}

/// The manual's table: what each attempt is answered, by profile.
fn promised() -> BTreeMap<&'static str, BTreeMap<&'static str, &'static str>> {
    let rows = MANUAL.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [name, native, interpreter] = cells.as_slice() else { return None };
        Some((*name, BTreeMap::from([("native", *native), ("interpreter", *interpreter)])))
    });
    rows.skip_while(|(name, _)| *name != "---").skip(1).collect()
}

fn no_escape_works(profile: &str) {
    let promised = promised();
    let mut shown = 0;
    let mut faults = Vec::new();
    for attempt in attempts::all() {
        // A place of its own for each: those that work leave traces.
        let open = outcome(&House::new().run("unsealed", attempt.name));
        let closed = outcome(&House::new().run(profile, attempt.name));
        let wanted = promised.get(attempt.name).map_or("nothing", |row| row[profile]);
        if closed != wanted {
            faults.push(format!("{}: {closed}, and the manual has {wanted}", attempt.name));
        }
        if open == "escaped" {
            shown += 1;
        } else {
            println!("not shown on this machine, where it is answered {open} unsealed: {}", attempt.name);
        }
    }
    let known: Vec<&str> = attempts::all().map(|attempt| attempt.name).collect();
    faults.extend(
        promised.keys().filter(|name| !known.contains(name)).map(|name| format!("{name} is not tried")),
    );
    assert!(faults.is_empty(), "{profile}:\n{}", faults.join("\n"));
    println!("{profile}: of {} escapes {shown} work unsealed, none sealed", known.len());
    assert!(shown >= 24, "only {shown} escapes work unsealed here: this machine shows too little");
}

fn a_sealed_process_does_its_work() {
    for seal in ["native", "interpreter"] {
        let end = House::new().run(seal, "work");
        assert!(end.status.success(), "{seal}: {} {}", end.status, end.complained);
    }
}

fn a_sealed_process_holds_no_capability() {
    for seal in ["native", "interpreter"] {
        let status = House::new().status_of_one(seal);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status[set], 16).unwrap(), 0, "{seal}: {set}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{seal}");
        assert_eq!(status["Seccomp"], "2", "{seal}: a filter");
        assert_eq!(status["Threads"], "1", "{seal}");
    }
}

fn a_file_is_bounded() {
    for seal in ["native", "interpreter"] {
        let end = House::new().run_deaf("XFSZ", seal, "fill the disk with one file");
        assert_eq!(outcome(&end), "EFBIG", "{seal}");
    }
}

fn the_level_says_what_was_reached() {
    let said = House::new().run("unsealed", "level").said;
    let level: Level = serde_json::from_str(&said).unwrap();
    assert!(level.is_full() && level.has_no_network(), "{level}");
    println!("{level}");
    let again: Level = serde_json::from_str(&House::new().run("unsealed", "level").said).unwrap();
    assert_eq!(level, again, "the level of one machine is one");
}

fn required_refuses() {
    for (missing, named) in [("Landlock", "Landlock"), ("filters", "CONFIG_SECCOMP_FILTER")] {
        let said = House::new().run("unsealed", &format!("required without {missing}")).said;
        assert!(
            said.starts_with("refused: ") && said.contains(named) && said.contains("best_effort"),
            "{said}"
        );
    }
    let said = House::new().run("unsealed", "required without namespaces").said;
    assert!(said.starts_with("required (") && said.contains("no namespaces"), "{said}");
}

fn best_effort_goes_on() {
    let house = House::new();
    let said = house.run("unsealed", "best_effort without Landlock").said;
    assert!(said.contains("no Landlock, filter "), "{said}");
    let said = house.run("unsealed", "best_effort without filters").said;
    assert!(said.contains("Landlock ABI ") && said.contains("no filter"), "{said}");
}

fn a_network_stream_is_refused() {
    let house = House::new();
    let said = house.run_beside(house.network(), "unsealed", "required").said;
    assert!(said.contains("descriptor 0 is a network connection"), "{said}");
}

fn a_missing_path_is_refused() {
    let said = House::new().run("unsealed", "required without data").said;
    assert!(said.starts_with("refused: ") && said.contains("/data is to stay open"), "{said}");
}
