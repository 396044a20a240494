//! The trainer's side of the stream to its daemon.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use datasets::DatasetError;
use params::Params;
use plan::{AuthoredPlan, Learned, Schema, TrainerAnswer};
use registration::Registration;
use sandbox::Level;
use trainer_protocol::{Ask, Frame, FrameFault, Reply, VERSION, job_of_body, limits};

use crate::role;
use crate::tables::Tables;
use crate::{Stop, Trainer, TrainerRole};

/// Makes what trains; it may look at the stop between batches.
pub type Trainers = Arc<dyn Fn(Stop) -> Box<dyn Trainer> + Send + Sync>;

/// A job that waits, with what asks it to stop.
struct Job {
    ask: Ask,
    frame: Frame,
    stop: Stop,
}

/// Why a job has no result.
struct Failed {
    /// Whether it is the data that cannot be used.
    data: bool,
    why: String,
}

impl From<DatasetError> for Failed {
    fn from(why: DatasetError) -> Self {
        // The daemon, which writes it down, may not see the data.
        Self { data: true, why: why.without_cells() }
    }
}

/// Does the daemon's jobs on the data of this path, read by this registration where there is one, one after another, until the stream
/// ends. `sandbox` is what the seal of this process came to.
///
/// # Errors
/// The stream's, and frames that no daemon sends.
pub fn serve(
    stream: UnixStream,
    data: &Path,
    registration: Option<Registration>,
    role: &TrainerRole,
    sandbox: Level,
    trainers: &Trainers,
) -> Result<(), FrameFault> {
    let (jobs, waiting) = sync_channel(1);
    let heard = stream.try_clone()?;
    // A thread of its own, so that a training in progress can be asked to stop.
    let listener = thread::Builder::new().name("listener".into()).spawn(move || listen(heard, &jobs))?;
    let mut bench = Bench { tables: Tables::new(data, registration), plan: None, role, trainers, stream };
    let worked = bench.work(sandbox, &waiting);
    if worked.is_err() {
        // The listener still reads. Else the daemon ended the stream, and hears with this process's end that it has ended in peace.
        let _: io::Result<()> = bench.stream.shutdown(Shutdown::Both);
    }
    let listened = listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    worked.and(listened)
}

/// Takes in what the daemon asks until the stream ends.
fn listen(mut stream: UnixStream, jobs: &SyncSender<Job>) -> Result<(), FrameFault> {
    let current: Mutex<(u64, Stop)> = Mutex::default();
    let current = || current.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let ended = |why: &FrameFault| matches!(why, FrameFault::Io(why) if why.kind() == io::ErrorKind::UnexpectedEof);
        let frame = match Frame::read(&mut stream, limits::ASK) {
            Ok(frame) => frame,
            Err(why) => {
                current().1.ask();
                return if ended(&why) { Ok(()) } else { Err(why) };
            }
        };
        let ask: Ask = frame.message()?;
        if let Ask::Stop { job } = ask {
            let current = current();
            if current.0 == job {
                current.1.ask();
            }
            continue;
        }
        let stop = Stop::default();
        *current() = (ask.job(), stop.clone());
        if jobs.send(Job { ask, frame, stop }).is_err() {
            return Ok(());
        }
    }
}

/// What is worked with.
struct Bench<'a> {
    tables: Tables,
    /// Of the last table that was read.
    plan: Option<AuthoredPlan>,
    role: &'a TrainerRole,
    trainers: &'a Trainers,
    stream: UnixStream,
}

