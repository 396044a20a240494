//! What was declared of the data in which run: what opens a commitment of a run in which nothing was uploaded.
//!
//! ```text
//! folkmoot-declared 1 plain DATASET            or: sealed
//! RUN VERSION DAEMON                       in a sealed file: sealed, in hexadecimal
//! RUN ~WORD DAEMON                         a random word, which opens to nothing
//! ```
//!
//! A line is a run that a daemon was invited to, and runs are a coordinator's to invent: beyond [`LINES_MAX`] the oldest lines of
//! runs without an upload are forgotten. What was uploaded in a run opens its commitment too.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use params::Digest;
use vault::Vault;
use vault::files::{self, OWNER_ONLY, sync_parent};

use crate::error::LedgerError;

/// What the name of the file ends with; it lies beside the ledger.
pub const DECLARED_SUFFIX: &str = ".declared";

const MAGIC: &str = "folkmoot-declared 1";

/// Most lines that a file has, of runs without an upload.
const LINES_MAX: usize = 4096;
/// So many are left where some are forgotten, so that this is done seldom.
const LINES_LEFT: usize = LINES_MAX / 4 * 3;

/// What stands for the data in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statement {
    /// A commitment to this version, which is the data's content.
    Version(Digest),
    /// This random word: the data was not read, or what opens a commitment could not be kept.
    Random(Digest),
}

/// What one daemon declared in one run, or was about to.
///
/// # Privacy
/// Stays in the silo, like the ledger: a small table can be guessed from its digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// The run's identifier.
    pub run: Digest,
    /// As [`crate::Release::daemon`] names it.
    pub daemon: String,
    /// What stands for the data in it.
    pub statement: Statement,
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
        self.lines.iter().map(|line| self.open_line(vault, line)).collect()
    }

    fn open_line(&self, vault: Option<&Vault>, line: &str) -> Result<Declared, LedgerError> {
        let open = || {
            let sealed = |vault: &Vault| {
                let opened = vault.open(&context(&self.dataset), &hex::decode(line).ok()?).ok()?;
                String::from_utf8(opened.to_vec()).ok()
            };
            let text = if self.sealed { vault.and_then(sealed) } else { Some(line.to_owned()) }?;
            let mut parts = text.splitn(3, ' ');
            let (run, statement, daemon) = (parts.next()?, parts.next()?, parts.next()?);
            let statement = match statement.strip_prefix('~') {
                Some(word) => Statement::Random(word.parse().ok()?),
                None => Statement::Version(statement.parse().ok()?),
            };
            Some(Declared { run: run.parse().ok()?, statement, daemon: daemon.into() })
        };
        open().ok_or_else(|| self.damaged())
    }

    /// Whether a line can be added: it is this data set's, sealed as the ledger is, and its last line can be read.
    fn check(&self, dataset: &str, vault: Option<&Vault>) -> Result<(), LedgerError> {
        if self.dataset != dataset || self.sealed != vault.is_some() {
            return Err(self.damaged());
        }
        self.lines.last().map_or(Ok(()), |last| self.open_line(vault, last).map(drop))
    }

    /// The lines that are left where there are too many: of the newest all.
    fn shortened(
        &self,
        vault: Option<&Vault>,
        uploaded: &BTreeSet<(Digest, String)>,
    ) -> Result<Vec<&str>, LedgerError> {
        let mut too_many = self.lines.iter().skip(LINES_LEFT).count();
        let mut left = Vec::new();
        for line in &self.lines {
            let Declared { run, daemon, .. } = self.open_line(vault, line)?;
            if too_many > 0 && !uploaded.contains(&(run, daemon)) {
                too_many -= 1;
            } else {
                left.push(&**line);
            }
        }
        Ok(left)
    }

    fn damaged(&self) -> LedgerError {
        LedgerError::Declared { path: self.path.clone() }
    }
}

/// Whether what is declared of the data set could be written down.
pub(crate) fn check(ledger: &Path, dataset: &str, vault: Option<&Vault>) -> Result<(), LedgerError> {
    DeclaredFile::read(ledger, dataset)?.map_or(Ok(()), |held| held.check(dataset, vault))
}

