//! A log in a folder: appended to a journal, published as tiles and a signed checkpoint.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use store::{Journal, JournalError, JournalKind};
use tlog::{
    Checkpoint, Hash, Note, NoteError, Receipt, Tile, TileError, TileReader, VerifierKey, consistency_proof,
    inclusion_proof, root, verify_consistency, verify_inclusion,
};

use crate::event::{Event, EventError};
use crate::folder::{self, CHECKPOINT, FolderError, Grown, failed};

const JOURNAL: &str = "journal";

/// A log that refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Event(#[from] EventError),
    /// The published checkpoint, a cosignature, or the origin.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Another process has the log open.
    #[error("the log `{}` is in use by another process: stop that one, or this one; each log has one writer", folder.display())]
    Locked {
        /// The log's folder.
        folder: PathBuf,
    },
    /// A journal older than the checkpoint.
    #[error(
        "the journal of `{}` has {found} entries and its published checkpoint has {published}: it was rolled back; \
         restore the newest journal, as an older history would contradict what members have seen; nothing was changed", folder.display()
    )]
    RolledBack {
        /// The log's folder.
        folder: PathBuf,
        /// Entries in the journal.
        found: u64,
        /// Entries in the checkpoint.
        published: u64,
    },
    /// A journal that is not the one published.
    #[error(
        "the first {published} entries of the journal of `{}` are not those of its published checkpoint: it was \
         rewritten; restore its newest copy, as an older history would contradict what members have seen; nothing was changed", folder.display()
    )]
    Rewritten {
        /// The log's folder.
        folder: PathBuf,
        /// Entries in the checkpoint.
        published: u64,
    },
    /// A tile that is not the journal's.
    #[error("`{}` is not what the journal says: move it aside to have it rebuilt, nothing was changed", path.display())]
    TileDiffers { path: PathBuf },
    /// Beyond what is published, or was ever written.
    #[error("entry {index} is outside of the {size} entries there are: publish first, or ask for less")]
    Outside {
        /// What was asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// Tiles changed under an open log.
    #[error("the tiles of `{}` changed since the log was opened: open it again to learn which", folder.display())]
    Changed {
        /// The log's folder.
        folder: PathBuf,
    },
    /// An earlier write failed.
    #[error("an earlier write to the log `{}` failed: open it again", folder.display())]
    Failed {
        /// The log's folder.
        folder: PathBuf,
    },
}

impl From<TileError> for LogError {
    fn from(why: TileError) -> Self {
        Self::Folder(why.into())
    }
}

/// An append-only log of events. One process at a time has it open.
///
/// ```text
/// folder/  lock        held by that process
///          journal     the truth: each record is an entry
///          tile/…      full tiles as soon as they are full; partial ones at each publishing
///          checkpoint  signed; the cosignatures of this checkpoint are added to it
/// ```
///
/// After an error of a method that writes, open it again to learn what is there: treat it as a crash.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    name: VerifierKey,
    key: SigningKey,
    journal: Journal,
    grown: Grown,
    /// Tiles that are full and not written yet.
    full: Vec<(Tile, Vec<u8>)>,
    published: Option<(Checkpoint, Note)>,
    failed: bool,
    _lock: File,
}

