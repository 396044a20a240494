//! Tiles: the files that hold a log's hashes and entries, their names, and the right edge that makes them.

use std::fmt;
use std::ops::Range;

use crate::tree::{Hash, node_hash, root};

/// How many hashes, or entries, a full tile holds.
pub const TILE_WIDTH: u64 = 256;

/// Most bytes of one entry: its length is written as a u16.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Tile rows are eight levels of the tree apart.
const TILE_LEVELS: u8 = 8;
const HASH_BYTES: usize = 32;

/// A tile that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not as many hashes, or entries, as its name says.
    #[error("`{0}` does not hold exactly {width} items: restore it, or rebuild it from the journal", width = .0.width)]
    Width(Tile),
    /// An entry above the limit.
    #[error("an entry has {0} bytes, above {ENTRY_BYTES_MAX}: log the digest of what is large")]
    EntryTooLong(usize),
}

/// Which row of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileRow {
    /// Hashes of subtrees of `256^n` entries.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// One tile of a log: its row, its number in it, and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    pub row: TileRow,
    /// Counted from 0 in its row.
    pub index: u64,
    /// From 1 to [`TILE_WIDTH`].
    pub width: u16,
}

impl Tile {
    /// Whether it will never change.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// Every tile of a tree of `size` entries: bundles first, then each row of hashes, ascending.
    pub fn of_tree(size: u64) -> impl Iterator<Item = Tile> {
        rows(size).flat_map(|(row, count)| {
            (0..count.div_ceil(TILE_WIDTH)).map(move |index| Tile::of_row(row, index, count))
        })
    }

    /// The tiles of a tree of `size` entries that are not full: at most one a row.
    pub fn partials_of_tree(size: u64) -> impl Iterator<Item = Tile> {
        rows(size)
            .filter(|(_, count)| count % TILE_WIDTH > 0)
            .map(|(row, count)| Tile::of_row(row, count / TILE_WIDTH, count))
    }

    /// The bundle of entries that holds entry `index` of `size`.
    pub fn of_entry(index: u64, size: u64) -> Tile {
        Tile::of_row(TileRow::Entries, index / TILE_WIDTH, size)
    }

    fn of_row(row: TileRow, index: u64, count: u64) -> Tile {
        let width = count.saturating_sub(index * TILE_WIDTH).min(TILE_WIDTH);
        Tile { row, index, width: width as u16 }
    }

    /// The hashes of a tile of hashes.
    ///
    /// # Errors
    ///
    /// Not exactly as many as the tile's width.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        match rest.is_empty() && hashes.len() == usize::from(self.width) {
            true => Ok(hashes.to_vec()),
            false => Err(TileError::Width(*self)),
        }
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    ///
    /// Not exactly as many as the tile's width.
    pub fn entries(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TileError> {
        let entries = decode_bundle(bytes).filter(|entries| entries.len() == usize::from(self.width));
        Ok(entries.ok_or(TileError::Width(*self))?.into_iter().map(<[u8]>::to_vec).collect())
    }
}

/// Its path below the log's folder, such as `tile/0/x001/234.p/17`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            TileRow::Hashes(level) => write!(f, "tile/{level}/")?,
            TileRow::Entries => write!(f, "tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (left, group) in groups.iter().enumerate().rev() {
            match left {
                0 => write!(f, "{group:03}")?,
                _ => write!(f, "x{group:03}/")?,
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// Rows of a tree that have anything, each with its count of items.
fn rows(size: u64) -> impl Iterator<Item = (TileRow, u64)> {
    let hashes = (0..8u8).map(move |level| (TileRow::Hashes(level), size >> (TILE_LEVELS * level)));
    std::iter::once((TileRow::Entries, size)).chain(hashes).filter(|(_, count)| *count > 0)
}

/// Bytes of a bundle of entries.
///
/// # Errors
///
/// An entry above [`ENTRY_BYTES_MAX`].
pub fn encode_bundle<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong(entry.len()))?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(entry);
    }
    Ok(bytes)
}

