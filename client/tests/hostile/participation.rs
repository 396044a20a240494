//! Who takes part, when, and with what, in every mode that promises something about records: never what a row says.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datasets::Dataset;
use ledger::{Declared, DeclaredFile, Statement, What};
use params::{Digest, Params};
use plan::{Column, Plan, Privacy, PrivacyMode, Promise, Sampling, Schema, Scheme};
use protocol::{Attempt, ClientRecord, Decline, ToClient, ToCoordinator};
use tempfile::TempDir;
use train::StoppableTrainer;
use trainer::{Stop, TrainError, Trained, Trainer, Trainers};

use crate::crossed::{binding, opened, read};
use crate::federation::{
    Federation, Sources, UNMASKED, burn, kind, ledger_in, plan, records, table, threads,
};
use crate::lies::reading_for_ever;
use crate::mock::{FIRST, genesis, roster, welcome};
use crate::own_log::OwnLog;

const CLIP: f64 = 0.5;
/// What noise and rounding add to a vector of this few coordinates, with room.
pub(crate) const TOLERANCE: f64 = 0.02;
/// Long enough for a training on three rows, on a machine that does much else.
pub(crate) const READY_AFTER_MS: u64 = 4_000;
/// A row that each of these tables has in its middle, and what may stand in its place.
pub(crate) const FITS: &str = "1,0.9,0.8,0.7";
/// A row that trainers which fail fail over.
const FATAL: &str = "1,0.5,0.5,0.5";
const MISFITS: [&str; 6] =
    ["9,0.9,0.8,0.7", ",0.9,0.8,0.7", "1,,0.8,0.7", "1,tall,0.8,0.7", "1,inf,0.8,0.7", "1,0.9"];

/// How a trainer fails over the fatal row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Panic,
    Hang,
    Memory,
    Error,
}

/// Fails in its way where it sees the fatal row, and else trains.
struct Failing {
    stop: Stop,
    failure: Failure,
    /// Where it hangs until the test lets go.
    hold: Arc<Mutex<Receiver<()>>>,
    hung: Arc<AtomicUsize>,
}

impl Trainer for Failing {
    fn train(
        &mut self,
        plan: &Plan,
        model: &Params,
        data: &Dataset,
        clip_norm: Option<f64>,
        seed: [u8; 32],
    ) -> Result<Trained, TrainError> {
        let fatal = (0..data.rows())
            .any(|row| data.fits(row) && data.row(row).unwrap().windows(2).all(|two| two[0] == two[1]));
        match (fatal, self.failure) {
            (false, _) => {}
            (true, Failure::Panic) => panic!("planted"),
            (true, Failure::Memory) => drop(Vec::<u64>::with_capacity(usize::MAX)),
            (true, Failure::Error) => return Err(TrainError::Tensor("planted".into())),
            (true, Failure::Hang) => {
                self.hung.fetch_add(1, SeqCst);
                // Ends with the test, which lets its end of the channel go.
                let _ = self.hold.lock().unwrap().recv();
            }
        }
        StoppableTrainer(self.stop.clone()).train(plan, model, data, clip_norm, seed)
    }
}

fn failing(failure: Failure) -> (Sources, Sender<()>, Arc<AtomicUsize>) {
    let (let_go, hold) = channel();
    let (hold, hung) = (Arc::new(Mutex::new(hold)), Arc::new(AtomicUsize::new(0)));
    let hanging = Arc::clone(&hung);
    let trainers: Trainers = Arc::new(move |stop| {
        let (hold, hung) = (Arc::clone(&hold), Arc::clone(&hanging));
        Box::new(Failing { stop, failure, hold, hung })
    });
    (threads(trainers), let_go, hung)
}

/// With all rows in each batch and the noise that a plan cannot have less of, which is next to none.
fn nearly_exact(privacy: impl Fn(f64, f64, f64) -> Privacy) -> Plan {
    let privacy = privacy(1e15, 1e-5, 2e-4);
    let base = plan();
    let mut exact = Plan { privacy, ..sim::private_plan(4, 9, 50.0) };
    (exact.cohort, exact.timing) = (base.cohort, base.timing);
    exact.training.learning_rate = 1.0;
    exact.timing.round_deadline_ms = 30_000;
    exact.timing.ready_after_ms = READY_AFTER_MS;
    exact.validate().unwrap();
    exact
}