impl Bench<'_> {
    fn work(&mut self, sandbox: Level, waiting: &Receiver<Job>) -> Result<(), FrameFault> {
        let ready = Reply::Ready { protocol: VERSION, sandbox };
        self.say(&Frame::of(&ready, &[])?)?;
        while let Ok(job) = waiting.recv() {
            let number = job.ask.job();
            let reply = match self.done(job) {
                Ok(reply) => reply,
                Err(FailedJob::NoResult(Failed { data, why })) => {
                    Frame::of(&Reply::Failed { job: number, data, why: Reply::text(&why) }, &[])?
                }
                Err(FailedJob::Frame(why)) => return Err(why),
            };
            self.say(&reply)?;
        }
        Ok(())
    }

    fn say(&mut self, frame: &Frame) -> Result<(), FrameFault> {
        Ok(self.stream.write_all(&frame.to_bytes())?)
    }

    fn done(&mut self, Job { ask, frame, stop }: Job) -> Result<Frame, FailedJob> {
        let reply = match ask {
            Ask::Read { job, plan } => {
                let plan = self.role.verify(plan).map_err(Failed::of_job)?;
                let read = self.tables.read(&plan).map_err(Failed::from)?;
                self.plan = Some(plan);
                let misfits = read.misfits.as_deref().map(Reply::text);
                let remarks = read.remarks.as_deref().map(Reply::text);
                Reply::Table {
                    job,
                    version: read.data.version(),
                    misfits,
                    remarks,
                    empty: read.empty,
                    changed: read.changed,
                }
            }
            Ask::Train { job, clip_norm } => {
                let answer = self.train(clip_norm, &frame, stop)?;
                return Ok(Reply::trained(job, &answer)?);
            }
            Ask::Check { job, schema } => {
                self.role.describes().map_err(Failed::of_job)?;
                let schema: Option<Schema> =
                    schema.map(|text| serde_json::from_str(&text)).transpose().map_err(Failed::of_job)?;
                let (problem, found) = match self.tables.survey(schema.as_ref()) {
                    Ok(lines) => (None, lines.iter().map(|line| Reply::text(line)).collect()),
                    Err(why) => (Some(Reply::text(&why)), Vec::new()),
                };
                Reply::Checked { job, problem, found }
            }
            Ask::Describe { job, labels } => {
                self.role.describes().map_err(Failed::of_job)?;
                let found = datasets::columns(self.tables.path()).map_err(Failed::of_job)?;
                let schema = datasets::schema_of(&found, &labels).map_err(Failed::of_job)?;
                Reply::Described { job, schema: serde_json::to_string(&schema).map_err(Failed::of_job)? }
            }
            // The listener takes it in.
            Ask::Stop { job } => Reply::Failed { job, data: false, why: "there is nothing to stop".into() },
        };
        Ok(Frame::of(&reply, &[])?)
    }

    fn train(&mut self, clip_norm: Option<f64>, frame: &Frame, stop: Stop) -> Result<TrainerAnswer, Failed> {
        let plan = self.plan.as_ref().ok_or_else(|| Failed::of_job("no table was read"))?;
        role::check_clip_norm(plan, clip_norm).map_err(Failed::of_job)?;
        let (seed, model) =
            job_of_body(frame.body()).ok_or_else(|| Failed::of_job("the body holds no seed and model"))?;
        let model = Params::new(plan.architecture().layout(), model).map_err(Failed::of_job)?;
        let data = self.tables.read(plan)?.data;
        stop.check().map_err(Failed::of_job)?;
        let trained = (self.trainers)(stop).train(plan, &model, &data, clip_norm, *seed);
        Ok(TrainerAnswer::from(Learned::from(trained.map_err(Failed::of_job)?)))
    }
}

/// Why there is nothing to say, or that it cannot be said.
enum FailedJob {
    NoResult(Failed),
    Frame(FrameFault),
}

impl From<Failed> for FailedJob {
    fn from(why: Failed) -> Self {
        Self::NoResult(why)
    }
}

impl From<FrameFault> for FailedJob {
    fn from(why: FrameFault) -> Self {
        Self::Frame(why)
    }
}

