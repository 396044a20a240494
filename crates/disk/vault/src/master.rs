//! Where a master key comes from.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::key::{KEY_BYTES, Key};
use crate::{VaultError, create_private, files};

/// RFC 9106, section 4, the choice for little memory: 64 MiB, three passes, four lanes.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Where systemd puts a service's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a master key comes from: 64 hexadecimal digits, or a passphrase.
///
/// In a configuration `{ file = "master.key" }`, `{ credential = "folkmoot-master" }` and so on; on a command line a
/// file's name, `credential:NAME`, `environment:NAME`, `passphrase_file:NAME` or `passphrase_credential:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MasterSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A credential that systemd gives the service (`LoadCredentialEncrypted=` keeps it sealed to the machine).
    Credential(String),
    /// An environment variable: others of the same user can read it, so only for where nothing else is possible.
    Environment(String),
    /// A passphrase in a file that only its owner can read.
    PassphraseFile(PathBuf),
    /// A passphrase in a credential.
    PassphraseCredential(String),
}

/// Makes a master key and writes it to a new file that only its owner can read.
///
/// # Errors
///
/// A file that exists; a disk that fails; no randomness.
pub fn make_master(path: &Path) -> Result<(), VaultError> {
    let mut text = Zeroizing::new([b'\n'; 2 * KEY_BYTES + 1]);
    let (digits, _) = text.split_at_mut(2 * KEY_BYTES);
    hex::encode_to_slice(Key::random()?.expose(), digits).map_err(|_| VaultError::TooLong)?;
    create_private(path, &*text)
}

impl MasterSource {
    /// The file that it names, if any: relative to the configuration that names it.
    pub fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            MasterSource::File(path) | MasterSource::PassphraseFile(path) => Some(path),
            _ => None,
        }
    }

    /// The file that it is read from, if any: a credential's where the environment says in which folder those lie.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            MasterSource::File(path) | MasterSource::PassphraseFile(path) => Some(path.clone()),
            MasterSource::Credential(name) | MasterSource::PassphraseCredential(name) => {
                self.credential(name, &|name| std::env::var_os(name)).ok()
            }
            MasterSource::Environment(_) => None,
        }
    }

    /// Reads it, to derive wrapping keys.
    pub(crate) fn read(&self) -> Result<Master, VaultError> {
        self.read_within(&|name| std::env::var_os(name))
    }

    fn read_within(&self, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Master, VaultError> {
        let text = match self {
            MasterSource::File(path) | MasterSource::PassphraseFile(path) => {
                self.check_mode(path)?;
                self.read_file(path)?
            }
            MasterSource::Credential(name) | MasterSource::PassphraseCredential(name) => {
                self.read_file(&self.credential(name, environment)?)?
            }
            MasterSource::Environment(name) => {
                let value = environment(name).ok_or_else(|| self.missing(&"it is not set"))?;
                Zeroizing::new(value.into_string().map_err(|_| self.unusable("is not text".into()))?)
            }
        };
        match self {
            MasterSource::PassphraseFile(_) | MasterSource::PassphraseCredential(_) => self.passphrase(text),
            _ => self.key(&text),
        }
    }

    fn key(&self, text: &str) -> Result<Master, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let decoded = hex::decode_to_slice(text.trim(), &mut *bytes).ok();
        let key = decoded.and_then(|()| Key::from_slice(&*bytes));
        let why = "does not hold 64 hexadecimal digits; `folkmoot keys master FILE` makes a key";
        key.map(Master::Key).ok_or_else(|| self.unusable(why.into()))
    }

    fn passphrase(&self, text: Zeroizing<String>) -> Result<Master, VaultError> {
        let passphrase = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        match passphrase.chars().count() >= PASSPHRASE_CHARS_MIN {
            true => Ok(Master::Passphrase(passphrase)),
            false => {
                Err(self
                    .unusable(format!("has a passphrase below {PASSPHRASE_CHARS_MIN} characters; use more")))
            }
        }
    }

    fn read_file(&self, path: &Path) -> Result<Zeroizing<String>, VaultError> {
        files::read_secret_text(path, files::TEXT_BYTES_MAX).map_err(|why| match why.kind() {
            io::ErrorKind::InvalidData => self.unusable("is not text; is it another file?".into()),
            _ => self.missing(&why),
        })
    }

    fn check_mode(&self, path: &Path) -> Result<(), VaultError> {
        let mode = fs::metadata(path).map_err(|why| self.missing(&why))?.permissions().mode();
        match mode & 0o077 {
            0 => Ok(()),
            _ => Err(self.unusable(format!("can be read by others; run: chmod 600 '{}'", path.display()))),
        }
    }

    fn credential(
        &self,
        name: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<PathBuf, VaultError> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(self.unusable("is no plain name".into()));
        }
        let folder = environment(CREDENTIALS_DIRECTORY).ok_or_else(|| {
            self.missing(&"there is no $CREDENTIALS_DIRECTORY: add LoadCredential= to the service's unit")
        })?;
        Ok(Path::new(&folder).join(name))
    }

    fn missing(&self, why: &dyn fmt::Display) -> VaultError {
        VaultError::MasterMissing { origin: self.clone(), why: format!("cannot be read ({why})") }
    }

    fn unusable(&self, why: String) -> VaultError {
        VaultError::MasterUnusable { origin: self.clone(), why }
    }
}

