//! The folders in which people and silos keep their keys, and where each file lies in them.

use std::path::{Path, PathBuf};

/// An operator's folder: whom to call as, and which coordinator. Its key is the operator's own to protect.
pub struct Operator {
    /// The federation's authority, as join tokens pin it.
    pub authority: PathBuf,
    /// The operator's certificate with its issuer's, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// One line with the coordinator's address.
    pub coordinator: PathBuf,
}

impl Operator {
    /// The file of [`Operator::authority`].
    pub const AUTHORITY: &str = "authority.json";
    /// The file of [`Operator::certificate`].
    pub const CERTIFICATE: &str = "operator.crt";
    /// The file of [`Operator::key`].
    pub const KEY: &str = "operator.key";
    /// The file of [`Operator::coordinator`].
    pub const COORDINATOR: &str = "coordinator";

    /// The files of this folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            authority: folder.join(Self::AUTHORITY),
            certificate: folder.join(Self::CERTIFICATE),
            key: folder.join(Self::KEY),
            coordinator: folder.join(Self::COORDINATOR),
        }
    }
}

/// The authority's folder, from which silos are admitted; beside these files it holds a keyring.
pub struct Authority {
    /// The authority, as join tokens pin it.
    pub authority: PathBuf,
    /// The key that signs rosters, sealed under [`Authority::KEY`].
    pub key: PathBuf,
    /// What opens the keyring.
    pub master: PathBuf,
}

impl Authority {
    /// The name under which the key is sealed.
    pub const KEY: &str = "authority.key";

    /// The files of this folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            authority: folder.join("authority.json"),
            key: folder.join(Self::KEY),
            master: folder.join("master.key"),
        }
    }
}

/// A silo's folder, as enrolment makes it; beside these files it holds a keyring and what the daemon writes.
pub struct Silo {
    /// The daemon's configuration, which names all the others.
    pub config: PathBuf,
    /// The federation's authority, as the join token pinned it.
    pub authority: PathBuf,
    /// The roster that named this silo first.
    pub roster: PathBuf,
    /// The key by which members know this silo, sealed under [`Silo::IDENTITY`].
    pub identity: PathBuf,
    /// The certificate that it shows the coordinator, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM, sealed under [`Silo::KEY_NAME`].
    pub key: PathBuf,
    /// What opens the keyring.
    pub master: PathBuf,
}

impl Silo {
    /// The file of [`Silo::authority`].
    pub const AUTHORITY: &str = "authority.json";
    /// The file of [`Silo::roster`].
    pub const ROSTER: &str = "roster.json";
    /// The file of [`Silo::identity`].
    pub const IDENTITY: &str = "identity.key";
    /// The folder of what is renewed, in which the daemon writes; and in no other of these.
    pub const RENEWED: &str = "tls";
    /// The file of [`Silo::certificate`].
    pub const CERTIFICATE: &str = "tls/silo.crt";
    /// The file of [`Silo::key`].
    pub const KEY: &str = "tls/transport.key";
    /// The name that [`Silo::key`] is sealed under.
    pub const KEY_NAME: &str = "transport.key";
    /// The file of [`Silo::master`].
    pub const MASTER: &str = "master.key";

    /// The files of this folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            config: folder.join("client.toml"),
            authority: folder.join(Self::AUTHORITY),
            roster: folder.join(Self::ROSTER),
            identity: folder.join(Self::IDENTITY),
            certificate: folder.join(Self::CERTIFICATE),
            key: folder.join(Self::KEY),
            master: folder.join(Self::MASTER),
        }
    }
}