impl Log {
    /// Opens a log, or begins one, in a folder below an existing one. `origin` is its unique name, without spaces.
    ///
    /// Reads the whole journal. Tiles that are missing are written again from it.
    ///
    /// # Errors
    ///
    /// A journal older than the published checkpoint, or with other entries; a tile that is not the journal's; a
    /// checkpoint that this key did not sign; a disk that fails. Nothing was changed then, but for the tail of an
    /// append that a crash cut short.
    pub fn open(folder: &Path, origin: &str, key: SigningKey) -> Result<Self, LogError> {
        let name = VerifierKey::new(origin, key.verifying_key())?;
        store::create_folder(folder).map_err(failed("create", folder))?;
        let lock = lock(folder)?;
        let published = read_checkpoint(folder, &name)?;
        let journal = folder.join(JOURNAL);
        let published_size = published.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let rolled_back =
            |found| LogError::RolledBack { folder: folder.to_owned(), found, published: published_size };
        // Opening would begin an empty journal.
        if published_size > 0 && !journal.try_exists().map_err(failed("look for", &journal))? {
            return Err(rolled_back(0));
        }
        let (journal, _) = Journal::open(&journal, JournalKind::Audit)?;
        if journal.head().sequence < published_size {
            return Err(rolled_back(journal.head().sequence));
        }

        let mut differs = None;
        let mut missing = false;
        let (grown, root) = walk(&journal, published_size, &mut |tile, bytes| {
            let path = folder.join(tile.to_string());
            match folder::read_if_there(&path)? {
                None => missing = true,
                Some(found) if found != bytes => differs = differs.take().or(Some(path)),
                Some(_) => {}
            }
            Ok(())
        })?;
        // The checkpoint first: it says who is wrong when a tile and the journal are not alike.
        if published.as_ref().is_some_and(|(checkpoint, _)| checkpoint.root != root) {
            return Err(LogError::Rewritten { folder: folder.to_owned(), published: published_size });
        }
        if let Some(path) = differs {
            return Err(LogError::TileDiffers { path });
        }
        if missing {
            tracing::warn!(log = %folder.display(), "tiles are missing; writing them again from the journal");
            walk(&journal, published_size, &mut |tile, bytes| match folder::read_if_there(
                &folder.join(tile.to_string()),
            )? {
                None => folder::write(folder, &tile.to_string(), bytes),
                Some(_) => Ok(()),
            })?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            name,
            key,
            journal,
            grown,
            full: Vec::new(),
            published,
            failed: false,
            _lock: lock,
        })
    }

    /// Name and public key that the log's checkpoints verify under.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.name
    }

    /// How many entries there are, published or not.
    pub fn size(&self) -> u64 {
        self.grown.edge.size()
    }

    /// How many entries the published checkpoint has; 0 before the first.
    pub fn published_size(&self) -> u64 {
        self.published.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size)
    }

    /// The published checkpoint with its cosignatures.
    pub fn checkpoint(&self) -> Option<String> {
        self.published.as_ref().map(|(_, note)| note.to_string())
    }

    /// Appends events, all or none, with one fsync of the journal; they are durable when this returns. Gives their
    /// indices.
    ///
    /// # Errors
    ///
    /// An event that cannot be an entry, or more than 64 MiB: nothing was written. A disk that fails.
    pub fn append(&mut self, events: &[Event]) -> Result<Range<u64>, LogError> {
        let range = self.append_to_journal(events)?;
        self.write_full_tiles()?;
        Ok(range)
    }

    /// [`Log::append`] without the tiles that it made full: durable all the same, by one fsync however many entries there were before.
    pub(crate) fn append_to_journal(&mut self, events: &[Event]) -> Result<Range<u64>, LogError> {
        self.check_usable()?;
        let entries = events.iter().map(Event::encode).collect::<Result<Vec<_>, _>>()?;
        let first = self.size();
        self.failing(|log| {
            log.journal.append(&entries)?;
            for entry in &entries {
                let full = log.grown.push(entry)?;
                log.full.extend(full);
            }
            Ok(())
        })?;
        Ok(first..self.size())
    }

    /// The tiles that [`Log::append_to_journal`] made full. Until then no older entries than the last bundle's can be read.
    pub(crate) fn write_full_tiles(&mut self) -> Result<(), LogError> {
        self.check_usable()?;
        let full = std::mem::take(&mut self.full);
        self.failing(|log| {
            for (tile, bytes) in full {
                folder::write(&log.folder, &tile.to_string(), &bytes)?;
            }
            Ok(())
        })
    }

    /// Writes the tiles and the signed checkpoint over everything appended; gives the checkpoint.
    ///
    /// Without new entries, the published one stays, with its cosignatures.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    pub fn publish(&mut self) -> Result<String, LogError> {
        self.write_full_tiles()?;
        let size = self.size();
        if let Some((checkpoint, note)) = &self.published
            && checkpoint.size == size
        {
            return Ok(note.to_string());
        }
        let checkpoint =
            Checkpoint { origin: self.name.name().to_owned(), size, root: self.grown.edge.root() };
        let note = Note::sign(checkpoint.text(), self.name.name(), &self.key)?;
        let old_size = self.published_size();
        self.failing(|log| {
            for (tile, bytes) in log.grown.partials()? {
                folder::write(&log.folder, &tile.to_string(), &bytes)?;
            }
            folder::write(&log.folder, CHECKPOINT, note.to_string().as_bytes())?;
            Ok(())
        })?;
        self.discard_partials(old_size);
        let text = note.to_string();
        self.published = Some((checkpoint, note));
        Ok(text)
    }

    /// The receipt for a published entry: a `.tlog-proof` text.
    ///
    /// # Errors
    ///
    /// An entry that is not published; a disk that fails.
    pub fn prove_inclusion(&self, index: u64) -> Result<String, LogError> {
        let size = self.published_size();
        let Some((checkpoint, note)) = self.published.as_ref().filter(|_| index < size) else {
            return Err(LogError::Outside { index, size });
        };
        let mut tiles = self.tiles();
        let proof = inclusion_proof(index, size, &mut |l, i| tiles.read::<FolderError>(l, i))?;
        let leaf = tiles.read::<FolderError>(0, index)?;
        match verify_inclusion(size, &checkpoint.root, index, &leaf, &proof) {
            true => Ok(Receipt { index, proof, checkpoint: note.clone() }.to_string()),
            false => Err(LogError::Changed { folder: self.folder.clone() }),
        }
    }

    /// Proof that the tree of `new` entries begins with that of `old`. Both are published sizes, now or earlier.
    ///
    /// # Errors
    ///
    /// Sizes above the published one or in the wrong order; a disk that fails.
    pub fn prove_consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        let size = self.published_size();
        if old > new || new > size {
            return Err(LogError::Outside { index: old.max(new), size });
        }
        let mut tiles = self.tiles();
        let mut read = |level, index| tiles.read::<FolderError>(level, index);
        let proof = consistency_proof(old, new, &mut read)?;
        let old_root = root(old, &mut read)?;
        let new_root = match &self.published {
            Some((checkpoint, _)) if checkpoint.size == new => checkpoint.root,
            _ => root(new, &mut read)?,
        };
        // A witness would take a proof from a spoilt tile for a second history.
        match verify_consistency(old, &old_root, new, &new_root, &proof) {
            true => Ok(proof),
            false => Err(LogError::Changed { folder: self.folder.clone() }),
        }
    }

    /// Entries, published or not.
    ///
    /// # Errors
    ///
    /// Indices beyond the last entry; a disk that fails.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        let size = self.size();
        if range.end > size {
            return Err(LogError::Outside { index: range.end - 1, size });
        }
        let first_in_memory = size - self.grown.bundle.len() as u64;
        let on_disk = range.start.min(first_in_memory)..range.end.min(first_in_memory);
        let mut entries = crate::verify::read_entries_of(&self.folder, on_disk, first_in_memory)?;
        let in_memory = range.start.max(first_in_memory)..range.end;
        let skipped = (in_memory.start - first_in_memory) as usize;
        let wanted = in_memory.end.saturating_sub(in_memory.start) as usize;
        entries.extend(self.grown.bundle.iter().skip(skipped).take(wanted).cloned());
        Ok(entries)
    }

    /// Adds a witness's cosignature to the published checkpoint, after verifying it; durable when this returns.
    ///
    /// # Errors
    ///
    /// A line that is not this witness's of the published checkpoint: harmless when a newer one was published
    /// meanwhile. A disk that fails.
    pub fn add_cosignature(&mut self, line: &str, witness: &VerifierKey) -> Result<(), LogError> {
        self.check_usable()?;
        let Some((checkpoint, mut note)) = self.published.clone() else {
            return Err(LogError::Outside { index: 0, size: 0 });
        };
        note.add_cosignature(line, witness)?;
        self.failing(|log| Ok(folder::write(&log.folder, CHECKPOINT, note.to_string().as_bytes())?))?;
        self.published = Some((checkpoint, note));
        Ok(())
    }

    fn tiles(&self) -> TileReader<impl FnMut(&Tile) -> Result<Vec<u8>, FolderError>> {
        TileReader::new(self.published_size(), |tile: &Tile| {
            folder::read(&self.folder.join(tile.to_string()))
        })
    }

    /// Deletes the partial tiles that only an older checkpoint needs; left behind, they would outgrow the log.
    fn discard_partials(&self, old_size: u64) {
        let needed: Vec<Tile> = Tile::partials_of_tree(self.size()).collect();
        for tile in Tile::partials_of_tree(old_size).filter(|tile| !needed.contains(tile)) {
            let path = self.folder.join(tile.to_string());
            // It is in nobody's way: the next opening does not look at it.
            if let Err(why) = fs::remove_file(&path) {
                tracing::debug!(tile = %path.display(), %why, "cannot remove a partial tile");
            } else if let Some(parent) = path.parent() {
                // Fails while it holds the newer one.
                let _ = fs::remove_dir(parent);
            }
        }
    }

    pub(crate) fn check_usable(&self) -> Result<(), LogError> {
        match self.failed {
            true => Err(LogError::Failed { folder: self.folder.clone() }),
            false => Ok(()),
        }
    }

    /// Runs a write; after its failure memory and disk may differ, so that nothing more is written.
    fn failing(&mut self, write: impl FnOnce(&mut Self) -> Result<(), LogError>) -> Result<(), LogError> {
        let done = write(self);
        // A refused length left everything as it was.
        self.failed = !matches!(done, Ok(()) | Err(LogError::Journal(JournalError::TooLong { .. })));
        done
    }
}

