//! Where a run stands, read from a coordinator's journal while its process stands still.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::{Attempt, Record};
use rustix::process::{Pid, Signal, kill_process};
use secagg::ClientId;
use store::{Journal, JournalKind, Medium};

use super::Coordinator;

/// The phases in which a coordinator can be killed, by the record that began them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Idle,
    Advertising,
    SharingKeys,
    MaskedInput,
    Consistency,
    Unmasking,
    OpeningTheSum,
}

/// A copy of a journal's bytes: what is read must not be changed, though a torn tail is cut off.
struct Copied(Vec<u8>);

impl Medium for Copied {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = self.0.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn journal<T>(folder: &Path, kind: JournalKind, decode: impl Fn(&[u8]) -> T) -> Vec<T> {
    let path = folder.join("journal");
    let (journal, _) = Journal::mount(Copied(fs::read(&path).unwrap()), &path, kind).unwrap();
    let mut records = Vec::new();
    journal.replay(&mut |_, bytes| records.push(decode(bytes))).unwrap();
    records
}

/// Where a run stands by its journal.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    pub(super) at: Attempt,
    /// The included set, once it is fixed.
    pub(super) included: Option<BTreeSet<ClientId>>,
    /// Whether nobody is missing: what is tolerated is counted from there.
    pub(super) complete: bool,
}

fn standing(data: &Path, silos: u32) -> Standing {
    let at = Attempt { round: 0, attempt: 0 };
    let mut standing = Standing { phase: Phase::Idle, at, included: None, complete: true };
    let (mut advertised, mut shared, mut staged) = (0, 0, BTreeSet::new());
    for record in journal(data, JournalKind::Coordinator, |bytes| Record::decode(bytes).unwrap()) {
        match record {
            Record::AttemptBegun { at, cohort, .. } => {
                let complete = cohort.len() == silos as usize;
                standing = Standing { phase: Phase::Advertising, at, included: None, complete };
                (advertised, shared) = (0, 0);
                staged.clear();
            }
            Record::Advertised(_) => advertised += 1,
            Record::AdvertsFixed { .. } => {
                standing.phase = Phase::SharingKeys;
                standing.complete &= advertised == silos;
            }
            Record::Shared(_) => shared += 1,
            Record::SharesFixed { .. } => {
                standing.phase = Phase::MaskedInput;
                standing.complete &= shared == silos;
            }
            Record::Staged(header) => drop(staged.insert(header.client)),
            Record::IncludedFixed { .. } => {
                standing.phase = Phase::Consistency;
                standing.complete &= staged.len() == silos as usize;
                standing.included = Some(staged.clone());
            }
            Record::UnmaskRequested { .. } => standing.phase = Phase::Unmasking,
            Record::SharesComplete { .. } => standing.phase = Phase::OpeningTheSum,
            Record::Committed { .. } | Record::Aborted { .. } => standing.phase = Phase::Idle,
            _ => {}
        }
    }
    standing
}

/// Stops a process, and waits until it stands still.
fn freeze(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    // The state follows the name in parentheses.
    while !fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('T') {
        std::thread::yield_now();
    }
}

/// Lets a frozen process go on until one of its journals has grown, or for a moment where nothing is due.
fn step(pid: Pid, folders: &[PathBuf]) {
    let length =
        || -> u64 { folders.iter().map(|folder| fs::metadata(folder.join("journal")).unwrap().len()).sum() };
    let before = length();
    kill_process(pid, Signal::CONT).unwrap();
    let began = Instant::now();
    while length() == before && began.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
}

/// Freezes the coordinator again and again until a round after `round`, with everybody in it, stands in `phase`; it stays
/// frozen.
pub(super) fn catch(
    coordinator: &Coordinator,
    data: &Path,
    silos: u32,
    phase: Phase,
    round: u64,
) -> Standing {
    catch_in(coordinator, &[data.to_owned()], silos, phase, |_, at| at.round > round).1
}

/// The same of a coordinator of several runs, in the first of these folders with such a round that is wanted; and which that is.
pub(super) fn catch_in(
    coordinator: &Coordinator,
    folders: &[PathBuf],
    silos: u32,
    phase: Phase,
    wanted: impl Fn(usize, Attempt) -> bool,
) -> (usize, Standing) {
    let pid = Pid::from_child(&coordinator.running.0);
    let began = Instant::now();
    loop {
        freeze(pid);
        let standings: Vec<Standing> = folders.iter().map(|folder| standing(folder, silos)).collect();
        let stands = |(place, standing): &(usize, &Standing)| {
            standing.phase == phase && standing.complete && wanted(*place, standing.at)
        };
        if let Some((place, standing)) = standings.iter().enumerate().find(stands) {
            return (place, standing.clone());
        }
        assert!(began.elapsed() < Duration::from_secs(600), "no round comes to {phase:?}: {standings:?}");
        step(pid, folders);
    }
}
