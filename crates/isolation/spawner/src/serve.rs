//! The spawner's own side: what its process does from its first line to its last.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sandbox::{Demand, SealError};

use crate::control::{Received, Reply, Request};
use crate::{CONFIGURATION_BYTES, ENVIRONMENT, Exit, PARENT, Settings};

mod restricted;

/// How long a trainer that was killed is waited for. Others wait meanwhile, so it is short; one that takes longer is left to the
/// kernel.
const GOING: Duration = Duration::from_secs(2);

/// The command line of the role `spawner`: all that a daemon can make it do.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SpawnerArgs {
    /// The one file whose text it gives to the daemon.
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// How many trainers there may be that were not ended.
    #[arg(long, value_name = "N")]
    trainers_max: usize,
    /// Whether it restricts itself: required, best_effort, off.
    #[arg(long, value_name = "DEMAND")]
    sandbox: Demand,
    /// A trainer's command line, program first.
    #[arg(last = true, required = true, value_name = "TRAINER")]
    trainer: Vec<OsString>,
}

impl SpawnerArgs {
    /// As they stand on the command line.
    pub(crate) fn of(settings: &Settings) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![
            "--trainers-max".into(),
            settings.trainers_max.to_string().into(),
            "--sandbox".into(),
            settings.demand.name().into(),
        ];
        if let Some(file) = &settings.configuration {
            words.extend(["--configuration".into(), file.into()]);
        }
        words.push("--".into());
        words.extend(settings.trainer.iter().cloned());
        words
    }
}

