//! The keyring's file: every data key, sealed under one master key, or under two while one replaces the other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, Key, random};
use crate::master::{Master, MasterSource};
use crate::{VaultError, create_private, failed, files, replace_private};

/// The keyring's name in its folder.
pub const KEYRING_FILE: &str = "keys.json";

pub(crate) const FORMAT: &str = "folkmoot/v1/keyring";
const LOCK_FILE: &str = "keys.lock";
const ID_BYTES: usize = 16;
const SALT_BYTES: usize = 16;

/// The file, as it is written.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    entries: Vec<Entry>,
    /// SHA-256 over the entries: it tells a damaged file from a wrong key. What an attacker changes is caught by each
    /// entry's seal.
    checksum: String,
}

/// What is read of a file first.
#[derive(Deserialize)]
struct Numbered {
    format: String,
}

/// All data keys under one master key.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Commits to the master key, and tells nothing of it.
    master: String,
    salt: String,
    keys: String,
}

/// The data keys, and which of them seals.
pub(crate) struct DataKeys {
    pub(crate) active: u32,
    pub(crate) keys: BTreeMap<u32, Key>,
}

/// What of a file changes when it is replaced: one `stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64, u64, u64, i64, i64, i64, i64);

/// A keyring that was read.
pub(crate) struct Keyring {
    path: PathBuf,
    written: Written,
    pub(crate) stamp: Stamp,
}

/// A keyring opened by a master key.
pub(crate) struct Opened {
    pub(crate) keys: DataKeys,
    wrapping: Key,
    /// Which entry the master key opened.
    entry: Entry,
}

impl Keyring {
    /// Writes a new keyring with one data key; refuses to replace one.
    pub(crate) fn create(folder: &Path, source: &MasterSource) -> Result<(), VaultError> {
        let keys = DataKeys { active: 1, keys: BTreeMap::from([(1, Key::random()?)]) };
        let entry = Entry::new(&source.read()?, &keys)?;
        files::make_folders(folder).map_err(failed("create", folder))?;
        files::sync_parent(folder).map_err(failed("fsync the parent of", folder))?;
        create_private(&folder.join(KEYRING_FILE), Written::text(vec![entry])?.as_bytes())
    }

    pub(crate) fn read(folder: &Path) -> Result<Keyring, VaultError> {
        let path = folder.join(KEYRING_FILE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|mut file| {
            let stamp = Stamp::of(&file.metadata()?);
            file.read_to_string(&mut text)?;
            Ok(stamp)
        });
        let damaged = |why| VaultError::KeyringDamaged { path: path.clone(), why };
        let stamp = read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => VaultError::KeyringMissing(path.clone()),
            io::ErrorKind::InvalidData => damaged("it is not text"),
            _ => failed("read", &path)(error),
        })?;
        // Before the rest, which a later format may say in its own way.
        match serde_json::from_str(&text) {
            Ok(Numbered { format }) if is_later(&format) => {
                return Err(VaultError::KeyringFormat { path, format });
            }
            _ => {}
        }
        let written: Written = serde_json::from_str(&text).map_err(|_| damaged("it does not parse"))?;
        if written.format != FORMAT {
            return Err(damaged("its format is none"));
        }
        // One way to write a keyring, so that no byte of it can change unseen.
        if written.entries.is_empty() || Written::text(written.entries.clone())? != text {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(Keyring { path, written, stamp })
    }

    /// Opens the entry that `source`'s master key made.
    pub(crate) fn open(&self, source: &MasterSource) -> Result<Opened, VaultError> {
        let found = self.find(&source.read()?)?;
        found.ok_or_else(|| VaultError::WrongMaster { origin: source.clone(), keyring: self.path.clone() })
    }

    fn find(&self, master: &Master) -> Result<Option<Opened>, VaultError> {
        let damaged = |why| VaultError::KeyringDamaged { path: self.path.clone(), why };
        for entry in &self.written.entries {
            let salt = hex::decode(&entry.salt).map_err(|_| damaged("a salt does not parse"))?;
            let wrapping = master.wrapping_key(&salt)?;
            if commitment(&wrapping) == entry.master {
                let keys = entry.open(&wrapping).ok_or_else(|| damaged("an entry does not open"))?;
                return Ok(Some(Opened { keys, wrapping, entry: entry.clone() }));
            }
        }
        Ok(None)
    }

    fn replace(&self, entries: Vec<Entry>) -> Result<(), VaultError> {
        replace_private(&self.path, Written::text(entries)?.as_bytes())
    }
}

