//! Asks that are over at once, each of a trainer of its own.

use std::io::{self, Write};

use plan::Schema;
use protocol::{SandboxLevel, SandboxLevelError};
use spawner::{SpawnError, Spawner, Started};
use trainer_protocol::{Ask, Frame, FrameFault, Reply, limits};

use crate::trainer::STARTING;

/// Why no trainer answered.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    /// There is no trainer.
    #[error(transparent)]
    Spawner(#[from] SpawnError),
    /// Nothing to ask can be made.
    #[error("a trainer cannot be asked: {0}")]
    Stream(#[from] io::Error),
    /// What came instead, and how the trainer ended.
    #[error("a trainer did not answer: {0}: {1}")]
    Frame(FrameFault, String),
    /// What it said itself.
    #[error("{0}")]
    Failed(String),
}

/// What holds the trainers that this spawner starts, as the first of them says, which is ended. So whoever asks knows that they start.
///
/// # Errors
/// [`AskFault`]
pub fn sandbox_level(spawner: &Spawner) -> Result<SandboxLevel, AskFault> {
    let Started { socket, id } = spawner.trainer()?;
    socket.set_read_timeout(Some(STARTING))?;
    let said = Frame::read(&mut &socket, limits::REPLY).and_then(|frame| frame.message());
    let ended = spawner.end(id)?;
    match said.map_err(|why| AskFault::Frame(why, ended.to_string()))? {
        Reply::Ready { sandbox, .. } => {
            sandbox.word().parse().map_err(|why: SandboxLevelError| AskFault::Failed(why.to_string()))
        }
        reply => Err(other(reply)),
    }
}

/// What keeps the files from being used, before any plan is seen; `None` where nothing does.
///
/// # Errors
/// [`AskFault`]
pub fn check_files(spawner: &Spawner, schema: Option<&Schema>) -> Result<Option<String>, AskFault> {
    let schema = schema.map(serde_json::to_string).transpose().map_err(io::Error::from)?;
    match ask(spawner, &Ask::Check { job: 0, schema })? {
        Reply::Checked { problem, .. } => Ok(problem.as_deref().map(Reply::text)),
        reply => Err(other(reply)),
    }
}

/// The schema that the files' headers make, with these labels.
///
/// # Errors
/// [`AskFault`]
pub fn describe_files(spawner: &Spawner, labels: &[String]) -> Result<Schema, AskFault> {
    match ask(spawner, &Ask::Describe { job: 0, labels: labels.to_vec() })? {
        Reply::Described { schema, .. } => Ok(serde_json::from_str(&schema).map_err(io::Error::from)?),
        reply => Err(other(reply)),
    }
}

fn other(reply: Reply) -> AskFault {
    match reply {
        Reply::Failed { why, .. } => AskFault::Failed(Reply::text(&why)),
        _ => AskFault::Failed("a trainer said something else than what it was asked".into()),
    }
}

/// Asks a trainer of its own, and ends it.
fn ask(spawner: &Spawner, ask: &Ask) -> Result<Reply, AskFault> {
    let Started { socket, id } = spawner.trainer()?;
    let asked = (|| {
        let mut stream = &socket;
        // That it is ready.
        Frame::read(&mut stream, limits::REPLY)?.message::<Reply>()?;
        stream.write_all(&Frame::of(ask, &[])?.to_bytes())?;
        Frame::read(&mut stream, limits::REPLY)?.message()
    })();
    let ended = spawner.end(id)?;
    asked.map_err(|why| AskFault::Frame(why, ended.to_string()))
}
