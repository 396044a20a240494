//! Three real participants, the real driver and its files: back to an earlier model in the middle of a round, and what
//! cards say of the silos' data.

use checkpoint::ChainVerifier;
use plan::{Contribution, Policy, PrivacyMode};
use protocol::{
    Act, ClaimAnswer, ClientEffect, ClientEffects, ClientInput, OfRun, Participant, Profile, StepOutcome,
    TrainOutcome, Vector,
};
use secagg::MaskedUpdate;

use super::*;

pub(super) struct Silo {
    id: ClientId,
    participant: Participant,
    unread: Unread,
    masked: Option<MaskedUpdate>,
    /// Declared at a check-in of another process of the silo, as soon as this one has uploaded.
    new_data: Option<Digest>,
    /// So far ahead that nothing is waited for.
    now: Timestamp,
    _alive: oneshot::Receiver<()>,
}

fn policy() -> Policy {
    Policy {
        privacy_modes: [PrivacyMode::Fedavg].into(),
        repeats_without_dp: 9,
        ..Policy::for_authors([sim::author_text()])
    }
}

/// The silo that tells nothing of its data.
const SILENT: ClientId = ClientId(2);
/// What the others say of their trainers.
const SEALED: &str = "required: landlock 7, seccomp 3f2a90c1d4e5, namespaces";

fn data_of(id: ClientId) -> Digest {
    Digest::sha256(&id.0.to_le_bytes())
}

fn session(id: ClientId) -> SessionId {
    SessionId(u64::from(id.0))
}

impl Silo {
    pub(super) fn connect(driver: &mut Driver, id: u32) -> Self {
        let client = ClientId(id);
        let Setup { roster, authority, .. } = setup();
        let profile = Profile {
            id: client,
            identity: key(id as u8),
            authority,
            roster,
            policy: policy(),
            declares_data: client != SILENT,
            sandbox: (client != SILENT).then(|| SEALED.parse().unwrap()),
        };
        let participant = Participant::recover(profile, &[]).unwrap();
        let (outbox, unread, _alive) = Outbox::open();
        // A silo of the first release may tell of other data in the middle of a run.
        let (session, version) = (session(client), SessionVersion::Two);
        driver.take(Event::Attached { client, session, version, outbox }).unwrap();
        Self { id: client, participant, unread, masked: None, new_data: None, now: Timestamp(0), _alive }
    }

    fn input(&mut self, driver: &mut Driver, input: ClientInput) {
        self.now = self.now.plus_ms(1000);
        let mut effects = ClientEffects::new();
        self.participant.handle(self.now, &mut UnwrapErr(SysRng), input, &mut effects);
        for effect in effects {
            match effect {
                ClientEffect::Persist(_)
                | ClientEffect::Forget(_)
                | ClientEffect::Offer(_)
                | ClientEffect::ReturnClaim { .. } => {}
                ClientEffect::Claim { run, .. } => {
                    self.input(driver, ClientInput::Claimed { run, answer: ClaimAnswer::Held });
                }
                ClientEffect::ReadData { job, .. } => {
                    let commitment = Some(data_of(self.id));
                    self.input(driver, ClientInput::DataRead { job, commitment });
                }
                ClientEffect::Send(said) => {
                    let message = said;
                    driver.take(Event::Said { client: self.id, session: session(self.id), message }).unwrap();
                }
                ClientEffect::VerifyStep(job) => {
                    let (record, outcome) = (job.record, StepOutcome::Follows);
                    self.input(driver, ClientInput::StepVerified { record, outcome });
                }
                ClientEffect::Contradiction(lie) => panic!("an honest coordinator's record: {lie:?}"),
                ClientEffect::Train(job) => {
                    let outcome = TrainOutcome::Ready { origin: job.origin() };
                    self.input(driver, ClientInput::Trained { job: job.id, outcome });
                    self.input(driver, ClientInput::Tick);
                }
                ClientEffect::Mask(job) => {
                    let mechanism = job.plan.mechanism().unwrap();
                    let learned = sim::contribute(&job.plan, self.id, job.at);
                    let contribution = Contribution::new(job.origin, learned);
                    let protected = mechanism
                        .protect(contribution, job.origin, job.masking.noise(), &mut UnwrapErr(SysRng))
                        .unwrap();
                    let masked = protected.mask(job.masking);
                    let digest = Digest::from_bytes(masked.digest());
                    self.masked = Some(masked);
                    let vector = Some(Vector { origin: job.origin, digest, failed: false });
                    self.input(driver, ClientInput::Masked { job: job.id, vector });
                }
                ClientEffect::Upload(header) => {
                    let Ok(Staging { run, writer: Some(mut writer) }) = driver.begin_upload(&header) else {
                        panic!("the coordinator does not want the vector of {:?}", header.message.at);
                    };
                    for chunk in self.masked.take().unwrap().chunks(4096) {
                        writer.append(&chunk).unwrap();
                    }
                    writer.commit().unwrap();
                    let (reply, _) = oneshot::channel();
                    driver.take(Event::Uploaded { run, header: Box::new(header.message), reply }).unwrap();
                    if let Some(data) = self.new_data.take() {
                        let said = ToCoordinator::CheckIn {
                            head: Some(0),
                            data: Some(data),
                            sandbox: Some(SEALED.parse().unwrap()),
                        };
                        let message = Box::new(OfRun::from(said));
                        let (client, session) = (self.id, session(self.id));
                        driver.take(Event::Said { client, session, message }).unwrap();
                    }
                }
            }
        }
    }
}

