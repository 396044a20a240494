//! Uploads on disk: a partial file per vector, renamed when it is whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use vault::FileSealer;

use crate::disk::{self, failed};
use crate::seal::{Seal, of_vector};
use crate::{StageKey, StageWriter, Staged, StoreError};

/// The folder `staged/` of a [`FileStore`](crate::FileStore).
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
    seal: Option<Seal>,
}

impl Staging {
    pub(crate) fn open(folder: PathBuf, seal: Option<Seal>) -> Result<Staging, StoreError> {
        disk::create_folder(&folder).map_err(failed("create", &folder))?;
        Ok(Staging { folder, seal })
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
        let whole = self.path(key, "vector");
        let Some(seal) = &self.seal else {
            let received = file.metadata().map_err(failed("read", &partial))?.len();
            return Ok(Box::new(FileStage { file, received, whole, partial }));
        };
        let stage = SealedStage::resume(file, partial, whole, seal.clone(), name(key))?;
        Ok(Box::new(stage))
    }

    pub(crate) fn bytes(&self, key: &StageKey) -> Result<Option<u64>, StoreError> {
        let path = self.path(key, "vector");
        let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match &self.seal {
            None => match fs::metadata(&path) {
                Ok(metadata) => Ok(Some(metadata.len())),
                Err(error) if absent(&error) => Ok(None),
                Err(error) => Err(failed("look for", &path)(error)),
            },
            Some(seal) => match File::open(&path) {
                Ok(file) => seal.vector_bytes(&name(key), file).map(Some),
                Err(error) if absent(&error) => Ok(None),
                Err(error) => Err(failed("look for", &path)(error)),
            },
        }
    }

    pub(crate) fn open_vector(&self, key: &StageKey) -> Result<Box<dyn Read + Send>, StoreError> {
        let path = self.path(key, "vector");
        match (File::open(&path), &self.seal) {
            (Ok(file), None) => Ok(Box::new(file)),
            (Ok(file), Some(seal)) => seal.read_vector(&name(key), BufReader::new(file)),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NotStaged(*key)),
            (Err(error), _) => Err(failed("open", &path)(error)),
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
        self.folder.join(format!("{}.{extension}", name(key)))
    }
}

/// Its file without the ending. No client has the number 0, which stands for a file.
fn name(key: &StageKey) -> String {
    let StageKey { round, attempt, what } = key;
    let (digest, client) = match what {
        Staged::Upload { clients, client } => (clients, *client),
        Staged::File { digest } => (digest, 0),
    };
    format!("{round:06}/{attempt}-{digest}-{client}")
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
        make_whole(&self.file, &self.partial, &self.whole)
    }
}

/// An upload whose bytes are sealed before they reach the disk.
struct SealedStage {
    file: File,
    partial: PathBuf,
    whole: PathBuf,
    seal: Seal,
    name: String,
    sealer: FileSealer,
}

impl SealedStage {
    /// Cuts off what a crash left unfinished, and goes on behind it.
    fn resume(
        mut file: File,
        partial: PathBuf,
        whole: PathBuf,
        seal: Seal,
        name: String,
    ) -> Result<SealedStage, StoreError> {
        let written = File::open(&partial).map_err(failed("open", &partial))?;
        let resumed = seal.resume_vector(&name, BufReader::new(written))?;
        file.set_len(resumed.sealed_bytes).map_err(failed("truncate", &partial))?;
        let sealer = match resumed.sealer {
            Some(sealer) => sealer,
            None => begin(&mut file, &partial, &seal, &name)?,
        };
        Ok(SealedStage { file, partial, whole, seal, name, sealer })
    }
}

impl StageWriter for SealedStage {
    fn received_bytes(&self) -> u64 {
        self.sealer.plain_bytes()
    }

    fn received(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let file = File::open(&self.partial).map_err(failed("open", &self.partial))?;
        // The file has no end yet: to read up to what was received never looks for it.
        let reader = self.seal.read_vector(&self.name, BufReader::new(file))?;
        Ok(Box::new(reader.take(self.received_bytes())))
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let sealed = self.sealer.append(chunk).map_err(of_vector(&self.name))?;
        self.file.write_all(&sealed).map_err(failed("write to", &self.partial))
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(failed("truncate", &self.partial))?;
        self.sealer = begin(&mut self.file, &self.partial, &self.seal, &self.name)?;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let SealedStage { mut file, partial, whole, name, sealer, .. } = *self;
        let end = sealer.finish().map_err(of_vector(&name))?;
        file.write_all(&end).map_err(failed("write to", &partial))?;
        make_whole(&file, &partial, &whole)
    }
}

fn begin(file: &mut File, partial: &Path, seal: &Seal, name: &str) -> Result<FileSealer, StoreError> {
    let (sealer, start) = seal.begin_vector(name)?;
    file.write_all(&start).map_err(failed("write to", partial))?;
    Ok(sealer)
}

fn make_whole(file: &File, partial: &Path, whole: &Path) -> Result<(), StoreError> {
    let rename = |from: &Path, to: &Path| fs::rename(from, to).and_then(|()| disk::sync_parent(to));
    file.sync_all().map_err(failed("fsync", partial))?;
    rename(partial, whole).map_err(failed("rename to", whole))
}
