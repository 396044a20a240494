//! What a silo tells of its data's version: a commitment that only the silo can open.

use std::io;
use std::path::{Path, PathBuf};

use params::Digest;
use rand::TryRng;
use rand::rngs::SysRng;
use vault::Vault;
use vault::files::{self, OWNER_ONLY, TEXT_BYTES_MAX};
use zeroize::Zeroizing;

use crate::error::LedgerError;

/// What the name of a data set's salt ends with; the file lies beside the ledger.
pub const SALT_SUFFIX: &str = ".salt";

const SALT_BYTES: usize = 32;
const DOMAIN: &str = "folkmoot/v2/data-version";
const NONCE_DOMAIN: &str = "folkmoot/v2/data-version-nonce";
/// Of the first release, which had one nonce, the salt itself, for all runs.
const FIRST_DOMAIN: &str = "folkmoot/v1/data-version";

/// The secret of one data set that its commitments are salted with: whoever lacks it can test no guess of the data.
///
/// # Security
/// 256 bits of the operating system's generator, drawn once; the file is for its owner only, and sealed where the ledger
/// is. Wiped when dropped. Losing it discloses nothing, but what was committed to cannot be opened any more.
pub struct Salt(Zeroizing<[u8; SALT_BYTES]>);

impl Salt {
    /// What the commitments of one daemon in one run are made with: fresh in each run, and known to nobody without the salt.
    pub fn nonce(&self, daemon: &str, run: &Digest) -> Nonce {
        let parts = [self.0.as_slice(), daemon.as_bytes(), run.as_bytes()];
        Nonce(Zeroizing::new(*Digest::of(NONCE_DOMAIN, &parts).as_bytes()))
    }

    /// The commitment to a version of the data as the first release made it: SHA-256 over a label of its own, the salt and
    /// the version. It stands in that release's cards and opens there; no card gets one any more, as it would be the same in
    /// each run.
    pub fn commit_as_first_release(&self, version: &Digest) -> Digest {
        Digest::of(FIRST_DOMAIN, &[self.0.as_slice(), version.as_bytes()])
    }

    /// In hexadecimal: what opens every commitment of the data set, of the first release's too, for an auditor at the silo.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }

    /// The salt that lies beside a ledger; none where nothing was committed to yet.
    ///
    /// # Errors
    /// [`LedgerError`] of a file that cannot be read, or is no salt.
    pub fn read(ledger: &Path, dataset: &str, vault: Option<&Vault>) -> Result<Option<Self>, LedgerError> {
        let path = salt_path(ledger, dataset);
        let text = match files::read_secret_text(&path, TEXT_BYTES_MAX) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LedgerError::Io { action: "read", path, source }),
        };
        let bytes = hex::decode(text.trim_end()).map(Zeroizing::new);
        let bytes = match (bytes, vault) {
            (Ok(bytes), Some(vault)) => vault.open(&context(dataset), &bytes).ok(),
            (Ok(bytes), None) => Some(bytes),
            (Err(_), _) => None,
        };
        let salt = bytes.and_then(|bytes| <[u8; SALT_BYTES]>::try_from(bytes.as_slice()).ok());
        salt.map(|salt| Some(Self(Zeroizing::new(salt)))).ok_or(LedgerError::Salt { path })
    }

    /// The same, drawn now where there is none; durable when this returns.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub(crate) fn read_or_draw(
        ledger: &Path,
        dataset: &str,
        vault: Option<&Vault>,
    ) -> Result<Self, LedgerError> {
        if let Some(salt) = Self::read(ledger, dataset, vault)? {
            return Ok(salt);
        }
        let path = salt_path(ledger, dataset);
        let io = |action| {
            let path = path.clone();
            move |source| LedgerError::Io { action, path, source }
        };
        if let Some(folder) = path.parent() {
            files::make_folders(folder).map_err(io("make the folder of"))?;
        }
        let random = |why: rand::rngs::SysError| io("draw randomness for")(io::Error::other(why));
        let mut salt = Zeroizing::new([0; SALT_BYTES]);
        SysRng.try_fill_bytes(salt.as_mut()).map_err(random)?;
        let text = match vault {
            None => Zeroizing::new(hex::encode(salt.as_slice())),
            Some(vault) => {
                let sealed = vault.seal(&context(dataset), salt.as_slice());
                Zeroizing::new(hex::encode(sealed.map_err(|_| LedgerError::Salt { path: path.clone() })?))
            }
        };
        let line = Zeroizing::new([text.as_str(), "\n"].concat());
        // Of two daemons that draw at once, both go on with the first's.
        match files::put_new(&path, line.as_bytes(), OWNER_ONLY) {
            // That one may be about to make it durable: nothing is committed to before it is.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => files::sync_parent(&path),
            written => written,
        }
        .map_err(io("write"))?;
        Self::read(ledger, dataset, vault)?.ok_or(LedgerError::Salt { path })
    }
}

/// What opens the commitments of one run and no other's.
///
/// # Security
/// A hash of the salt, which it does not disclose. Wiped when dropped.
pub struct Nonce(Zeroizing<[u8; SALT_BYTES]>);

impl Nonce {
    /// The commitment to a version of the data: SHA-256 over a label of its own, the nonce and the version.
    ///
    /// # Privacy
    /// Leaves the silo, and stands in model cards. It hides the version as long as the nonce is secret, and commitments of
    /// two runs do not tell whether the data is the same.
    ///
    /// # Paper
    /// The commitment of Bellare and Rogaway 1993: hiding and binding where SHA-256 is held for a random oracle.
    pub fn commit(&self, version: &Digest) -> Digest {
        Digest::of(DOMAIN, &[self.0.as_slice(), version.as_bytes()])
    }

