//! A trainer: another process, with the silo's data and without the network, that does one job at a time over a stream.
//!
//! # Security
//! What it says is bounded before it is read and believed by `plan` alone; whatever does not fit ends it.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use params::{Digest, Params};
use plan::{AuthoredPlan, TrainerAnswer};
use sandbox::{Demand, Level, SealProfile};
use spawner::{SpawnError, Spawner, Started};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use trainer_protocol::{
    Ask, Frame, FrameFault, FrameLimits, PREFIX_BYTES, Reply, VERSION, body_of_job, limits,
};
use zeroize::Zeroizing;

use crate::TrainFault;

/// Ends a trainer, where it has not ended by itself, and says how it ended; may block for a moment.
pub type EndTrainer = Box<dyn FnOnce() -> String + Send + Sync>;

/// Starts a trainer: the stream to it and from it, and what ends it. May block for a moment.
pub type TrainerSource = Arc<dyn Fn() -> io::Result<(StdStream, EndTrainer)> + Send + Sync>;

/// Trainers of this spawner's.
pub fn of_spawner(spawner: Arc<Spawner>) -> TrainerSource {
    Arc::new(move || {
        let Started { socket, id } = spawner.trainer().map_err(io::Error::other)?;
        let spawner = Arc::clone(&spawner);
        let end = move || match spawner.end(id) {
            Ok(exit) => exit.to_string(),
            Err(why) => why.to_string(),
        };
        Ok((socket, Box::new(end) as EndTrainer))
    })
}

/// How long a trainer may take until it has sealed itself.
pub(crate) const STARTING: Duration = Duration::from_secs(30);
/// How long one whose stream is over may take to end.
const ENDING: Duration = Duration::from_secs(5);
/// How long one that was asked to stop may take to do so.
const STOPPING: Duration = Duration::from_secs(1);

/// See the module. Dropped, it is ended.
pub(crate) struct Trainer {
    heard: OwnedReadHalf,
    said: OwnedWriteHalf,
    end: Option<EndTrainer>,
    /// What its seal came to, once it is ready.
    pub(crate) level: Level,
    job: u64,
}

/// A table was read.
pub(crate) struct Table {
    pub(crate) version: Digest,
    pub(crate) misfits: Option<String>,
    pub(crate) remarks: Option<String>,
    pub(crate) empty: bool,
    pub(crate) changed: bool,
}

