//! The spawner as the daemon has it: what it can be asked for, and why it does not do it.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::{Reply, Request};
use crate::serve::SpawnerArgs;
use crate::{ENVIRONMENT, Exit, Program, Settings};

/// How long a spawner may take for an answer. It starts and kills processes, waits a moment for those, and reads a small file: what
/// takes longer than this has stopped, and everybody who waits for it with it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A running spawner. All its calls block, for as long as it takes to start or to kill a process. When it is dropped, or
/// when the process that holds it dies in whatever way, the spawner ends, and all its trainers with it.
#[derive(Debug)]
pub struct Spawner {
    control: Mutex<Control>,
    no_network: bool,
}

#[derive(Debug)]
struct Control {
    socket: UnixStream,
    process: Child,
    /// How it ended, once it has.
    gone: Option<String>,
}

/// Which trainer of a spawner, counted from 0 and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainerId(u64);

/// A trainer that was started.
#[derive(Debug)]
pub struct Started {
    /// Its standard input is the other end: nobody else has one, so this one is at its end when the trainer has ended.
    pub socket: UnixStream,
    /// What [`Spawner::end`] is called with, also of a trainer that has died: until then it takes a place.
    pub id: TrainerId,
}

/// Why there is no spawner, or why it did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its program cannot be started.
    #[error("{} cannot be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// It ended before it was ready. What it has to say of it stands in the daemon's standard error.
    #[error("{} did not begin as the process that starts trainers: {how}", program.display())]
    NotReady { program: PathBuf, how: String },
    /// It is gone, and all trainers with it. No call will succeed any more.
    #[error(
        "the process that starts trainers is gone ({how}), and every trainer with it: nothing is trained any more until \
         this daemon is started again, which starts it anew"
    )]
    Gone { how: String },
    /// It goes on, and did not do this.
    #[error("{0}")]
    Refused(String),
}

impl Spawner {
    /// Starts `program` in its role `spawner`, and waits until it has restricted itself. The process that calls this should
    /// have its own restrictions still before it: they would hold for the spawner and its trainers too.
    ///
    /// # Errors
    /// [`SpawnError::Start`] and [`SpawnError::NotReady`].
    pub fn start(program: &Program, settings: &Settings) -> Result<Self, SpawnError> {
        let start = |source| SpawnError::Start { program: program.path.clone(), source };
        let (socket, theirs) = UnixStream::pair().map_err(start)?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN)).map_err(start)?;
        let mut command = Command::new(&program.path);
        command.args(&program.first).arg("spawner").args(SpawnerArgs::of(settings));
        command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // In a group of its own: what a terminal sends to the daemon's is for the daemon, which ends it in its time.
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).process_group(0);
        let process = command.spawn().map_err(start)?;
        // It holds the other end of the socket.
        drop(command);
        let mut control = Control { socket, process, gone: None };
        match Reply::receive(&control.socket) {
            Ok((Reply::Ready { no_network }, _)) => Ok(Self { control: Mutex::new(control), no_network }),
            answer => {
                let how = control.ended(&said(answer.map(|(reply, _)| reply)));
                Err(SpawnError::NotReady { program: program.path.clone(), how })
            }
        }
    }

    /// Whether the spawner, and so each of its trainers, has no network, by a namespace of its own. Where the machine does not
    /// allow that, a trainer's own seal is all that keeps it from the network.
    #[must_use]
    pub fn has_no_network(&self) -> bool {
        self.no_network
    }

    /// Starts one more trainer.
    ///
    /// # Errors
    /// [`SpawnError::Refused`] where as many were not ended as there may be, or where its program cannot be started;
    /// [`SpawnError::Gone`].
    pub fn trainer(&self) -> Result<Started, SpawnError> {
        self.ask(&Request::Trainer, |reply, socket| match (reply, socket) {
            (Reply::Started(id), Some(socket)) => Ok(Started { socket: socket.into(), id: TrainerId(id) }),
            (other, _) => Err(other),
        })
    }

    /// Ends a trainer with everything that it started in its process group: kills it if it lives, and says how it ended. One
    /// that had ended by itself keeps its own end; one of which the kernel does not let go is [`Exit::Lingering`], and takes its
    /// place until it does.
    ///
    /// # Errors
    /// [`SpawnError::Refused`] where it was ended before; [`SpawnError::Gone`].
    pub fn end(&self, id: TrainerId) -> Result<Exit, SpawnError> {
        self.ask(&Request::End(id.0), |reply, _| match reply {
            Reply::Ended(exit) => Ok(exit),
            other => Err(other),
        })
    }

    /// The text of the configuration file that was named at the start, as it is now.
    ///
    /// # Errors
    /// [`SpawnError::Refused`] where it cannot be read, is no text, or is larger than
    /// [`CONFIGURATION_BYTES`](crate::CONFIGURATION_BYTES); [`SpawnError::Gone`].
    pub fn configuration(&self) -> Result<String, SpawnError> {
        self.ask(&Request::Configuration, |reply, _| match reply {
            Reply::Text(text) => Ok(text),
            other => Err(other),
        })
    }

    /// Whether it has ended, or has left a call without an answer. Waits for nothing, also not for another's call.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.control.try_lock().is_ok_and(|control| control.gone.is_some() || control.is_closed())
    }

    /// Ends what is left of one that [is gone](Spawner::is_gone), and says how it ended.
    pub fn lost(&self) -> SpawnError {
        let mut control = self.control();
        let how = control.gone.clone().unwrap_or_else(|| control.ended(""));
        SpawnError::Gone { how }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(
        &self,
        request: &Request,
        wanted: impl FnOnce(Reply, Option<OwnedFd>) -> Result<T, Reply>,
    ) -> Result<T, SpawnError> {
        let mut control = self.control();
        if let Some(how) = &control.gone {
            return Err(SpawnError::Gone { how: how.clone() });
        }
        // Under the lock, so that each answer belongs to the question before it.
        let answer = request.send(&control.socket).and_then(|()| Reply::receive(&control.socket));
        match answer.map(|(reply, socket)| wanted(reply, socket)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Reply::Refused(why))) => Err(SpawnError::Refused(why)),
            Ok(Err(other)) => Err(SpawnError::Gone { how: control.ended(&said(Ok(other))) }),
            Err(why) => Err(SpawnError::Gone { how: control.ended(&said(Err(why))) }),
        }
    }
}

