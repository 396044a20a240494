//! The journal: created whole, appended with fsync, checked from its first byte when opened.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::frame::{
    self, FRAME_HEAD_BYTES, Form, FrameHead, HASH_BYTES, HEADER_BYTES, Head, HeaderProblem, JournalKind,
};

/// A journal that refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("cannot {action} the journal `{}`: check space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another kind of file.
    #[error("`{}` is not a journal, and lies where one belongs: name the folder that holds this daemon's", path.display())]
    NotAJournal { path: PathBuf },
    /// Written by a newer program.
    #[error(
        "the journal `{}` has format {format}, this release reads up to {}: install a newer release; nothing was changed",
        path.display(),
        frame::FORMAT
    )]
    Format { path: PathBuf, format: u16 },
    /// A coordinator's opened as a client's, or the reverse.
    #[error("the journal `{}` is not a {expected:?}'s: name the folder that holds this daemon's", path.display())]
    Kind {
        path: PathBuf,
        /// What it was opened as.
        expected: JournalKind,
    },
    /// Its records are sealed, and no vault was given.
    #[error("the journal `{}` is sealed: configure the master key that it was made with", path.display())]
    Sealed { path: PathBuf },
    /// Its records are in the clear, and a vault was given.
    #[error(
        "the journal `{}` is in the clear, and is never mixed with what is sealed: go on without a master key; in another folder \
         what it remembers would be forgotten",
        path.display()
    )]
    NotSealed { path: PathBuf },
    /// Changed before its end: not by a crash.
    #[error(
        "the journal `{}` is damaged at byte {offset}: restore its newest copy, and none that is older than what the daemon has said \
         since, which others remember; nothing was changed",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        /// Where the first bad frame begins.
        offset: u64,
    },
    /// More than one append may hold.
    #[error("an append to `{}` is above {max} bytes", path.display(), max = frame::APPEND_BYTES_MAX)]
    TooLong { path: PathBuf },
    /// An earlier write failed, so the file's end is unknown.
    #[error("an earlier write to `{}` failed: open the store again", path.display())]
    Poisoned { path: PathBuf },
}

/// An append that a crash cut short and that was never acknowledged; opening removed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it began, and where the journal now ends.
    pub offset: u64,
    pub bytes: u64,
}

/// What a journal's bytes lie on: a file, or the disk of a simulation.
pub trait Medium {
    /// How many bytes there are.
    ///
    /// # Errors
    /// A medium that fails.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// Fewer bytes than that; a medium that fails.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; durable only after [`Medium::sync`].
    ///
    /// # Errors
    /// A medium that fails.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Forgets what lies behind `length`; durable only after [`Medium::sync`].
    ///
    /// # Errors
    /// A medium that fails.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// A medium that fails: what was written since the last success may then be there, in part or not at all.
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// An append-only, hash-chained list of records.
#[derive(Debug)]
pub struct Journal<M = File> {
    path: PathBuf,
    medium: M,
    form: Form,
    end: u64,
    head: Head,
    // After a failed fsync the kernel may drop the dirty pages and report success next time.
    poisoned: bool,
}

impl Journal {
    /// Opens or creates the journal's file, removing a torn tail.
    ///
    /// # Errors
    /// As [`Journal::mount`].
    pub fn open(path: &Path, kind: JournalKind) -> Result<(Journal, Option<TornTail>), JournalError> {
        Journal::open_as(path, kind.into())
    }

    pub(crate) fn open_as(path: &Path, form: Form) -> Result<(Journal, Option<TornTail>), JournalError> {
        let fails = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        if !path.try_exists().map_err(fails("look for"))? {
            disk::write_durably(path, &frame::header(form)).map_err(fails("create"))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(fails("open"))?;
        Journal::mount_as(file, path, form)
    }

    /// Whether a journal is there, and sealed.
    pub(crate) fn is_sealed(path: &Path) -> Result<bool, JournalError> {
        let fails = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(fails("open")(error)),
        };
        let header = read_array(&mut file).map_err(fails("read"))?;
        Ok(frame::is_sealed(&header))
    }

    /// Visits every record of the journal at `path` that is whole at this moment, and changes nothing: its process may be at work.
    pub(crate) fn look(
        path: &Path,
        form: Form,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), JournalError> {
        let fails = |source| JournalError::Io { action: "open", path: path.to_owned(), source };
        scan(&File::open(path).map_err(fails)?, path, form, visit).map(drop)
    }

    /// The bytes of a journal without records.
    pub fn empty(kind: JournalKind) -> Vec<u8> {
        frame::header(kind).to_vec()
    }
}

impl<M: Medium> Journal<M> {
    /// Takes up the journal that lies on `medium`, removing a torn tail; errors and warnings call it `path`.
    ///
    /// # Errors
    /// [`JournalError`]: no journal of this kind and version, damage before its last append, or a medium that
    /// fails. Nothing was changed then.
    pub fn mount(
        medium: M,
        path: &Path,
        kind: JournalKind,
    ) -> Result<(Journal<M>, Option<TornTail>), JournalError> {
        Journal::mount_as(medium, path, kind.into())
    }

    fn mount_as(
        mut medium: M,
        path: &Path,
        form: Form,
    ) -> Result<(Journal<M>, Option<TornTail>), JournalError> {
        let fails = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        let Scan { form, end, head, torn } = scan(&medium, path, form, &mut |_, _| {})?;
        if let Some(TornTail { offset, bytes }) = torn {
            medium.truncate(offset).map_err(fails("truncate"))?;
            tracing::warn!(
                journal = %path.display(), offset, bytes,
                "removed an append that a crash cut short; it was never acknowledged"
            );
        }
        // What is read here is acted on. A process that was killed between its write and its fsync left it in the page
        // cache alone.
        medium.sync().map_err(fails("sync"))?;
        Ok((Journal { path: path.to_owned(), medium, form, end, head, poisoned: false }, torn))
    }

