//! What a coordinator shows that this silo did not upload, or cannot prove.

use audit::{Actor, Log};
use identity::{IdentityKey, Member, Roster};
use plan::Policy;
use protocol::{Attempt, ClientRecord, Timestamp};

use super::*;

const OWN: ClientId = ClientId(1);
const NOW_S: u64 = 1_760_000_000;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn run() -> Digest {
    Digest::sha256(b"run")
}

fn upload(round: u64) -> Digest {
    Digest::sha256(&round.to_le_bytes())
}

/// Of this silo's, as the coordinator says.
fn event(round: u64, upload: Digest) -> Event {
    let actor = Actor { id: format!("silo-{OWN}"), role: "client".into(), address: None };
    let event = Event::new(1, actor, Action::UploadReceived, audit::Status::Ok);
    Event { round: Some(round), attempt: Some(1), digest: Some(upload.to_string()), ..event }
}

fn debit(round: u64) -> ClientRecord {
    let [model, r2] = [run(); 2];
    let (at, upload) = (Attempt { round, attempt: 1 }, upload(round));
    ClientRecord::Debited { now: Timestamp(1), at, model, r2, upload, event: None }
}

struct Watched {
    folder: tempfile::TempDir,
    log: Log,
    roster: AuthorisedRoster,
    witness: SiloWitness,
    uploads: Uploads,
}

/// A log that tells of uploads of this silo in rounds 0 to 2, and who witnesses it.
fn watched() -> Watched {
    let text = |byte| hex(key(byte).verifying_key().as_bytes());
    let member = |id: u8| Member { name: format!("silo {id}"), identity_key: text(id), admitted: 1 };
    let roster = sim::authorised(&Roster {
        format: None,
        federation: "watched".into(),
        epoch: 1,
        coordinator_key: text(9),
        members: (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect(),
        previous: None,
    });
    let profile = Profile {
        id: OWN,
        identity: IdentityKey::from_secret_hex(&"01".repeat(32)).unwrap(),
        authority: sim::authority().public(),
        roster: roster.clone(),
        policy: Policy::for_authors([]),
        declares_data: false,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(&folder.path().join("log"), &audit::log_name("watched"), key(9)).unwrap();
    log.append(&[0, 1, 2].map(|round| event(round, upload(round)))).unwrap();
    log.publish().unwrap();
    let uploads = Uploads::default();
    uploads.follow(&ClientRecord::Joined { run_id: run(), plan: run(), roster_epoch: 1 });
    (0..=2).for_each(|round| uploads.follow(&debit(round)));
    let state = WitnessState { remembers: false, receipts_after: None };
    let witness = SiloWitness::open(folder.path(), &profile).unwrap();
    let witness = witness.with_journal(state, uploads.clone()).unwrap();
    Watched { folder, log, roster, witness, uploads }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Watched {
    /// What the coordinator shows next.
    fn shown(&self) -> ShownLog {
        let (seen, size) = (self.witness.size(), self.log.published_size());
        let proof = if seen == 0 { Vec::new() } else { self.log.prove_consistency(seen, size).unwrap() };
        let first = self.witness.receipts_after().map_or(0, |after| after + 1);
        let receipts = (first..size).map(|index| {
            let entry = self.log.entries(index..index + 1).unwrap().remove(0);
            ShownReceipt { index, entry, proof: self.log.prove_inclusion(index).unwrap() }
        });
        ShownLog {
            checkpoint: self.log.checkpoint().unwrap(),
            proof: proof.into_iter().map(|hash| hash.to_vec()).collect(),
            receipts: receipts.collect(),
        }
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
    let mut log = Log::open(&other.path().join("log"), &audit::log_name("watched"), key(9)).unwrap();
    log.append(&[3, 4, 5].map(|round| event(round, upload(round)))).unwrap();
    log.publish().unwrap();
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