/// Why an answer that was not the wanted one ends it all; nothing where the process that owed it says more.
fn said(answer: io::Result<Reply>) -> String {
    match answer {
        Ok(reply) => format!("it answered something else than what it was asked: {reply:?}"),
        Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            format!("it gave no answer within {} s", ANSWERS_WITHIN.as_secs())
        }
        Err(why) if why.kind() == io::ErrorKind::InvalidData => format!("it gave {why}"),
        Err(_) => String::new(),
    }
}

impl Control {
    /// Whether nobody has the other end any more.
    fn is_closed(&self) -> bool {
        // Asked for nothing, the kernel tells of this alone.
        let mut socket = [PollFd::new(&self.socket, PollFlags::empty())];
        poll(&mut socket, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Ends the spawner, for this reason or, where it has none, because it has ended: gives how.
    fn ended(&mut self, why: &str) -> String {
        let exit = self.close();
        let how = match exit {
            _ if !why.is_empty() => why.to_owned(),
            Ok(Some(exit)) => exit.to_string(),
            Ok(None) => "it closed its socket and went on".into(),
            Err(unknown) => format!("nobody knows how: {unknown}"),
        };
        self.gone.insert(how).clone()
    }

    /// Closes the socket, which ends a spawner that works, and waits for that; one that does not is killed, where this process
    /// may still do that. None where it lives on all the same.
    fn close(&mut self) -> io::Result<Option<Exit>> {
        // One that has ended already has nothing to close.
        let _ = self.socket.shutdown(Shutdown::Write);
        let mut rest = [0; 4096];
        while !matches!((&self.socket).read(&mut rest), Ok(0)) {
            // It owes an answer still, or does not end: no more is waited for.
            if let Some(exit) = self.process.try_wait()? {
                return Ok(Some(exit.into()));
            }
            if self.process.kill().is_err() {
                return Ok(None);
            }
        }
        Ok(Some(self.process.wait()?.into()))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.gone.is_none() {
            // Nobody is left to hear of one that does not end.
            let _ = self.close();
        }
    }
}