/// Whether a format is this one with a higher number.
fn is_later(format: &str) -> bool {
    let number = format.strip_prefix("folkmoot/v").and_then(|rest| rest.strip_suffix("/keyring"));
    number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number > 1)
}

/// Adds a data key and makes it the active one; older ones stay for reading. Gives its id.
pub(crate) fn rotate_data_key(folder: &Path, source: &MasterSource) -> Result<u32, VaultError> {
    let _lock = lock(folder)?;
    let keyring = Keyring::read(folder)?;
    let mut opened = keyring.open(source)?;
    if keyring.written.entries.len() > 1 {
        return Err(VaultError::RotationOpen(keyring.path));
    }
    let last = opened.keys.keys.keys().next_back().copied().unwrap_or(0);
    let next = last.checked_add(1).ok_or(VaultError::TooLong)?;
    opened.keys.keys.insert(next, Key::random()?);
    opened.keys.active = next;
    let entry = opened.entry.with_keys(&opened.wrapping, &opened.keys)?;
    keyring.replace(vec![entry])?;
    Ok(next)
}

/// Seals the data keys under a second master key too, unless they are.
pub(crate) fn add_master(folder: &Path, old: &MasterSource, new: &MasterSource) -> Result<(), VaultError> {
    let _lock = lock(folder)?;
    let keyring = Keyring::read(folder)?;
    let opened = keyring.open(old)?;
    let master = new.read()?;
    if keyring.find(&master)?.is_some() {
        return Ok(());
    }
    if keyring.written.entries.len() > 1 {
        return Err(VaultError::RotationOpen(keyring.path));
    }
    let added = Entry::new(&master, &opened.keys)?;
    let mut entries = keyring.written.entries.clone();
    entries.push(added);
    keyring.replace(entries)
}

/// Forgets every master key but that of `current`.
pub(crate) fn retire_others(folder: &Path, current: &MasterSource) -> Result<(), VaultError> {
    let _lock = lock(folder)?;
    let keyring = Keyring::read(folder)?;
    let opened = keyring.open(current)?;
    match keyring.written.entries.len() {
        1 => Ok(()),
        _ => keyring.replace(vec![opened.entry]),
    }
}

/// The replacement of a master key that lies in a file, for every folder that is sealed under it, so that a crash after
/// any step leaves all of it readable with what the file holds then. To repeat it from the start ends it.
///
/// The old key is kept beside the new one, as `FILE.previous`: another folder may need it.
pub struct MasterRotation<'a> {
    folders: &'a [PathBuf],
    source: &'a MasterSource,
    file: &'a Path,
    new: &'a Path,
    next: u8,
}

impl<'a> MasterRotation<'a> {
    /// A rotation of `source` to what the file `new` holds; none when `source` is no file, whose owner must then put
    /// the new key in place between [`Vault::add_master`](crate::Vault::add_master) and
    /// [`Vault::retire_other_masters`](crate::Vault::retire_other_masters).
    pub fn new(
        folders: &'a [PathBuf],
        source: &'a MasterSource,
        new: &'a Path,
    ) -> Option<MasterRotation<'a>> {
        match source {
            MasterSource::File(file) | MasterSource::PassphraseFile(file) => {
                Some(MasterRotation { folders, source, file, new, next: 0 })
            }
            _ => None,
        }
    }

    /// Performs every step.
    ///
    /// # Errors
    ///
    /// As [`MasterRotation::step`].
    pub fn run(mut self) -> Result<(), VaultError> {
        while self.step()? {}
        Ok(())
    }

    /// Performs one step; false after the last.
    ///
    /// # Errors
    ///
    /// A master key or a keyring that cannot be used; a `FILE.previous` that holds a third key; a disk that fails.
    pub fn step(&mut self) -> Result<bool, VaultError> {
        match self.next {
            0 => self.add()?,
            1 => self.keep_previous()?,
            2 => self.put_in_place()?,
            _ => self.folders.iter().try_for_each(|folder| retire_others(folder, self.source))?,
        }
        self.next += 1;
        Ok(self.next < 4)
    }

    fn add(&self) -> Result<(), VaultError> {
        let new = match self.source {
            MasterSource::PassphraseFile(_) => MasterSource::PassphraseFile(self.new.to_owned()),
            _ => MasterSource::File(self.new.to_owned()),
        };
        self.folders.iter().try_for_each(|folder| add_master(folder, self.source, &new))
    }

    fn keep_previous(&self) -> Result<(), VaultError> {
        let current = read_secret_text(self.file)?;
        if *current == *read_secret_text(self.new)? {
            return Ok(());
        }
        let mut name = self.file.as_os_str().to_owned();
        name.push(".previous");
        let previous = Path::new(&name);
        match create_private(previous, current.as_bytes()) {
            Err(VaultError::Exists(_)) if *read_secret_text(previous)? == *current => Ok(()),
            kept => kept,
        }
    }

    fn put_in_place(&self) -> Result<(), VaultError> {
        replace_private(self.file, read_secret_text(self.new)?.as_bytes())
    }
}

