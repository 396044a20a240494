//! Asks that are over at once, each of a trainer of its own.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use plan::Schema;
use sandbox::Level;
use trainer_protocol::{Ask, Frame, FrameFault, Reply, VERSION, limits};

use crate::pool::READING_MAX;
use crate::trainer::{STARTING, TrainerSource, other_version};

/// Why no trainer answered.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    /// There is no trainer.
    #[error("no trainer could be started: {0}")]
    NoTrainer(#[source] io::Error),
    /// What came instead of an answer, and how the trainer ended.
    #[error("a trainer did not answer: {what}: {ended}")]
    Unanswered { what: String, ended: String },
    /// What it said itself.
    #[error("{0}")]
    Failed(String),
}

/// Why there is no answer, as long as the trainer lives.
enum Instead {
    Frame(FrameFault),
    Late(Duration),
    Said(String),
}

/// What holds the trainers of this source, as the first of them says, which is ended. So whoever asks knows that they start.
///
/// # Errors
/// [`AskFault`]
pub fn sandbox_level(source: &TrainerSource) -> Result<Level, AskFault> {
    with_trainer(source, |socket| ready(socket, STARTING))
}

/// What a trainer says of the files before any plan is seen, for the silo's operator.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckedFiles {
    /// What keeps them from being used under any plan, where anything does.
    pub problem: Option<String>,
    /// What was found in them, a line each: how many rows, and what of them does not fit what is registered.
    pub found: Vec<String>,
}

/// Has a trainer read the files to their end. Each cell is held against the registration that trainers of this source read by; without
/// one against the schema, where there is one.
///
/// # Errors
/// [`AskFault`]
pub fn check_files(source: &TrainerSource, schema: Option<&Schema>) -> Result<CheckedFiles, AskFault> {
    let unspeakable = |why: serde_json::Error| AskFault::Failed(why.to_string());
    let schema = schema.map(serde_json::to_string).transpose().map_err(unspeakable)?;
    match ask(source, &Ask::Check { job: 0, schema }, READING_MAX)? {
        Reply::Checked { problem, found, .. } => Ok(CheckedFiles {
            problem: problem.as_deref().map(Reply::text),
            found: found.iter().map(|line| Reply::text(line)).collect(),
        }),
        _ => Err(unasked()),
    }
}

/// The schema that the files' headers make, with these labels.
///
/// # Errors
/// [`AskFault`]
pub fn describe_files(source: &TrainerSource, labels: &[String]) -> Result<Schema, AskFault> {
    match ask(source, &Ask::Describe { job: 0, labels: labels.to_vec() }, READING_MAX)? {
        Reply::Described { schema, .. } => serde_json::from_str(&schema).map_err(|_| unasked()),
        _ => Err(unasked()),
    }
}

fn unasked() -> AskFault {
    AskFault::Failed("a trainer said something else than what it was asked".into())
}

/// Asks a trainer of its own once it is ready, and waits so long for its answer.
fn ask(source: &TrainerSource, ask: &Ask, within: Duration) -> Result<Reply, AskFault> {
    with_trainer(source, |mut socket| {
        ready(socket, STARTING)?;
        socket.write_all(&Frame::of(ask, &[])?.to_bytes())?;
        hear(socket, within)
    })
}

/// What holds it, which a trainer says first.
fn ready(socket: &UnixStream, within: Duration) -> Result<Level, Instead> {
    match hear(socket, within)? {
        Reply::Ready { protocol: VERSION, sandbox } => Ok(sandbox),
        Reply::Ready { protocol, .. } => Err(Instead::Said(other_version(protocol))),
        _ => Err(Instead::Said("a trainer spoke before it was asked".into())),
    }
}

fn hear(mut socket: &UnixStream, within: Duration) -> Result<Reply, Instead> {
    socket.set_read_timeout(Some(within))?;
    let said = Frame::read(&mut socket, limits::REPLY).and_then(|frame| frame.message());
    match said {
        Ok(Reply::Failed { why, .. }) => Err(Instead::Said(Reply::text(&why))),
        Ok(reply) => Ok(reply),
        Err(FrameFault::Io(why))
            if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Err(Instead::Late(within))
        }
        Err(why) => Err(why.into()),
    }
}

