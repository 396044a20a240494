//! What one silo believes of the log: nothing that contradicts what it remembers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use audit::{Action, Event, Witness};
use ed25519_dalek::SigningKey;
use identity::AuthorisedRoster;
use params::Digest;
use protocol::{Profile, WitnessState, Witnessed};
use secagg::ClientId;
use tlog::{Receipt, VerifierKey};

use crate::cosigned::{Cosigned, TimesLost};
use crate::error::{ForgottenLog, LookFault, OpenFault, ReceiptFault};
use crate::uploads::Uploads;

/// What is remembered, in the state folder.
const MEMORY: &str = "witness";
/// Where receipts are kept, in the state folder.
const RECEIPTS: &str = "receipts";
/// So many receipts come at once, at most; more of them are fetched without waiting for the next heartbeat.
const RECEIPTS_AT_ONCE: usize = 16;

/// What a coordinator shows of its log, before any of it is believed.
pub struct ShownLog {
    /// A signed note, with cosignatures.
    pub checkpoint: String,
    /// Hashes that lead from [`SiloWitness::size`] to the checkpoint.
    pub proof: Vec<Vec<u8>>,
    /// In the order of their entries.
    pub receipts: Vec<ShownReceipt>,
}

/// That an entry is in the log.
pub struct ShownReceipt {
    /// The entry's number, from 0.
    pub index: u64,
    /// Its bytes, which the receipt is of.
    pub entry: Vec<u8>,
    /// The text of the receipt.
    pub proof: String,
}

/// What a look at the log came to: first to be reported, then to be answered.
///
/// Where it is dropped, nothing of it was reported: the same receipts are asked for and given again.
///
/// ```compile_fail,E0609
/// fn cosign(look: witness::Look<'_>) -> String {
///     // What is faulty would be cosigned, and what nobody heard of would be lost.
///     look.line
/// }
/// ```
#[must_use = "what was seen is to be reported"]
pub struct Look<'a> {
    witness: &'a mut SiloWitness,
    seen: Witnessed,
    newest: Option<u64>,
    answered: Result<Cosignature, LookFault>,
}

impl Look<'_> {
    /// For the core, whatever becomes of the rest.
    pub fn seen(&self) -> &Witnessed {
        &self.seen
    }

    /// The core has what was seen, and so its receipts are asked for no more. Gives this silo's cosignature.
    ///
    /// # Errors
    /// Why not all was believed that was shown, which is then not to be cosigned.
    pub fn reported(self) -> Result<Cosignature, LookFault> {
        let Self { witness, seen, newest, answered } = self;
        witness.receipts_after = newest;
        seen.receipts.iter().for_each(|(upload, _)| witness.uploads.remove(upload));
        answered
    }
}

/// What a silo says of a log all of which it believes.
#[derive(Debug)]
#[must_use = "the log is to have it"]
pub struct Cosignature {
    /// A line for the log to add.
    pub line: String,
    /// The size that it is of.
    pub size: u64,
    /// Whether the log has grown since the last look.
    pub grown: bool,
    /// Whether there may be more receipts of this silo's uploads.
    pub more: bool,
}

/// One silo as a witness of the coordinator's log.
pub struct SiloWitness {
    file: PathBuf,
    memory: Witness,
    /// The log's own key.
    log: VerifierKey,
    key: SigningKey,
    own: ClientId,
    uploads: Uploads,
    receipts: PathBuf,
    receipts_after: Option<u64>,
    /// By the others.
    cosigned: Cosigned,
    /// What the one before this has seen of them and cannot be read.
    lost: Option<TimesLost>,
}

impl SiloWitness {
    /// Opens the memory in the state folder. What this silo has uploaded is not known before [`SiloWitness::with_journal`].
    ///
    /// # Errors
    /// [`OpenFault`].
    pub fn open(state: &Path, profile: &Profile) -> Result<Self, OpenFault> {
        let name = audit::log_name(&profile.roster.federation);
        let log = VerifierKey::new(&name, profile.roster.coordinator()).map_err(OpenFault::Name)?;
        let file = memory_file(state);
        let memory = Witness::open(&file, log.clone())?;
        let (cosigned, lost) = Cosigned::open(state, memory.last().is_some());
        Ok(Self {
            file,
            memory,
            log,
            key: profile.identity.signing_key().clone(),
            own: profile.id,
            uploads: Uploads::default(),
            receipts: state.join(RECEIPTS),
            receipts_after: None,
            cosigned,
            lost: lost.err(),
        })
    }

    /// What was seen of the others before this start: states that the remembered one continues. For the core, before any look.
    ///
    /// # Errors
    /// It was kept, and cannot be read.
    pub fn seen_before(&mut self) -> Result<Witnessed, TimesLost> {
        let seen = Witnessed { cosigned: self.cosigned.newest().clone(), receipts: Vec::new() };
        self.lost.take().map_or(Ok(seen), Err)
    }

    /// Goes on from what the journal says: which receipts are still to come, and whether there was a memory.
    ///
    /// # Errors
    /// [`ForgottenLog`].
    pub fn with_journal(self, journal: WitnessState, uploads: Uploads) -> Result<Self, ForgottenLog> {
        if journal.remembers && self.memory.last().is_none() {
            return Err(ForgottenLog { memory: self.file });
        }
        Ok(Self { uploads, receipts_after: journal.receipts_after, ..self })
    }

    /// The size of the log that is remembered, from which the next proof is to lead.
    pub fn size(&self) -> u64 {
        self.memory.size()
    }

    /// Receipts of later entries than this are asked for; of all where there is none.
    pub fn receipts_after(&self) -> Option<u64> {
        self.receipts_after
    }