impl Written {
    fn text(entries: Vec<Entry>) -> Result<String, VaultError> {
        let mut hasher = Sha256::new();
        for entry in &entries {
            for part in [&entry.master, &entry.salt, &entry.keys] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let checksum = hex::encode(hasher.finalize());
        let written = Written { format: FORMAT.to_owned(), entries, checksum };
        // Strings alone: nothing here can fail to be JSON.
        let text = serde_json::to_string_pretty(&written).map_err(|_| VaultError::TooLong)?;
        Ok(text + "\n")
    }
}

impl Entry {
    fn new(master: &Master, keys: &DataKeys) -> Result<Entry, VaultError> {
        let salt = random::<SALT_BYTES>()?;
        let wrapping = master.wrapping_key(&salt)?;
        let entry = Entry { master: commitment(&wrapping), salt: hex::encode(salt), keys: String::new() };
        entry.with_keys(&wrapping, keys)
    }

    fn with_keys(&self, wrapping: &Key, keys: &DataKeys) -> Result<Entry, VaultError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + keys.keys.len() * (4 + KEY_BYTES)));
        plain.extend(keys.active.to_le_bytes());
        for (id, key) in &keys.keys {
            plain.extend(id.to_le_bytes());
            plain.extend(key.expose());
        }
        let mut sealed = Vec::new();
        wrapping.seal_onto(&self.context(), &plain, &mut sealed)?;
        Ok(Entry { keys: hex::encode(sealed), ..self.clone() })
    }

    fn open(&self, wrapping: &Key) -> Option<DataKeys> {
        let plain = wrapping.open(&self.context(), &hex::decode(&self.keys).ok()?)?;
        let (active, mut rest) = plain.split_first_chunk::<4>()?;
        let active = u32::from_le_bytes(*active);
        let mut keys = BTreeMap::new();
        while !rest.is_empty() {
            let (id, after) = rest.split_first_chunk::<4>()?;
            let (key, after) = after.split_at_checked(KEY_BYTES)?;
            keys.insert(u32::from_le_bytes(*id), Key::from_slice(key)?);
            rest = after;
        }
        keys.contains_key(&active).then_some(DataKeys { active, keys })
    }

    fn context(&self) -> Vec<u8> {
        format!("{FORMAT}\0{}\0{}", self.master, self.salt).into_bytes()
    }
}

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Stamp {
        Stamp(
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        )
    }
}

/// Names a wrapping key. Derived, so that it tells nothing of it.
fn commitment(wrapping: &Key) -> String {
    let derived = wrapping.derive(b"", "folkmoot/v1/vault-master-id", b"");
    hex::encode(derived.expose().first_chunk::<ID_BYTES>().unwrap_or(&[0; ID_BYTES]))
}

fn read_secret_text(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    files::read_secret_text(path, files::TEXT_BYTES_MAX).map_err(failed("read", path))
}

/// One process changes a keyring at a time; readers need no lock, because it is replaced whole.
fn lock(folder: &Path) -> Result<File, VaultError> {
    let path = folder.join(LOCK_FILE);
    let opened = File::options().create(true).write(true).truncate(false).open(&path);
    let file = opened.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(VaultError::Busy(folder.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}
