//! The ledger's file: shared by all daemons that use the data, locked for each look and each debit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use params::Digest;
use vault::Vault;
use vault::files::{self, OWNER_ONLY, sync_parent};

use crate::account::{Account, Limits};
use crate::anchor::{self, Anchor, accepted, written_as_two};
use crate::chain::{Chain, LedgerChainError};
use crate::claims::{ClaimLimits, Next, RunClaim};
use crate::declared::{self, Declared, Statement};
use crate::entry::{Cost, Entry, EntryError, LedgerHead, Release, What};
use crate::error::LedgerError;
use crate::salt::Salt;

/// What a ledger's file name ends with.
pub const SUFFIX: &str = ".ledger";

const NAME_BYTES_MAX: usize = 64;

/// Where one data set's ledger lies. Holds no file open and no lock: between two calls others may write.
#[derive(Debug, Clone)]
pub struct Ledger {
    dataset: String,
    path: PathBuf,
    anchor: Option<PathBuf>,
    vault: Option<Arc<Vault>>,
}

/// A ledger as it lies on the disk at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    pub account: Account,
    /// Of the last one.
    pub head: LedgerHead,
}

impl Ledger {
    /// The ledger of `dataset` in `folder`; sealed where there is a vault. Nothing is read or made yet.
    ///
    /// # Errors
    /// A name that cannot be a file's.
    pub fn new(
        folder: &Path,
        dataset: &str,
        anchor: Option<PathBuf>,
        vault: Option<Arc<Vault>>,
    ) -> Result<Self, LedgerError> {
        if !is_name(dataset) {
            return Err(LedgerError::Name { name: dataset.into() });
        }
        let path = folder.join(format!("{dataset}{SUFFIX}"));
        Ok(Self { dataset: dataset.into(), path, anchor, vault })
    }

