//! Published files: a folder for each name, there whole or not at all, and never changed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vault::files::{FOLDER_OWNER_ONLY, make_folder};
use vault::{Vault, VaultError};

use crate::disk::{self, failed};
use crate::{StoreError, check_name};

/// The folder of a store that holds what is published.
pub const CHECKPOINTS: &str = "checkpoints";

/// Read at once of a sealed file.
const READ_BYTES: usize = 64 << 10;

/// The folder `checkpoints/` of a [`FileStore`](crate::FileStore), for whoever only reads it: no lock is taken, so that a
/// run's models can be checked and exported beside the daemon.
#[derive(Debug)]
pub struct Published {
    folder: PathBuf,
    vault: Option<Arc<Vault>>,
}

impl Published {
    /// The published files in `folder`; `vault` is the one that they were sealed with, if they were.
    pub fn new(folder: PathBuf, vault: Option<Arc<Vault>>) -> Published {
        Published { folder, vault }
    }

    /// Published names, ascending.
    ///
    /// # Errors
    ///
    /// A disk that fails.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = disk::names(&self.folder).map_err(failed("list", &self.folder))?;
        names.retain(|name| check_name(name).is_ok());
        Ok(names)
    }

    /// The files of one publication, ascending.
    ///
    /// # Errors
    ///
    /// Nothing published there; a disk that fails.
    pub fn files(&self, name: &str) -> Result<Vec<String>, StoreError> {
        check_name(name)?;
        let folder = self.folder.join(name);
        disk::names(&folder).map_err(failed("list", &folder))
    }

    /// A published file.
    ///
    /// # Errors
    ///
    /// No such file; one that the vault does not open; a disk that fails.
    pub fn read(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        check_name(name)?;
        check_name(file)?;
        let path = self.folder.join(name).join(file);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotPublished { name: name.to_owned(), file: file.to_owned() });
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        match &self.vault {
            Some(vault) => {
                let opened = vault.open_file(&context(name, file), &bytes);
                opened.map(|mut bytes| std::mem::take(&mut *bytes)).map_err(sealing(name, file))
            }
            None => Ok(bytes),
        }
    }

    /// A published file as a stream, and its length. What it gives of a sealed file is genuine; that it is whole is known at
    /// its end.
    ///
    /// # Errors
    ///
    /// As [`Published::read`].
    pub fn open(&self, name: &str, file: &str) -> Result<(u64, Box<dyn Read + Send>), StoreError> {
        check_name(name)?;
        check_name(file)?;
        let path = self.folder.join(name).join(file);
        let open = || match File::open(&path) {
            Ok(opened) => Ok(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotPublished { name: name.to_owned(), file: file.to_owned() })
            }
            Err(error) => Err(failed("read", &path)(error)),
        };
        let opened = open()?;
        let Some(vault) = &self.vault else {
            let bytes = opened.metadata().map_err(failed("read", &path))?.len();
            return Ok((bytes, Box::new(opened)));
        };
        let context = context(name, file);
        let bytes = vault.file_plain_bytes(&context, open()?).map_err(sealing(name, file))?;
        let reader = vault
            .read_file(&context, BufReader::with_capacity(READ_BYTES, opened))
            .map_err(sealing(name, file))?;
        Ok((bytes, Box::new(reader)))
    }

    pub(crate) fn publish(&self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        check_name(name)?;
        files.iter().try_for_each(|(file, _)| check_name(file))?;
        let target = self.folder.join(name);
        if target.try_exists().map_err(failed("look for", &target))? {
            self.check_same(name, files)?;
        } else {
            // A leading dot: no published name has one, so a crash leaves nothing that looks published.
            let temporary = self.folder.join(format!(".{name}.tmp"));
            match fs::remove_dir_all(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("delete", &temporary)(error));
                }
                _ => {}
            }
            make_folder(&temporary, FOLDER_OWNER_ONLY).map_err(failed("create", &temporary))?;
            for (file, bytes) in files {
                self.write(&temporary, name, file, bytes)?;
            }
            disk::sync_folder(&temporary).map_err(failed("fsync", &temporary))?;
            fs::rename(&temporary, &target).map_err(failed("rename to", &target))?;
        }
        // Also when it was there: a crash may have come between rename and fsync.
        disk::sync_folder(&self.folder).map_err(failed("fsync", &self.folder))
    }

    fn write(&self, temporary: &Path, name: &str, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = temporary.join(file);
        let written = match &self.vault {
            Some(vault) => {
                let sealed = vault.seal_file(&context(name, file), bytes).map_err(sealing(name, file))?;
                disk::write_synced(&path, &sealed)
            }
            None => disk::write_synced(&path, bytes),
        };
        written.map_err(failed("write", &path))
    }

    fn check_same(&self, name: &str, files: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let differs =
            |file: &str| StoreError::PublishedDiffers { name: name.to_owned(), file: file.to_owned() };
        for (file, bytes) in files {
            match self.read(name, file) {
                Ok(published) if published == *bytes => {}
                Ok(_) | Err(StoreError::NotPublished { .. }) => return Err(differs(file)),
                Err(error) => return Err(error),
            }
        }
        match self.files(name)?.iter().find(|file| !files.iter().any(|(known, _)| known == file)) {
            Some(extra) => Err(differs(extra)),
            None => Ok(()),
        }
    }
}

/// To what a sealed file is bound: its name, so that one cannot pass for another.
fn context(name: &str, file: &str) -> Vec<u8> {
    [b"published file\0", name.as_bytes(), b"/", file.as_bytes()].concat()
}

fn sealing<'a>(name: &'a str, file: &'a str) -> impl FnOnce(VaultError) -> StoreError + 'a {
    move |source| StoreError::Vault { what: format!("the published `{name}/{file}`"), source }
}
