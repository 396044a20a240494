//! Records as they were published, read one after the other.

use checkpoint::{MANIFEST_FILE, SIGNATURE_FILE, SignedManifest, folder_name};
use identity::with_causes;
use params::Digest;

use crate::CheckpointFault;
use crate::folder::{Folder, required};

/// The record of a version, unverified; none where the name is no version's.
///
/// # Errors
/// A file that cannot be read; a signature of another length.
pub fn read_record<F: Folder + ?Sized>(
    folder: &F,
    name: &str,
) -> Result<Option<SignedManifest>, CheckpointFault> {
    let Some(signature) = folder.read(name, SIGNATURE_FILE)? else { return Ok(None) };
    let signature = <[u8; 64]>::try_from(signature.as_slice()).map_err(|_| CheckpointFault::File {
        file: folder.place(name, SIGNATURE_FILE),
        why: format!("has {} bytes, a signature has 64", signature.len()),
    })?;
    Ok(Some(SignedManifest { manifest_bytes: required(folder, name, MANIFEST_FILE)?, signature }))
}

/// The records of some rounds, each validly signed and following from the one before it.
#[derive(Debug)]
pub struct Records {
    round: u64,
    newest: u64,
    before: Option<Digest>,
}

impl Records {
    /// Those from round `from` up to `newest`.
    pub fn new(from: u64, newest: u64) -> Self {
        Self { round: from, newest, before: None }
    }

    /// The next round that has a record, with it; none at the end.
    ///
    /// # Errors
    /// A record that cannot be read, is not validly signed, or does not follow from the one before it.
    pub fn next<F: Folder + ?Sized>(
        &mut self,
        folder: &F,
    ) -> Result<Option<(u64, SignedManifest)>, CheckpointFault> {
        while self.round <= self.newest {
            let round = self.round;
            self.round += 1;
            let name = folder_name(round);
            // A round that was aborted has no record.
            let Some(signed) = read_record(folder, &name)? else { continue };
            let bad = |why| CheckpointFault::File { file: folder.place(&name, MANIFEST_FILE), why };
            let manifest = signed.verify_strict().map_err(|why| bad(with_causes(&why)))?;
            if self.before.is_some() && manifest.parent != self.before {
                return Err(bad("does not follow from the record before it".into()));
            }
            self.before = Some(signed.digest());
            return Ok(Some((round, signed)));
        }
        Ok(None)
    }
}
