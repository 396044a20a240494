//! What lies on a daemon's disk, sealed: its data folder and its secret keys, under one master key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::IdentityKey;
use plan::Problems;
use serde::Deserialize;
use vault::{MasterSource, Vault, files};
use zeroize::Zeroizing;

use crate::config::{check_secret, parsed, read};

/// The table `[encryption]` of both configurations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// Where the master key comes from: `{ file = "…" }`, `{ credential = "…" }` (systemd), `{ environment = "…" }`,
    /// `{ passphrase_file = "…" }` or `{ passphrase_credential = "…" }`.
    pub master_key: MasterSource,
    /// Where the keyring lies: the folder of the file that holds the table.
    #[serde(skip)]
    folder: PathBuf,
}

impl Encryption {
    /// Makes the master key's path relative to the configuration that names it, and looks for the keyring beside that.
    pub(crate) fn resolve(&mut self, file: &Path) {
        self.folder = files::parent(file).to_owned();
        if let Some(path) = self.master_key.path_mut() {
            crate::config::resolve(file, [path]);
        }
    }

    /// Where the keyring lies, which is followed: whoever changes a key replaces it while the daemon runs.
    pub fn keyring_folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the master key, if any, which is read again whenever the keyring has changed.
    pub fn master_file(&self) -> Option<PathBuf> {
        self.master_key.file()
    }

    /// Opens the keyring, which `init` or `enroll` has made.
    pub fn open(&self, problems: &mut Problems) -> Option<Arc<Vault>> {
        match Vault::open_folder(&self.folder, self.master_key.clone()) {
            Ok(vault) => Some(Arc::new(vault)),
            Err(why) => {
                problems.add("encryption.master_key", why.to_string());
                None
            }
        }
    }
}

/// Reads a secret's text: sealed where the daemon has a vault, and else from a file that nobody else can read.
pub fn read_secret_text(
    path: &Path,
    field: &str,
    vault: Option<&Vault>,
    problems: &mut Problems,
) -> Option<Zeroizing<String>> {
    let Some(vault) = vault else {
        check_secret(path, field, problems);
        return read(path, field, problems, |text| Ok(Zeroizing::new(text.to_owned())));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parsed(vault::read_sealed_text(path, vault, &name), path, field, problems)
}

/// Reads the key that `identity_key_file` names.
pub fn read_identity(path: &Path, vault: Option<&Vault>, problems: &mut Problems) -> Option<IdentityKey> {
    let field = "identity_key_file";
    let text = read_secret_text(path, field, vault, problems)?;
    parsed(IdentityKey::from_secret_hex(&text), path, field, problems)
}