/// What is done with a tile and the bytes that it must have.
type Visit<'a> = dyn FnMut(&Tile, &[u8]) -> Result<(), FolderError> + 'a;

/// Reads the journal through; visits every full tile, and the partial ones of the tree of `published` entries. Gives
/// the whole tree, and the root at `published`.
fn walk(journal: &Journal, published: u64, visit: &mut Visit<'_>) -> Result<(Grown, Hash), LogError> {
    let mut grown = Grown::default();
    let mut root = grown.edge.root();
    let mut done: Result<(), FolderError> = Ok(());
    journal.replay(&mut |_, entry| {
        if done.is_err() {
            return;
        }
        done = (|| {
            for (tile, bytes) in grown.push(entry)? {
                visit(&tile, &bytes)?;
            }
            if grown.edge.size() == published {
                root = grown.edge.root();
                for (tile, bytes) in grown.partials()? {
                    visit(&tile, &bytes)?;
                }
            }
            Ok(())
        })();
    })?;
    done?;
    Ok((grown, root))
}

fn read_checkpoint(folder: &Path, name: &VerifierKey) -> Result<Option<(Checkpoint, Note)>, LogError> {
    let Some(bytes) = folder::read_if_there(&folder.join(CHECKPOINT))? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| NoteError::Malformed("a checkpoint that is no text"))?;
    Ok(Some(Checkpoint::open(&text, name)?))
}

fn lock(folder: &Path) -> Result<File, LogError> {
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
    let file = opened.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source).into()),
    }
}

#[cfg(test)]
mod tests;
