//! A ledger read from outside, while daemons run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vault::{KEYRING_FILE, MasterSource, Vault, VaultError};

use crate::{
    Account, Chain, DECLARED_SUFFIX, DeclaredFile, Entry, LedgerChainError, LedgerError, SUFFIX,
    open_entries, open_shared,
};

/// Why a ledger is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was named is of no use.
    #[error("`{}`: {why}", file.display())]
    Unusable {
        /// The file or folder.
        file: PathBuf,
        why: &'static str,
    },
    /// The disk refuses.
    #[error("`{}`: {why}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        #[source]
        why: io::Error,
    },
    /// It is read with a master key alone.
    #[error("`{}` is sealed", file.display())]
    Sealed { file: PathBuf },
    /// The master key, or the keyring.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A delta that is no probability.
    #[error("delta must lie between 0 and 1")]
    Delta,
    /// Its entries do not follow from one another.
    #[error("`{}`", file.display())]
    Chain {
        file: PathBuf,
        /// What is wrong.
        #[source]
        why: LedgerChainError,
    },
    /// An entry, or what lies beside the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The ledger that a path names: a file, or the only one in a folder.
///
/// # Errors
/// A folder without a ledger, or with several.
pub fn find(path: &Path) -> Result<PathBuf, ReadError> {
    let none = || unusable(path, "holds no ledger; name the file, or `ledger` in a silo's state_dir");
    find_any(path)?.ok_or_else(none)
}

/// As [`find`]; none in a folder without one.
fn find_any(path: &Path) -> Result<Option<PathBuf>, ReadError> {
    if !path.is_dir() {
        return Ok(Some(path.to_owned()));
    }
    let files = fs::read_dir(path).map_err(io_of(path))?;
    // Where something was declared and nothing uploaded, there is no ledger yet.
    let ledger_of = |file: PathBuf| {
        let name = file.file_name()?.to_str()?;
        let dataset = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(DECLARED_SUFFIX))?;
        Some(file.with_file_name(format!("{dataset}{}", SUFFIX)))
    };
    let ledgers: BTreeSet<PathBuf> = files.filter_map(|entry| ledger_of(entry.ok()?.path())).collect();
    let mut ledgers: Vec<PathBuf> = ledgers.into_iter().collect();
    match (ledgers.pop(), ledgers.is_empty()) {
        (Some(only), true) => Ok(Some(only)),
        (None, _) => Ok(None),
        (Some(_), false) => Err(unusable(path, "holds several ledgers: name one of the files")),
    }
}

/// The ledger, or one without entries where something was declared and nothing uploaded yet.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_or_empty(path: &Path) -> Result<Chain, ReadError> {
    let none = |why: &std::io::Error| why.kind() == std::io::ErrorKind::NotFound;
    let dataset = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
    match (fs::metadata(path), dataset) {
        (Err(why), Some(dataset)) if none(&why) => {
            let declared = DeclaredFile::read(path, dataset)?;
            let declared = declared.ok_or_else(|| io_of(path)(why))?;
            Ok(Chain::empty(dataset, declared.sealed))
        }
        _ => Ok(read(path)?.1),
    }
}

/// The ledger as it lies there; no daemon debits while the file that is given with it is open.
///
/// # Errors
/// One that cannot be read, or whose entries do not follow from one another.
pub fn read(path: &Path) -> Result<(fs::File, Chain), ReadError> {
    let mut file = open_shared(path).map_err(io_of(path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_of(path))?;
    let chain = Chain::read(&bytes).map_err(|why| ReadError::Chain { file: path.to_owned(), why })?;
    Ok((file, chain))
}

/// What its entries say.
///
/// # Errors
/// A sealed ledger without its master key, or with another; an entry that is none.
pub fn entries(file: &Path, chain: &Chain, master: Option<&MasterSource>) -> Result<Vec<Entry>, ReadError> {
    let vault = vault_of(file, chain, master)?;
    Ok(open_entries(file, chain, vault.as_ref())?)
}

/// All that the only ledger at this path says, though nothing was debited there yet; none where no daemon has written
/// anything yet.
///
/// # Errors
/// As [`find`], [`read`] and [`entries`].
pub fn account(path: &Path, master: Option<&MasterSource>) -> Result<Option<Account>, ReadError> {
    let Some(file) = find_any(path)?.filter(|file| file.exists() || path.is_dir()) else { return Ok(None) };
    let chain = read_or_empty(&file)?;
    Ok(Some(Account::new(entries(&file, &chain, master)?)))
}

/// What opens a sealed ledger.
pub(crate) fn vault_of(
    file: &Path,
    chain: &Chain,
    master: Option<&MasterSource>,
) -> Result<Option<Vault>, ReadError> {
    let vault = master.map(|master| open_vault(file, master)).transpose()?;
    if chain.sealed && vault.is_none() {
        return Err(ReadError::Sealed { file: file.to_owned() });
    }
    Ok(vault.filter(|_| chain.sealed))
}

/// What opens what is sealed in or below a silo's folder: the keyring lies in the state folder or beside the configuration, above
/// `file`.
///
/// # Errors
/// No keyring above it; a master key that does not open it.
pub fn open_vault(file: &Path, master: &MasterSource) -> Result<Vault, ReadError> {
    let folder = file.ancestors().skip(1).find(|folder| folder.join(KEYRING_FILE).exists());
    let folder = folder.ok_or_else(|| unusable(file, "no keyring lies in any folder above it"))?;
    Ok(Vault::open_folder(folder, master.clone())?)
}

fn unusable(file: &Path, why: &'static str) -> ReadError {
    ReadError::Unusable { file: file.to_owned(), why }
}

fn io_of(file: &Path) -> impl FnOnce(io::Error) -> ReadError {
    move |why| ReadError::Io { file: file.to_owned(), why }
}
