//! Why a federation does not begin.

use std::io;
use std::path::PathBuf;
use std::time::SystemTimeError;

use attest::ModelKeyError;
use identity::{RosterError, SubjectError};
use pki::{IssueError, TransportKeyError};
use vault::{NewFolderError, VaultError};

/// Why a key has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The key cannot be made, or asks for nothing.
    #[error(transparent)]
    Key(#[from] TransportKeyError),
    /// It is not issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Why a federation, or a person's folder, was not made. Each name or path is as it was given.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// Where silos are to connect cannot be an address.
    #[error("`{0}` is no HOST:PORT")]
    Address(String),
    /// Where the coordinator is to listen cannot be an address.
    #[error("`{0}` is no ADDRESS:PORT")]
    Listen(String),
    /// The federation's name cannot be one.
    #[error("`{0}`: letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// The administrator's name cannot be one.
    #[error(transparent)]
    Admin(#[from] SubjectError),
    /// It stands before 1970.
    #[error("this machine's clock")]
    Clock(#[from] SystemTimeError),
    /// The names that silos are to connect to cannot be in a certificate.
    #[error("no certificate can be made for {names}")]
    Server {
        names: String,
        #[source]
        why: CertificateError,
    },
    /// The authority's own, or the administrator's.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The federation's folder cannot be made.
    #[error("`{}` cannot be made", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        why: io::Error,
    },
    /// What the federation's folder holds is not known.
    #[error("`{}` cannot be read", folder.display())]
    NotRead {
        folder: PathBuf,
        #[source]
        why: io::Error,
    },
    /// A call was killed before its end.
    #[error(
        "`{}` holds what an earlier call had written when it was killed: it is of no use, remove the folder and run this \
         again",
        .0.display()
    )]
    CutOff(PathBuf),
    /// Something else lies there.
    #[error("`{}` is not empty, and nothing in it is overwritten; in another folder a new federation is made, which nobody has joined", .0.display())]
    NotEmpty(PathBuf),
    /// A person's folder cannot be made, or is there.
    #[error(transparent)]
    Person(#[from] NewFolderError),
    /// A file cannot be written.
    #[error("cannot write `{}`", file.display())]
    NotWritten {
        file: PathBuf,
        #[source]
        why: io::Error,
    },
    /// A secret cannot be written.
    #[error("cannot write `{name}`")]
    NotSealed {
        name: &'static str,
        #[source]
        why: VaultError,
    },
    /// What seals the secrets cannot be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The disk does not do what was asked of it.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The key that signs models.
    #[error(transparent)]
    ModelKey(#[from] ModelKeyError),
    /// The first roster has no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The first roster is not what its authority signs.
    #[error(transparent)]
    Roster(#[from] RosterError),
}