    /// The file that holds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all entries, and checks the chain and the anchor; changes nothing. No file is a ledger without entries.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn inspect(&self) -> Result<Inspected, LedgerError> {
        loop {
            // Held until the anchor has been read too: a debit between the two would look like a rollback.
            let (lock, chain, entries) = self.look()?;
            let checked = self.check_anchor(&chain, &entries);
            // What is not there cannot be locked, and may have been made since.
            if lock.is_none() && checked.is_err() && self.path.try_exists().map_err(self.io("look for"))? {
                continue;
            }
            checked?;
            return Ok(Inspected { account: Account::new(entries), head: chain.head() });
        }
    }

    /// The entries, whatever the anchor says: what an operator's word may go on from.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn entries_as_they_are(&self) -> Result<Account, LedgerError> {
        self.look().map(|(_, _, entries)| Account::new(entries))
    }

    /// The commitment to a version of the data in one daemon's run, under the data set's salt, which is drawn at the first
    /// call: what may be shown of the version outside of the silo, once it is [declared](Self::declare).
    ///
    /// # Errors
    /// [`LedgerError`]; also of what is declared, where nothing could be added to it.
    pub fn commitment(&self, daemon: &str, run: &Digest, version: &Digest) -> Result<Digest, LedgerError> {
        let salt = Salt::read_or_draw(&self.path, &self.dataset, self.vault.as_deref())?;
        declared::check(&self.path, &self.dataset, self.vault.as_deref())?;
        Ok(salt.nonce(daemon, run).commit(version))
    }

    /// Writes down what is about to be declared of the data in one daemon's run; durable when this returns.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn declare(&self, daemon: &str, run: &Digest, statement: Statement) -> Result<(), LedgerError> {
        let declared = Declared { run: *run, daemon: daemon.into(), statement };
        let uploaded = || {
            let (_, _, entries) = self.look()?;
            let releases = entries.iter().filter_map(Entry::release);
            Ok(releases.map(|made| (made.run, made.daemon.clone())).collect())
        };
        declared::remember(&self.path, &self.dataset, self.vault.as_deref(), &declared, uploaded)
    }

    /// What the file holds; nobody writes to it or its anchor while the file that is given with it is open. None where there
    /// is none.
    fn look(&self) -> Result<(Option<File>, Chain, Vec<Entry>), LedgerError> {
        let (file, chain) = match open_shared(&self.path) {
            Ok(mut file) => {
                let chain = self.read(&mut file)?;
                (Some(file), chain)
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => (None, self.empty()),
            Err(why) => return Err(self.io("open")(why)),
        };
        let entries = self.entries(&chain)?;
        Ok((file, chain, entries))
    }

    /// Debits `cost`, or notes an exact release where there is none; durable, and in the anchor, when this returns.
    /// Only then may anything of it leave. It is never taken back, and what may have been used after a crash counts.
    ///
    /// # Privacy
    /// A cost is that of one contribution to a sum. Data that two silos hold is in a round's sum twice, at twice the
    /// distance under the same noise: where there is a cost, one daemon alone is in a round.
    ///
    /// # Errors
    /// [`LedgerError`]: a limit, damage, an anchor that does not agree, a disk that fails. The debit may have been made
    /// then; nothing may leave.
    pub fn reserve(
        &self,
        release: Release,
        cost: Option<Cost>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<LedgerHead, LedgerError> {
        self.reserve_as(release, cost, false, limits, now_ms)
    }

    /// [`Ledger::reserve`], for a round to which a training that failed contributes nothing: where `cost` is debited, an
    /// entry behind it says that the round is an exact release too. The noise is there, and hides a record; what is
    /// missing from the sum is every record of the silo, and no epsilon covers that.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn reserve_failed(
        &self,
        release: Release,
        cost: Option<Cost>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<LedgerHead, LedgerError> {
        self.reserve_as(release, cost, true, limits, now_ms)
    }

    fn reserve_as(
        &self,
        release: Release,
        cost: Option<Cost>,
        failed: bool,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<LedgerHead, LedgerError> {
        let mut held = self.hold_with_its_anchor()?;
        let round = release.round;
        for entry in held.account.entries() {
            let sequence = entry.sequence;
            match entry.release().filter(|made| (made.run, made.round) == (release.run, round)) {
                Some(made) if made.daemon == release.daemon => {
                    return Err(LedgerError::AlreadyDebited { sequence, round });
                }
                Some(_) if cost.is_some() => return Err(LedgerError::InTheRound { sequence, round }),
                _ => {}
            }
        }
        let Release { daemon, run, plan, unit, .. } = &release;
        let next = Next { daemon, run: Some(*run), plan, unit: *unit, cost: cost.as_ref() };
        held.account.admits_next(next, limits, now_ms)?;
        let exact = (failed || cost.is_none()).then(|| What::ExactRelease { release: release.clone() });
        let debit = cost.map(|cost| What::Debit { release, cost, delta: limits.delta });
        // One write each, whether there are two entries or one: how long it takes is seen by when the upload begins.
        let heads = self.append_all(&mut held, debit.into_iter().chain(exact), now_ms)?;
        self.extend_anchor(&heads.iter().map(anchor::line).collect::<String>())?;
        Ok(held.chain.head())
    }

    /// Claims what a run may cost, before it is joined; durable, and in the anchor, when this returns. A claim of this daemon for the
    /// run that counts already serves.
    ///
    /// # Errors
    /// [`LedgerError`]: there is no room for it, or the ledger cannot be used. The run may not be joined then.
    pub fn claim(&self, claim: RunClaim, limits: &ClaimLimits, now_ms: u64) -> Result<(), LedgerError> {
        let mut held = self.hold_with_its_anchor()?;
        if held.account.claim_of(&claim.daemon, &claim.run, now_ms).is_some() {
            return Ok(());
        }
        held.account.admits_claim(&claim, limits, now_ms)?;
        self.append_anchored(&mut held, What::Claim { claim }, now_ms)
    }

    /// Lets a daemon's claims that count, and whose time is half over, count for their whole time again.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn renew_claims(&self, daemon: &str, now_ms: u64) -> Result<(), LedgerError> {
        let mut held = self.hold_with_its_anchor()?;
        let open = held.account.claims(now_ms);
        let due = open.iter().filter(|open| open.claim.daemon == daemon && open.is_to_be_renewed(now_ms));
        let due: Vec<RunClaim> = due.map(|open| open.claim.clone()).collect();
        due.into_iter().try_for_each(|claim| self.append_anchored(&mut held, What::Claim { claim }, now_ms))
    }

    /// Gives back what is left of a daemon's claim for a run; whether it had one that counts.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn return_claim(
        &self,
        daemon: &str,
        run: &Digest,
        reason: &str,
        now_ms: u64,
    ) -> Result<bool, LedgerError> {
        let mut held = self.hold_with_its_anchor()?;
        if held.account.claim_of(daemon, run, now_ms).is_none() {
            return Ok(false);
        }
        let what = What::ClaimReturned { daemon: daemon.into(), run: *run, reason: reason.into() };
        self.append_anchored(&mut held, what, now_ms)?;
        Ok(true)
    }

    /// Goes on, by an operator's word, with a ledger that lacks entries or whose anchor does: first adds `missing`, what
    /// this silo's own journal has debited and the ledger lacks, then an entry with the `reason`; `journal_of` is the
    /// daemon whose journal was lost, if one was.
    ///
    /// # Errors
    /// [`LedgerError`]; damage is not accepted, only absence.
    pub fn accept_loss(
        &self,
        reason: &str,
        missing: Vec<(u64, What)>,
        journal_of: Option<String>,
        now_ms: u64,
    ) -> Result<LedgerHead, LedgerError> {
        let mut held = self.hold()?;
        let anchor = self.read_anchor()?.and_then(|anchor| anchor.last());
        for (time_ms, what) in missing {
            self.append(&mut held, what, time_ms)?;
        }
        let what = What::OperatorAcceptsLoss { reason: reason.into(), anchor, journal_of };
        let head = self.append(&mut held, what, now_ms)?;
        // The empty line says that what follows does not continue what is before, and ends a line that was cut off.
        self.extend_anchor(&format!("\n{}", anchor::line(&head)))?;
        Ok(head)
    }

    fn empty(&self) -> Chain {
        Chain::empty(&self.dataset, self.vault.is_some())
    }

    /// Takes the lock and reads; makes the file where there is none.
    fn hold(&self) -> Result<Held, LedgerError> {
        let fresh = !self.path.try_exists().map_err(self.io("look for"))?;
        if let (true, Some(folder)) = (fresh, self.path.parent()) {
            files::make_folders(folder).map_err(self.io("make the folder of"))?;
        }
        let opened = files::open_or_make(&self.path, OpenOptions::new().read(true).write(true), OWNER_ONLY);
        let mut file = opened.map_err(self.io("open"))?;
        file.lock().map_err(self.io("lock"))?;
        let chain = self.read(&mut file)?;
        let entries = self.entries(&chain)?;
        Ok(Held { file, chain, account: Account::new(entries) })
    }

    /// The same, and what a crash between its two writes kept from the anchor is in it.
    fn hold_with_its_anchor(&self) -> Result<Held, LedgerError> {
        let held = self.hold()?;
        if let Some(missing) = self.check_anchor(&held.chain, held.account.entries())? {
            // The entry is durable before the anchor says that it is.
            held.file.sync_data().map_err(self.io("sync"))?;
            self.extend_anchor(&missing)?;
        }
        Ok(held)
    }

    /// Writes an entry to the ledger, then to the anchor.
    fn append_anchored(&self, held: &mut Held, what: What, now_ms: u64) -> Result<(), LedgerError> {
        let head = self.append(held, what, now_ms)?;
        self.extend_anchor(&anchor::line(&head))
    }

    fn read(&self, file: &mut File) -> Result<Chain, LedgerError> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(self.io("read"))?;
        let empty = self.empty();
        // Making the file was cut short: nothing was ever in it.
        if empty.header().as_bytes().starts_with(&bytes) {
            return Ok(empty);
        }
        let chain = Chain::read(&bytes).map_err(|why| self.damaged(why))?;
        if chain.dataset != self.dataset {
            return Err(LedgerError::OtherDataset { path: self.path.clone(), found: chain.dataset });
        }
        match (chain.sealed, self.vault.is_some()) {
            (true, false) => Err(LedgerError::Sealed { path: self.path.clone() }),
            (false, true) => Err(LedgerError::NotSealed { path: self.path.clone() }),
            _ => Ok(chain),
        }
    }

    fn entries(&self, chain: &Chain) -> Result<Vec<Entry>, LedgerError> {
        open_entries(&self.path, chain, self.vault.as_deref())
    }

    /// Writes an entry behind what holds; durable when this returns.
    fn append(&self, held: &mut Held, what: What, now_ms: u64) -> Result<LedgerHead, LedgerError> {
        self.append_all(held, [what], now_ms).map(|_| held.chain.head())
    }

    /// Writes entries behind what holds, all at once; durable when this returns. Gives the head at each.
    fn append_all(
        &self,
        held: &mut Held,
        whats: impl IntoIterator<Item = What>,
        now_ms: u64,
    ) -> Result<Vec<LedgerHead>, LedgerError> {
        let Held { file, chain, account } = held;
        let first = chain.head().sequence == 0;
        let (at, mut text) = if first { (0, chain.header()) } else { (chain.end as u64, String::new()) };
        let mut entries = std::mem::take(account).into_entries();
        let mut heads = Vec::new();
        for what in whats {
            let sequence = chain.head().sequence + 1;
            let newest = entries.last().map_or(0, |entry| entry.time_ms);
            let entry = Entry { sequence, time_ms: now_ms.max(newest), what };
            let (head, line) = chain.push(self.body(&entry)?);
            text += &line;
            heads.push(head);
            entries.push(entry);
        }
        *account = Account::new(entries);
        // What a crash left unfinished is overwritten, and what is longer than its successor is cut off first.
        file.set_len(at).map_err(self.io("truncate"))?;
        file.seek(SeekFrom::Start(at)).map_err(self.io("seek in"))?;
        file.write_all(text.as_bytes()).map_err(self.io("write to"))?;
        file.sync_data().map_err(self.io("sync"))?;
        if first {
            sync_parent(&self.path).map_err(self.io("sync the folder of"))?;
        }
        Ok(heads)
    }

    /// An entry as its line holds it.
    fn body(&self, entry: &Entry) -> Result<String, LedgerError> {
        let sequence = entry.sequence;
        let text = entry.encode().map_err(|source| self.no_entry(sequence, source))?;
        let Some(vault) = &self.vault else { return Ok(text) };
        let sealed = vault.seal(&context(&self.dataset, sequence), text.as_bytes());
        Ok(hex::encode(sealed.map_err(|source| self.not_opened(sequence, source))?))
    }

    fn check_anchor(&self, chain: &Chain, entries: &[Entry]) -> Result<Option<String>, LedgerError> {
        let (Some(path), Some(anchor)) = (&self.anchor, self.read_anchor()?) else { return Ok(None) };
        let missing = anchor.check(chain, &|sequence| accepted(entries, sequence), written_as_two(entries));
        let refused =
            |why| LedgerError::Anchor { path: self.path.clone(), anchor: path.clone(), why: Box::new(why) };
        missing.map_err(refused).map(|missing| Some(missing).filter(|missing| !missing.is_empty()))
    }

    fn read_anchor(&self) -> Result<Option<Anchor>, LedgerError> {
        let Some(path) = &self.anchor else { return Ok(None) };
        match fs::read(path) {
            Ok(bytes) => Ok(Some(Anchor::read(&bytes))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Some(Anchor::default())),
            Err(source) => Err(LedgerError::Io { action: "read the anchor", path: path.clone(), source }),
        }
    }

    fn extend_anchor(&self, text: &str) -> Result<(), LedgerError> {
        let Some(path) = &self.anchor else { return Ok(()) };
        let extend = || {
            let fresh = !path.try_exists()?;
            // Appended to and never rewritten: the anchor may lie where nothing can be taken back.
            let mut file = files::open_or_make(path, OpenOptions::new().append(true), OWNER_ONLY)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            if fresh { sync_parent(path) } else { Ok(()) }
        };
        extend().map_err(|source| LedgerError::Io { action: "extend the anchor", path: path.clone(), source })
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> LedgerError + '_ {
        move |source| LedgerError::Io { action, path: self.path.clone(), source }
    }

    fn damaged(&self, why: LedgerChainError) -> LedgerError {
        LedgerError::Chain { path: self.path.clone(), why }
    }

    fn no_entry(&self, sequence: u64, source: EntryError) -> LedgerError {
        LedgerError::Entry { path: self.path.clone(), sequence, source }
    }

    fn not_opened(&self, sequence: u64, source: vault::VaultError) -> LedgerError {
        LedgerError::Vault { path: self.path.clone(), sequence, source }
    }
}