    /// Sequence number and chain hash of the last record.
    pub fn head(&self) -> Head {
        self.head
    }

    /// What it lies on.
    pub fn into_medium(self) -> M {
        self.medium
    }

    /// Appends records as one frame, all or none; durable when this returns. Gives the last one's sequence
    /// number.
    ///
    /// # Errors
    /// More than [`crate::APPEND_BYTES_MAX`]; a medium that fails, now or at an earlier append.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<u64, JournalError> {
        let path = || self.path.clone();
        if self.poisoned {
            return Err(JournalError::Poisoned { path: path() });
        }
        if !records.is_empty() {
            let (frame, next) =
                frame::encode(&self.head, records).ok_or_else(|| JournalError::TooLong { path: path() })?;
            let written = self.medium.write_at(&frame, self.end).and_then(|()| self.medium.sync());
            if let Err(source) = written {
                self.poisoned = true;
                return Err(JournalError::Io { action: "append to", path: path(), source });
            }
            self.end += frame.len() as u64;
            self.head = next;
        }
        Ok(self.head.sequence)
    }

    /// Visits every record with its sequence number, checking the chain again.
    ///
    /// # Errors
    /// Damage since it was opened; a medium that fails.
    pub fn replay(&self, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), JournalError> {
        let Scan { end, head, torn, .. } = scan(&self.medium, &self.path, self.form, visit)?;
        match torn.is_none() && end == self.end && head == self.head {
            true => Ok(()),
            false => Err(JournalError::Damaged { path: self.path.clone(), offset: end }),
        }
    }

    /// Writes the first `keep` bytes of a frame, as a power cut would leave it.
    pub(crate) fn append_torn(&mut self, records: &[Vec<u8>], keep: usize) -> io::Result<()> {
        self.poisoned = true;
        match frame::encode(&self.head, records) {
            // At most all but one byte: a whole frame would not be torn.
            Some((frame, _)) => self.medium.write_at(&frame[..keep.min(frame.len() - 1)], self.end),
            None => Ok(()),
        }
    }
}

/// A medium read from its first byte to its last.
struct FromStart<'a, M> {
    medium: &'a M,
    offset: u64,
    length: u64,
}

impl<M: Medium> Read for FromStart<'_, M> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let count = bytes.len().min(left);
        self.medium.read_at(&mut bytes[..count], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

struct Scan {
    /// The asked one, in the journal's own format.
    form: Form,
    end: u64,
    head: Head,
    torn: Option<TornTail>,
}

/// Checks every frame. A bad one at the very end is a torn tail; anywhere else it is damage.
fn scan<M: Medium>(
    medium: &M,
    path: &Path,
    form: Form,
    visit: &mut dyn FnMut(u64, &[u8]),
) -> Result<Scan, JournalError> {
    let fails = |source| JournalError::Io { action: "read", path: path.to_owned(), source };
    let length = medium.length().map_err(fails)?;
    let mut reader = BufReader::new(FromStart { medium, offset: 0, length });
    if length < HEADER_BYTES as u64 {
        return Err(JournalError::NotAJournal { path: path.to_owned() });
    }
    let header = read_array(&mut reader).map_err(fails)?;
    let form = frame::check_header(&header, form).map_err(|problem| match problem {
        HeaderProblem::Magic => JournalError::NotAJournal { path: path.to_owned() },
        HeaderProblem::Format(format) => JournalError::Format { path: path.to_owned(), format },
        HeaderProblem::Kind => JournalError::Kind { path: path.to_owned(), expected: form.kind },
        HeaderProblem::Sealed => JournalError::Sealed { path: path.to_owned() },
        HeaderProblem::NotSealed => JournalError::NotSealed { path: path.to_owned() },
    })?;

    let mut head = Head::start(form);
    let mut offset = HEADER_BYTES as u64;
    while offset < length {
        let bytes = length - offset;
        let torn = Scan { form, end: offset, head, torn: Some(TornTail { offset, bytes }) };
        let damaged = || JournalError::Damaged { path: path.to_owned(), offset };
        if bytes < FRAME_HEAD_BYTES as u64 {
            return Ok(torn);
        }
        let Some(frame_head) = FrameHead::decode(&read_array(&mut reader).map_err(fails)?) else {
            // A torn frame is no longer than a frame may be, and nothing comes after it.
            let longest = frame::APPEND_BYTES_MAX + FRAME_HEAD_BYTES + HASH_BYTES;
            if bytes > longest as u64 {
                return Err(damaged());
            }
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).map_err(fails)?;
            return if frame::has_frame_after(head.sequence, &rest) { Err(damaged()) } else { Ok(torn) };
        };
        if frame_head.sequence != head.sequence + 1 {
            return Err(damaged());
        }
        if frame_head.frame_bytes() > bytes {
            return Ok(torn);
        }
        let mut body = vec![0; frame_head.body_bytes];
        reader.read_exact(&mut body).map_err(fails)?;
        let hash = read_array(&mut reader).map_err(fails)?;
        let Some(next) = frame::verify(&head, &frame_head, &body, &hash) else {
            return if frame_head.frame_bytes() == bytes { Ok(torn) } else { Err(damaged()) };
        };
        let records = frame::records(&body, frame_head.count).ok_or_else(damaged)?;
        for (sequence, record) in (frame_head.sequence..).zip(records) {
            visit(sequence, record);
        }
        offset += frame_head.frame_bytes();
        head = next;
    }
    Ok(Scan { form, end: offset, head, torn: None })
}

fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
