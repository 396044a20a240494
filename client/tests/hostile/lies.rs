//! A trainer that lies, floods, keeps silent or ends: what others see is what they see of one that trains on another table.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use plan::{AnswerValues, Plan, TrainerAnswer};
use protocol::{Attempt, Decline, RoundOutcome, ToClient, ToCoordinator};
use spawner::SpawnError;
use train::StoppableTrainer;
use trainer::Trainer;
use trainer::samples::in_threads;
use trainer_protocol::{Ask, Frame, FrameFault, FrameLimits, PREFIX_BYTES, Reply, limits};
use workshop::EndTrainer;

use crate::federation::{Sources, plan, table};
use crate::own_log::OwnLog;
use crate::participation::{
    FITS, READY_AFTER_MS, Seen, TOLERANCE, at_the_coordinator, federation, in_each_silo, norm, of_sums,
    of_updates, seen,
};

/// What a trainer does in place of an honest reply to a training, where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    /// None.
    Honest,
    /// An answer that is honest but for this.
    NormTooLarge,
    NormJustTooLarge,
    OneTooFew,
    OneTooMany,
    NoNumber,
    Infinite,
    /// Of the other precision.
    OtherKind,
    RowsOfNoTable,
    MoreWithinThanRows,
    MetricsUnasked,
    /// An honest one, for a job that it was not asked to do.
    AnotherJob,
    /// Another message than an answer, for this job.
    AnotherMessage,
    /// Again and again.
    EndlessFrames,
    /// Frames that would take all of the memory.
    EnormousBody,
    EnormousHead,
    Garbage,
    /// A frame whose head is none of the messages.
    NoMessage,
    /// Half an answer, and then nothing.
    Half,
    Silence,
    /// An honest one, once it was given up.
    Late,
    /// It is honest, and says so once more.
    Twice,
    /// It ends.
    Closes,
    /// To a job that it is asked to do next.
    BeforeItIsAsked,
    /// It ends before it is asked for anything.
    NeverReady,
    /// It never says that it has read its table.
    NeverRead,
    /// There is none, since what starts trainers is gone.
    SpawnerGone,
}

/// Those that their numbers give away.
const OF_NUMBERS: [Lie; 9] = [
    Lie::NormTooLarge,
    Lie::NormJustTooLarge,
    Lie::OneTooFew,
    Lie::OneTooMany,
    Lie::NoNumber,
    Lie::Infinite,
    Lie::OtherKind,
    Lie::RowsOfNoTable,
    Lie::MoreWithinThanRows,
];

const OF_FRAMES: [Lie; 15] = [
    Lie::MetricsUnasked,
    Lie::AnotherJob,
    Lie::AnotherMessage,
    Lie::EndlessFrames,
    Lie::EnormousBody,
    Lie::EnormousHead,
    Lie::Garbage,
    Lie::NoMessage,
    Lie::Half,
    Lie::Silence,
    Lie::Late,
    Lie::Closes,
    Lie::BeforeItIsAsked,
    Lie::NeverReady,
    Lie::SpawnerGone,
];

/// Of what an honest trainer replies in these tests.
const HONEST: FrameLimits = FrameLimits { head: 64 << 10, body: 1 << 20 };

impl Lie {
    /// Passes on what the daemon and an honest trainer say to each other, up to the lie.
    fn between(self, mut daemon: UnixStream, mut honest: UnixStream) -> Result<(), FrameFault> {
        if self == Self::NeverReady {
            return Ok(());
        }
        daemon.write_all(&Frame::read(&mut honest, HONEST)?.to_bytes())?;
        loop {
            let asked = Frame::read(&mut daemon, limits::ASK)?;
            honest.write_all(&asked.to_bytes())?;
            let reply = match asked.message()? {
                Ask::Stop { .. } => continue,
                Ask::Train { job, clip_norm } => {
                    let reply = Frame::read(&mut honest, HONEST)?;
                    self.in_place_of(&reply, job, clip_norm, &mut daemon)?;
                    continue;
                }
                Ask::Read { .. } if self == Self::NeverRead => continue,
                _ => Frame::read(&mut honest, HONEST)?,
            };
            daemon.write_all(&reply.to_bytes())?;
            if self == Self::BeforeItIsAsked {
                let next = reply.message::<Reply>()?.job().unwrap() + 1;
                let early = Reply::Failed { job: next, data: false, why: "it does not want to".into() };
                daemon.write_all(&Frame::of(&early, &[])?.to_bytes())?;
            }
        }
    }