/// Why a spawner ended that its daemon did not end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was not started as one.
    #[error("its standard input is no socket of a daemon's: {0}; a daemon starts this by itself")]
    NoControl(#[source] io::Error),
    /// What was open when it was started would be open in trainers too.
    #[error("it cannot close what it has inherited: {0}")]
    Inherited(#[source] SealError),
    /// It cannot give up what it must not have.
    #[error("it cannot {what}: {source}")]
    Unrestricted { what: &'static str, source: io::Error },
    /// What came over the control socket was no request. A daemon sends none such: it is another program, or not itself any more.
    #[error("what came over the control socket is no request: {0}; every trainer was ended")]
    Garbage(&'static str),
    /// The daemon takes no answer.
    #[error("the daemon takes no answer: {0}")]
    Unanswered(#[source] io::Error),
}

/// Runs a spawner in this process, whose standard input is its control socket: restricts the process, says so, and does what
/// it is asked for until the socket is closed; then ends all trainers. Called with one thread, and before anything was opened.
///
/// # Errors
/// [`Broken`]; all trainers have ended then too.
pub fn serve_daemon(args: &SpawnerArgs) -> Result<(), Broken> {
    sandbox::close_descriptors().map_err(Broken::Inherited)?;
    let control = io::stdin().as_fd().try_clone_to_owned().map_err(Broken::NoControl)?;
    unix_stream(&control).map_err(Broken::NoControl)?;
    let control = UnixStream::from(control);
    let no_network = args.sandbox != Demand::Off && restricted::restrict()?;
    let reads = args.configuration.as_deref().map(Configuration::at);
    let mut trainers = Trainers { alive: BTreeMap::new(), lingering: Vec::new(), next: 0, args };
    Reply::Ready { no_network }.send(&control, None).map_err(Broken::Unanswered)?;
    loop {
        let mut socket = None;
        let reply = match Request::receive(&control) {
            Ok(Request::Trainer) => trainers.start().map(|(id, theirs)| {
                socket = Some(theirs);
                Reply::Started(id)
            }),
            Ok(Request::End(id)) => trainers.end(id).map(Reply::Ended),
            Ok(Request::Configuration) => match &reads {
                Some(file) => file.read().map(Reply::Text),
                None => Err("no configuration file was named at the start".into()),
            },
            Err(Received::Closed) => return Ok(()),
            Err(Received::Garbage(why)) => return Err(Broken::Garbage(why)),
        };
        let reply = reply.unwrap_or_else(Reply::Refused);
        reply.send(&control, socket.as_ref().map(AsFd::as_fd)).map_err(Broken::Unanswered)?;
    }
}

/// Whether it is a stream of this machine alone.
fn unix_stream(socket: &OwnedFd) -> io::Result<()> {
    if sockopt::socket_domain(socket)? == AddressFamily::UNIX
        && sockopt::socket_type(socket)? == SocketType::STREAM
    {
        return Ok(());
    }
    Err(io::Error::other("it is no stream between processes of one machine"))
}

/// Trainers that were not ended yet. Dropping them ends them.
struct Trainers<'a> {
    alive: BTreeMap<u64, Child>,
    /// Killed, and not gone when they were last looked at.
    lingering: Vec<Child>,
    next: u64,
    args: &'a SpawnerArgs,
}

impl Trainers<'_> {
    /// Starts one; gives its number and the other end of its standard input.
    fn start(&mut self) -> Result<(u64, UnixStream), String> {
        self.lingering.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let most = self.args.trainers_max;
        if self.alive.len() + self.lingering.len() >= most {
            return Err(format!(
                "no further trainer: {most} were started and not ended, {} of them killed and not gone yet, and more are not allowed",
                self.lingering.len()
            ));
        }
        let Some((program, arguments)) = self.args.trainer.split_first() else {
            return Err("no program of a trainer was named at the start".into());
        };
        let (socket, its) = UnixStream::pair().map_err(|why| format!("no socket for a trainer: {why}"))?;
        let inherited = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let started = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(inherited)
            .env(PARENT, std::process::id().to_string())
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            // Not the daemon's: what a trainer wrote there would stand in the log as the daemon's own word.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|why| format!("{} cannot be started: {why}", Path::new(program).display()))?;
        let id = self.next;
        self.next += 1;
        self.alive.insert(id, started);
        Ok((id, socket))
    }

    fn end(&mut self, id: u64) -> Result<Exit, String> {
        let mut child = self.alive.remove(&id).ok_or("that trainer was ended before, or never started")?;
        if let Err(why) = kill(&child) {
            self.lingering.push(child);
            return Err(format!("that trainer cannot be killed: {why}"));
        }
        match gone(&mut child, Instant::now() + GOING) {
            Ok(Some(exit)) => Ok(exit),
            Ok(None) => {
                self.lingering.push(child);
                Ok(Exit::Lingering)
            }
            Err(why) => Err(format!("nobody knows how that trainer ended: {why}")),
        }
    }
}

/// Kills what is left of a trainer's group. It was not waited for before, so that its number is still its own; one that had ended
/// keeps its code.
fn kill(child: &Child) -> io::Result<()> {
    let trainer = Pid::from_child(child);
    // The first signal that ends a process is what its end is called by. So a trainer that is ended here is not taken for one that the
    // kernel kills for want of memory, and one that heeds no SIGTERM is killed all the same.
    for sent in [kill_process(trainer, Signal::TERM), kill_process_group(trainer, Signal::KILL)] {
        match sent {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// How a process that was killed ended; none where it has not until then.
fn gone(child: &mut Child, until: Instant) -> io::Result<Option<Exit>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.into()));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

impl Drop for Trainers<'_> {
    fn drop(&mut self) {
        let mut all: Vec<Child> = std::mem::take(&mut self.alive).into_values().collect();
        // Nobody is left to hear of one that cannot be killed, or does not go.
        let _: Vec<io::Result<()>> = all.iter().map(kill).collect();
        all.append(&mut self.lingering);
        let until = Instant::now() + GOING;
        for child in &mut all {
            let _ = gone(child, until);
        }
    }
}

/// The one file that a daemon has read to it.
struct Configuration<'a> {
    path: &'a Path,
    /// Whether it is a link, as where a folder's files are replaced together. Where it was none at the start, none is followed
    /// later: whoever can only write beside it cannot have another file read under its name.
    link: bool,
}

impl<'a> Configuration<'a> {
    fn at(path: &'a Path) -> Self {
        Self { path, link: path.symlink_metadata().is_ok_and(|found| found.is_symlink()) }
    }

    fn read(&self) -> Result<String, String> {
        self.text().map_err(|why| format!("{}: {why}", self.path.display()))
    }

    fn text(&self) -> io::Result<String> {
        // Not waited for, where it is a pipe.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !self.link);
        let file = File::from(rustix::fs::open(self.path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut text = String::new();
        file.take(CONFIGURATION_BYTES as u64 + 1).read_to_string(&mut text)?;
        if text.len() > CONFIGURATION_BYTES {
            return Err(io::Error::other(format!("it has more than {CONFIGURATION_BYTES} bytes")));
        }
        Ok(text)
    }
}