/// Lets everyone speak until so many rounds are committed, or the driver ends.
pub(super) async fn run_to(
    driver: &mut Driver,
    silos: &mut [Silo],
    events: &mut mpsc::Receiver<Event>,
    rounds: u64,
) -> anyhow::Result<()> {
    loop {
        driver.perform()?;
        if status(driver).rounds_committed >= rounds {
            return Ok(());
        }
        let mut heard = false;
        for silo in silos.iter_mut() {
            while let Some(said) = silo.unread.taken() {
                heard = true;
                silo.input(driver, ClientInput::Message(OfRun::from(ToClient::try_from(said).unwrap())));
                driver.perform()?;
            }
        }
        if !heard {
            // Nobody has anything to say: a worker opens the sum, or an ended attempt's backing off runs out.
            let deadline = driver.federation.deadline(driver.judged);
            tokio::select! {
                event = events.recv() => driver.take(event.unwrap())?,
                () = driver.clock.reached(deadline) => driver.feed(Input::Tick),
            }
        }
    }
}

/// The published records, each with the files that it names.
fn verified(driver: &Driver) -> Vec<Manifest> {
    let mut chain = ChainVerifier::new(Some(setup().key.verifying_key()));
    let records = driver.read_chain(RunNumber::FIRST, None).unwrap();
    let verify = |signed: checkpoint::SignedManifest| {
        let manifest = chain.push(&signed).unwrap();
        published::read_version(first_folder(driver).store(), first_folder(driver).plan(), &manifest)
            .unwrap();
        manifest
    };
    records.into_iter().map(verify).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_round_a_run_goes_back_to_the_files_of_an_earlier_one_and_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut events) = mpsc::channel(64);
    let plan = || plan_of(3);
    let with_plan = Setup { plan: sim::authored(plan()), ..setup() };
    let mut driver = open_with(RunFolders::new(folder.path(), None), plain, with_plan, inbox).unwrap();
    let mut silos: Vec<Silo> = (1..=SILOS).map(|id| Silo::connect(&mut driver, id)).collect();
    silos[0].new_data = Some(Digest::sha256(b"other data"));
    run_to(&mut driver, &mut silos, &mut events, 2).await.unwrap();
    assert_eq!(status(&driver).phase, run_status::RunPhase::Training, "round 3 is open");

    act(&mut driver, quarantine(2)).unwrap().unwrap();
    let back = Act::Rollback { to_round: 1, by: "ops".into(), reason: "poisoned".into() };
    act(&mut driver, back).unwrap().unwrap();
    run_to(&mut driver, &mut silos, &mut events, 3).await.unwrap();

    let chain = verified(&driver);
    let [_, first, second, stopped, back, last] = &chain[..] else { panic!("{chain:?}") };
    assert_eq!((&stopped.model, &stopped.optimizer), (&second.model, &second.optimizer));
    assert_eq!((&back.model, &back.optimizer), (&first.model, &first.optimizer));
    assert_eq!(last.parent_model, Some(first.model.params_digest));
    assert_ne!(last.model, first.model);
    assert_eq!(last.privacy.steps, 3, "nothing is refunded");
    // A card goes on from that of the version whose model it has.
    let declared = |manifest: &Manifest| versions(&driver, manifest.round);
    assert_ne!(declared(second), declared(first), "silo 1 declared other data");
    assert_eq!((declared(stopped), declared(back)), (declared(second), declared(first)));
    assert_eq!(declared(last).len(), SILOS as usize);
    // Either model can still be fetched, by its name.
    for wanted in [first, second, last] {
        let digest = wanted.model.params_digest;
        let round = first_folder(&driver).find_model(&digest).unwrap().unwrap();
        let folder = checkpoint::folder_name(round);
        let file = first_folder(&driver).store().read_published(&folder, checkpoint::MODEL_FILE).unwrap();
        assert_eq!(Digest::sha256(&file), wanted.model.sha256);
    }
}

