//! The journal's file, and the records in it.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use protocol::{ClientRecord, Record};
use store::{Head, Journal, JournalKind, Medium, TornTail};

use super::edits::edited;
use super::script::Script;

/// A file in memory; a second handle sees what a journal did to it.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Medium for Memory {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let held = self.0.borrow();
        let from = usize::try_from(offset).ok().and_then(|at| held.get(at..)?.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut held = self.0.borrow_mut();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at + bytes.len();
        if held.len() < end {
            held.resize(end, 0);
        }
        held[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.borrow_mut().truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What opening a file gave, where it did not refuse.
struct Taken {
    records: Vec<Vec<u8>>,
    torn: Option<TornTail>,
}

/// A file of any content.
pub(crate) fn file(bytes: &[u8]) {
    for kind in [JournalKind::Client, JournalKind::Coordinator] {
        open(bytes, kind);
    }
}

/// A journal that this program wrote, damaged afterwards: pieces are records, a piece of no bytes ends an append,
/// two of them end the journal, and edits follow.
pub(crate) fn edits(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let memory = Memory(Rc::new(RefCell::new(Journal::empty(JournalKind::Client))));
    let (mut journal, _) = mounted(memory.clone(), JournalKind::Client).expect("an empty journal");
    let (mut written, mut append) = (Vec::new(), Vec::new());
    let mut acknowledged = 0;
    while let Some(record) = script.piece() {
        if !record.is_empty() {
            append.push(record.to_vec());
            continue;
        }
        if append.is_empty() {
            break;
        }
        acknowledged = written.len();
        written.append(&mut append);
        journal.append(&written[acknowledged..]).expect("memory does not fail");
    }
    let whole = memory.0.borrow().clone();
    let damaged = edited(whole.clone(), &mut script);
    let Some(taken) = open(&damaged, JournalKind::Client) else { return };
    let kept = taken.records.len();
    assert!(written.starts_with(&taken.records), "a record was read that was never written");
    assert!(damaged != whole || (kept == written.len() && taken.torn.is_none()));
    // One changed byte loses no acknowledged record unsaid. More of them can: where they hit the heads of the last
    // two frames, what is left looks like one append that a crash cut short.
    let changed = whole.iter().zip(&damaged).filter(|(was, is)| was != is).count();
    if damaged.len() == whole.len() && changed <= 1 {
        assert!(kept >= acknowledged, "{} acknowledged records were lost", acknowledged - kept);
    }
}

/// Opens, and holds what was opened to what the store promises.
fn open(bytes: &[u8], kind: JournalKind) -> Option<Taken> {
    let memory = Memory(Rc::new(RefCell::new(bytes.to_vec())));
    let Ok((mut journal, torn)) = mounted(memory.clone(), kind) else {
        assert_eq!(*memory.0.borrow(), bytes, "what is refused is left as it was");
        return None;
    };
    let records = replayed(&journal);
    assert_eq!(journal.head().sequence, records.len() as u64);
    let kept = memory.0.borrow().clone();
    assert!(bytes.starts_with(&kept));
    assert_eq!(torn.map(|torn| torn.bytes).unwrap_or(0), (bytes.len() - kept.len()) as u64);
    let (again, torn_again) = mounted(memory.clone(), kind).expect("it opened before");
    assert_eq!((again.head(), torn_again), (journal.head(), None));
    journal.append(&[b"one more".to_vec()]).expect("memory does not fail");
    let (longer, torn_after) = mounted(memory, kind).expect("it was appended to");
    let (after, head): (Vec<Vec<u8>>, Head) = (replayed(&longer), longer.head());
    assert_eq!((head, torn_after), (journal.head(), None));
    assert!(after.starts_with(&records) && after.len() == records.len() + 1);
    Some(Taken { records, torn })
}

fn mounted(
    memory: Memory,
    kind: JournalKind,
) -> Result<(Journal<Memory>, Option<TornTail>), store::JournalError> {
    Journal::mount(memory, Path::new("journal"), kind)
}

fn replayed(journal: &Journal<Memory>) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    journal.replay(&mut |_, record| records.push(record.to_vec())).expect("it was just scanned");
    records
}

pub(crate) fn coordinator_record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let written = record.encode();
        assert!(written.len() <= bytes.len());
        let again = Record::decode(&written).expect("its own bytes");
        // Not the values: a float that is no number differs from itself.
        assert_eq!(again.encode(), written);
    }
    refused_with_more_behind(bytes, |bytes| Record::decode(bytes).is_ok());
}

pub(crate) fn client_record(bytes: &[u8]) {
    if let Ok(record) = ClientRecord::decode(bytes) {
        let written = record.encode();
        assert!(written.len() <= bytes.len());
        let again = ClientRecord::decode(&written).expect("its own bytes");
        assert_eq!(again.encode(), written);
    }
    refused_with_more_behind(bytes, |bytes| ClientRecord::decode(bytes).is_ok());
}

fn refused_with_more_behind(bytes: &[u8], decodes: impl Fn(&[u8]) -> bool) {
    if decodes(bytes) {
        assert!(!decodes(&[bytes, &[0]].concat()), "bytes behind a record are ignored");
    }
}

/// A client's journal with these records, one append each.
pub(crate) fn bytes_of(records: &[Vec<u8>]) -> Vec<u8> {
    let memory = Memory(Rc::new(RefCell::new(Journal::empty(JournalKind::Client))));
    let (mut journal, _) = mounted(memory.clone(), JournalKind::Client).expect("an empty journal");
    for record in records {
        journal.append(std::slice::from_ref(record)).expect("memory does not fail");
    }
    memory.0.borrow().clone()
}
