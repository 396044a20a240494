//! What a silo remembers of another's log, so that it cannot be shown two.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use tlog::{Checkpoint, Hash, Note, NoteError, VerifierKey, verify_consistency};

use crate::folder::{self, FolderError, failed};

/// Most contradictions that are kept: who lies can lie without end.
const EVIDENCE_MAX: u32 = 100;

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The memory cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The memory is not a checkpoint of this log.
    #[error("`{}` is not what this witness wrote for this log: restore it; without it, rewriting goes unseen", path.display())]
    Memory {
        path: PathBuf,
        #[source]
        source: NoteError,
    },
    /// What was offered is no checkpoint that the log signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The log contradicts what it signed before.
    #[error(
        "the log contradicts itself: it signed {} and now {}, {why}; both are kept in `{}`: show them to the other \
         members", described(seen), described(offered), evidence.display()
    )]
    Contradiction {
        /// What it signed before.
        seen: Box<Checkpoint>,
        /// What it signed now.
        offered: Box<Checkpoint>,
        /// What does not fit.
        why: &'static str,
        /// The file with both notes.
        evidence: PathBuf,
    },
}

/// One silo's memory of one log.
#[derive(Debug)]
pub struct Witness {
    file: PathBuf,
    log: VerifierKey,
    seen: Option<(Checkpoint, Note)>,
}

impl Witness {
    /// Takes up the memory in `file`, or begins one: the first checkpoint observed is taken as it is.
    ///
    /// # Errors
    ///
    /// A file that is no checkpoint of this log; a disk that fails.
    pub fn open(file: &Path, log: VerifierKey) -> Result<Self, WitnessError> {
        let memory = |source| WitnessError::Memory { path: file.to_owned(), source };
        let seen = match folder::read_if_there(file)? {
            None => None,
            Some(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| memory(NoteError::Malformed("no text")))?;
                Some(Checkpoint::open(&text, &log).map_err(memory)?)
            }
        };
        Ok(Self { file: file.to_owned(), log, seen })
    }

    /// What was last seen, if anything was.
    pub fn last(&self) -> Option<&Checkpoint> {
        self.seen.as_ref().map(|(checkpoint, _)| checkpoint)
    }

    /// The size last seen, from which the next proof must lead; 0 before the first.
    pub fn size(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size)
    }

    /// Verifies that a checkpoint is the log's and continues the one last seen; remembers it durably; then gives the
    /// cosignature, a line for the log to add. `proof` leads from [`Witness::size`]; it is empty when that is 0 or the
    /// size has not changed.
    ///
    /// # Errors
    ///
    /// A note that the log did not sign, or a contradiction: nothing is remembered then, but the contradiction is kept
    /// as evidence beside the file, in `equivocation-<n>.txt`, each once, and the first hundred. A disk that fails.
    pub fn observe(
        &mut self,
        checkpoint: &str,
        proof: &[Hash],
        signer: &SigningKey,
        name: &str,
        now_s: u64,
    ) -> Result<String, WitnessError> {
        let (offered, note) = Checkpoint::open(checkpoint, &self.log)?;
        if let Some((seen, seen_note)) = &self.seen {
            let why = match offered.size.cmp(&seen.size) {
                std::cmp::Ordering::Less => Some("which is shorter"),
                std::cmp::Ordering::Equal if offered.root != seen.root => Some("another tree of that size"),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => {
                    let holds = verify_consistency(seen.size, &seen.root, offered.size, &offered.root, proof);
                    (!holds).then_some("and its proof does not lead from the one to the other")
                }
            };
            if let Some(why) = why {
                let evidence = self.keep_evidence(seen_note, &note, proof)?;
                let (seen, offered) = (Box::new(seen.clone()), Box::new(offered));
                return Err(WitnessError::Contradiction { seen, offered, why, evidence });
            }
        }
        let line = note.cosign(name, signer, now_s)?;
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != offered) {
            store::write_durably(&self.file, note.to_string().as_bytes())
                .map_err(failed("write", &self.file))?;
            self.seen = Some((offered, note));
        }
        Ok(line)
    }

    /// Keeps both notes and the proof beside the memory.
    fn keep_evidence(&self, seen: &Note, offered: &Note, proof: &[Hash]) -> Result<PathBuf, WitnessError> {
        let proof: Vec<String> = proof.iter().map(|hash| format!("{hash:02x?}")).collect();
        let text = format!("seen\n\n{seen}\noffered\n\n{offered}\nproof offered\n\n{}\n", proof.join("\n"));
        keep_evidence(self.file.parent().unwrap_or(Path::new("")), "equivocation", &text)
    }
}

/// Keeps a text that proves a lie in `<name>-<n>.txt` of a folder, durably: the same text once, and the first hundred. Gives
/// the file.
///
/// # Errors
///
/// A disk that fails.
pub fn keep_evidence(beside: &Path, name: &str, text: &str) -> Result<PathBuf, WitnessError> {
    let mut path = PathBuf::new();
    for n in 1..=EVIDENCE_MAX {
        path = beside.join(format!("{name}-{n}.txt"));
        match folder::read_if_there(&path)? {
            Some(kept) if kept == text.as_bytes() => return Ok(path),
            Some(_) => {}
            None => {
                store::write_durably(&path, text.as_bytes()).map_err(failed("write", &path))?;
                return Ok(path);
            }
        }
    }
    Ok(path)
}

/// Which of these witnesses cosigned a checkpoint, each with its time in seconds since 1970. The log's own signature
/// is not looked at.
///
/// # Errors
///
/// A text that is no note.
pub fn cosignatures_by(note: &str, witnesses: &[VerifierKey]) -> Result<Vec<(String, u64)>, NoteError> {
    let note = Note::parse(note)?;
    let valid =
        |witness: &VerifierKey| Some((witness.name().to_owned(), note.verify_cosignature(witness).ok()?));
    Ok(witnesses.iter().filter_map(valid).collect())
}

/// A checkpoint in an error.
fn described(checkpoint: &Checkpoint) -> String {
    let root: String = checkpoint.root.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("size {} with root {root}", checkpoint.size)
}

#[cfg(test)]
mod tests;
