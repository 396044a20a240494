//! The log across crashes, and beside a journal.

use std::task::{Context as Task, Waker};

use protocol::{Attempt, RoundOutcome};

use super::*;

fn round(round: u64) -> [Record; 2] {
    let now = Timestamp(1000 * round);
    let at = Attempt { round, attempt: 1 };
    let outcome = RoundOutcome::TooFewAdverts { got: 0, need: 3 };
    let cohort = (1..=3).map(ClientId).collect();
    [Record::AttemptBegun { now, at, cohort }, Record::Aborted { now, outcome }]
}

fn open(folder: &Path, journal: &[Record]) -> AuditLog {
    publishing(folder, journal, Duration::ZERO)
}

fn publishing(folder: &Path, journal: &[Record], every: Duration) -> AuditLog {
    let key = SigningKey::from_bytes(&[7; 32]);
    AuditLog::open(folder, "folkmoot/test", key, &[(None, journal)], every).unwrap()
}

fn entries(folder: &Path) -> Vec<(String, Option<u64>)> {
    let log = Log::open(folder, "folkmoot/test", SigningKey::from_bytes(&[7; 32])).unwrap();
    let entries = log.entries(0..log.size()).unwrap();
    let events = entries.iter().map(|entry| Event::decode(entry).unwrap());
    events.map(|event| (event.action, event.round)).collect()
}

#[test]
fn what_a_crash_kept_out_of_the_log_is_written_at_the_next_start_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let journal: Vec<Record> = (1..=3).flat_map(round).collect();
    let whole = folder.path().join("whole");
    open(&whole, &journal).close();
    // The process ends with half a round in the log, and has journalled more.
    open(&audit, &journal[..3]).close();
    assert_eq!(entries(&audit).len(), 3);
    let log = open(&audit, &journal[..4]);
    let refs: Vec<&Record> = journal[4..].iter().collect();
    log.journalled(None, 4, Timestamp(3000), &refs).unwrap();
    log.close();
    open(&audit, &journal).close();
    assert_eq!(entries(&audit), entries(&whole));
    assert_eq!(entries(&whole)[4], ("round.opened".to_owned(), Some(3)));
}

#[test]
fn the_events_of_each_run_are_numbered_by_its_own_journal_across_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let run = Some(Digest::sha256(b"second"));
    let (first, second): (Vec<Record>, Vec<Record>) =
        ((1..=3).flat_map(round).collect(), (1..=2).flat_map(round).collect());
    let open = |journals: &[(LaterRun, &[Record])]| {
        let key = SigningKey::from_bytes(&[7; 32]);
        AuditLog::open(&audit, "folkmoot/test", key, journals, Duration::ZERO).unwrap().close();
    };
    // The second begins in the middle of the first; then each has journalled more than the log knows.
    open(&[(None, &first[..3])]);
    open(&[(None, &first[..3]), (run, &second[..1])]);
    open(&[(None, &first[..5]), (run, &second)]);
    open(&[(None, &first), (run, &second)]);
    open(&[(None, &first), (run, &second)]);
    let log = Log::open(&audit, "folkmoot/test", SigningKey::from_bytes(&[7; 32])).unwrap();
    let mut numbers: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for entry in log.entries(0..log.size()).unwrap() {
        let event = Event::decode(&entry).unwrap();
        numbers.entry(event.run).or_default().push(event.details[JOURNAL].clone());
    }
    assert_eq!(numbers[&None], ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(numbers[&run.map(|run| run.to_string())], ["0", "1", "2", "3"]);
}

#[test]
fn a_log_whose_thread_has_ended_stops_the_driver_instead_of_going_unwritten() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder.path().join("audit"), &[]);
    log.close();
    let [opened, _] = round(1);
    let why = log.journalled(None, 0, Timestamp(1), &[&opened]).unwrap_err().to_string();
    assert!(why.contains("the audit log is not written any more"), "{why}");
}

#[tokio::test]
async fn whoever_reads_all_entries_takes_no_cosignature_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = publishing(&folder.path().join("audit"), &round(1), Duration::from_secs(3600));
    let shown = async || log.witness(ClientId(1), 0, None).await.unwrap().unwrap().checkpoint;
    let origin = VerifierKey::new("folkmoot/test", SigningKey::from_bytes(&[7; 32]).verifying_key()).unwrap();
    let silo = SigningKey::from_bytes(&[1; 32]);
    let mut witness = audit::Witness::open(&folder.path().join("seen"), origin).unwrap();
    let line = witness.observe(&shown().await, &[], &silo, "silo-1", 1).unwrap();
    log.cosign(line, VerifierKey::new("silo-1", silo.verifying_key()).unwrap()).await.unwrap().unwrap();
    let cosigned = shown().await;

    let more = round(2);
    log.journalled(None, 2, Timestamp(2000), &more.iter().collect::<Vec<_>>()).unwrap();
    for _ in 0..3 {
        let indices: Vec<u64> = log.entries(0).await.unwrap().unwrap().iter().map(|(at, _)| *at).collect();
        assert_eq!(indices, [0, 1, 2, 3], "what has just happened is read too");
    }
    assert!(log.entries(4).await.unwrap().unwrap().is_empty());
    assert_eq!(shown().await, cosigned);
    log.close();
}

#[tokio::test(start_paused = true)]
async fn a_question_that_finds_no_place_is_asked_once_there_is_one_and_not_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder.path().join("audit"), &[]);
    let closing = log.clone();
    let begun = tokio::time::Instant::now();
    let mut asked = std::pin::pin!(log.entries(0));
    {
        // The thread stands still behind the first command that it takes.
        let _held = log.quota();
        log.commands.try_send(Command::Append(vec![])).unwrap();
        while log.commands.capacity() < log.commands.max_capacity() {
            std::thread::yield_now();
        }
        while log.commands.try_send(Command::Append(vec![])).is_ok() {}
        assert!(asked.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
    }
    assert!(asked.await.unwrap().unwrap().is_empty());
    assert_eq!(tokio::time::Instant::now(), begun, "it was waited for by a clock");
    // Its thread is waited for where waiting is allowed.
    std::thread::spawn(move || closing.close()).join().unwrap();
}

#[test]
fn calls_that_were_left_out_are_one_entry_that_names_only_what_there_was() {
    let entry =
        |left_out: CallsLeftOut| String::from_utf8(left_out_event(9, &left_out).encode().unwrap()).unwrap();
    let of_callers = vec![("silo/3".into(), 6), ("silo/5".into(), 2)];
    let all =
        CallsLeftOut { since_ms: 1, refused_strangers: 2, calls_of_strangers: 3, of_callers, of_others: 4 };
    assert_eq!(
        entry(all),
        r#"{"action":"calls.left_out","actor":{"id":"coordinator","role":"coordinator"},"details":{"calls_of_strangers":"3","of_callers":"silo/3: 6, silo/5: 2","of_others":"4","refused_strangers":"2","since_ms":"1"},"status":"refused","time_ms":9}"#
    );
    let one = entry(CallsLeftOut { since_ms: 1, of_others: 4, ..CallsLeftOut::default() });
    assert!(one.contains(r#""details":{"of_others":"4","since_ms":"1"}"#), "{one}");
}
