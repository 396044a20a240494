//! What lies on a disk, sealed: XChaCha20-Poly1305 under data keys, which lie sealed under one master key.
//!
//! Owns: where a master key comes from ([`MasterSource`]), the keyring and its rotation ([`Vault`]), the sealing of small
//! things ([`Vault::seal`]), of files that grow ([`FileSealer`], [`SealedReader`]) and of key files ([`write_secret`]);
//! how small files are written, sealed or not ([`files`]), and new folders of them ([`NewFolder`]); and where people and silos keep their keys ([`layout`]).
//!
//! Does not: hide sizes, names or times, or notice that a whole folder was put back to an older copy.
//!
//! ```text
//! master key      32 bytes, from a file, a systemd credential or the environment; or a passphrase (Argon2id)
//!    | HKDF with the keyring's salt
//! wrapping key    opens one entry of keys.json, which holds every data key and which of them is active
//!    | HKDF, by purpose
//! data key        seals small things, each with a random nonce
//!    | HKDF with the file's random id and its context
//! file key        seals the segments of one file, chained
//! ```
//!
//! A rotation is a new keyring renamed over the old one. A process that has the vault open looks at the keyring before
//! it seals anything, with one `stat`, and adopts what changed; what older data keys sealed stays readable.
//!
//! The constructions: Arciszewski, XChaCha (draft-irtf-cfrg-xchacha-03), whose 24-byte nonces may be random; RFC 5869;
//! RFC 9106. The segments follow STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015), with two deviations: nonces are
//! random and not counted, because a file that is resumed after a crash would use a counter's value twice; and in the
//! place of the counter each segment authenticates the tag of the one before it.
//!
//! # Example
//!
//! ```
//! use vault::{MasterSource, Vault, make_master};
//!
//! let folder = tempfile::tempdir()?;
//! let master = folder.path().join("master.key");
//! make_master(&master)?;
//! let vault = Vault::create(folder.path(), MasterSource::File(master))?;
//! let sealed = vault.seal(b"ledger", b"three")?;
//! assert_eq!(*vault.open(b"ledger", &sealed)?, b"three");
//! assert!(vault.open(b"another place", &sealed).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod files;
mod key;
mod keyring;
pub mod layout;
mod master;
mod new_folder;
mod seal;
mod secret_file;
mod segments;
mod vault;

use std::io;
use std::path::{Path, PathBuf};

pub use keyring::{KEYRING_FILE, MasterRotation};
pub use master::{MasterSource, make_master};
pub use new_folder::{NewFolder, NewFolderError};
pub use seal::{MAGIC_BYTES, is_sealed};
pub use secret_file::{read_sealed_text, read_secret, replace_secret, write_secret};
pub use segments::{FileSealer, Resumed, SEGMENT_BYTES_MAX, SealedReader};
pub use vault::Vault;

/// A vault that refuses or fails. Nothing was changed or overwritten then.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: check space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What is sealed cannot be read.
    #[error("cannot read what is sealed: {0}")]
    Read(#[source] io::Error),
    /// The machine gives no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Randomness(String),
    /// The master key's source gives nothing.
    #[error("the master key is missing: {origin} {why}; put it back from its backup, or name where it is")]
    MasterMissing {
        /// Where it was looked for.
        origin: MasterSource,
        /// What is wrong there.
        why: String,
    },
    /// The master key's source gives something else.
    #[error("the master key cannot be used: {origin} {why}")]
    MasterUnusable {
        /// Where it was read.
        origin: MasterSource,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// Another master key.
    #[error(
        "{origin} is not the master key of `{}`: name the one that it was made or last rotated with",
        keyring.display()
    )]
    WrongMaster {
        /// Where the key came from.
        origin: MasterSource,
        keyring: PathBuf,
    },
    /// No keyring, where there is something that needs it.
    #[error(
        "the keyring `{}` is missing, and without it what is sealed beside it cannot be read: restore it from a backup",
        .0.display()
    )]
    KeyringMissing(PathBuf),
    /// The keyring is not what was written.
    #[error("the keyring `{}` is damaged ({why}): restore it from a backup; nothing was changed", path.display())]
    KeyringDamaged {
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The keyring was written by a later release.
    #[error(
        "the keyring `{}` has format {format:?}, this release reads {:?}: install a newer release or, where none wrote it, \
         restore it from a backup; nothing was changed",
        path.display(), keyring::FORMAT
    )]
    KeyringFormat { path: PathBuf, format: String },
    /// A file that must not be there is.
    #[error("`{}` exists and is not overwritten: name another, or move it aside", .0.display())]
    Exists(PathBuf),
    /// Another process changes the keyring.
    #[error("the keyring of `{}` is being changed by another process: try again when that has ended", .0.display())]
    Busy(PathBuf),
    /// A rotation of the master key was left half done.
    #[error("the keyring `{}` is sealed under two master keys: end that rotation first", .0.display())]
    RotationOpen(PathBuf),
    /// What is to be opened was never sealed.
    #[error("it is not sealed: it was written without a vault, or is another file")]
    NotSealed,
    /// Sealed by a newer program.
    #[error("it is sealed in form {0}: use a release that reads it")]
    Form(u8),
    /// Sealed under a key that the keyring does not have.
    #[error(
        "it is sealed under data key {0}, which the keyring does not hold: restore the keyring that does"
    )]
    UnknownKey(u32),
    /// What is sealed is not what was written, or not here.
    #[error("it was changed after it was sealed, moved from elsewhere, or sealed under another keyring")]
    Refused,
    /// What was sealed is not UTF-8.
    #[error("it holds no text")]
    NoText,
    /// The end of what is sealed is missing.
    #[error("its end is missing: it was cut short, or never finished")]
    CutShort,
    /// A passphrase cannot be stretched.
    #[error("the passphrase cannot be stretched ({0}): it needs 64 MiB of memory")]
    Passphrase(String),
    /// More than one sealing may hold.
    #[error("it is too long to be sealed at once")]
    TooLong,
}

impl VaultError {
    /// Whether it is about what was sealed, and not about the keys or the machine.
    fn is_of_content(&self) -> bool {
        use VaultError::{CutShort, Form, NotSealed, Refused, UnknownKey};
        matches!(self, NotSealed | Form(_) | UnknownKey(_) | Refused | CutShort)
    }
}

impl From<VaultError> for io::Error {
    fn from(error: VaultError) -> io::Error {
        match error {
            VaultError::Read(source) => source,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Creates a file that must not be there, for its owner alone.
fn create_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    files::put_new(path, bytes, files::OWNER_ONLY).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => VaultError::Exists(path.to_owned()),
        _ => failed("create", path)(why),
    })
}

/// Puts a file in the place of another, or of none, for its owner alone.
fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    files::replace(path, bytes, files::OWNER_ONLY).map_err(failed("write", path))
}

/// For `map_err`: names the action and the path.
fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> VaultError + 'a {
    move |source| VaultError::Io { action, path: path.to_owned(), source }
}