/// What the card of a round says of each silo's data.
fn versions(driver: &Driver, round: u64) -> Vec<(u32, Vec<Digest>)> {
    let card = card_of(driver, round);
    card.training_data.silos.into_iter().map(|silo| (silo.id, silo.data_versions)).collect()
}

fn card_of(driver: &Driver, round: u64) -> card::Card {
    let file = first_folder(driver)
        .store()
        .read_published(&checkpoint::folder_name(round), card::CARD_FILE)
        .unwrap();
    card::Card::from_yaml(std::str::from_utf8(&file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_says_what_its_silos_had_declared_of_their_data_when_they_uploaded_and_a_restart_forgets_none_of_it()
 {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut events) = mpsc::channel(64);
    let mut driver = open_with(RunFolders::new(folder.path(), None), plain, setup(), inbox).unwrap();
    let mut silos: Vec<Silo> = (1..=SILOS).map(|id| Silo::connect(&mut driver, id)).collect();
    let other = Digest::sha256(b"other data");
    silos[0].new_data = Some(other);
    run_to(&mut driver, &mut silos, &mut events, 2).await.unwrap();
    let (first, third) = (data_of(ClientId(1)), data_of(ClientId(3)));
    assert_eq!(
        versions(&driver, 1),
        [(1, vec![first]), (2, vec![]), (3, vec![third])],
        "not what it declared after it uploaded"
    );
    assert_eq!(versions(&driver, 2), [(1, vec![first, other]), (2, vec![]), (3, vec![third])]);
    for round in [1, 2] {
        assert_eq!(card_of(&driver, round).sandboxes, [(SEALED.to_owned(), 2)].into(), "round {round}");
    }
    let declared = core(&driver).data_declared().clone();
    let sandboxes = core(&driver).sandboxes_declared().clone();
    assert_eq!((declared.len(), sandboxes.len()), (2, 2));
    drop(driver);
    let again = open_with(RunFolders::new(folder.path(), None), plain, setup(), mpsc::channel(16).0).unwrap();
    assert_eq!(*core(&again).data_declared(), declared);
    assert_eq!(*core(&again).sandboxes_declared(), sandboxes);
    let written = journal_of(again);
    let changes = |of: fn(&Record) -> bool| written.iter().filter(|kept| of(kept)).count();
    assert_eq!(
        changes(|kept| matches!(kept, Record::DataDeclared { .. })),
        3,
        "only what differs is written down"
    );
    assert_eq!(
        changes(|kept| matches!(kept, Record::SandboxDeclared { .. })),
        2,
        "once for each silo that says it"
    );
}

fn journal_of(mut driver: Driver) -> Vec<Record> {
    driver.at_work(RunNumber::FIRST).unwrap().folder.journal().unwrap()
}