    fn in_place_of(
        self,
        honest: &Frame,
        job: u64,
        clip_norm: Option<f64>,
        daemon: &mut UnixStream,
    ) -> Result<(), FrameFault> {
        let mut answer = honest.message::<Reply>()?.answer(honest.body()).unwrap();
        let announced = |head: u32, body: u64| [&head.to_le_bytes()[..], &body.to_le_bytes()].concat();
        let lie: Vec<u8> = match self {
            Self::AnotherJob => Reply::trained(job + 1, &answer)?.to_bytes().to_vec(),
            Self::AnotherMessage => {
                Frame::of(&Reply::Checked { job, problem: None, found: vec![] }, &[])?.to_bytes().to_vec()
            }
            Self::NoMessage => Frame::of(&"all is well", &[])?.to_bytes().to_vec(),
            Self::EnormousBody => announced(2, u64::MAX),
            Self::EnormousHead => announced(u32::MAX, 0),
            Self::Garbage => vec![0xa5; 1 << 16],
            Self::Half => {
                let mut half = honest.to_bytes().to_vec();
                half.truncate(PREFIX_BYTES + (half.len() - PREFIX_BYTES) / 2);
                half
            }
            Self::EndlessFrames => loop {
                daemon.write_all(&Reply::trained(job + 1, &answer)?.to_bytes())?;
            },
            Self::Late => {
                // That nobody waits any more; else the stream is over.
                Frame::read(daemon, limits::ASK)?;
                honest.to_bytes().to_vec()
            }
            Self::Twice => [honest.to_bytes().as_slice(), &honest.to_bytes()].concat(),
            Self::Silence => Vec::new(),
            Self::Closes => return Ok(daemon.shutdown(Shutdown::Both)?),
            _ => {
                self.change(&mut answer, clip_norm);
                Reply::trained(job, &answer)?.to_bytes().to_vec()
            }
        };
        Ok(daemon.write_all(&lie)?)
    }

    /// What its answer is instead.
    fn change(self, answer: &mut TrainerAnswer, clip_norm: Option<f64>) {
        let clip_norm = clip_norm.unwrap_or(1.0);
        let longest = if answer.rows == 0 { clip_norm } else { answer.rows as f64 * clip_norm * 1.001 };
        match self {
            Self::NormTooLarge => each(&mut answer.values, |_| 1e6),
            Self::NormJustTooLarge => {
                let length = (answer.values.len() as f64).sqrt();
                each(&mut answer.values, |_| longest * (1.0 + 1e-6) / length);
            }
            Self::NoNumber => each(&mut answer.values, |_| f64::NAN),
            Self::Infinite => each(&mut answer.values, |_| f64::INFINITY),
            Self::OneTooFew => match &mut answer.values {
                AnswerValues::F32(values) => drop(values.pop()),
                AnswerValues::F64(values) => drop(values.pop()),
            },
            Self::OneTooMany => match &mut answer.values {
                AnswerValues::F32(values) => values.push(0.0),
                AnswerValues::F64(values) => values.push(0.0),
            },
            Self::OtherKind => {
                answer.values = match &answer.values {
                    AnswerValues::F32(values) => {
                        AnswerValues::F64(values.iter().copied().map(f64::from).collect())
                    }
                    AnswerValues::F64(values) => {
                        AnswerValues::F32(values.iter().map(|value| *value as f32).collect())
                    }
                };
            }
            Self::RowsOfNoTable => answer.rows = u64::MAX,
            Self::MoreWithinThanRows => answer.within_less_beyond = i64::MIN,
            Self::MetricsUnasked => answer.metrics = [-1.0, 2.0],
            _ => {}
        }
    }
}

fn each(values: &mut AnswerValues, becomes: impl Fn(f64) -> f64) {
    match values {
        AnswerValues::F32(values) => {
            values.iter_mut().for_each(|value| *value = becomes(f64::from(*value)) as f32);
        }
        AnswerValues::F64(values) => values.iter_mut().for_each(|value| *value = becomes(*value)),
    }
}

/// Trainers that read their table for ever.
pub(crate) fn reading_for_ever() -> Sources {
    lying(Lie::NeverRead)
}

/// Honest trainers, each behind a liar.
fn lying(lie: Lie) -> Sources {
    Box::new(move |config| {
        let trainers = Arc::new(|stop| Box::new(StoppableTrainer(stop)) as Box<dyn Trainer>);
        let honest = in_threads(config.data.clone(), config.policy.clone(), trainers);
        Arc::new(move || {
            if lie == Lie::SpawnerGone {
                return Err(io::Error::other(SpawnError::Gone { how: "killed".into() }));
            }
            let (its, end) = honest()?;
            let (ours, liar) = UnixStream::pair()?;
            let ended = ours.try_clone()?;
            thread::Builder::new().name("liar".into()).spawn(move || lie.between(liar, its))?;
            let end = move || {
                let _: io::Result<()> = ended.shutdown(Shutdown::Both);
                end()
            };
            Ok((ours, Box::new(end) as EndTrainer))
        })
    })
}