impl fmt::Display for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MasterSource::File(path) => write!(f, "the file `{}`", path.display()),
            MasterSource::Credential(name) => write!(f, "the credential `{name}`"),
            MasterSource::Environment(name) => write!(f, "the environment variable `{name}`"),
            MasterSource::PassphraseFile(path) => write!(f, "the passphrase in `{}`", path.display()),
            MasterSource::PassphraseCredential(name) => {
                write!(f, "the passphrase in the credential `{name}`")
            }
        }
    }
}

impl FromStr for MasterSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<MasterSource, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("credential", name)) => MasterSource::Credential(name.into()),
            Some(("environment", name)) => MasterSource::Environment(name.into()),
            Some(("passphrase_file", path)) => MasterSource::PassphraseFile(path.into()),
            Some(("passphrase_credential", name)) => MasterSource::PassphraseCredential(name.into()),
            _ => MasterSource::File(text.into()),
        })
    }
}

/// What a source gave.
pub(crate) enum Master {
    Key(Key),
    Passphrase(Zeroizing<String>),
}

impl Master {
    /// The key that wraps data keys in the keyring's entry with this salt.
    ///
    /// # Paper
    ///
    /// Argon2id, RFC 9106, section 4, second recommended option.
    pub(crate) fn wrapping_key(&self, salt: &[u8]) -> Result<Key, VaultError> {
        const LABEL: &str = "folkmoot/v1/vault-wrap";
        match self {
            Master::Key(key) => Ok(key.derive(salt, LABEL, b"key")),
            Master::Passphrase(passphrase) => {
                let mut stretched = Zeroizing::new([0; KEY_BYTES]);
                let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(KEY_BYTES));
                let hashed = params.and_then(|params| {
                    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                        passphrase.as_bytes(),
                        salt,
                        &mut *stretched,
                    )
                });
                // The parameters are constants that hold: what is left is memory.
                hashed.map_err(|why| VaultError::Passphrase(why.to_string()))?;
                let key = Key::from_slice(&*stretched).ok_or(VaultError::TooLong)?;
                stretched.zeroize();
                Ok(key.derive(salt, LABEL, b"passphrase"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, text: &str, mode: u32) -> PathBuf {
        let path = folder.join("m");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_made_master_key_is_private_reads_back_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        make_master(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(make_master(&path), Err(VaultError::Exists(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(MasterSource::File(path).read().is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_master_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let path = file(folder.path(), &"07".repeat(32), mode);
            match MasterSource::File(path.clone()).read().map(drop) {
                Ok(()) => assert!(accepted, "{mode:o}"),
                Err(why) => assert!(!accepted && why.to_string().contains("chmod 600"), "{mode:o}: {why}"),
            }
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_is_no_master_key_is_named_with_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "0102", 0o600);
        let refused = |source: MasterSource| match source.read() {
            Ok(_) => panic!("{source} was read"),
            Err(why) => why.to_string(),
        };
        let why = refused(MasterSource::File(path.clone()));
        assert!(why.contains("/m`") && why.contains("64 hexadecimal digits"), "{why}");
        let why = refused(MasterSource::PassphraseFile(path));
        assert!(why.contains("12 characters"), "{why}");
        let why = refused(MasterSource::File(folder.path().join("absent")));
        assert!(why.contains("master key is missing") && why.contains("/absent`"), "{why}");
        let why = refused(MasterSource::Environment("FOLKMOOT_NO_SUCH_VARIABLE".into()));
        assert!(why.contains("FOLKMOOT_NO_SUCH_VARIABLE"), "{why}");
        let why = refused(MasterSource::Credential("../up".into()));
        assert!(why.contains("no plain name"), "{why}");
    }

    #[test]
    fn credentials_and_variables_are_read_where_systemd_and_the_environment_have_them() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), &"07".repeat(32), 0o440);
        let environment = |name: &str| match name {
            CREDENTIALS_DIRECTORY => Some(folder.path().into()),
            "MASTER" => Some("07".repeat(32).into()),
            _ => None,
        };
        let wrapping = |source: MasterSource| {
            let master = source.read_within(&environment).unwrap_or_else(|why| panic!("{why}"));
            *master.wrapping_key(b"salt of sixteen!").unwrap().expose()
        };
        let credential = wrapping(MasterSource::Credential("m".into()));
        assert_eq!(credential, wrapping(MasterSource::Environment("MASTER".into())));
        assert_ne!(credential, wrapping(MasterSource::PassphraseCredential("m".into())));
        assert!(MasterSource::Credential("m".into()).read_within(&|_| None).is_err());
    }

    #[test]
    fn sources_parse_as_they_are_documented() {
        #[derive(Deserialize)]
        struct Table {
            master_key: MasterSource,
        }
        let parsed = |text: &str| toml::from_str::<Table>(text).map(|table| table.master_key);
        let credential = MasterSource::Credential("c".into());
        assert_eq!(parsed("master_key = { file = 'a/b' }").unwrap(), MasterSource::File("a/b".into()));
        assert_eq!(parsed("master_key = { credential = 'c' }").unwrap(), credential);
        assert_eq!(
            parsed("master_key = { environment = 'E' }").unwrap(),
            MasterSource::Environment("E".into())
        );
        assert!(parsed("master_key = { key = '00' }").is_err(), "a key never stands in a configuration");
        assert_eq!("credential:c".parse(), Ok(credential));
        assert_eq!("a/b".parse(), Ok(MasterSource::File("a/b".into())));
        assert_eq!("passphrase_file:p".parse(), Ok(MasterSource::PassphraseFile("p".into())));
    }
}
