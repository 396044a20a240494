//! What is kept, counted and shown.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::*;

fn count(alarm: &Alarm, kind: &str) -> AlarmCount {
    alarm.counts().into_iter().find(|count| count.kind == kind).unwrap()
}

#[test]
fn alarms_are_kept_by_kind_across_restarts_and_their_details_are_not_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = Alarm::new(folder.path(), || 1_700_000_000_123);
    assert!(alarm.lines().is_empty());
    alarm.raise(Kind::Data, "2 rows: no label", "");
    alarm.raise(Kind::Training, "training failed in round 3", "the cell \"secret\"");
    alarm.raise(Kind::Data, "3 rows: no label", "");
    let lines = Alarm::new(folder.path(), || 0).lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "3 rows: no label (the newest of 2, at 2023-11-14T22:13:20Z)");
    assert!(lines[1].starts_with("training failed in round 3 (at 2023"), "{lines:?}");
    assert!(!fs::read_to_string(folder.path().join(FILE)).unwrap().contains("secret"));
}

#[test]
fn a_refused_run_is_a_line_of_its_own_until_it_is_over_and_how_often_there_was_one_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = Alarm::new(folder.path(), || 1_000);
    for run in ["df71", "ab12", "df71"] {
        alarm.raise_for(Kind::Refused, run, &format!("this silo refuses the run {run}"));
    }
    let lines = alarm.lines();
    assert_eq!(
        lines[..2],
        [
            "this silo refuses the run ab12 (at 1970-01-01T00:00:01Z)",
            "this silo refuses the run df71 (at 1970-01-01T00:00:01Z)",
        ]
    );
    assert!(lines[2].contains("by itself") && lines.len() == 3, "{lines:?}");
    alarm.over(Kind::Refused, "df71");
    alarm.over(Kind::Refused, "no such run");
    assert!(alarm.lines()[0].contains("ab12") && alarm.lines().len() == 2, "{:?}", alarm.lines());
    alarm.raise(Kind::Data, "2 rows: no label", "");
    let remove = alarm.lines().remove(2);
    assert!(remove.contains("alarms.json"), "no other kind is over by itself: {remove}");
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    for run in 0..=CAUSES_MAX {
        alarm.raise_for(Kind::Refused, &run.to_string(), "refused");
    }
    assert_eq!(alarm.lines().len(), CAUSES_MAX + 1, "runs are a coordinator's to invent");
    alarm.all_over(Kind::Refused);
    assert!(alarm.lines().is_empty(), "{:?}", alarm.lines());
    assert_eq!(count(&alarm, "refused").times, CAUSES_MAX as u64 + 1);
}

#[test]
fn a_daemon_that_begins_has_a_spawner_again() {
    let folder = tempfile::tempdir().unwrap();
    Alarm::new(folder.path(), || 1).raise_for(Kind::Spawner, "spawner", "nothing starts trainers");
    assert!(Alarm::new(folder.path(), || 2).lines()[0].starts_with("nothing starts trainers (at "));
    let begun = Alarm::begin(folder.path(), || 3);
    assert!(begun.lines().is_empty(), "{:?}", begun.lines());
    assert_eq!(count(&begun, "spawner").times, 1);
}

#[test]
fn what_is_said_again_of_what_stands_is_the_same_alarm_and_what_comes_back_is_another() {
    static NOW_MS: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().unwrap();
    // Each time by a daemon that was started again, a second later.
    let raise = || {
        let alarm = Alarm::begin(folder.path(), || NOW_MS.load(SeqCst));
        alarm.raise_for(Kind::Refused, "df71", "refused");
        NOW_MS.fetch_add(1_000, SeqCst);
        alarm
    };
    raise();
    let alarm = raise();
    assert_eq!(alarm.lines()[0], "refused (since 1970-01-01T00:00:00Z, said again at 1970-01-01T00:00:01Z)");
    // A session begins, and what is refused in it is refused again.
    alarm.ask_anew(Kind::Refused);
    assert!(alarm.lines().is_empty(), "{:?}", alarm.lines());
    let alarm = raise();
    assert!(alarm.lines()[0].starts_with("refused (since 1970-01-01T00:00:00Z, "), "{:?}", alarm.lines());
    assert_eq!(count(&alarm, "refused").times, 1);
    alarm.over(Kind::Refused, "df71");
    let alarm = raise();
    assert_eq!(alarm.lines()[0], "refused (at 1970-01-01T00:00:03Z)");
    assert_eq!(count(&alarm, "refused").times, 2);
    // A table is read by each trainer.
    for text in ["run a: 2 rows", "run a: 2 rows", "run b: 2 rows"] {
        alarm.raise(Kind::Data, text, "");
    }
    assert_eq!(count(&alarm, "data").times, 2);
}