    /// Verifies that what is shown continues what is remembered; remembers it durably; keeps receipts of this silo's uploads, up
    /// to the first that cannot be kept; and says which others have cosigned. `now_s`, in seconds since 1970, stands in the
    /// cosignature.
    ///
    /// # Errors
    /// [`LookFault`], where nothing of it is believed.
    pub fn look(
        &mut self,
        shown: ShownLog,
        roster: &AuthorisedRoster,
        now_s: u64,
    ) -> Result<Look<'_>, LookFault> {
        let ShownLog { checkpoint, proof, receipts } = shown;
        let hashes = proof.iter().map(|hash| <[u8; 32]>::try_from(hash.as_slice()));
        let proof = hashes.collect::<Result<Vec<_>, _>>().map_err(|_| LookFault::HashLength)?;
        let name = audit::silo_name(&roster.federation, self.own.0);
        let before = self.memory.size();
        let line = self.memory.observe(&checkpoint, &proof, &self.key, &name, now_s)?;
        let full = receipts.len() >= RECEIPTS_AT_ONCE;
        let Kept { uploads, newest, fault } = self.keep_receipts(receipts);
        // What is not of this silo's uploads has no end, and so waits for the heartbeat.
        let more = full && !uploads.is_empty() && newest > self.receipts_after;
        let (cosigned, unread) = match self.cosigned_by_others(roster, &checkpoint) {
            Ok(cosigned) => (cosigned, None),
            Err(why) => (BTreeMap::new(), Some(why)),
        };
        let kept = self.cosigned.keep(&cosigned, |id| !roster.keys().contains_key(id));
        let unread = unread.or(kept.map_err(LookFault::Times).err());
        let size = self.memory.size();
        let seen = Witnessed { cosigned, receipts: uploads };
        let cosignature = Cosignature { line, size, grown: size > before, more };
        let answered = fault.or(unread).map_or(Ok(cosignature), Err);
        Ok(Look { witness: self, seen, newest, answered })
    }

    /// The other members that have cosigned this checkpoint, each with the time in its cosignature.
    fn cosigned_by_others(
        &self,
        roster: &AuthorisedRoster,
        checkpoint: &str,
    ) -> Result<BTreeMap<ClientId, u64>, LookFault> {
        let others: BTreeMap<String, (ClientId, VerifierKey)> = roster
            .keys()
            .iter()
            .filter(|(id, _)| **id != self.own)
            .filter_map(|(id, key)| {
                let name = audit::silo_name(&roster.federation, id.0);
                Some((name.clone(), (*id, VerifierKey::new(&name, *key).ok()?)))
            })
            .collect();
        let keys: Vec<VerifierKey> = others.values().map(|(_, key)| key.clone()).collect();
        let valid = audit::cosignatures_by(checkpoint, &keys).map_err(LookFault::Cosignatures)?;
        Ok(valid.into_iter().filter_map(|(name, time_s)| Some((others.get(&name)?.0, time_s))).collect())
    }

    /// Keeps receipts up to the first that cannot be kept.
    fn keep_receipts(&self, receipts: Vec<ShownReceipt>) -> Kept {
        let mut all = Kept { uploads: Vec::new(), newest: self.receipts_after, fault: None };
        for receipt in receipts {
            let index = receipt.index;
            let kept = |upload: &Digest| all.uploads.iter().any(|(kept, _)| kept == upload);
            match self.keep_receipt(&receipt, kept) {
                Ok(upload) => all.uploads.extend(upload.map(|upload| (upload, index))),
                Err(why) => return Kept { fault: Some(LookFault::Receipt { index, why }), ..all },
            }
            all.newest = all.newest.max(Some(index));
        }
        all
    }

    /// A receipt is kept only where it proves what it says, for the very state that is remembered: one for another history
    /// proves nothing to this silo. Gives the upload of this silo's that it is of, where none of it is `kept` already.
    fn keep_receipt(
        &self,
        receipt: &ShownReceipt,
        kept: impl Fn(&Digest) -> bool,
    ) -> Result<Option<Digest>, ReceiptFault> {
        let proven = Receipt::parse(&receipt.proof)?.verify(&receipt.entry, &self.log)?;
        if self.memory.last() != Some(&proven) {
            return Err(ReceiptFault::OtherState);
        }
        let event = Event::decode(&receipt.entry)?;
        let upload = event.digest.as_deref().and_then(|digest| digest.parse().ok());
        let own = event.action == Action::UploadReceived.name() && event.actor.silo_id() == Some(self.own.0);
        let upload = upload
            .filter(|upload| own && !kept(upload))
            .and_then(|upload| Some((upload, self.uploads.get(&upload)?)));
        let Some((upload, (run, at))) = upload else { return Ok(None) };
        let name = format!("{:06}-{}-{run}.tlog-proof", at.round, at.attempt);
        store::create_folder(&self.receipts)?;
        let path = self.receipts.join(name);
        // The entry beside it: whoever verifies needs the bytes.
        store::write_replacing(&path.with_extension("json"), &receipt.entry)?;
        store::write_replacing(&path, receipt.proof.as_bytes())?;
        Ok(Some(upload))
    }
}

/// What became of receipts that came together.
struct Kept {
    /// The uploads of this silo's among those that were kept, each with its entry's number.
    uploads: Vec<(Digest, u64)>,
    /// After which entry the next ones are to be asked for.
    newest: Option<u64>,
    /// Why not all were kept.
    fault: Option<LookFault>,
}

/// The file in which a silo remembers the log.
pub fn memory_file(state: &Path) -> PathBuf {
    state.join(MEMORY)
}

#[cfg(test)]
mod tests;
