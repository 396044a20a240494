//! This silo as a witness of the coordinator's audit log.
//!
//! At each heartbeat it asks for the log's checkpoint and a proof that it continues what was seen before, verifies,
//! remembers, and cosigns; sooner where a session or a round begins, and again and again while a round waits for others to have
//! done so: the silos of a new federation wait for each other, and for no heartbeat. A coordinator that rewrites its history, or shows two, contradicts what it signed: the
//! daemon ends and keeps both texts. It also keeps a receipt for each of its uploads, and of nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use audit::{Action, Witness, WitnessError};
use ed25519_dalek::SigningKey;
use identity::AuthorisedRoster;
use params::Digest;
use protocol::{Attempt, ClientRecord, Witnessed};
use secagg::ClientId;
use tlog::{Receipt, VerifierKey};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::v1::audit_client::AuditClient;
use wire::{limits, v1};

use crate::link::said;
use crate::patience::{Patience, within};

mod opening;
#[cfg(test)]
mod tests;

pub(crate) use opening::{Lookout, memory_file};

/// A log that has not grown is cosigned again after so long: what counts with the others is the time in a cosignature.
const COSIGN_AGAIN: Duration = Duration::from_secs(30);
/// So many receipts come at once, at most; more of them are fetched without waiting for the next heartbeat.
const RECEIPTS_AT_ONCE: usize = 16;

/// At least so long between two looks, and so long before the first repeated one while a round waits for witnesses.
const SOON: Duration = Duration::from_millis(50);

/// What has the log looked at before the next heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// The attempt in progress.
    attempt: Option<Attempt>,
    /// All that it waits for is that others witness the log.
    waits: bool,
}

impl Prompt {
    /// Takes what the core says now of its attempt; whether the log is to be looked at.
    pub(crate) fn follow(&mut self, (attempt, waits): (Option<Attempt>, bool)) -> bool {
        let before = std::mem::replace(self, Self { attempt, waits });
        attempt.is_some_and(|attempt| before.attempt != Some(attempt)) || (waits && !before.waits)
    }
}

/// The longest pause before the log is looked at again.
struct Pause(Duration);

impl Pause {
    /// A heartbeat; while a round waits, shorter ones that grow.
    fn next(&mut self, waits: bool, heartbeat: Duration) -> Duration {
        let next = if waits { self.0.min(heartbeat) } else { heartbeat };
        self.0 = if waits { next * 2 } else { SOON };
        next
    }
}

/// What the driver hears.
pub(crate) enum Seen {
    /// It continues what was seen before.
    Log(Witnessed),
    /// The log contradicts what its owner signed before.
    Contradiction(String),
}

/// What this silo has uploaded and has no receipt of: the run and the attempt of each vector. Its clones are one.
///
/// Only of these a receipt is kept, once, under a name that is this silo's own: how many the log tells of, of which rounds, and how
/// often, is the coordinator's word.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Arc<Mutex<OwnUploads>>);

#[derive(Default)]
struct OwnUploads {
    run: Option<Digest>,
    made: BTreeMap<Digest, (Digest, Attempt)>,
}

impl Uploads {
    /// Takes in the journal's next record.
    pub(crate) fn follow(&self, record: &ClientRecord) {
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

    fn get(&self, upload: &Digest) -> Option<(Digest, Attempt)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made.get(upload).copied()
    }

    /// Its receipt is kept.
    fn remove(&self, upload: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made.remove(upload);
    }
}

/// See the module.
pub(crate) struct Watchman {
    pub(crate) channel: Channel,
    pub(crate) memory: Witness,
    /// The log's own key.
    pub(crate) log: VerifierKey,
    pub(crate) key: SigningKey,
    pub(crate) own: ClientId,
    pub(crate) uploads: Uploads,
    pub(crate) roster: watch::Receiver<Arc<AuthorisedRoster>>,
    pub(crate) patience: Patience,
    pub(crate) receipts: PathBuf,
    /// Receipts of later entries than this are asked for.
    pub(crate) receipts_after: Option<u64>,
    pub(crate) report: mpsc::Sender<Seen>,
    pub(crate) prompt: watch::Receiver<Prompt>,
}

