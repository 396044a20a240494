//! Uploads on disk: a partial file per vector, renamed when it is whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::disk::{self, failed};
use crate::{StageKey, StageWriter, StoreError};

/// The folder `staged/` of a [`FileStore`](crate::FileStore).
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
}

impl Staging {
    pub(crate) fn open(folder: PathBuf) -> Result<Staging, StoreError> {
        disk::create_folder(&folder).map_err(failed("create", &folder))?;
        Ok(Staging { folder })
    }

    pub(crate) fn stage(&self, key: &StageKey) -> Result<Box<dyn StageWriter>, StoreError> {
        if self.bytes(key)?.is_some() {
            return Err(StoreError::AlreadyStaged(*key));
        }
        let round = self.round_folder(key.round);
        disk::create_folder(&round).map_err(failed("create", &round))?;
        let partial = self.path(key, "part");
        let opened = OpenOptions::new().create(true).append(true).open(&partial);
        let file = opened.map_err(failed("open", &partial))?;
        // A client that reconnects must not write into the stream it left behind.
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::StageBusy(*key),
            TryLockError::Error(source) => StoreError::Io { action: "lock", path: partial.clone(), source },
        })?;
        let received = file.metadata().map_err(failed("read", &partial))?.len();
        Ok(Box::new(FileStage { file, received, whole: self.path(key, "vector"), partial }))
    }

    pub(crate) fn bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        let path = self.path(key, "vector");
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look for", &path)(error)),
        }
    }

    pub(crate) fn open_vector(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path(key, "vector");
        match File::open(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NotStaged(*key)),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    pub(crate) fn discard_before(&self, round: u64) -> Result<(), StoreError> {
        for name in disk::names(&self.folder).map_err(failed("list", &self.folder))? {
            if name.parse::<u64>().is_ok_and(|old| old < round) {
                let path = self.folder.join(name);
                fs::remove_dir_all(&path).map_err(failed("delete", &path))?;
            }
        }
        Ok(())
    }

    fn round_folder(&self, round: u64) -> PathBuf {
        self.folder.join(format!("{round:06}"))
    }

    fn path(&self, key: &StageKey, extension: &str) -> PathBuf {
        let StageKey { round, attempt, r2, client } = key;
        self.round_folder(*round).join(format!("{attempt}-{r2}-{client}.{extension}"))
    }
}

struct FileStage {
    file: File,
    received: u64,
    partial: PathBuf,
    whole: PathBuf,
}

impl StageWriter for FileStage {
    fn received_bytes(&self) -> u64 {
        self.received
    }

    fn received(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let file = File::open(&self.partial).map_err(failed("open", &self.partial))?;
        Ok(Box::new(file.take(self.received)))
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(chunk).map_err(failed("write to", &self.partial))?;
        self.received += chunk.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(failed("truncate", &self.partial))?;
        self.received = 0;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let rename = |from: &Path, to: &Path| fs::rename(from, to).and_then(|()| disk::sync_parent(to));
        self.file.sync_all().map_err(failed("fsync", &self.partial))?;
        rename(&self.partial, &self.whole).map_err(failed("rename to", &self.whole))
    }
}