pub(crate) fn in_each_silo() -> Plan {
    nearly_exact(|epsilon, delta, noise_multiplier| {
        Privacy::Private(Promise {
            epsilon,
            delta,
            noise_multiplier,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::SiloDpSgd {
                sampling: Sampling { unit: plan::Sampled::Record, rate: 1.0, divisor: 1.0, rows_max: 64 },
                local_steps: 1,
                coordinate_max: 4.0,
                fraction_bits: 20,
            },
        })
    })
}

pub(crate) fn of_sums() -> Plan {
    nearly_exact(|epsilon, delta, noise_multiplier| {
        Privacy::Private(Promise {
            epsilon,
            delta,
            noise_multiplier,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::DistributedDpSgd {
                sampling: Sampling { unit: plan::Sampled::Record, rate: 1.0, divisor: 1.0, rows_max: 64 },
                remove_excess_noise: false,
                adaptive_clip: None,
            },
        })
    })
}

pub(crate) fn of_updates() -> Plan {
    nearly_exact(|epsilon, delta, noise_multiplier| {
        Privacy::Private(Promise {
            epsilon,
            delta,
            noise_multiplier,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::DistributedDpFedavg { remove_excess_noise: false, adaptive_clip: None },
        })
    })
}

pub(crate) fn at_the_coordinator() -> Plan {
    nearly_exact(|epsilon, delta, noise_multiplier| {
        Privacy::Private(Promise {
            epsilon,
            delta,
            noise_multiplier,
            clip_norm: CLIP,
            scale_bits: 16,
            scheme: Scheme::CentralDpFedavg { adaptive_clip: None },
        })
    })
}

/// What others see of a round, what is in it, and what stays in the silo.
pub(crate) struct Seen {
    /// Kinds and sizes of all messages, in their order, and the size of the vector.
    pub(crate) messages: Vec<(String, usize)>,
    pub(crate) ready_after: Duration,
    /// In units of the clip norm's.
    pub(crate) vector: Vec<f64>,
    pub(crate) ledger: Vec<&'static str>,
    pub(crate) alarms: String,
    pub(crate) log: OwnLog,
}

pub(crate) async fn federation(plan: &Plan, table: Option<&str>, trainers: Sources) -> Federation {
    let put = |data: &Path| match table {
        Some(table) => std::fs::write(data, table).unwrap(),
        None => std::fs::remove_file(data).unwrap(),
    };
    federation_whose(put, plan, trainers).await
}

async fn federation_whose(data: impl FnOnce(&Path), plan: &Plan, trainers: Sources) -> Federation {
    let (_, file) = genesis(plan);
    let chunks = wire::model_chunks(0, plan.initial_model().digest(), file.into()).collect();
    let change = |config: &mut client::Config| {
        data(&config.data);
        config.policy.privacy_modes = [plan.mode()].into();
        config.policy.epsilon_max = 1e16;
        // What a file lacks of it is a fault of the silo's own table, and seen by nobody else.
        let number = |column: &str| (column.to_owned(), Column::Number {});
        let label = ("label".to_owned(), Column::Label { classes: plan.data.classes.count() });
        config.policy.schema = Some(Schema([number("a"), number("b"), number("c"), label].into()));
        config.tells_data_version = true;
    };
    Federation::training(plan.clone(), chunks, change, trainers).await
}

/// A whole round of the daemon with this table.
async fn round(plan: &Plan, table: Option<String>, failure: Failure) -> Seen {
    let (trainers, _hold, _) = failing(failure);
    seen(plan, table, trainers).await
}