impl Failed {
    fn of_job(why: impl ToString) -> Self {
        Self { data: false, why: why.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::{Sender, channel};

    use datasets::Dataset;
    use identity::IdentityKey;
    use plan::{AnswerValues, Plan, Policy, PrivacyMode, SignedPlan};
    use sandbox::{Demand, SealProfile};
    use trainer_protocol::{SEED_BYTES, body_of_job};

    use super::*;
    use crate::{TrainError, Trained, TrainingMetrics};

    /// Counts rows; where it says that it begins, it goes on until it is asked to stop.
    struct Counting(Stop, Option<Sender<()>>);

    impl Trainer for Counting {
        fn train(
            &mut self,
            _: &Plan,
            model: &Params,
            data: &Dataset,
            _: Option<f64>,
            seed: [u8; 32],
        ) -> Result<Trained, TrainError> {
            if let Some(begun) = &self.1 {
                begun.send(()).unwrap();
                while self.0.check().is_ok() {
                    thread::yield_now();
                }
                self.0.check()?;
            }
            let update = dp::LocalUpdate::new(vec![f32::from(seed[0]); model.values().len()])?;
            let metrics = TrainingMetrics { loss: 0.25, accuracy: 0.5 };
            Ok(Trained::Local { update, rows: data.rows() as u64, metrics })
        }
    }

    /// A daemon's end of a stream to a trainer that is ready.
    struct Daemon {
        stream: UnixStream,
        folder: tempfile::TempDir,
    }

    impl Daemon {
        /// Of a silo whose policy allows both kinds of plan that these tests have, by one author.
        fn new(waits: Option<Sender<()>>) -> Self {
            Self::of(TrainerRole::Train(Box::new(policy())), waits)
        }

        fn describing() -> Self {
            Self::of(TrainerRole::Describe, None)
        }

        fn of(role: TrainerRole, waits: Option<Sender<()>>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let data: PathBuf = folder.path().join("silo.csv");
            std::fs::write(&data, "label,a,b,c\n0,0.1,0.2,0.3\n1,0.1,0.2,0.3\n").unwrap();
            let (stream, its) = UnixStream::pair().unwrap();
            let trainers: Trainers = Arc::new(move |stop| Box::new(Counting(stop, waits.clone())));
            thread::spawn(move || {
                serve(its, &data, None, &role, Level::none(Demand::Off, SealProfile::Native), &trainers)
            });
            let mut daemon = Self { stream, folder };
            assert!(matches!(daemon.hear().0, Reply::Ready { protocol: VERSION, .. }));
            daemon
        }

        fn say(&mut self, ask: &Ask, body: &[u8]) {
            self.stream.write_all(&Frame::of(ask, body).unwrap().to_bytes()).unwrap();
        }

        fn hear(&mut self) -> (Reply, Frame) {
            let frame = Frame::read(&mut self.stream, limits::trained(1_000)).unwrap();
            (frame.message().unwrap(), frame)
        }

        fn reads(&mut self, plan: &Plan) {
            self.say(&Ask::Read { job: 1, plan: signed(plan) }, &[]);
            let (reply, _) = self.hear();
            assert!(matches!(reply, Reply::Table { job: 1, misfits: None, changed: false, .. }), "{reply:?}");
        }
    }

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&format!("{byte:02x}").repeat(32)).unwrap()
    }

    /// By the author of the policy.
    fn signed(plan: &Plan) -> SignedPlan {
        plan.clone().sign(&key(1)).signed().clone()
    }

    fn policy() -> Policy {
        let author = key(1).public().as_bytes().map(|byte| format!("{byte:02x}")).concat();
        Policy { privacy_modes: [PrivacyMode::Fedavg].into(), ..Policy::for_authors([author]) }
    }

    fn job(plan: &Plan) -> Vec<u8> {
        body_of_job(&[7; SEED_BYTES], plan.initial_model().values()).to_vec()
    }

    #[test]
    fn a_job_has_its_seed_its_model_and_its_table_and_the_answer_its_number() {
        let (plan, mut daemon) = (sim::plan(3, 2), Daemon::new(None));
        daemon.say(&Ask::Train { job: 5, clip_norm: None }, &job(&plan));
        let (reply, _) = daemon.hear();
        assert!(
            matches!(&reply, Reply::Failed { job: 5, data: false, why } if why == "no table was read"),
            "{reply:?}"
        );
        daemon.reads(&plan);
        daemon.say(&Ask::Train { job: 6, clip_norm: None }, &job(&plan));
        let (reply, frame) = daemon.hear();
        assert_eq!(reply.job(), Some(6));
        let answer = reply.answer(frame.body()).unwrap();
        assert_eq!((answer.rows, answer.metrics), (2, [0.25, 0.5]));
        let AnswerValues::F32(values) = &answer.values else { panic!("of another kind") };
        assert!(
            values.len() == plan.initial_model().values().len() && values.iter().all(|value| *value == 7.0)
        );
    }

    #[test]
    fn a_job_that_is_asked_to_stop_has_no_result_and_the_next_one_has() {
        let (begun, begins) = channel();
        let (plan, mut daemon) = (sim::plan(3, 2), Daemon::new(Some(begun)));
        daemon.reads(&plan);
        for number in [2, 3] {
            daemon.say(&Ask::Train { job: number, clip_norm: None }, &job(&plan));
            begins.recv().unwrap();
            // Of another job: nothing stops.
            daemon.say(&Ask::Stop { job: number + 7 }, &[]);
            daemon.say(&Ask::Stop { job: number }, &[]);
            let (reply, _) = daemon.hear();
            assert!(matches!(reply, Reply::Failed { job, data: false, .. } if job == number), "{reply:?}");
        }
    }

    /// What it says of why it does not do this.
    fn refused(daemon: &mut Daemon, ask: &Ask, body: &[u8]) -> String {
        daemon.say(ask, body);
        match daemon.hear().0 {
            Reply::Failed { job, data: false, why } if job == ask.job() => why,
            reply => panic!("{reply:?}"),
        }
    }