/// The entries of a bundle; none when they do not fill it exactly.
pub fn decode_bundle(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

/// Where the hash of a complete subtree comes from: its tile, and the hashes there that are below it.
fn place(level: u8, index: u64, size: u64) -> (Tile, Range<usize>) {
    let row = level / TILE_LEVELS;
    let below = level % TILE_LEVELS;
    let first = index << below;
    let tile = Tile::of_row(TileRow::Hashes(row), first / TILE_WIDTH, size >> (TILE_LEVELS * row));
    let start = (first % TILE_WIDTH) as usize;
    (tile, start..start + (1 << below))
}

/// Hash of a complete subtree from the hashes below it; their number is a power of two.
fn fold(hashes: &[Hash]) -> Option<Hash> {
    match hashes {
        [] => None,
        [hash] => Some(*hash),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            Some(node_hash(&fold(left)?, &fold(right)?))
        }
    }
}

/// Reads a tree's hashes from its tiles, keeping the last tile of each row in memory: 64 KiB at most.
#[derive(Debug)]
pub struct TileReader<F> {
    size: u64,
    load: F,
    kept: Vec<(Tile, Vec<Hash>)>,
}

impl<F> TileReader<F> {
    /// Over the tiles of a tree of `size` entries; `load` gives a tile's bytes.
    pub fn new(size: u64, load: F) -> Self {
        Self { size, load, kept: Vec::new() }
    }

    /// The hash of a complete subtree, as proofs ask for it.
    ///
    /// # Errors
    ///
    /// Those of `load`; a tile of another width than the tree's size says.
    pub fn read<E: From<TileError>>(&mut self, level: u8, index: u64) -> Result<Hash, E>
    where
        F: FnMut(&Tile) -> Result<Vec<u8>, E>,
    {
        let (tile, range) = place(level, index, self.size);
        if !self.kept.iter().any(|(kept, _)| *kept == tile) {
            let hashes = tile.hashes(&(self.load)(&tile)?)?;
            self.kept.retain(|(kept, _)| kept.row != tile.row);
            self.kept.push((tile, hashes));
        }
        let hashes = self.kept.iter().find(|(kept, _)| *kept == tile).map(|(_, hashes)| hashes.as_slice());
        let hash = hashes.and_then(|hashes| hashes.get(range)).and_then(fold);
        hash.ok_or_else(|| TileError::Width(tile).into())
    }
}

/// The right edge of a growing tree: the hashes of each row's last, partial tile. It grows by pushing leaves, and has
/// 64 KiB at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    rows: Vec<Vec<Hash>>,
}

impl Edge {
    /// Of the tree without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves were pushed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; gives the tiles of hashes, with their bytes, that it made full.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Tile, Vec<u8>)> {
        self.size += 1;
        let mut full = Vec::new();
        let mut hash = leaf;
        for level in 0u8.. {
            let Some(row) = self.rows.get_mut(usize::from(level)) else {
                self.rows.push(vec![hash]);
                break;
            };
            row.push(hash);
            if (row.len() as u64) < TILE_WIDTH {
                break;
            }
            let index = (self.size >> (TILE_LEVELS * (level + 1))) - 1;
            full.push((Tile { row: TileRow::Hashes(level), index, width: TILE_WIDTH as u16 }, row.concat()));
            let Some(above) = fold(row) else { break };
            hash = above;
            row.clear();
        }
        full
    }

    /// The tiles of hashes that are not full, with their bytes.
    pub fn partials(&self) -> impl Iterator<Item = (Tile, Vec<u8>)> {
        let tiles = Tile::partials_of_tree(self.size);
        tiles.filter_map(|tile| match tile.row {
            TileRow::Hashes(level) => Some((tile, self.rows.get(usize::from(level))?.concat())),
            TileRow::Entries => None,
        })
    }

    /// The root of all leaves pushed.
    pub fn root(&self) -> Hash {
        let mut read = |level: u8, index: u64| {
            let (_, range) = place(level, index, self.size);
            let row = self.rows.get(usize::from(level / TILE_LEVELS));
            row.and_then(|row| row.get(range)).and_then(fold).ok_or(())
        };
        // The root is composed of the subtrees that the bits of the size name, and these are the edge's.
        root(self.size, &mut read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
