//! Runs submitted, listed and ended, and which of them a command means.

use run_status::RunState;

use super::*;
use crate::program::USAGE;

/// A federation with the author `anna`, and a signed plan under each of these names.
fn federation(plans: &[&str]) -> Federation {
    let federation = Federation::new();
    federation.run("operators issue --name anna --role author --out @anna --days 1 --as @admin").unwrap();
    federation.run("keys new @author.key").unwrap();
    for name in plans {
        let plan =
            include_str!("../../../deploy/config/plan.toml").replace("\"example\"", &format!("{name:?}"));
        fs::write(federation.path(&format!("{name}.toml")), plan).unwrap();
        let sign = format!("plan sign @{name}.toml --key @author.key --out @{name}.json");
        federation.run(&sign).unwrap();
    }
    federation
}

impl Federation {
    fn runs(&self) -> Vec<run_status::RunEntry> {
        self.run.runs.lock().unwrap().iter().map(|(entry, _)| entry.clone()).collect()
    }
}

#[test]
fn an_author_submits_a_signed_plan_and_everybody_lists_it_as_text_and_as_json() {
    let federation = federation(&["digits", "wards"]);
    let submitted = federation.answer("runs submit digits.json --as anna", "");
    assert!(
        submitted.out.contains("1 in the queue") && submitted.out.contains("by anna"),
        "{}",
        submitted.out
    );
    federation.run("runs submit @wards.json --as @admin").unwrap();

    let listed = federation.answer("runs list --as anna", "").out;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[1].contains("digits  queued"), "{listed}");
    assert!(lines[2].contains("wards   queued") && lines[2].contains("ada"), "{listed}");

    let json: serde_json::Value =
        serde_json::from_str(&federation.answer("runs list --json --as anna", "").out).unwrap();
    let [first, second] = federation.runs().try_into().unwrap();
    assert_eq!(json[0]["run"], first.run.to_string());
    for (field, value) in [("name", "wards"), ("state", "queued"), ("submitted_by", "ada")] {
        assert_eq!(json[1][field], value, "{json}");
    }
    assert_eq!((&json[1]["position"], &json[1]["rounds_committed"]), (&2.into(), &0.into()));

    // The plan comes back as its author signed it.
    federation.run("runs show wards --plan-out @again.json --as @anna").unwrap();
    let read =
        |name: &str| serde_json::from_str(&fs::read_to_string(federation.path(name)).unwrap()).unwrap();
    let (again, signed): (serde_json::Value, serde_json::Value) = (read("again.json"), read("wards.json"));
    assert_eq!(again, signed);
    let shown =
        federation.answer(&format!("runs show {} --json --as anna", &second.run.to_string()[..6]), "");
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["plan"], signed);
    assert!(shown["forecast"].is_object(), "{shown}");
    let text = federation.answer("runs show wards --as anna", "").out;
    for line in ["state       queued", "mode          ", "patience      7 days", "epsilon       "] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn a_plan_that_was_submitted_already_is_said_to_be_and_a_program_has_the_run_that_it_is() {
    let federation = federation(&["digits", "wards"]);
    let submit = "runs submit digits.json --as anna --json";
    let first = federation.answer(submit, "").out;
    federation.run("runs submit @wards.json --as @admin").unwrap();
    let again = federation.answer("runs submit digits.json --as anna", "");
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(
        again.out,
        "this plan is run 1 already; to run it once more, have it signed again; nothing was changed\n"
    );
    let again = federation.answer(submit, "");
    assert_eq!((again.code, again.out), (0, first), "{}", again.err);
    assert_eq!(federation.runs().len(), 2);
}

#[test]
fn what_names_no_run_or_several_lists_those_that_it_may_be_and_does_nothing() {
    let federation = federation(&["digits"]);
    federation.run("runs submit @digits.json --as @anna").unwrap();
    federation.run("plan sign @digits.toml --key @author.key --out @again.json").unwrap();
    federation.run("runs submit @again.json --as @anna").unwrap();
    let [first, second] = federation.runs().try_into().unwrap();
    for (named, because) in [("wards", "no run is"), ("digits", "more than one run")] {
        for command in [
            "runs stop RUN --reason why",
            "run pause --run RUN --reason why",
            "status --run RUN",
            "runs show RUN",
        ] {
            let ended = federation.answer(&format!("{command} --as admin").replace("RUN", named), "");
            assert_eq!(ended.code, USAGE, "{command}: {}", ended.err);
            assert!(ended.err.contains(because) && ended.err.contains(&first.run.short()), "{}", ended.err);
            assert!(ended.err.contains(&second.run.short()), "{}", ended.err);
        }
    }
    assert_eq!(federation.asked(), Vec::<String>::new());
}

#[test]
fn a_run_is_held_and_ended_by_its_name_and_an_author_ends_its_own() {
    let federation = federation(&["digits", "wards"]);
    federation.run("runs submit @digits.json --as @anna").unwrap();
    federation.run("runs submit @wards.json --as @admin").unwrap();
    let [digits, wards] =
        federation.runs().try_into().map(|runs: [run_status::RunEntry; 2]| runs.map(|run| run.run)).unwrap();
    for line in [
        "runs pause wards --reason odd",
        "runs resume wards",
        "run pause --run digits --reason odd",
        "model quarantine 12 --run wards --reason poisoned",
    ] {
        federation.run(&format!("{line} --as @admin")).unwrap();
    }
    let asked = [
        format!("paused in {wards} by ada: odd"),
        format!("resumed in {wards} by ada"),
        format!("paused in {digits} by ada: odd"),
        format!("round 12 quarantined in {wards} by ada: poisoned"),
    ];
    assert_eq!(federation.asked(), asked);
    for line in [
        "run pause --reason odd",
        "run resume",
        "model quarantine 1 --reason odd",
        "model rollback 1 --reason odd",
    ] {
        let which = text(federation.run(&format!("{line} --as @admin")));
        assert!(which.contains("2 runs are not over; say which with --run"), "{line}: {which}");
    }
    assert_eq!(federation.asked(), Vec::<String>::new(), "nothing is changed by a guess");

    assert!(text(federation.run("runs stop wards --reason mine --as @anna")).contains("submitted by ada"));
    federation.run("runs stop digits --reason another --as @anna").unwrap();
    // Who asks twice has what it wants.
    federation.run("runs stop digits --reason another --as @anna").unwrap();
    let states: Vec<RunState> = federation.runs().iter().map(|run| run.state).collect();
    assert_eq!(states, [RunState::Stopped, RunState::Queued]);
    federation.run("run resume --as @admin").unwrap();
    assert_eq!(federation.asked().last(), Some(&format!("resumed in {wards} by ada")), "the only one left");
    assert!(text(federation.run("runs pause wards --reason why --as @anna")).contains("needs"));
}

#[test]
fn what_is_not_over_or_shows_records_of_another_run_is_not_gone_on_from() {
    let federation = federation(&["wards"]);
    federation.run("runs submit @wards.json --as @anna").unwrap();
    let extend = "runs extend wards --rounds 5 --key @author.key --as @anna";
    let early = federation.run(extend).unwrap_err();
    assert!(matches!(&early, Failure::Usage(why) if why.contains("`wards` is queued")), "{early}");
    federation.run("runs stop wards --reason enough --as @anna").unwrap();
    // This coordinator shows the records of a run of its own, whichever it is asked for, and none of them but version 0.
    let none = federation.run(extend).unwrap_err();
    assert!(matches!(&none, Failure::Usage(why) if why.contains("no round")), "{none}");
    assert_eq!(federation.runs().len(), 1);
}