    #[test]
    fn a_plan_that_no_author_of_the_policy_signed_or_that_the_policy_refuses_reads_no_table() {
        let mut daemon = Daemon::new(None);
        let plan = sim::plan(3, 2);
        let altered = SignedPlan { plan: signed(&sim::plan(3, 3)).plan, ..signed(&plan) };
        let strangers = plan.clone().sign(&key(2)).signed().clone();
        let private = signed(&sim::private_plan(3, 2, 5.0));
        for (plan, why) in
            [(altered, "not what its author signed"), (strangers, "author"), (private, "distributed_dp_sgd")]
        {
            let said = refused(&mut daemon, &Ask::Read { job: 7, plan }, &[]);
            assert!(said.starts_with("it trains for no ") && said.contains(why), "{said}");
        }
        let train = Ask::Train { job: 8, clip_norm: None };
        assert_eq!(refused(&mut daemon, &train, &job(&plan)), "no table was read");
        daemon.reads(&plan);
    }

    #[test]
    fn nothing_is_clipped_to_a_norm_that_no_round_of_the_plan_has() {
        let mut daemon = Daemon::of(
            TrainerRole::Train(Box::new(Policy {
                privacy_modes: [PrivacyMode::DistributedDpSgd].into(),
                epsilon_max: 100.0,
                delta_max: 1e-5,
                ..policy()
            })),
            None,
        );
        let plan = sim::private_plan(3, 2, 5.0);
        daemon.reads(&plan);
        let own = plan.clip_norm().unwrap();
        for clip_norm in [Some(1e6 * own), Some(own.next_up()), None] {
            let said = refused(&mut daemon, &Ask::Train { job: 9, clip_norm }, &job(&plan));
            assert!(said.contains(&format!("begins with {own}")), "{said}");
        }
        daemon.say(&Ask::Train { job: 10, clip_norm: Some(own) }, &job(&plan));
        assert!(matches!(daemon.hear().0, Reply::Trained { job: 10, .. }));
    }

    #[test]
    fn one_that_trains_describes_nothing_and_one_that_describes_trains_nothing() {
        let (mut trains, mut describes) = (Daemon::new(None), Daemon::describing());
        for ask in [Ask::Describe { job: 1, labels: vec![] }, Ask::Check { job: 2, schema: None }] {
            let said = refused(&mut trains, &ask, &[]);
            assert!(said.contains("describes no files"), "{said}");
        }
        let plan = sim::plan(3, 2);
        let said = refused(&mut describes, &Ask::Read { job: 3, plan: signed(&plan) }, &[]);
        assert!(said.contains("trains nothing"), "{said}");
        let said = refused(&mut describes, &Ask::Train { job: 4, clip_norm: None }, &job(&plan));
        assert_eq!(said, "no table was read");
    }

    #[test]
    fn what_is_wrong_with_a_cell_is_said_by_its_place_and_without_its_text() {
        let mut daemon = Daemon::new(None);
        std::fs::write(daemon.folder.path().join("silo.csv"), "label,a,b,c\n0,0.1,SECRET,0.3\n").unwrap();
        daemon.say(&Ask::Read { job: 1, plan: signed(&sim::plan(3, 2)) }, &[]);
        let (Reply::Failed { job: 1, data: true, why }, _) = daemon.hear() else { panic!("it fits") };
        assert!(why.starts_with("silo.csv, line 2, column b: the cell is not a number; "), "{why}");
    }

    #[test]
    fn files_are_checked_and_described_without_a_plan() {
        let mut daemon = Daemon::describing();
        daemon.say(&Ask::Describe { job: 1, labels: vec!["label=2".into()] }, &[]);
        let (Reply::Described { job: 1, schema }, _) = daemon.hear() else { panic!("not described") };
        daemon.say(&Ask::Check { job: 2, schema: Some(schema.clone()) }, &[]);
        let found = vec!["2 rows".to_owned()];
        assert_eq!(daemon.hear().0, Reply::Checked { job: 2, problem: None, found });
        let missing = schema.replace("\"a\"", "\"absent\"");
        daemon.say(&Ask::Check { job: 3, schema: Some(missing) }, &[]);
        let (Reply::Checked { job: 3, problem: Some(why), .. }, _) = daemon.hear() else {
            panic!("it has it")
        };
        assert!(why.contains("no column absent"), "{why}");
    }
}