/// Starts a trainer, and ends it whatever came of asking it.
fn with_trainer<T>(
    source: &TrainerSource,
    asked: impl FnOnce(&UnixStream) -> Result<T, Instead>,
) -> Result<T, AskFault> {
    let (socket, end) = source().map_err(AskFault::NoTrainer)?;
    let said = asked(&socket);
    let ended = end();
    let unanswered = |what| AskFault::Unanswered { what, ended };
    said.map_err(|why| match why {
        Instead::Said(why) => AskFault::Failed(why),
        Instead::Late(within) => unanswered(format!("it said nothing for {} s", within.as_secs_f64())),
        Instead::Frame(FrameFault::Io(why)) if why.kind() == io::ErrorKind::UnexpectedEof => {
            unanswered("it ended before that".into())
        }
        Instead::Frame(FrameFault::Message(_)) => unanswered("it said what is no message".into()),
        Instead::Frame(why) => unanswered(why.to_string()),
    })
}

impl From<FrameFault> for Instead {
    fn from(why: FrameFault) -> Self {
        Self::Frame(why)
    }
}

impl From<io::Error> for Instead {
    fn from(why: io::Error) -> Self {
        Self::Frame(why.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use sandbox::{Demand, SealProfile};

    use super::*;
    use crate::trainer::EndTrainer;

    /// Trainers that say these bytes at once, and nothing more; with how many of them were ended. Each is silent then where it `stays`,
    /// and else closes its stream.
    fn saying(bytes: Vec<u8>, stays: bool) -> (TrainerSource, Arc<AtomicUsize>) {
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let source = move || {
            let (ours, mut its) = UnixStream::pair()?;
            its.write_all(&bytes)?;
            let kept = stays.then_some(its);
            let counted = Arc::clone(&counted);
            let end = move || {
                drop(kept);
                counted.fetch_add(1, SeqCst);
                "it was killed".to_owned()
            };
            Ok((ours, Box::new(end) as EndTrainer))
        };
        (Arc::new(source), ended)
    }

    fn bytes(replies: &[Reply]) -> Vec<u8> {
        replies.iter().flat_map(|reply| Frame::of(reply, &[]).unwrap().to_bytes().to_vec()).collect()
    }

    fn level() -> Level {
        Level::none(Demand::BestEffort, SealProfile::Native)
    }

    const READY: fn(u32) -> Reply = |protocol| Reply::Ready { protocol, sandbox: level() };

    #[test]
    fn one_that_does_not_answer_is_ended_and_said_with_what_it_did_instead() {
        let failed = Reply::Failed { job: 0, data: false, why: "it cannot\u{1b} be sealed".into() };
        for (said, stays, why) in [
            (Vec::new(), false, "a trainer did not answer: it ended before that: it was killed"),
            (vec![7], false, "a trainer did not answer: it ended before that: it was killed"),
            (
                vec![7; 12],
                true,
                "a trainer did not answer: a head of 117901063 bytes was announced, where 65536 are the most: it was killed",
            ),
            (
                Frame::of(&"hello", &[]).unwrap().to_bytes().to_vec(),
                true,
                "a trainer did not answer: it said what is no message: it was killed",
            ),
            (bytes(&[failed]), true, "it cannot  be sealed"),
            (
                bytes(&[READY(1)]),
                true,
                "it speaks version 1 of the protocol, and this daemon version 2: install both of one release",
            ),
            (
                bytes(&[Reply::Checked { job: 0, problem: None, found: vec![] }]),
                true,
                "a trainer spoke before it was asked",
            ),
        ] {
            let (source, ended) = saying(said, stays);
            assert_eq!(sandbox_level(&source).unwrap_err().to_string(), why);
            assert_eq!(ended.load(SeqCst), 1, "{why}");
        }
        let none: TrainerSource = Arc::new(|| Err(io::Error::other("no memory")));
        assert_eq!(sandbox_level(&none).unwrap_err().to_string(), "no trainer could be started: no memory");
    }

    #[test]
    fn one_that_is_ready_and_never_answers_is_waited_for_no_longer_than_it_may_take() {
        let (source, ended) = saying(bytes(&[READY(VERSION)]), true);
        let check = Ask::Check { job: 0, schema: None };
        let why = ask(&source, &check, Duration::from_millis(20)).unwrap_err().to_string();
        assert_eq!(why, "a trainer did not answer: it said nothing for 0.02 s: it was killed");
        assert_eq!(ended.load(SeqCst), 1);
    }

    #[test]
    fn one_that_answers_is_heard_and_ended() {
        let checked =
            Reply::Checked { job: 0, problem: Some("no\nfile".into()), found: vec!["2\trows".into()] };
        let (source, ended) = saying(bytes(&[READY(VERSION), checked]), true);
        assert_eq!(sandbox_level(&source).unwrap(), level());
        let checked = CheckedFiles { problem: Some("no file".into()), found: vec!["2 rows".into()] };
        assert_eq!(check_files(&source, None).unwrap(), checked);
        assert!(describe_files(&source, &[]).unwrap_err().to_string().contains("something else"));
        assert_eq!(ended.load(SeqCst), 3);
    }
}
