//! Which version of the data was declared in which run: what opens a commitment of a run in which nothing was uploaded.
//!
//! ```text
//! folkmoot-declared 1 plain DATASET            or: sealed
//! RUN VERSION DAEMON                       in a sealed file: sealed, in hexadecimal
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use params::Digest;
use vault::Vault;

use crate::error::LedgerError;
use crate::file::sync_folder_of;

/// What the name of the file ends with; it lies beside the ledger.
pub const DECLARED_SUFFIX: &str = ".declared";

const MAGIC: &str = "folkmoot-declared 1";

/// A version that one daemon declared in one run, or was about to.
///
/// # Privacy
/// Stays in the silo, like the ledger: a small table can be guessed from its digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// The run's identifier.
    pub run: Digest,
    /// As [`crate::Release::daemon`] names it.
    pub daemon: String,
    /// The data's content.
    pub version: Digest,
}

/// All that one data set's daemons have declared.
#[derive(Debug)]
pub struct DeclaredFile {
    path: PathBuf,
    /// Whose it is.
    pub dataset: String,
    /// Whether its lines are sealed.
    pub sealed: bool,
    lines: Vec<String>,
    /// Where its last whole line ends: what a crash left behind it was never declared.
    end: u64,
}

impl DeclaredFile {
    /// What lies beside a ledger; none where nothing was declared yet.
    ///
    /// # Errors
    /// [`LedgerError`] of a file that cannot be read, or is another.
    pub fn read(ledger: &Path, dataset: &str) -> Result<Option<Self>, LedgerError> {
        let path = ledger.with_file_name(format!("{dataset}{DECLARED_SUFFIX}"));
        match fs::read(&path) {
            Ok(bytes) => Self::parse(path, &bytes),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LedgerError::Io { action: "read", path, source }),
        }
    }

    fn parse(path: PathBuf, bytes: &[u8]) -> Result<Option<Self>, LedgerError> {
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if end == 0 {
            return Ok(None);
        }
        let text = bytes.get(..end).and_then(|whole| std::str::from_utf8(whole).ok());
        let damaged = LedgerError::Declared { path: path.clone() };
        let Some((header, lines)) = text.and_then(|text| text.split_once('\n')) else { return Err(damaged) };
        let header = header.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(' ')?.split_once(' '));
        let (sealed, dataset) = match header {
            Some(("plain", dataset)) => (false, dataset.to_owned()),
            Some(("sealed", dataset)) => (true, dataset.to_owned()),
            _ => return Err(damaged),
        };
        let lines = lines.lines().map(str::to_owned).collect();
        Ok(Some(Self { path, dataset, sealed, lines, end: end as u64 }))
    }

    /// What the lines say.
    ///
    /// # Errors
    /// [`LedgerError`] of a line that is none, or that the vault does not open.
    pub fn open(&self, vault: Option<&Vault>) -> Result<Vec<Declared>, LedgerError> {
        let open = |line: &String| {
            let sealed = |vault: &Vault| {
                let opened = vault.open(&context(&self.dataset), &hex::decode(line).ok()?).ok()?;
                String::from_utf8(opened.to_vec()).ok()
            };
            let text = if self.sealed { vault.and_then(sealed) } else { Some(line.clone()) }?;
            let mut parts = text.splitn(3, ' ');
            let (run, version, daemon) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Declared { run: run.parse().ok()?, version: version.parse().ok()?, daemon: daemon.into() })
        };
        let open = |line| open(line).ok_or_else(|| LedgerError::Declared { path: self.path.clone() });
        self.lines.iter().map(open).collect()
    }
}

/// Writes down what is about to be declared, once; durable when this returns.
pub(crate) fn remember(
    ledger: &Path,
    dataset: &str,
    vault: Option<&Vault>,
    declared: &Declared,
) -> Result<(), LedgerError> {
    let path = ledger.with_file_name(format!("{dataset}{DECLARED_SUFFIX}"));
    let io = |action| {
        let path = path.clone();
        move |source| LedgerError::Io { action, path, source }
    };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(io("open"))?;
    // Several daemons share it; it is let go of with the file.
    file.lock().map_err(io("lock"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read"))?;
    let held = DeclaredFile::parse(path.clone(), &bytes)?;
    if let Some(held) = &held {
        if held.dataset != dataset || held.sealed != vault.is_some() {
            return Err(LedgerError::Declared { path });
        }
        if held.open(vault)?.contains(declared) {
            return Ok(());
        }
    }
    let text = format!("{} {} {}", declared.run, declared.version, declared.daemon);
    let line = match vault {
        None => text,
        Some(vault) => {
            let sealed = vault.seal(&context(dataset), text.as_bytes());
            hex::encode(sealed.map_err(|_| LedgerError::Declared { path: path.clone() })?)
        }
    };
    let (end, header) = match &held {
        Some(held) => (held.end, String::new()),
        None => (0, format!("{MAGIC} {} {dataset}\n", if vault.is_some() { "sealed" } else { "plain" })),
    };
    let mut write = || -> io::Result<()> {
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(format!("{header}{line}\n").as_bytes())?;
        file.sync_all()?;
        if held.is_none() { sync_folder_of(&path) } else { Ok(()) }
    };
    write().map_err(io("write"))
}

/// Binds a sealed line to its data set.
fn context(dataset: &str) -> Vec<u8> {
    [b"ledger declared\0", dataset.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ledger;

    fn digest(of: &str) -> Digest {
        Digest::sha256(of.as_bytes())
    }

    fn declared(ledger: &Ledger) -> Vec<Declared> {
        DeclaredFile::read(ledger.path(), "a").unwrap().map_or_else(Vec::new, |file| file.open(None).unwrap())
    }

    #[test]
    fn each_version_is_recorded_once_whoever_declares_it() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&folder.path().join("ledgers"), "a", None, None).unwrap();
        assert!(declared(&ledger).is_empty());
        std::thread::scope(|scope| {
            for daemon in ["d", "e", "d", "e"] {
                let ledger = &ledger;
                scope.spawn(move || ledger.commitment(daemon, &digest("run"), &digest("v")).unwrap());
            }
        });
        let one = |daemon: &str| Declared { run: digest("run"), daemon: daemon.into(), version: digest("v") };
        let mut found = declared(&ledger);
        found.sort();
        assert_eq!(found, [one("d"), one("e")]);
    }

    #[test]
    fn what_a_crash_left_of_a_line_is_overwritten_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        let declare = |run: &str| ledger.commitment("d", &digest(run), &digest("v"));
        let file = folder.path().join("a.declared");
        fs::write(&file, "folkmoot-de").unwrap();
        declare("1").unwrap();
        let whole = fs::read(&file).unwrap();
        declare("2").unwrap();
        let both = fs::read(&file).unwrap();
        for end in whole.len()..both.len() {
            fs::write(&file, &both[..end]).unwrap();
            assert_eq!(declared(&ledger).len(), 1);
            declare("2").unwrap();
            assert_eq!(fs::read(&file).unwrap(), both);
        }
        fs::write(&file, "folkmoot-declared 2 plain a\n").unwrap();
        assert!(matches!(declare("3"), Err(LedgerError::Declared { .. })));
        fs::write(&file, "folkmoot-declared 1 plain a\nnothing\n").unwrap();
        assert!(matches!(declare("3"), Err(LedgerError::Declared { .. })));
    }
}