/// A ledger under its lock.
struct Held {
    file: File,
    chain: Chain,
    account: Account,
}

/// Opens a ledger's file to look at it: while the file is open, nobody is in the middle of a debit, neither of the two
/// writes of which, to the ledger and to its anchor, is then seen without the other.
///
/// # Errors
/// Of the file system.
pub fn open_shared(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.lock_shared()?;
    Ok(file)
}

/// The entries of a chain; sealed ones with the vault that sealed them. `path` is what errors name.
///
/// # Errors
/// [`LedgerError`]
pub fn open_entries(path: &Path, chain: &Chain, vault: Option<&Vault>) -> Result<Vec<Entry>, LedgerError> {
    let open = |(sequence, line): (u64, &crate::Line)| {
        let unreadable = |source| LedgerError::Entry { path: path.into(), sequence, source };
        if !chain.sealed {
            return Entry::decode(sequence, line.body.as_bytes()).map_err(unreadable);
        }
        let vault = vault.ok_or_else(|| LedgerError::Sealed { path: path.into() })?;
        let not_hexadecimal = LedgerChainError::Entry { sequence, why: "is sealed and not hexadecimal" };
        let sealed = hex::decode(&line.body)
            .map_err(|_| LedgerError::Chain { path: path.into(), why: not_hexadecimal })?;
        let text = vault
            .open(&context(&chain.dataset, sequence), &sealed)
            .map_err(|source| LedgerError::Vault { path: path.into(), sequence, source })?;
        Entry::decode(sequence, &text).map_err(unreadable)
    };
    (1..).zip(&chain.lines).map(open).collect()
}

/// The data set's name where none is configured: that of its file or folder, without what no name may hold.
pub fn dataset_name(data: &Path) -> String {
    let stem = data.file_stem().unwrap_or_default().to_string_lossy();
    let mut name: String = stem
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' })
        .collect();
    name.truncate(NAME_BYTES_MAX);
    let name = name.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric());
    if name.is_empty() { "data".into() } else { name.into() }
}

/// Whether a text may name a data set, and so a file. Stricter than `identity::is_name` in its first letter: operators name the
/// file in commands, where `-` begins an option.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
}

/// Binds a sealed entry to its place.
fn context(dataset: &str, sequence: u64) -> Vec<u8> {
    [b"ledger entry\0", dataset.as_bytes(), b"\0", &sequence.to_le_bytes()].concat()
}
