//! The check of a log's folder, offline, with nothing but the log's key; and what reads or copies one.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tlog::{Checkpoint, Note, NoteError, TILE_WIDTH, Tile, TileRow, VerifierKey, leaf_hash};

use crate::event::{Event, EventError};
use crate::folder::{self, CHECKPOINT, FolderError, Grown, failed};

/// What is wrong with a log: the first thing, in the order of the entries.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file that is missing or cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The checkpoint, or one to compare with.
    #[error("the checkpoint of `{}` is not the log's", folder.display())]
    Checkpoint {
        /// The log's folder.
        folder: PathBuf,
        #[source]
        source: NoteError,
    },
    /// An entry that is not the one signed.
    #[error("entry {index} was changed, removed or added: it is not what the signed checkpoint covers")]
    Entry { index: u64 },
    /// A tile that does not follow from the entries.
    #[error("`{tile}` was changed: the entries are those that the checkpoint covers, the tile is not")]
    Tile { tile: Tile },
    /// Entries and tiles that agree, under another root.
    #[error(
        "the {size} entries and their tiles are not those of the signed checkpoint: the history was rewritten"
    )]
    Root {
        /// Entries in the checkpoint.
        size: u64,
    },
    /// A longer log was seen elsewhere.
    #[error(
        "the log has {size} entries, another checkpoint of it has {other}: this copy is older, or was cut"
    )]
    Shorter {
        size: u64,
        /// Entries in the other one.
        other: u64,
    },
    /// Another history was seen elsewhere.
    #[error(
        "the first {size} entries are not those of another checkpoint signed by the same log: two histories"
    )]
    Forked {
        /// Entries in the other checkpoint.
        size: u64,
    },
    /// Signed, but no event.
    #[error("entry {index} cannot be read")]
    NotAnEvent {
        index: u64,
        #[source]
        source: EventError,
    },
}

/// A log that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub checkpoint: Checkpoint,
    /// The checkpoint's signed note, with the cosignatures of witnesses.
    pub note: String,
    /// How many tiles were recomputed.
    pub tiles: u64,
    /// When the first and the last event were, in milliseconds since 1970.
    pub times_ms: Option<(u64, u64)>,
}

/// Recomputes a log from its entries: every hash, every tile, the root, the signature; every entry is an event. The
/// journal is not needed.
///
/// `others` are checkpoints of the same log seen elsewhere, opened with its key: the log must continue each.
///
/// # Errors
///
/// The first entry, tile or checkpoint that does not hold.
pub fn verify_log(folder: &Path, log: &VerifierKey, others: &[Checkpoint]) -> Result<Report, VerifyError> {
    let (checkpoint, note) = read_checkpoint(folder, Some(log))?;
    let size = checkpoint.size;
    if let Some(longer) = others.iter().find(|other| other.size > size) {
        return Err(VerifyError::Shorter { size, other: longer.size });
    }
    let mut check = Check { folder, tiles: 0, bad_tile: None };
    let mut grown = Grown::default();
    let (mut bad_entry, mut bad_event, mut times_ms) = (None, None, None);
    let mut forked = others.iter().find(|other| other.size == 0 && other.root != grown.edge.root());
    for bundle in Tile::of_tree(size).filter(|tile| tile.row == TileRow::Entries) {
        let leaves = Tile { row: TileRow::Hashes(0), ..bundle };
        let leaves = leaves.hashes(&read_tile(folder, &leaves)?).map_err(FolderError::from)?;
        let entries = bundle.entries(&read_tile(folder, &bundle)?).map_err(FolderError::from)?;
        for ((index, entry), leaf) in (bundle.index * TILE_WIDTH..).zip(&entries).zip(leaves) {
            if leaf_hash(entry) != leaf {
                bad_entry = bad_entry.or(Some(index));
            }
            match Event::decode(entry) {
                Ok(event) => {
                    times_ms = Some((times_ms.map_or(event.time_ms, |(first, _)| first), event.time_ms));
                }
                Err(source) => bad_event = bad_event.or(Some((index, source))),
            }
            check.all(grown.push(entry).map_err(FolderError::from)?)?;
            let here = others.iter().find(|other| other.size == grown.edge.size());
            forked = forked.or(here.filter(|other| other.root != grown.edge.root()));
        }
    }
    check.all(grown.partials().map_err(FolderError::from)?)?;

    // The root says who is wrong where entries and tiles are not alike.
    let sound = grown.edge.root() == checkpoint.root;
    match (sound, bad_entry, check.bad_tile) {
        (false, Some(index), _) => return Err(VerifyError::Entry { index }),
        (_, _, Some(tile)) => return Err(VerifyError::Tile { tile }),
        (false, None, None) => return Err(VerifyError::Root { size }),
        (true, _, None) => {}
    }
    if let Some(other) = forked {
        return Err(VerifyError::Forked { size: other.size });
    }
    if let Some((index, source)) = bad_event {
        return Err(VerifyError::NotAnEvent { index, source });
    }
    Ok(Report { checkpoint, note, tiles: check.tiles, times_ms })
}

