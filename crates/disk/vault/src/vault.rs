//! The vault: a keyring that is open, and follows what becomes of its file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::key::Key;
use crate::keyring::{self, DataKeys, KEYRING_FILE, Keyring, Stamp};
use crate::{MasterSource, VaultError, failed, files};

/// How often a keyring that keeps changing is read anew.
const READS_MAX: usize = 8;

/// Seals and opens under the data keys of one folder's keyring.
///
/// # Security
///
/// Data keys stay in memory, zeroised on drop; the master key is read again whenever the keyring changed, and not kept.
pub struct Vault {
    folder: PathBuf,
    source: MasterSource,
    current: Mutex<Arc<Current>>,
}

struct Current {
    keys: DataKeys,
    stamp: Stamp,
}

impl Vault {
    /// Makes a keyring with its first data key in `folder`, which is created where it is not there, and opens it.
    ///
    /// # Errors
    ///
    /// A folder that has one; a master key that is missing or cannot be used; a disk that fails.
    pub fn create(folder: &Path, source: MasterSource) -> Result<Vault, VaultError> {
        Keyring::create(folder, &source)?;
        Vault::open_folder(folder, source)
    }

    /// Opens the keyring in `folder`.
    ///
    /// # Errors
    ///
    /// A keyring that is missing, damaged, or another master key's; a master key that is missing or cannot be used; a
    /// disk that fails.
    pub fn open_folder(folder: &Path, source: MasterSource) -> Result<Vault, VaultError> {
        let current = load(folder, &source)?;
        Ok(Vault { folder: folder.to_owned(), source, current: Mutex::new(Arc::new(current)) })
    }

    /// Opens the keyring in `folder`, or makes one when `has_sealed` says that nothing there needs an older one.
    ///
    /// # Errors
    ///
    /// As [`Vault::open_folder`]: a missing keyring beside sealed data is never made anew.
    pub fn open_or_create(
        folder: &Path,
        source: MasterSource,
        has_sealed: bool,
    ) -> Result<Vault, VaultError> {
        let path = folder.join(KEYRING_FILE);
        match path.try_exists().map_err(failed("look for", &path))? {
            false if !has_sealed => Vault::create(folder, source),
            _ => Vault::open_folder(folder, source),
        }
    }

    /// Adds a data key, which seals from now on; what older ones sealed stays readable. Gives its id.
    ///
    /// # Errors
    ///
    /// As [`Vault::open_folder`]; a rotation of the master key left half done; another process at work.
    pub fn rotate_data_key(&self) -> Result<u32, VaultError> {
        keyring::rotate_data_key(&self.folder, &self.source)
    }

    /// Seals the data keys under a second master key too. Both open the keyring from now on.
    ///
    /// # Errors
    ///
    /// As [`Vault::rotate_data_key`].
    pub fn add_master(&self, new: &MasterSource) -> Result<(), VaultError> {
        keyring::add_master(&self.folder, &self.source, new)
    }

    /// Forgets every master key but the one that this vault's source holds now.
    ///
    /// # Errors
    ///
    /// As [`Vault::rotate_data_key`].
    pub fn retire_other_masters(&self) -> Result<(), VaultError> {
        keyring::retire_others(&self.folder, &self.source)
    }

    /// The id of the data key that seals.
    ///
    /// # Errors
    ///
    /// As [`Vault::open_folder`].
    pub fn active_key(&self) -> Result<u32, VaultError> {
        self.with_active(|id, _| Ok(id))
    }

    /// Adopts a changed keyring, then acts with the active key.
    pub(crate) fn with_active<T>(
        &self,
        act: impl FnOnce(u32, &Key) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let path = self.folder.join(KEYRING_FILE);
        let current = self.current();
        let unchanged = fs::metadata(&path).is_ok_and(|metadata| Stamp::of(&metadata) == current.stamp);
        // To go on with a keyring that is gone would seal what nobody can open after a restart.
        let current = if unchanged { current } else { self.reload()? };
        let DataKeys { active, keys } = &current.keys;
        act(*active, keys.get(active).ok_or(VaultError::UnknownKey(*active))?)
    }

    /// Acts with an older key, or one that another process added since.
    pub(crate) fn with_key<T>(
        &self,
        id: u32,
        act: impl FnOnce(&Key) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut current = self.current();
        if !current.keys.keys.contains_key(&id) {
            current = self.reload()?;
        }
        act(current.keys.keys.get(&id).ok_or(VaultError::UnknownKey(id))?)
    }

    fn reload(&self) -> Result<Arc<Current>, VaultError> {
        let loaded = Arc::new(load(&self.folder, &self.source)?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = loaded.clone();
        Ok(loaded)
    }

    fn current(&self) -> Arc<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn load(folder: &Path, source: &MasterSource) -> Result<Current, VaultError> {
    let current = read(folder, source)?;
    // Who rotated may have been killed between its rename and its fsync. What is sealed from here on must not outlive
    // the keyring that opens it.
    let path = folder.join(KEYRING_FILE);
    files::sync_parent(&path).map_err(failed("fsync the folder of", &path))?;
    Ok(current)
}

fn read(folder: &Path, source: &MasterSource) -> Result<Current, VaultError> {
    let mut keyring = Keyring::read(folder)?;
    for _ in 1..READS_MAX {
        match keyring.open(source) {
            Ok(opened) => return Ok(Current { keys: opened.keys, stamp: keyring.stamp }),
            // A rotation may have replaced both between the two reads: then this keyring is not the newest.
            Err(VaultError::WrongMaster { .. }) => {
                let newer = Keyring::read(folder)?;
                if newer.stamp == keyring.stamp {
                    break;
                }
                keyring = newer;
            }
            Err(why) => return Err(why),
        }
    }
    let opened = keyring.open(source)?;
    Ok(Current { keys: opened.keys, stamp: keyring.stamp })
}
