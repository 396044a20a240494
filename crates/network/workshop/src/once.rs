//! Asks that are over at once, each of a trainer of its own.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

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
    match with_trainer(spawner, ready)? {
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

/// Asks a trainer of its own once it is ready. One that is not says why instead.
fn ask(spawner: &Spawner, ask: &Ask) -> Result<Reply, AskFault> {
    with_trainer(spawner, |mut socket| match ready(socket)? {
        Reply::Ready { .. } => {
            socket.write_all(&Frame::of(ask, &[])?.to_bytes())?;
            Frame::read(&mut socket, limits::REPLY)?.message()
        }
        instead => Ok(instead),
    })
}

/// What a trainer says first.
fn ready(mut socket: &UnixStream) -> Result<Reply, FrameFault> {
    socket.set_read_timeout(Some(STARTING))?;
    let said = Frame::read(&mut socket, limits::REPLY)?;
    socket.set_read_timeout(None)?;
    said.message()
}

/// Starts a trainer, and ends it whatever came of asking it.
fn with_trainer(
    spawner: &Spawner,
    asked: impl FnOnce(&UnixStream) -> Result<Reply, FrameFault>,
) -> Result<Reply, AskFault> {
    let Started { socket, id } = spawner.trainer()?;
    let said = asked(&socket);
    let ended = spawner.end(id)?;
    said.map_err(|why| AskFault::Frame(why, ended.to_string()))
}