/// Entries of a log's folder, unverified. The range is cut to what the checkpoint has. The log may be written meanwhile.
///
/// # Errors
///
/// A checkpoint that is no checkpoint; a tile that is missing or holds something else.
pub fn read_entries(folder: &Path, range: Range<u64>) -> Result<Vec<Vec<u8>>, VerifyError> {
    let mut read_by = None;
    loop {
        let (checkpoint, _) = read_checkpoint(folder, None)?;
        let end = range.end.min(checkpoint.size);
        match read_entries_of(folder, range.start.min(end)..end, checkpoint.size) {
            // With a newer checkpoint the partial tiles of this one were taken away.
            Err(_) if read_by != Some(checkpoint.size) => read_by = Some(checkpoint.size),
            read => return Ok(read?),
        }
    }
}

/// Copies what an auditor needs into a new folder below an existing one: the tiles and the checkpoint, no journal;
/// unverified.
///
/// # Errors
///
/// A folder that is there already; a file that cannot be read or written.
pub fn export(folder: &Path, out: &Path) -> Result<Checkpoint, VerifyError> {
    let (checkpoint, note) = read_checkpoint(folder, None)?;
    // Whoever looks into the folder reads what the log holds.
    fs::DirBuilder::new().mode(0o700).create(out).map_err(failed("create", out))?;
    for tile in Tile::of_tree(checkpoint.size) {
        folder::write(out, &tile.to_string(), &read_tile(folder, &tile)?)?;
    }
    // Last: a copy that was cut short has none.
    folder::write(out, CHECKPOINT, note.as_bytes())?;
    Ok(checkpoint)
}

/// Entries from the bundles of a tree of `size` entries.
pub(crate) fn read_entries_of(
    folder: &Path,
    range: Range<u64>,
    size: u64,
) -> Result<Vec<Vec<u8>>, FolderError> {
    let mut entries = Vec::new();
    let mut next = range.start;
    while next < range.end {
        let bundle = Tile::of_entry(next, size);
        let skipped = next % TILE_WIDTH;
        let wanted = (range.end - next).min(u64::from(bundle.width) - skipped);
        let all = bundle.entries(&read_tile(folder, &bundle)?)?;
        entries.extend(all.into_iter().skip(skipped as usize).take(wanted as usize));
        next += wanted;
    }
    Ok(entries)
}

/// The checkpoint and its note; verified where the log's key is given.
fn read_checkpoint(folder: &Path, log: Option<&VerifierKey>) -> Result<(Checkpoint, String), VerifyError> {
    let not_its = |source| VerifyError::Checkpoint { folder: folder.to_owned(), source };
    let bytes = folder::read(&folder.join(CHECKPOINT))?;
    let text = String::from_utf8(bytes).map_err(|_| not_its(NoteError::Malformed("no text")))?;
    let checkpoint = match log {
        Some(log) => Checkpoint::open(&text, log).map(|(checkpoint, _)| checkpoint),
        None => Note::parse(&text).and_then(|note| Checkpoint::parse(note.text())),
    };
    Ok((checkpoint.map_err(not_its)?, text))
}

fn read_tile(folder: &Path, tile: &Tile) -> Result<Vec<u8>, FolderError> {
    folder::read(&folder.join(tile.to_string()))
}

/// Compares recomputed tiles with a folder's.
struct Check<'a> {
    folder: &'a Path,
    tiles: u64,
    bad_tile: Option<Tile>,
}

impl Check<'_> {
    fn all(&mut self, tiles: Vec<(Tile, Vec<u8>)>) -> Result<(), FolderError> {
        for (tile, bytes) in tiles {
            self.tiles += 1;
            if read_tile(self.folder, &tile)? != bytes {
                self.bad_tile = self.bad_tile.or(Some(tile));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
