//! A disk that forgets what was not synced when the power goes, and whose fsync may fail.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use rand_core::Rng;
use store::Medium;

/// One journal's disk. It outlives the process that writes it; clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    /// What a reader sees: the durable bytes, and behind them those that lie in the page cache.
    bytes: Vec<u8>,
    synced: usize,
    sync_fails: bool,
}

impl Disk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let synced = bytes.len();
        Self(Rc::new(RefCell::new(State { bytes, synced, sync_fails: false })))
    }

    /// The next fsync fails.
    pub(crate) fn fail_sync(&self) {
        self.0.borrow_mut().sync_fails = true;
    }

    /// The power goes: of what was not synced, any first part is left, and a file system may fill up the rest.
    /// Returns how many bytes are gone.
    pub(crate) fn cut_power(&self, rng: &mut dyn Rng) -> usize {
        let mut state = self.0.borrow_mut();
        let (length, synced) = (state.bytes.len(), state.synced);
        let kept = synced + rng.next_u64() as usize % (length - synced + 1);
        state.bytes.truncate(kept);
        if kept < length && rng.next_u32().is_multiple_of(4) {
            state.bytes.resize(length, 0);
        }
        state.synced = state.bytes.len();
        length - kept
    }
}

impl Medium for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.borrow().bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.0.borrow();
        let from = state.bytes.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if state.bytes.len() < end {
            state.bytes.resize(end, 0);
        }
        state.bytes[start..end].copy_from_slice(bytes);
        state.synced = state.synced.min(start);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.bytes.truncate(length as usize);
        state.synced = state.synced.min(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if std::mem::take(&mut state.sync_fails) {
            return Err(io::Error::other("the disk failed"));
        }
        state.synced = state.bytes.len();
        Ok(())
    }
}