impl Watchman {
    /// Watches until the daemon ends or the log contradicts itself.
    pub(crate) async fn keep(mut self) {
        let mut cosigned = None;
        let mut pause = Pause(SOON);
        loop {
            self.prompt.mark_unchanged();
            match self.beat(&mut cosigned).await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(Missed::Over) => return,
                Err(Missed::Contradiction(why)) => {
                    // The driver ends the daemon; where it has ended already, nothing is left to say.
                    let _ = self.report.send(Seen::Contradiction(why)).await;
                    return;
                }
                Err(Missed::Unserved) => {
                    tracing::debug!("this coordinator shows no audit log");
                }
                Err(Missed::Other(why)) => {
                    tracing::warn!("the coordinator's audit log was not witnessed: {why}");
                }
            }
            let waits = self.prompt.borrow().waits;
            let longest = pause.next(waits, daemon::heartbeat(self.patience.current()));
            if !self.rest(longest).await {
                return;
            }
        }
    }

    /// Until the log is to be looked at again; false where the driver has ended.
    async fn rest(&mut self, longest: Duration) -> bool {
        // However fast a coordinator opens rounds.
        tokio::time::sleep(SOON).await;
        tokio::select! {
            () = tokio::time::sleep(longest) => true,
            prompted = self.prompt.changed() => prompted.is_ok(),
        }
    }

    /// One heartbeat; `cosigned` is when this silo cosigned last. Says whether there are more receipts.
    ///
    /// What was seen is told before this silo cosigns: a coordinator that takes no cosignature keeps nothing from the driver.
    async fn beat(&mut self, cosigned: &mut Option<Instant>) -> Result<bool, Missed> {
        let patience = self.patience.current();
        let mut log =
            AuditClient::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let request = v1::WitnessRequest { seen: self.memory.size(), receipts_after: self.receipts_after };
        let v1::WitnessReply { checkpoint, proof, receipts } =
            within(patience, log.witness(request)).await?.into_inner();
        let hashes = proof.iter().map(|hash| <[u8; 32]>::try_from(hash.as_slice()));
        let proof = hashes
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Missed::Other("a hash of the proof has another length".into()))?;
        let roster = Arc::clone(&self.roster.borrow());
        let name = audit::silo_name(&roster.federation, self.own.0);
        let before = self.memory.size();
        let line = tokio::task::block_in_place(|| {
            self.memory.observe(&checkpoint, &proof, &self.key, &name, daemon::wall_ms() / 1000)
        })
        .map_err(|why| match why {
            WitnessError::Contradiction { .. } => Missed::Contradiction(why.to_string()),
            other => Missed::Other(other.to_string()),
        })?;
        let full = receipts.len() >= RECEIPTS_AT_ONCE;
        let Kept { uploads: receipts, newest, kept } = self.keep_receipts(receipts);
        let any_own = !receipts.is_empty();
        let valid = self.cosigned_by_others(&roster, &checkpoint);
        let others = valid.as_ref().cloned().unwrap_or_default();
        let seen = Seen::Log(Witnessed { cosigned: others, receipts });
        self.report.send(seen).await.map_err(|_| Missed::Over)?;
        // Only what was told is asked for no more. What is not of this silo's uploads has no end, and so waits for the heartbeat.
        let more = full && any_own && newest > self.receipts_after;
        self.receipts_after = newest;
        kept?;
        valid.map_err(Missed::Other)?;
        let again = cosigned.is_none_or(|last| last.elapsed() >= COSIGN_AGAIN);
        if self.memory.size() > before || again {
            let size = self.memory.size();
            match within(patience, log.cosign(v1::CosignRequest { line, size })).await {
                Ok(_) => *cosigned = Some(Instant::now()),
                // A newer checkpoint took this one's place meanwhile: the next heartbeat cosigns that.
                Err(why) if why.code() == Code::FailedPrecondition => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(more)
    }

    /// The other members that have cosigned this checkpoint, each with the time in its cosignature.
    fn cosigned_by_others(
        &self,
        roster: &AuthorisedRoster,
        checkpoint: &str,
    ) -> Result<BTreeMap<ClientId, u64>, String> {
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
        let valid = audit::cosignatures_by(checkpoint, &keys).map_err(|why| why.to_string())?;
        Ok(valid.into_iter().filter_map(|(name, time_s)| Some((others.get(&name)?.0, time_s))).collect())
    }

    /// Keeps receipts up to the first that cannot be kept.
    fn keep_receipts(&self, receipts: Vec<v1::Receipt>) -> Kept {
        let mut all = Kept { uploads: Vec::new(), newest: self.receipts_after, kept: Ok(()) };
        for receipt in receipts {
            match self.keep_receipt(&receipt) {
                Ok(upload) => all.uploads.extend(upload.map(|upload| (upload, receipt.index))),
                Err(why) => return Kept { kept: Err(why), ..all },
            }
            all.newest = all.newest.max(Some(receipt.index));
        }
        all
    }

    /// A receipt is kept only where it proves what it says, for the very state that is remembered: one for another history
    /// proves nothing to this silo. Gives the upload of this silo's that it is of.
    fn keep_receipt(&self, receipt: &v1::Receipt) -> Result<Option<Digest>, Missed> {
        let wrong = |why: String| Missed::Other(format!("the receipt of entry {}: {why}", receipt.index));
        let parsed = Receipt::parse(&receipt.proof).map_err(|why| wrong(why.to_string()))?;
        let proven = parsed.verify(&receipt.entry, &self.log).map_err(|why| wrong(why.to_string()))?;
        if self.memory.last() != Some(&proven) {
            return Err(wrong(
                "it proves that for another state of the log than the one that is remembered".into(),
            ));
        }
        let event = audit::Event::decode(&receipt.entry).map_err(|why| wrong(why.to_string()))?;
        let upload = event.digest.as_deref().and_then(|digest| digest.parse().ok());
        let own = event.action == Action::UploadReceived.name() && event.actor.silo_id() == Some(self.own.0);
        let upload = upload.filter(|_| own).and_then(|upload| Some((upload, self.uploads.get(&upload)?)));
        let Some((upload, (run, at))) = upload else { return Ok(None) };
        let name = format!("{:06}-{}-{run}.tlog-proof", at.round, at.attempt);
        let kept = std::fs::create_dir_all(&self.receipts).map_err(|why| why.to_string()).and_then(|()| {
            let path = self.receipts.join(name);
            // The entry beside it: whoever verifies needs the bytes.
            store::write_replacing(&path.with_extension("json"), &receipt.entry)
                .and_then(|()| store::write_replacing(&path, receipt.proof.as_bytes()))
                .map_err(|why| why.to_string())
        });
        kept.map_err(wrong)?;
        self.uploads.remove(&upload);
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
    kept: Result<(), Missed>,
}

/// Why a heartbeat came to nothing.
enum Missed {
    Contradiction(String),
    /// The coordinator has no such service, or not for this caller.
    Unserved,
    /// The driver has ended.
    Over,
    Other(String),
}

impl From<Status> for Missed {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Unserved,
            _ => Self::Other(said(&status)),
        }
    }
}