/// What holds in every mode that promises something.
async fn nobody_sees_a_lie(plan: Plan, lies: &[Lie]) {
    let round = |lie: Lie, row: &'static str| {
        let plan = plan.clone();
        tokio::spawn(async move { (lie, seen(&plan, table(row), lying(lie)).await) })
    };
    let other = round(Lie::Honest, OTHER);
    let rounds: Vec<_> = lies.iter().map(|lie| round(*lie, FITS)).collect();
    let (_, other) = other.await.unwrap();
    assert!(norm(&other.vector) > 0.1 && other.alarms.is_empty(), "{:?} {}", other.vector, other.alarms);
    assert_eq!(other.ledger, ["debit"]);
    for round in rounds {
        let (lie, Seen { messages, ready_after, vector, ledger, alarms, log }) = round.await.unwrap();
        assert_eq!(messages, other.messages, "{lie:?}");
        let (soonest, latest) =
            (Duration::from_millis(READY_AFTER_MS), Duration::from_millis(3 * READY_AFTER_MS));
        assert!((soonest..latest).contains(&ready_after), "{lie:?}: {ready_after:?}");
        assert!(norm(&vector) < TOLERANCE, "{lie:?} is in the sum: {vector:?}");
        assert_eq!(ledger, ["debit", "exact"], "{lie:?}");
        assert!(alarms.contains("training failed in round 1"), "{lie:?}: {alarms}");
        log.check_lie(&format!("{lie:?}"), OF_NUMBERS.contains(&lie));
    }
}

/// In another table than [`FITS`].
const OTHER: &str = "0,0.3,0.9,0.1";

#[tokio::test(flavor = "multi_thread")]
async fn in_distributed_dp_sgd_nobody_sees_by_what_numbers_a_trainer_lies() {
    nobody_sees_a_lie(of_sums(), &OF_NUMBERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_distributed_dp_sgd_nobody_sees_by_what_frames_a_trainer_lies_or_that_it_says_nothing() {
    nobody_sees_a_lie(of_sums(), &OF_FRAMES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_modes_that_hide_silos_nobody_sees_a_lie_either() {
    let lies = [Lie::NormTooLarge, Lie::NormJustTooLarge, Lie::NoNumber, Lie::RowsOfNoTable, Lie::Silence];
    nobody_sees_a_lie(of_updates(), &lies).await;
    nobody_sees_a_lie(at_the_coordinator(), &lies[..2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_silo_dp_sgd_nobody_sees_a_lie_that_is_no_noise() {
    let lies =
        [Lie::Infinite, Lie::OneTooFew, Lie::OtherKind, Lie::MetricsUnasked, Lie::Garbage, Lie::Closes];
    nobody_sees_a_lie(in_each_silo(), &lies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_promised_a_silo_whose_trainer_lies_sits_the_round_out_with_the_one_code() {
    let lies = OF_NUMBERS.into_iter().chain(OF_FRAMES);
    // An update has no norm there, as long as it is finite.
    let lies = lies.filter(|lie| !matches!(lie, Lie::NormTooLarge | Lie::NormJustTooLarge));
    let silos = lies.map(|lie| {
        tokio::spawn(async move {
            let mut all = federation(&plan(), table(FITS).as_deref(), lying(lie)).await;
            for attempt in 1..=2 {
                let said = all.say(all.open(Attempt { round: 1, attempt })).await;
                let reason = Decline::Unavailable;
                assert_eq!(said, ToCoordinator::Declined { round: Some(1), reason }, "{lie:?}");
            }
            all.left().await;
        })
    });
    for silo in silos.collect::<Vec<_>>() {
        silo.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_answers_twice_is_believed_once_and_the_next_attempt_has_another() {
    let mut plan = of_sums();
    plan.timing.ready_after_ms = 1_000;
    let mut all = federation(&plan, table(FITS).as_deref(), lying(Lie::Twice)).await;
    for attempt in 1..=3 {
        let at = Attempt { round: 1, attempt };
        let said = all.say(all.open(at)).await;
        assert!(matches!(said, ToCoordinator::Advertise { .. }), "attempt {attempt}: {said:?}");
        let outcome = RoundOutcome::TooFewAdverts { got: 1, need: 3 };
        all.session.say(ToClient::Aborted { at, outcome }).await;
    }
    let folder = all.left().await;
    assert!(!folder.path().join("state/alarms.json").exists(), "no training failed");
    assert!(OwnLog::of(folder.path()).has("trainer.failed"), "that it spoke unasked is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_was_ended_for_its_time_is_replaced_at_once_and_not_in_the_next_rounds_time() {
    let mut plan = of_sums();
    plan.timing.ready_after_ms = 1_000;
    let started = Arc::new(AtomicUsize::new(0));
    let starts = Arc::clone(&started);
    let sources: Sources = Box::new(move |config| {
        let source = lying(Lie::Silence)(config);
        Arc::new(move || {
            starts.fetch_add(1, SeqCst);
            source()
        })
    });
    let mut all = federation(&plan, table(FITS).as_deref(), sources).await;
    let said = all.say(all.open(Attempt { round: 1, attempt: 1 })).await;
    assert!(matches!(said, ToCoordinator::Advertise { .. }), "{said:?}");
    let replaced = async {
        while started.load(SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), replaced).await.unwrap();
    all.left().await;
}