/// A whole round of the daemon with this table and these trainers.
pub(crate) async fn seen(plan: &Plan, table: Option<String>, trainers: Sources) -> Seen {
    let mut all = federation(plan, table.as_deref(), trainers).await;
    let opens = Instant::now();
    let said = all.say(all.open(FIRST)).await;
    let ready_after = opens.elapsed();
    let ToCoordinator::Advertise { advert, .. } = said else { panic!("{said:?}") };
    let binding = binding(Digest::sha256(b"run"), plan, FIRST, plan.initial_model().digest());
    let sum = opened(&mut all, &binding, advert, plan).await;
    let mut messages = std::mem::take(&mut all.session.sizes);
    messages.push(("vector".into(), sum.len()));
    let folder = all.left().await;
    let kinds: Vec<_> = records(&folder).iter().map(kind).collect();
    assert_eq!(
        kinds
            .iter()
            .copied()
            .filter(|kind| !["declared", "undeclared", "failed"].contains(kind))
            .collect::<Vec<_>>(),
        UNMASKED
    );
    let account = ledger_in(&folder).inspect().unwrap().account;
    let ledger: Vec<&str> = account
        .entries()
        .iter()
        .filter(|entry| entry.release().is_some())
        .map(|entry| match &entry.what {
            What::Debit { cost, .. } => {
                assert_eq!(Some(cost.event), plan.event());
                "debit"
            }
            What::ExactRelease { .. } => "exact",
            _ => "nothing that was used",
        })
        .collect();
    assert_eq!(
        kinds.contains(&"failed"),
        ledger == ["debit", "exact"],
        "the journal tells what the ledger does"
    );
    let alarms = std::fs::read_to_string(folder.path().join("state/alarms.json")).unwrap_or_default();
    let vector = match plan.mode() {
        // The step, of the one silo that has a weight in the sum.
        PrivacyMode::SiloDpSgd => {
            let unit = 1.0 / plan.training.learning_rate;
            read(plan, &sum).into_iter().map(|value| f64::from(value) * unit).collect()
        }
        _ => sum.iter().map(|lane| f64::from(lane.cast_signed()) / f64::from(1 << 16)).collect(),
    };
    Seen { messages, ready_after, vector, ledger, alarms, log: OwnLog::of(folder.path()) }
}