#[test]
fn each_alarm_is_one_line_whatever_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = Alarm::new(folder.path(), || 1_000);
    alarm.raise_for(
        Kind::Policy,
        "client.toml",
        "it cannot be used:\nline 3: a: wrong\n  line 4: b: wrong\n",
    );
    let said = "it cannot be used: line 3: a: wrong; line 4: b: wrong (at 1970-01-01T00:00:01Z)";
    assert_eq!(alarm.lines()[0], said);
}

#[test]
fn an_alarm_of_a_release_that_named_no_cause_is_over_with_the_next_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let before =
        r#"{"refused": {"times": 2, "last_unix_ms": 3999, "text": "this silo refuses the run df71"}}"#;
    fs::write(folder.path().join(FILE), before).unwrap();
    let alarm = Alarm::new(folder.path(), || 0);
    assert!(alarm.lines()[0].contains("df71 (the newest of 2") && alarm.lines().len() == 2);
    alarm.all_over(Kind::Refused);
    assert!(alarm.lines().is_empty());
}

#[test]
fn what_two_threads_raise_at_once_is_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = Alarm::new(folder.path(), || 0);
    std::thread::scope(|scope| {
        for kind in [Kind::Data, Kind::Changed, Kind::Training, Kind::Training] {
            let alarm = alarm.clone();
            scope.spawn(move || (0..25).for_each(|of| alarm.raise(kind, &format!("wrong: {of}"), "")));
        }
    });
    for (kind, times) in [("data", 25), ("changed", 25), ("training", 50), ("damaged", 0)] {
        assert_eq!(count(&alarm, kind).times, times, "{kind}");
    }
}

#[test]
fn alarms_that_cannot_be_read_are_an_alarm_and_are_kept_aside() {
    // Cut short, empty as after a power cut, or no file at all.
    for damage in ["{\"data\": {\"tim", "", "folder"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        if damage == "folder" { fs::create_dir(&path) } else { fs::write(&path, damage) }.unwrap();
        let shown = Alarm::new(folder.path(), || 7).lines();
        assert!(shown[0].contains("cannot be read") && path.exists(), "a look changes nothing: {shown:?}");
        let alarm = Alarm::begin(folder.path(), || 7_000);
        let aside = folder.path().join("alarms.damaged-7000");
        assert_eq!(fs::read_to_string(&aside).ok(), (damage != "folder").then(|| damage.to_owned()));
        assert!(aside.exists());
        alarm.raise(Kind::Changed, "changed", "");
        let lines = alarm.lines();
        assert!(lines[0].starts_with("changed (at ") && lines.len() == 3, "{lines:?}");
        assert!(lines[1].contains("alarms.damaged-7000") && lines[1].contains("(at 1970-01-01T00:00:07Z)"));
        assert_eq!(count(&alarm, "damaged").times, 1);
    }
}

#[test]
fn trainings_that_fail_in_a_row_are_counted_across_restarts_until_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let alarm = || Alarm::new(folder.path(), || 5_000);
    let line = || alarm().lines().remove(0);
    for round in 1..=4 {
        alarm().raise(Kind::Training, &format!("training failed in round {round}"), "");
        let in_a_row = line().contains(&format!("; {round} in a row"));
        assert_eq!((in_a_row, line().contains("stop the daemon")), (round > 1, round > 2), "{}", line());
    }
    let training = count(&alarm(), "training");
    assert_eq!((training.times, training.last_unix_s, training.in_a_row), (4, 5, 4));
    assert_eq!(count(&alarm(), "data").times, 0);
    alarm().trained();
    assert_eq!(count(&alarm(), "training").in_a_row, 0);
    assert!(!line().contains("in a row") && line().contains("(the newest of 4,"), "{}", line());
    alarm().raise(Kind::Training, "training failed in round 6", "");
    assert!(line().contains("(the newest of 5,") && !line().contains("in a row"), "{}", line());
}
