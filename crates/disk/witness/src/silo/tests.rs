//! What a coordinator shows that this silo did not upload, or cannot prove.

use audit::Log;
use protocol::ClientRecord;

use super::*;
use crate::samples::{self, event, run, upload};

const NOW_S: u64 = 1_760_000_000;

struct Watched {
    folder: tempfile::TempDir,
    log: Log,
    roster: AuthorisedRoster,
    witness: SiloWitness,
    uploads: Uploads,
}

/// A log that tells of uploads of this silo in rounds 0 to 2, and who witnesses it.
fn watched() -> Watched {
    let folder = tempfile::tempdir().unwrap();
    let log = samples::log(&folder.path().join("log"));
    let uploads = samples::uploads();
    let state = WitnessState { remembers: false, receipts_after: None };
    let witness = SiloWitness::open(folder.path(), &samples::profile()).unwrap();
    let witness = witness.with_journal(state, uploads.clone()).unwrap();
    Watched { folder, log, roster: samples::roster(), witness, uploads }
}

impl Watched {
    /// What the coordinator shows next.
    fn shown(&self) -> ShownLog {
        samples::shown(&self.log, self.witness.size(), self.witness.receipts_after())
    }

    /// Looks, and reports it.
    fn look(&mut self) -> (Vec<(Digest, u64)>, Result<Cosignature, LookFault>) {
        self.look_at(self.shown())
    }

    fn look_at(&mut self, shown: ShownLog) -> (Vec<(Digest, u64)>, Result<Cosignature, LookFault>) {
        let look = self.witness.look(shown, &self.roster, NOW_S).unwrap();
        (look.seen().receipts.clone(), look.reported())
    }

    fn append(&mut self, events: &[Event]) {
        self.log.append(events).unwrap();
        self.log.publish().unwrap();
    }

    /// The files of receipts, by their names.
    fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.folder.path().join(RECEIPTS)).unwrap().map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        });
        files.collect()
    }
}

#[test]
fn a_receipt_that_cannot_be_kept_is_asked_for_again_and_those_before_it_are_reported() {
    let mut watched = watched();
    let mut shown = watched.shown();
    shown.receipts[1].entry.push(b' ');
    let (receipts, answered) = watched.look_at(shown);
    assert_eq!(receipts, [(upload(0), 0)]);
    assert!(matches!(answered, Err(LookFault::Receipt { index: 1, .. })), "and nothing is cosigned");
    assert_eq!(watched.witness.receipts_after(), Some(0));
    let (receipts, answered) = watched.look();
    assert_eq!(receipts, [(upload(1), 1), (upload(2), 2)]);
    assert_eq!(answered.unwrap().size, 3);
}

#[test]
fn a_look_that_nobody_reported_loses_no_receipt() {
    let mut watched = watched();
    let all = [0, 1, 2].map(|round| (upload(round), round));
    let shown = watched.shown();
    assert_eq!(watched.witness.look(shown, &watched.roster, NOW_S).unwrap().seen().receipts, all);
    assert_eq!(watched.witness.receipts_after(), None);
    assert_eq!(watched.look().0, all);
    assert_eq!(watched.witness.receipts_after(), Some(2));
    assert_eq!(watched.look().0, []);
}

#[test]
fn receipts_of_what_the_silo_did_not_upload_are_not_kept_and_take_no_other_ones_place() {
    let mut watched = watched();
    assert!(watched.look().1.unwrap().grown);
    let before = watched.kept();
    let run = run();
    for round in 0..=2 {
        assert!(before.contains_key(&format!("{round:06}-1-{run}.tlog-proof")), "{:?}", before.keys());
    }
    let made_up: Vec<Event> = (0..64).map(|round| event(round, upload(round + 100))).collect();
    watched.append(&made_up);
    assert_eq!(watched.look().0, []);
    assert_eq!(watched.kept(), before, "a coordinator decides how much lies here, and under which names");
}

#[test]
fn a_log_that_repeats_an_upload_without_end_has_its_receipt_kept_once() {
    let mut watched = watched();
    watched.append(&[event(1, upload(1))]);
    assert_eq!(watched.look().0.len(), 3, "the second comes with the first");
    let repeated = [(); RECEIPTS_AT_ONCE].map(|()| event(1, upload(1)));
    watched.append(&repeated);
    let before = watched.kept();
    let (receipts, answered) = watched.look();
    assert_eq!(receipts, []);
    assert!(!answered.unwrap().more, "nothing new, so the next look waits for the heartbeat");
    assert_eq!(watched.kept(), before);
    // What the journal says is receipted is not written anew after a restart either.
    watched.uploads.follow(&ClientRecord::UploadReceipted { upload: upload(2), index: 2 });
    watched.append(&repeated);
    assert_eq!(watched.look().0, []);
}

#[test]
fn a_log_that_rewrites_its_history_contradicts_itself_and_is_not_cosigned() {
    let mut watched = watched();
    assert_eq!(watched.look().1.unwrap().size, 3);
    let other = tempfile::tempdir().unwrap();
    let log = samples::log_of(&other.path().join("log"), &[3, 4, 5].map(|round| event(round, upload(round))));
    let checkpoint = log.checkpoint().unwrap();
    let shown = ShownLog { checkpoint, proof: Vec::new(), receipts: Vec::new() };
    let refused = watched.witness.look(shown, &watched.roster, NOW_S).err().unwrap();
    assert!(refused.is_contradiction(), "{refused}");
    let shown = ShownLog { proof: vec![vec![0; 31]], ..watched.shown() };
    let refused = watched.witness.look(shown, &watched.roster, NOW_S).err().unwrap();
    assert!(!refused.is_contradiction(), "a broken proof says nothing: {refused}");
}

#[test]
fn a_memory_that_the_journal_knows_of_and_that_is_gone_is_asked_for() {
    let Watched { witness, uploads, .. } = watched();
    let state = WitnessState { remembers: true, receipts_after: None };
    let why = witness.with_journal(state, uploads).err().unwrap().to_string();
    assert!(why.contains("/witness` is missing") && why.contains("witness forget"), "{why}");
}