/// Writes down what is about to be declared; durable when this returns. `uploaded` is asked for the runs and daemons of all
/// uploads where there are too many lines.
pub(crate) fn remember(
    ledger: &Path,
    dataset: &str,
    vault: Option<&Vault>,
    declared: &Declared,
    uploaded: impl FnOnce() -> Result<BTreeSet<(Digest, String)>, LedgerError>,
) -> Result<(), LedgerError> {
    let path = ledger.with_file_name(format!("{dataset}{DECLARED_SUFFIX}"));
    let io = |action| {
        let path = path.clone();
        move |source| LedgerError::Io { action, path, source }
    };
    if let Some(folder) = path.parent() {
        files::make_folders(folder).map_err(io("make the folder of"))?;
    }
    let mut file = locked(&path).map_err(io("open"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("read"))?;
    let held = DeclaredFile::parse(path.clone(), &bytes)?;
    if let Some(held) = &held {
        held.check(dataset, vault)?;
    }
    let statement = match declared.statement {
        Statement::Version(version) => version.to_string(),
        Statement::Random(word) => format!("~{word}"),
    };
    let text = format!("{} {statement} {}", declared.run, declared.daemon);
    let line = match vault {
        None => text,
        Some(vault) => {
            let sealed = vault.seal(&context(dataset), text.as_bytes());
            hex::encode(sealed.map_err(|_| LedgerError::Declared { path: path.clone() })?)
        }
    };
    let header = format!("{MAGIC} {} {dataset}", if vault.is_some() { "sealed" } else { "plain" });
    let lines = held.as_ref().map_or(0, |held| held.lines.len());
    match &held {
        Some(held) if lines >= LINES_MAX => {
            let left = held.shortened(vault, &uploaded()?)?;
            let all = [&[&*header], &*left, &[&*line, ""]].concat().join("\n");
            files::replace(&path, all.as_bytes(), OWNER_ONLY)
        }
        Some(held) => append(&mut file, held.end, &format!("{line}\n")),
        None => append(&mut file, 0, &format!("{header}\n{line}\n")).and_then(|()| sync_parent(&path)),
    }
    .map_err(io("write"))
}

/// The file, made where there is none; several daemons share it, and it is let go of with the file.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let file = files::open_or_make(path, OpenOptions::new().read(true).write(true), OWNER_ONLY)?;
        file.lock()?;
        // Whoever held it may have put another in its place.
        let [held, there] = [file.metadata()?, fs::metadata(path)?];
        if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
            return Ok(file);
        }
    }
}

fn append(file: &mut File, end: u64, text: &str) -> io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Binds a sealed line to its data set.
fn context(dataset: &str) -> Vec<u8> {
    [b"ledger declared\0", dataset.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, Release, samples};

    fn digest(of: &str) -> Digest {
        Digest::sha256(of.as_bytes())
    }

    fn declared(ledger: &Ledger) -> Vec<Declared> {
        DeclaredFile::read(ledger.path(), "a").unwrap().map_or_else(Vec::new, |file| file.open(None).unwrap())
    }

    fn declare(ledger: &Ledger, daemon: &str, run: &str) -> Result<(), LedgerError> {
        ledger.declare(daemon, &digest(run), Statement::Version(digest("v")))
    }

    fn one(daemon: &str, run: &str) -> Declared {
        Declared { run: digest(run), daemon: daemon.into(), statement: Statement::Version(digest("v")) }
    }

    #[test]
    fn each_declaration_is_recorded_whoever_declares_it_and_a_commitment_alone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&folder.path().join("ledgers"), "a", None, None).unwrap();
        ledger.commitment("d", &digest("run"), &digest("v")).unwrap();
        assert!(declared(&ledger).is_empty());
        std::thread::scope(|scope| {
            for daemon in ["d", "e", "f", "g"] {
                let ledger = &ledger;
                scope.spawn(move || declare(ledger, daemon, "run").unwrap());
            }
        });
        let mut found = declared(&ledger);
        found.sort();
        assert_eq!(found, ["d", "e", "f", "g"].map(|daemon| one(daemon, "run")));
        ledger.declare("d", &digest("2"), Statement::Random(digest("word"))).unwrap();
        assert_eq!(declared(&ledger)[4].statement, Statement::Random(digest("word")));
    }

    #[test]
    fn runs_without_end_take_no_more_room_than_so_much_and_none_from_runs_with_an_upload() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        let file = folder.path().join("a.declared");
        let line = |run: usize| format!("{} {} d\n", digest(&run.to_string()), digest("v"));
        let lines: String = (0..LINES_MAX).map(line).collect();
        declare(&ledger, "d", "first").unwrap();
        let header = fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
        fs::write(&file, format!("{header}\n{lines}")).unwrap();
        let release = Release { daemon: "d".into(), unit: None, ..samples::release("1", 1) };
        ledger.reserve(release, None, &samples::LIMITS, 1).unwrap();
        // One of them waits for the other's lock meanwhile, and finds the file that takes the first one's place.
        std::thread::scope(|scope| {
            for run in ["newest", "other"] {
                let ledger = &ledger;
                scope.spawn(move || declare(ledger, "d", run).unwrap());
            }
        });
        let left = declared(&ledger);
        assert_eq!(left.len(), LINES_LEFT + 2);
        let has = |run: &str| left.contains(&one("d", run));
        assert!(has("newest") && has("other") && has("1") && has(&(LINES_MAX - 1).to_string()));
        assert!(!has("0") && !has("2") && !has("first"), "the oldest without an upload");
    }

    #[test]
    fn what_a_crash_left_of_a_line_is_overwritten_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path(), "a", None, None).unwrap();
        let declare = |run: &str| declare(&ledger, "d", run);
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
        let asked = ledger.commitment("d", &digest("3"), &digest("v"));
        assert!(
            matches!(asked, Err(LedgerError::Declared { .. })),
            "nothing is statement that could not be opened"
        );
    }
}
