use std::fs;

use super::*;

const KIND: JournalKind = JournalKind::Coordinator;

struct Written {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    /// Where each append ended; the first is the header's end.
    ends: Vec<usize>,
}

fn records() -> [Vec<Vec<u8>>; 4] {
    let record = |text: &str| text.as_bytes().to_vec();
    [
        vec![record("two")],
        vec![record("three"), record(""), record("five")],
        vec![record("seven")],
        vec![record("eleven")],
    ]
}

fn written() -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, torn) = Journal::open(&path, KIND).unwrap();
    assert_eq!(torn, None);
    let mut ends = vec![fs::read(&path).unwrap().len()];
    for append in records() {
        journal.append(&append).unwrap();
        ends.push(fs::read(&path).unwrap().len());
    }
    Written { bytes: fs::read(&path).unwrap(), folder, ends }
}

impl Written {
    fn open(&self, bytes: &[u8]) -> Result<(Journal, Option<TornTail>), JournalError> {
        let path = self.folder.path().join("journal");
        fs::write(&path, bytes).unwrap();
        Journal::open(&path, KIND)
    }
}

fn replayed(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    journal.replay(&mut |sequence, record| all.push((sequence, record.to_vec()))).unwrap();
    all
}

#[test]
fn appends_survive_reopening_with_their_sequence_numbers() {
    let written = written();
    let (journal, torn) = written.open(&written.bytes).unwrap();
    assert_eq!(torn, None);
    assert_eq!(replayed(&journal), (1..).zip(records().concat()).collect::<Vec<_>>());
    assert_eq!(journal.head().sequence, 6);
}

#[test]
fn a_last_append_cut_at_any_byte_is_removed_and_the_journal_goes_on() {
    let written = written();
    let (last, whole) = (written.ends[3], written.ends[4]);
    for cut in last + 1..whole {
        // Cut short, and filled up with zeros or ones, as some file systems leave it.
        let filled = |fill| [&written.bytes[..cut], &vec![fill; whole - cut]].concat();
        for bytes in [written.bytes[..cut].to_vec(), filled(0), filled(0xff)] {
            if bytes == written.bytes {
                continue;
            }
            let (mut journal, torn) = written.open(&bytes).unwrap();
            let expected = TornTail { offset: last as u64, bytes: (bytes.len() - last) as u64 };
            assert_eq!(torn, Some(expected), "cut at {cut}");
            journal.append(&records()[3]).unwrap();
            assert_eq!(fs::read(written.folder.path().join("journal")).unwrap(), written.bytes);
        }
    }
}

#[test]
fn a_journal_of_the_first_release_goes_on_in_its_own_format_and_one_of_a_later_release_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::write(&path, b"FMJL\x01\0\x02\0").unwrap();
    let (mut journal, _) = Journal::open(&path, JournalKind::Client).unwrap();
    journal.append(&[b"one".to_vec()]).unwrap();
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"FMJL\x01\0\x02\0"));
    let (journal, torn) = Journal::open(&path, JournalKind::Client).unwrap();
    assert_eq!((journal.head().sequence, torn), (1, None));
    // Its header is under its hashes: as another format's it is damaged.
    fs::write(&path, [b"FMJL\x03\0\x02\0", &bytes[8..]].concat()).unwrap();
    assert!(!matches!(Journal::open(&path, JournalKind::Client), Ok((_, None))));

    let later = [b"FMJL\x05\0\x02\0", &bytes[8..]].concat();
    fs::write(&path, &later).unwrap();
    let why = Journal::open(&path, JournalKind::Client).unwrap_err().to_string();
    assert!(why.contains("has format 3, this release reads up to 2: install a newer release"), "{why}");
    assert_eq!(fs::read(&path).unwrap(), later, "left as it was");
}

