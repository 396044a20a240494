//! A log's folder: its derived files, read, written and compared, and the tree that grows over them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tlog::{ENTRY_BYTES_MAX, Edge, TILE_WIDTH, Tile, TileError, TileRow, encode_bundle, leaf_hash};

/// The signed checkpoint's name in a log's folder.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The longest file of a log: a bundle of the longest entries.
const FILE_BYTES_MAX: u64 = TILE_WIDTH * (2 + ENTRY_BYTES_MAX as u64);

/// A file of a log that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: check that it is there, space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A tile that holds something else.
    #[error(transparent)]
    Tile(#[from] TileError),
}

/// For `map_err`: names the action and the path.
pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io { action, path: path.to_owned(), source }
}

/// A file's bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FolderError> {
    read_limited(path).map_err(failed("read", path))
}

/// A file's bytes, or none where there is no file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FolderError> {
    match read_limited(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(failed("read", path)),
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // An auditor's memory is not the log's to fill.
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= FILE_BYTES_MAX {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any file of a log")),
    }
}

/// Writes a file below an existing folder, with the folders between; durable when this returns.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
    let mut path = folder.to_owned();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        if parts.peek().is_some() {
            store::create_folder(&path).map_err(failed("create", &path))?;
        }
    }
    store::write_durably(&path, bytes).map_err(failed("write", &path))
}

/// The tree over a log's entries as far as it was read or written: its edge, and the entries of the last bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grown {
    pub(crate) edge: Edge,
    pub(crate) bundle: Vec<Vec<u8>>,
}

impl Grown {
    /// Adds an entry; gives the tiles that it made full, each with its bytes.
    pub(crate) fn push(&mut self, entry: &[u8]) -> Result<Vec<(Tile, Vec<u8>)>, TileError> {
        let mut full = self.edge.push(leaf_hash(entry));
        self.bundle.push(entry.to_vec());
        if self.bundle.len() as u64 == TILE_WIDTH {
            let tile = Tile::of_entry(self.edge.size() - 1, self.edge.size());
            full.push((tile, encode_bundle(&self.bundle)?));
            self.bundle.clear();
        }
        Ok(full)
    }

    /// The tiles that are not full, each with its bytes.
    pub(crate) fn partials(&self) -> Result<Vec<(Tile, Vec<u8>)>, TileError> {
        let bundle = Tile::partials_of_tree(self.edge.size()).find(|tile| tile.row == TileRow::Entries);
        let mut tiles: Vec<_> = self.edge.partials().collect();
        if let Some(bundle) = bundle {
            tiles.push((bundle, encode_bundle(&self.bundle)?));
        }
        Ok(tiles)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_file_longer_than_any_of_a_log_is_refused_and_not_held() {
        let scratch = tempdir().unwrap();
        let path = scratch.path().join("tile");
        // Sparse, so that it costs nothing.
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, FILE_BYTES_MAX);
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path).is_err() && read_if_there(&path).is_err());
    }
}
