//! The uploads of which a receipt is still to come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use params::Digest;
use protocol::{Attempt, ClientRecord};

/// What this silo has uploaded and has no receipt of: the run and the attempt of each vector. Its clones are one.
///
/// Only of these a receipt is kept, once, under a name that is this silo's own: how many the log tells of, of which rounds, and how
/// often, is the coordinator's word.
#[derive(Clone, Default)]
pub struct Uploads(Arc<Mutex<OwnUploads>>);

#[derive(Default)]
struct OwnUploads {
    run: Option<Digest>,
    made: BTreeMap<Digest, (Digest, Attempt)>,
}

impl Uploads {
    /// Takes in the journal's next record.
    pub fn follow(&self, record: &ClientRecord) {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match record {
            ClientRecord::Joined { run_id, .. } => own.run = Some(*run_id),
            ClientRecord::Debited { at, upload, .. } => {
                let of = own.run.map(|run| (*upload, (run, *at)));
                own.made.extend(of);
            }
            ClientRecord::UploadReceipted { upload, .. } => {
                own.made.remove(upload);
            }
            _ => {}
        }
    }

    pub(crate) fn get(&self, upload: &Digest) -> Option<(Digest, Attempt)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made.get(upload).copied()
    }

    /// Its receipt is kept, and the core knows.
    pub(crate) fn remove(&self, upload: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made.remove(upload);
    }
}