impl Trainer {
    /// Starts one, which has sealed itself then.
    pub(crate) async fn start(source: TrainerSource) -> Result<Self, TrainFault> {
        let unstarted = |why: String| TrainFault::Trainer(format!("no trainer could be started: {why}"));
        let started = spawn_blocking(move || source()).await.map_err(|panic| unstarted(panic.to_string()))?;
        let (stream, end) = started.map_err(|why| match is_gone(&why) {
            true => TrainFault::Spawner(why.to_string()),
            false => unstarted(why.to_string()),
        })?;
        let ended = |end: EndTrainer, why: io::Error| {
            spawn_blocking(end);
            unstarted(why.to_string())
        };
        let stream = match stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
            Ok(stream) => stream,
            Err(why) => return Err(ended(end, why)),
        };
        let (heard, said) = stream.into_split();
        let level = Level::none(Demand::Off, SealProfile::Native);
        let mut trainer = Self { heard, said, end: Some(end), level, job: 0 };
        let ready = timeout(STARTING, hear(&mut trainer.heard, limits::REPLY)).await;
        match ready {
            Ok(Ok((Reply::Ready { protocol: VERSION, sandbox }, _))) => {
                tracing::info!("a trainer was started; sandbox {sandbox}");
                trainer.level = sandbox;
                Ok(trainer)
            }
            Ok(Ok((Reply::Ready { protocol, .. }, _))) => Err(trainer.failed(other_version(protocol)).await),
            Ok(Ok((Reply::Failed { why, .. }, _))) => Err(trainer.failed(Reply::text(&why)).await),
            Ok(Ok(_)) => Err(trainer.failed("it spoke before it was asked".into()).await),
            Ok(Err(why)) => Err(trainer.failed(fault(why).to_string()).await),
            Err(_) => Err(trainer.failed(format!("it was not ready after {STARTING:?}")).await),
        }
    }

    /// Has it read its table for the plan, unless it has.
    ///
    /// # Errors
    /// [`TrainFault`]; it is to be ended then.
    pub(crate) async fn read(&mut self, plan: &AuthoredPlan) -> Result<Table, TrainFault> {
        let job = self.next();
        say(&mut self.said, &Ask::Read { job, plan: plan.signed().clone() }, &[]).await.map_err(fault)?;
        match hear(&mut self.heard, limits::REPLY).await.map_err(fault)? {
            (Reply::Table { job: of, version, misfits, remarks, empty, changed }, _) if of == job => {
                let text = |text: Option<String>| text.as_deref().map(Reply::text);
                Ok(Table { version, misfits: text(misfits), remarks: text(remarks), empty, changed })
            }
            (Reply::Failed { job: of, data, why }, _) if of == job => Err(failed(data, &why)),
            _ => Err(unasked()),
        }
    }

    /// Has it train on the table that it read last. Once `given_up`, its result is of no more use: it has a moment to stop, but where it
    /// was given up for the time that it took.
    ///
    /// # Errors
    /// [`TrainFault::Training`], [`TrainFault::Data`] and [`TrainFault::GivenUp`] leave it what it was; after any other it is to be
    /// ended.
    pub(crate) async fn train(
        &mut self,
        clip_norm: Option<f64>,
        seed: &[u8; 32],
        model: &Params,
        until: Instant,
        given_up: impl Future<Output = ()>,
    ) -> Result<TrainerAnswer, TrainFault> {
        tokio::pin!(given_up);
        let job = self.next();
        let Self { heard, said, .. } = self;
        let (ask, body) = (Ask::Train { job, clip_norm }, body_of_job(seed, model.values()));
        tokio::select! {
            asked = say(said, &ask, &body) => asked.map_err(fault)?,
            () = &mut given_up => {
                return Err(TrainFault::Trainer("the trainer did not listen".into()));
            }
        }
        let reply = hear(heard, limits::trained(model.values().len()));
        tokio::pin!(reply);
        let mut is_given_up = false;
        let reply = tokio::select! {
            reply = &mut reply => reply,
            () = &mut given_up => {
                is_given_up = true;
                let stopped = async {
                    say(said, &Ask::Stop { job }, &[]).await?;
                    reply.await
                };
                let late = |_| TrainFault::Trainer("the trainer did not stop".into());
                timeout(if Instant::now() < until { STOPPING } else { Duration::ZERO }, stopped).await.map_err(late)?
            }
        };
        let (reply, body) = reply.map_err(fault)?;
        match &reply {
            _ if reply.job() != Some(job) => Err(unasked()),
            // That it stopped is what it was asked to do.
            Reply::Failed { .. } if is_given_up => Err(TrainFault::GivenUp),
            Reply::Failed { data, why, .. } => Err(failed(*data, why)),
            _ => reply.answer(&body).ok_or_else(unasked),
        }
    }

    /// Has it said how it ended, whoever ends it.
    pub(crate) fn when_ended(&mut self, hear: impl FnOnce(&str) + Send + Sync + 'static) {
        if let Some(end) = self.end.take() {
            self.end = Some(Box::new(move || {
                let how = end();
                hear(&how);
                how
            }));
        }
    }

    /// Has it end by itself, as each does when its stream is at its end, and says how it ended. What does not is killed.
    pub(crate) async fn dismiss(mut self) -> String {
        let in_peace = async {
            self.said.shutdown().await?;
            let mut rest = [0; 4096];
            while self.heard.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        // However that went, it is ended.
        let _ = timeout(ENDING, in_peace).await;
        self.end().await
    }

    /// Ends it, and says how it ended.
    pub(crate) async fn end(mut self) -> String {
        let Some(end) = self.end.take() else { return String::new() };
        spawn_blocking(end).await.unwrap_or_else(|panic| panic.to_string())
    }

    /// Ends it; how it ended belongs to why.
    pub(crate) async fn failed(self, why: String) -> TrainFault {
        TrainFault::Trainer(format!("{why}: {}", self.end().await))
    }

    fn next(&mut self) -> u64 {
        self.job = self.job.wrapping_add(1);
        self.job
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // It may block for a moment; without a runtime nothing is left that would wait.
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(end)),
                Err(_) => drop(end()),
            }
        }
    }
}

/// Whether it is what starts trainers that failed, for good.
fn is_gone(why: &io::Error) -> bool {
    let why = why.get_ref().and_then(|why| why.downcast_ref::<SpawnError>());
    matches!(why, Some(SpawnError::Gone { .. }))
}

/// Of a trainer that speaks another version of the protocol.
pub(crate) fn other_version(protocol: u32) -> String {
    format!(
        "it speaks version {protocol} of the protocol, and this daemon version {VERSION}: install both of one release"
    )
}

async fn say(stream: &mut OwnedWriteHalf, ask: &Ask, body: &[u8]) -> Result<(), FrameFault> {
    Ok(stream.write_all(&Frame::of(ask, body)?.to_bytes()).await?)
}

async fn hear(
    stream: &mut OwnedReadHalf,
    limits: FrameLimits,
) -> Result<(Reply, Zeroizing<Vec<u8>>), FrameFault> {
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix).await?;
    let (head, body) = Frame::lengths(prefix, limits)?;
    let mut parts = [head, body].map(|length| Zeroizing::new(vec![0; length]));
    for part in &mut parts {
        stream.read_exact(part).await?;
    }
    let [head, body] = parts;
    Ok((Frame::of_parts(head, Zeroizing::default()).message()?, body))
}

fn failed(data: bool, why: &str) -> TrainFault {
    // What another process wrote is shown like what this one did: without what a terminal would obey.
    let why = Reply::text(why);
    if data { TrainFault::Data(why) } else { TrainFault::Training(why) }
}

fn fault(why: FrameFault) -> TrainFault {
    let why = match why {
        FrameFault::Io(why) if why.kind() == io::ErrorKind::UnexpectedEof => "the trainer ended".to_owned(),
        // What it said instead stays its own.
        FrameFault::Message(_) => "the trainer said what is no message".to_owned(),
        why => format!("the trainer failed: {why}"),
    };
    TrainFault::Trainer(why)
}

fn unasked() -> TrainFault {
    TrainFault::Trainer("the trainer said something else than what it was asked".into())
}