#[test]
fn a_flipped_byte_anywhere_before_the_last_append_is_refused_with_its_frame() {
    let written = written();
    for at in 0..written.ends[3] {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = written.bytes.clone();
            bytes[at] ^= flip;
            let error = written.open(&bytes).unwrap_err();
            let frame = written.ends.iter().rfind(|&&end| end <= at);
            match (error, frame) {
                (JournalError::Damaged { offset, .. }, Some(&frame)) => assert_eq!(offset, frame as u64),
                (JournalError::NotAJournal { .. }, None) => assert!(at < 4),
                (JournalError::Format { .. } | JournalError::Sealed { .. }, None) => {
                    assert!((4..6).contains(&at));
                }
                (JournalError::Kind { .. }, None) => assert!((6..8).contains(&at)),
                (error, _) => panic!("byte {at}: {error}"),
            }
            assert_eq!(fs::read(written.folder.path().join("journal")).unwrap(), bytes, "left as it was");
        }
    }
}

#[test]
fn a_flipped_byte_in_the_last_append_removes_that_append_alone() {
    let written = written();
    for at in written.ends[3]..written.ends[4] {
        let mut bytes = written.bytes.clone();
        bytes[at] ^= 1;
        let (journal, torn) = written.open(&bytes).unwrap();
        assert_eq!(torn.unwrap().offset, written.ends[3] as u64);
        assert_eq!(journal.head().sequence, 5);
    }
}

#[test]
fn removed_repeated_and_exchanged_frames_are_refused() {
    let Written { bytes, ends, .. } = &written();
    let frame = |i: usize| &bytes[ends[i]..ends[i + 1]];
    let header = &bytes[..ends[0]];
    let missing = [header, frame(0), frame(2), frame(3)].concat();
    // The last one alone would pass for torn, were its sequence number not too high.
    let missing_before_last = [header, frame(0), frame(1), frame(3)].concat();
    let repeated = [header, frame(0), frame(0), frame(1)].concat();
    let exchanged = [header, frame(0), frame(1), frame(3), frame(2)].concat();
    for (bytes, at) in
        [(missing, ends[1]), (missing_before_last, ends[2]), (repeated, ends[1]), (exchanged, ends[2])]
    {
        match written().open(&bytes) {
            Err(JournalError::Damaged { offset, .. }) => assert_eq!(offset, at as u64),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn damage_after_opening_is_seen_by_replay() {
    let written = written();
    let (journal, _) = written.open(&written.bytes).unwrap();
    fs::write(written.folder.path().join("journal"), &written.bytes[..written.ends[2]]).unwrap();
    assert!(matches!(journal.replay(&mut |_, _| {}), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_header_cut_short_and_another_file_are_refused() {
    let written = written();
    for bytes in [&b""[..], b"FMJL\x01", b"SQLite format 3\0"] {
        assert!(matches!(written.open(bytes), Err(JournalError::NotAJournal { .. })));
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_appended() {
    let written = written();
    let (mut journal, _) = written.open(&written.bytes).unwrap();
    // A handle without write permission fails as a full disk would.
    journal.medium = File::open(written.folder.path().join("journal")).unwrap();
    assert!(matches!(journal.append(&[vec![1]]), Err(JournalError::Io { .. })));
    assert!(matches!(journal.append(&[vec![1]]), Err(JournalError::Poisoned { .. })));
    assert_eq!(journal.head().sequence, 6);
}

/// Bytes that a killed process left, and whether they were synced since.
struct Left {
    bytes: Vec<u8>,
    synced: std::rc::Rc<std::cell::Cell<bool>>,
}

impl Medium for Left {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!("nothing is appended")
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        unreachable!("nothing is torn")
    }

    fn sync(&mut self) -> io::Result<()> {
        self.synced.set(true);
        Ok(())
    }
}

#[test]
fn what_a_killed_process_left_in_the_page_cache_is_synced_before_anyone_acts_on_it() {
    let synced = std::rc::Rc::default();
    let left = Left { bytes: written().bytes, synced: std::rc::Rc::clone(&synced) };
    let (journal, torn) = Journal::mount(left, Path::new("left"), KIND).unwrap();
    assert_eq!((journal.head().sequence, torn), (6, None));
    assert!(synced.get());
}