    /// In hexadecimal, for an auditor of this run at the silo.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(..)")
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// Beside the ledger, under the data set's name.
fn salt_path(ledger: &Path, dataset: &str) -> PathBuf {
    ledger.with_file_name(format!("{dataset}{SALT_SUFFIX}"))
}

/// Binds a sealed salt to its data set.
fn context(dataset: &str) -> Vec<u8> {
    [b"ledger salt\0", dataset.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use vault::MasterSource;

    use super::*;
    use crate::Ledger;

    fn run(number: u8) -> Digest {
        Digest::sha256(&[number])
    }

    #[test]
    fn one_salt_is_drawn_for_a_data_set_whoever_asks_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = |name| Ledger::new(&folder.path().join("ledgers"), name, None, None).unwrap();
        let version = Digest::sha256(b"table");
        let commitments: Vec<Digest> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ledger("a").commitment("d", &run(1), &version).unwrap()))
                .collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(commitments.iter().all(|one| *one == commitments[0]), "{commitments:?}");
        assert_ne!(
            ledger("b").commitment("d", &run(1), &version).unwrap(),
            commitments[0],
            "another data set, another salt"
        );
        assert_ne!(ledger("a").commitment("d", &run(1), &Digest::sha256(b"other")).unwrap(), commitments[0]);
        let file = folder.path().join("ledgers/a.salt");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut names: Vec<_> =
            fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.salt", "b.salt"], "nothing is left beside them");
    }

    #[test]
    fn a_commitment_is_opened_with_its_salt_and_version_and_differs_from_the_versions_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        let version = Digest::sha256(b"table");
        assert!(Salt::read(ledger.path(), "a", None).unwrap().is_none(), "nothing was declared yet");
        let declared = ledger.commitment("d", &run(1), &version).unwrap();
        let salt = Salt::read(ledger.path(), "a", None).unwrap().unwrap();
        let nonce = salt.nonce("d", &run(1));
        let bytes = hex::decode(nonce.reveal().as_str()).unwrap();
        assert_eq!(declared, Digest::of("folkmoot/v2/data-version", &[&bytes, version.as_bytes()]));
        assert_ne!(declared, Digest::of("folkmoot/v2/data-version", &[version.as_bytes()]));
        assert!(!format!("{nonce:?}").contains(&nonce.reveal()[..8]));
        assert!(!format!("{salt:?}").contains(&salt.reveal()[..8]));
    }

    #[test]
    fn a_sealed_salt_is_not_on_the_disk_and_opens_with_its_vault_only() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("master.key");
        vault::make_master(&master).unwrap();
        let open = || Vault::create(folder.path(), MasterSource::File(master.clone())).unwrap();
        let vault = std::sync::Arc::new(open());
        let ledger = Ledger::new(folder.path(), "a", None, Some(vault.clone())).unwrap();
        ledger.commitment("d", &run(1), &Digest::sha256(b"table")).unwrap();
        let salt = Salt::read(ledger.path(), "a", Some(&vault)).unwrap().unwrap();
        let on_disk = fs::read_to_string(folder.path().join("a.salt")).unwrap();
        assert!(!on_disk.contains(salt.reveal().as_str()));
        let why = Salt::read(ledger.path(), "a", None).unwrap_err().to_string();
        assert!(why.contains("a.salt") && why.contains("restore"), "{why}");
        let why = Salt::read(&folder.path().join("a.ledger"), "b", Some(&vault)).unwrap();
        assert!(why.is_none());
    }

    #[test]
    fn a_damaged_salt_is_refused_and_never_drawn_anew() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        for damaged in ["", "00", "no hexadecimal"] {
            fs::write(folder.path().join("a.salt"), damaged).unwrap();
            assert!(matches!(
                ledger.commitment("d", &run(1), &Digest::sha256(b"t")),
                Err(LedgerError::Salt { .. })
            ));
            assert_eq!(fs::read_to_string(folder.path().join("a.salt")).unwrap(), damaged);
        }
    }
    #[test]
    fn commitments_of_two_runs_to_one_version_have_nothing_in_common() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        let version = Digest::sha256(b"table");
        let declared = ledger.commitment("d", &run(1), &version).unwrap();
        assert_eq!(declared, ledger.commitment("d", &run(1), &version).unwrap(), "and is one in a run");
        assert_ne!(declared, ledger.commitment("d", &run(2), &version).unwrap());
        assert_ne!(declared, ledger.commitment("e", &run(1), &version).unwrap(), "whoever names the run");
        let salt = Salt::read(ledger.path(), "a", None).unwrap().unwrap();
        assert_ne!(*salt.nonce("d", &run(1)).reveal(), *salt.nonce("d", &run(2)).reveal());
    }

    #[test]
    fn what_the_first_release_declared_is_still_opened_by_its_own_rule() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.salt"), format!("{}\n", hex::encode([7; 32]))).unwrap();
        let salt = Salt::read(&folder.path().join("a.ledger"), "a", None).unwrap().unwrap();
        let version = Digest::sha256(b"table");
        let declared = Digest::of("folkmoot/v1/data-version", &[&[7; 32], version.as_bytes()]);
        assert_eq!(salt.commit_as_first_release(&version), declared);
    }
}
