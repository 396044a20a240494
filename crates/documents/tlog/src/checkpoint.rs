//! Checkpoints and receipts: what a log says about itself, and about one entry.

use std::fmt;

use base64ct::{Base64, Encoding as _};

use crate::note::{Note, NoteError, VerifierKey};
use crate::tree::{Hash, leaf_hash, verify_inclusion};

/// Most hashes of a receipt: the tree is no deeper.
const PROOF_HASHES_MAX: usize = 64;

const RECEIPT_HEAD: &str = "c2sp.org/tlog-proof@v1";

/// A log at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log: its unique name.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, Base64::encode_string(&self.root))
    }

    /// Reads the text; further lines are a log's extensions, which say nothing here.
    ///
    /// # Errors
    ///
    /// Another format.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let fails = || NoteError::Malformed("no origin, size and root");
        let mut lines = text.strip_suffix('\n').ok_or_else(fails)?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or_else(fails)?;
        let size = lines.next().and_then(decimal).ok_or_else(fails)?;
        let root = lines.next().and_then(hash).ok_or_else(fails)?;
        match lines.all(|extension| !extension.is_empty()) {
            true => Ok(Self { origin: origin.to_owned(), size, root }),
            false => Err(fails()),
        }
    }

    /// Reads a signed checkpoint and verifies that it is this log's.
    ///
    /// # Errors
    ///
    /// Another format, another log, a signature that is absent or does not verify.
    pub fn open(note: &str, log: &VerifierKey) -> Result<(Self, Note), NoteError> {
        let note = Note::parse(note)?;
        note.verify(log)?;
        let checkpoint = Self::parse(note.text())?;
        match checkpoint.origin == log.name() {
            true => Ok((checkpoint, note)),
            false => Err(NoteError::Origin { found: checkpoint.origin, expected: log.name().to_owned() }),
        }
    }
}

/// Proof for one entry that can be checked offline with the log's key alone; a `.tlog-proof` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's place, counted from 0.
    pub index: u64,
    /// Its inclusion proof.
    pub proof: Vec<Hash>,
    /// The signed checkpoint that the proof leads to, with what witnesses added.
    pub checkpoint: Note,
}

impl Receipt {
    /// Reads a receipt; nothing is verified yet. Its extra data, if any, is passed over.
    ///
    /// # Errors
    ///
    /// Another format.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let fails = || NoteError::Malformed("no receipt of a log");
        let (head, note) = text.split_once("\n\n").ok_or_else(fails)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(RECEIPT_HEAD) {
            return Err(fails());
        }
        if let Some(extra) = lines.next_if(|line| line.starts_with("extra ")) {
            let encoded = extra.strip_prefix("extra ").ok_or_else(fails)?;
            Base64::decode_vec(encoded).map_err(|_| fails())?;
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or_else(fails)?;
        let proof = lines.map(hash).take(PROOF_HASHES_MAX + 1).collect::<Option<Vec<Hash>>>();
        let proof = proof.filter(|proof| proof.len() <= PROOF_HASHES_MAX).ok_or_else(fails)?;
        Ok(Self { index, proof, checkpoint: Note::parse(note)? })
    }

    /// Verifies that this log had this entry at the receipt's index; gives the checkpoint that says so.
    ///
    /// # Errors
    ///
    /// A checkpoint that is not this log's; a proof of something else.
    pub fn verify(&self, entry: &[u8], log: &VerifierKey) -> Result<Checkpoint, NoteError> {
        let (checkpoint, _) = Checkpoint::open(&self.checkpoint.to_string(), log)?;
        let leaf = leaf_hash(entry);
        match verify_inclusion(checkpoint.size, &checkpoint.root, self.index, &leaf, &self.proof) {
            true => Ok(checkpoint),
            false => Err(NoteError::NotIncluded),
        }
    }
}

/// The whole receipt.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{RECEIPT_HEAD}\nindex {}", self.index)?;
        for hash in &self.proof {
            writeln!(f, "{}", Base64::encode_string(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// A decimal number without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn hash(text: &str) -> Option<Hash> {
    Base64::decode_vec(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