pub(crate) fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|value| value.powi(2)).sum::<f64>().sqrt()
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len());
    norm(&one.iter().zip(other).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// What holds in every mode that promises something.
async fn nobody_sees_what_a_row_says(plan: Plan, one_record_is_the_unit: bool) {
    let mut cases = vec![("fits".to_owned(), table(FITS), Failure::Error)];
    cases.extend(MISFITS.map(|row| (row.to_owned(), table(row), Failure::Error)));
    let no_rows =
        [Some("label,a,b,c\n".to_owned()), Some(String::new()), Some("label,a\n1,2\n".to_owned()), None];
    cases.extend(no_rows.map(|table| (format!("{table:?}"), table, Failure::Error)));
    let failures = [Failure::Panic, Failure::Hang, Failure::Memory, Failure::Error];
    cases.extend(failures.map(|failure| (format!("{failure:?}"), table(FATAL), failure)));
    let rounds = cases.into_iter().map(|(case, table, failure)| {
        let plan = plan.clone();
        tokio::spawn(async move { (case, round(&plan, table, failure).await) })
    });
    let rounds: Vec<_> = rounds.collect();
    let mut seen = Vec::new();
    for round in rounds {
        seen.push(round.await.unwrap());
    }
    let fits = &seen[0].1;
    assert!(norm(&fits.vector) > 0.1 && fits.alarms.is_empty(), "{:?} {}", fits.vector, fits.alarms);
    let misfit = &seen[1].1;
    for (case, seen) in &seen {
        assert_eq!(seen.messages, fits.messages, "{case}");
        // Not sooner than the plan says and not as late as its step allows; between lies what the machine does else.
        let (soonest, latest) =
            (Duration::from_millis(READY_AFTER_MS), Duration::from_millis(3 * READY_AFTER_MS));
        assert!((soonest..latest).contains(&seen.ready_after), "{case}: {:?}", seen.ready_after);
        assert_eq!(case == "fits", seen.alarms.is_empty(), "{case}: {}", seen.alarms);
        seen.log.check(case, MISFITS.contains(&&**case));
        let moved = distance(&seen.vector, &fits.vector);
        match &**case {
            "fits" => assert_eq!(seen.ledger, ["debit"]),
            row if MISFITS.contains(&row) => {
                assert_eq!(seen.ledger, ["debit"], "{case}");
                let most = if one_record_is_the_unit { CLIP } else { 2.0 * CLIP };
                assert!(moved <= most + TOLERANCE, "{case} moves the sum by {moved}");
                if one_record_is_the_unit {
                    assert!(moved > 0.05, "{case}: the row was in the batch");
                    assert!(distance(&seen.vector, &misfit.vector) < TOLERANCE, "{case} adds something");
                }
            }
            "Panic" | "Hang" | "Memory" | "Error" => {
                assert_eq!(seen.ledger, ["debit", "exact"], "{case}");
                assert!(norm(&seen.vector) < TOLERANCE, "{case}: {:?}", seen.vector);
            }
            _ => {
                assert_eq!(seen.ledger, ["debit"], "{case}");
                assert!(norm(&seen.vector) < TOLERANCE, "{case}: {:?}", seen.vector);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_silo_dp_sgd_nobody_sees_whether_a_row_fits_or_training_fails() {
    nobody_sees_what_a_row_says(in_each_silo(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_distributed_dp_sgd_nobody_sees_whether_a_row_fits_or_training_fails() {
    nobody_sees_what_a_row_says(of_sums(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_distributed_dp_fedavg_nobody_sees_whether_a_row_fits_or_training_fails() {
    nobody_sees_what_a_row_says(of_updates(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_central_dp_fedavg_nobody_sees_whether_a_row_fits_or_training_fails() {
    nobody_sees_what_a_row_says(at_the_coordinator(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_promised_a_silo_whose_training_fails_sits_that_round_out_and_lives() {
    for failure in [Failure::Panic, Failure::Hang, Failure::Memory, Failure::Error] {
        let (trainers, let_go, hung) = failing(failure);
        let mut all = federation(&plan(), table(FATAL).as_deref(), trainers).await;
        let reason = Decline::Unavailable;
        let declined = ToCoordinator::Declined { round: Some(1), reason };
        for attempt in 1..=2 {
            assert_eq!(all.say(all.open(Attempt { round: 1, attempt })).await, declined, "{failure:?}");
        }
        let each = if failure == Failure::Hang { 2 } else { 0 };
        assert_eq!(hung.load(SeqCst), each, "the second attempt has a trainer of its own");
        drop(let_go);
        all.left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_hangs_keeps_no_later_one_from_a_trainer_of_its_own() {
    let (trainers, let_go, hung) = failing(Failure::Hang);
    let mut plan = of_sums();
    plan.timing.ready_after_ms = 1_000;
    let mut all = federation(&plan, table(FATAL).as_deref(), trainers).await;
    for attempt in 1..=3 {
        let said = all.say(all.open(Attempt { round: 1, attempt })).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
        assert_eq!(hung.load(SeqCst), attempt as usize);
        let outcome = protocol::RoundOutcome::TooFewAdverts { got: 1, need: 3 };
        all.session.say(ToClient::Aborted { at: Attempt { round: 1, attempt }, outcome }).await;
    }
    drop(let_go);
    all.left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_whose_trainings_keep_failing_goes_on_like_any_other_and_its_operator_hears_of_each() {
    let (trainers, let_go, _) = failing(Failure::Error);
    let mut plan = of_sums();
    plan.timing.ready_after_ms = 1_000;
    let mut all = federation(&plan, table(FATAL).as_deref(), trainers).await;
    for attempt in 1..=4 {
        let said = all.say(all.open(Attempt { round: 1, attempt })).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "attempt {attempt}: {said:?}");
        // It is written behind what others see.
        let written = async {
            let in_a_row = format!("\"in_a_row\": {attempt}");
            while !std::fs::read_to_string(all.state().join("alarms.json"))
                .is_ok_and(|alarms| alarms.contains(&in_a_row))
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), written).await.unwrap();
        let outcome = protocol::RoundOutcome::TooFewAdverts { got: 1, need: 3 };
        all.session.say(ToClient::Aborted { at: Attempt { round: 1, attempt }, outcome }).await;
    }
    drop(let_go);
    all.left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_does_not_show_whether_a_row_made_training_hang_in_the_one_before() {
    let mut sizes = Vec::new();
    for row in [FITS, FATAL] {
        let (trainers, let_go, hung) = failing(Failure::Hang);
        let plan = of_sums();
        let mut all = federation(&plan, table(row).as_deref(), trainers).await;
        let said = all.say(all.open(FIRST)).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "{row}: {said:?}");
        assert_eq!(hung.load(SeqCst), usize::from(row == FATAL), "{row}: and it has not ended");
        // The same signed plan, in a run that the coordinator invented.
        let welcomed = Instant::now();
        let said = all.say(welcome(Digest::sha256(b"another run"), &plan, &roster())).await;
        let after = welcomed.elapsed();
        assert!(
            matches!(said, ToCoordinator::CheckIn { head: None, data: Some(_), sandbox: None }),
            "{row}: {said:?}"
        );
        let (soonest, latest) =
            (Duration::from_millis(READY_AFTER_MS), Duration::from_millis(3 * READY_AFTER_MS));
        assert!((soonest..latest).contains(&after), "{row}: {after:?}");
        sizes.push(std::mem::take(&mut all.session.sizes));
        drop(let_go);
        let folder = all.left().await;
        let committed = |record: &&ClientRecord| matches!(record, ClientRecord::DataCommitted { .. });
        let runs = records(&folder).iter().filter(committed).count();
        assert_eq!(runs, 2, "{row}: what hangs keeps no other run's data from being read");
    }
    assert_eq!(sizes[0], sizes[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silo_whose_data_is_not_read_in_time_tells_a_word_like_any_other_and_its_operator_which_it_is() {
    let mut sizes = Vec::new();
    for hangs in [false, true] {
        let (plan, trainers) = (of_sums(), if hangs { reading_for_ever() } else { burn() });
        let mut all = federation(&plan, table(FITS).as_deref(), trainers).await;
        let said = all.say(all.open(FIRST)).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
        sizes.push(std::mem::take(&mut all.session.sizes));
        let folder = all.left().await;
        let stands_in = |record: &ClientRecord| matches!(record, ClientRecord::DataNotDeclared { .. });
        assert_eq!(records(&folder).iter().any(stands_in), hangs);
        // What opens it lies beside the ledger, or that nothing does.
        let [declared] = &declared(&folder)[..] else { panic!("one run") };
        assert_eq!(declared.run, Digest::sha256(b"run"));
        assert_eq!(matches!(declared.statement, Statement::Random(_)), hangs, "{declared:?}");
        let alarms = std::fs::read_to_string(folder.path().join("state/alarms.json")).unwrap_or_default();
        assert_eq!(alarms.contains("opens to nothing"), hangs, "{alarms}");
        if let Statement::Random(word) = declared.statement {
            assert!(alarms.contains(&format!("run {}, word {word}", declared.run)), "{alarms}");
        }
    }
    assert_eq!(sizes[0], sizes[1]);
}

fn declared(folder: &TempDir) -> Vec<Declared> {
    let file = DeclaredFile::read(ledger_in(folder).path(), "silo").unwrap();
    file.unwrap().open(None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_what_was_declared_that_is_damaged_ends_no_daemon_whether_its_table_can_be_read_or_not() {
    for table_of in [Some(FITS), None] {
        let (trainers, ..) = failing(Failure::Error);
        let put = |data: &Path| {
            if let Some(row) = table_of {
                std::fs::write(data, table(row).unwrap()).unwrap();
            } else {
                std::fs::remove_file(data).unwrap();
            }
            let ledgers = data.with_file_name("state").join("ledger");
            std::fs::create_dir_all(&ledgers).unwrap();
            std::fs::write(ledgers.join("silo.declared"), "not a record\n").unwrap();
        };
        let mut all = federation_whose(put, &of_sums(), trainers).await;
        let said = all.say(all.open(FIRST)).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
        let folder = all.left().await;
        let words = records(&folder);
        assert_eq!(words.iter().filter(|record| kind(record) == "undeclared").count(), 1);
        let alarms = std::fs::read_to_string(folder.path().join("state/alarms.json")).unwrap();
        assert!(alarms.contains("silo.declared") && alarms.contains("could not be written down"), "{alarms}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_silo_says_waits_until_its_operators_alarm_is_written() {
    let (trainers, let_go, _) = failing(Failure::Error);
    let mut plan = of_sums();
    plan.timing.ready_after_ms = 1_000;
    let mut all = federation(&plan, table(FATAL).as_deref(), trainers).await;
    // Whoever looks at the alarms before it raises one stands still.
    let alarms = all.state().join("alarms.json");
    assert!(std::process::Command::new("mkfifo").arg(&alarms).status().unwrap().success());
    let said = all.say(all.open(FIRST)).await;
    let ToCoordinator::Advertise { advert, .. } = said else { panic!("{said:?}") };
    let binding = binding(Digest::sha256(b"run"), &plan, FIRST, plan.initial_model().digest());
    opened(&mut all, &binding, advert, &plan).await;
    let writer = std::fs::File::options().write(true).open(&alarms).unwrap();
    std::fs::remove_file(&alarms).unwrap();
    drop((writer, let_go));
    let folder = all.left().await;
    let alarms = std::fs::read_to_string(folder.path().join("state/alarms.json")).unwrap();
    assert!(alarms.contains("training failed in round 1"), "{alarms}");
}
