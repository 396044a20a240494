//! This silo as a witness of the coordinator's audit log.
//!
//! At each heartbeat it asks for the log's checkpoint and a proof that it continues what was seen before, verifies,
//! remembers, and cosigns. A coordinator that rewrites its history, or shows two, contradicts what it signed: the
//! daemon ends and keeps both texts. It also keeps a receipt for each of its uploads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::{Witness, WitnessError};
use ed25519_dalek::SigningKey;
use identity::AuthorisedRoster;
use secagg::ClientId;
use tlog::{Receipt, VerifierKey};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::v1::audit_client::AuditClient;
use wire::{limits, v1};

use crate::link::said;
use crate::patience::{Patience, within};

/// Another member's cosignature counts for so long after it was seen.
const FRESH: Duration = Duration::from_secs(120);

/// What the driver hears.
pub(crate) enum Seen {
    /// So many other members have cosigned lately.
    Members(usize),
    /// The log contradicts what its owner signed before.
    Contradiction(String),
}

/// See the module.
pub(crate) struct Watchman {
    pub(crate) channel: Channel,
    pub(crate) memory: Witness,
    /// The log's own key.
    pub(crate) log: VerifierKey,
    pub(crate) key: SigningKey,
    pub(crate) own: ClientId,
    pub(crate) roster: watch::Receiver<Arc<AuthorisedRoster>>,
    pub(crate) patience: Patience,
    pub(crate) receipts: PathBuf,
    pub(crate) report: mpsc::Sender<Seen>,
}

impl Watchman {
    /// Watches until the daemon ends or the log contradicts itself.
    pub(crate) async fn keep(mut self) {
        let mut cosigned: BTreeMap<ClientId, Instant> = BTreeMap::new();
        let mut newest_receipt = None;
        loop {
            match self.beat(&mut newest_receipt).await {
                Ok(members) => {
                    let now = Instant::now();
                    cosigned.extend(members.into_iter().map(|member| (member, now)));
                    cosigned.retain(|_, at| now.duration_since(*at) < FRESH);
                    if self.report.send(Seen::Members(cosigned.len())).await.is_err() {
                        return;
                    }
                }
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
            tokio::time::sleep(daemon::heartbeat(self.patience.current())).await;
        }
    }

    /// One heartbeat; gives the other members whose cosignatures the checkpoint carries.
    async fn beat(&mut self, newest_receipt: &mut Option<u64>) -> Result<BTreeSet<ClientId>, Missed> {
        let patience = self.patience.current();
        let mut log =
            AuditClient::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let request = v1::WitnessRequest { seen: self.memory.size(), receipts_after: *newest_receipt };
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
        for receipt in receipts {
            self.keep_receipt(&receipt)?;
            *newest_receipt = Some(receipt.index);
        }
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
        let valid =
            audit::cosignatures_by(&checkpoint, &keys).map_err(|why| Missed::Other(why.to_string()))?;
        if self.memory.size() > before {
            let size = self.memory.size();
            match within(patience, log.cosign(v1::CosignRequest { line, size })).await {
                Ok(_) => {}
                // A newer checkpoint took this one's place meanwhile: the next heartbeat cosigns that.
                Err(why) if why.code() == Code::FailedPrecondition => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(valid.into_iter().filter_map(|(name, _)| others.get(&name).map(|(id, _)| *id)).collect())
    }

    /// A receipt is kept only where it proves what it says.
    fn keep_receipt(&self, receipt: &v1::Receipt) -> Result<(), Missed> {
        let wrong = |why: String| Missed::Other(format!("the receipt of entry {}: {why}", receipt.index));
        let parsed = Receipt::parse(&receipt.proof).map_err(|why| wrong(why.to_string()))?;
        parsed.verify(&receipt.entry, &self.log).map_err(|why| wrong(why.to_string()))?;
        let event = audit::Event::decode(&receipt.entry).map_err(|why| wrong(why.to_string()))?;
        let name = format!(
            "{:06}-{}.tlog-proof",
            event.round.unwrap_or_default(),
            event.attempt.unwrap_or_default()
        );
        let kept = std::fs::create_dir_all(&self.receipts).map_err(|why| why.to_string()).and_then(|()| {
            let path = self.receipts.join(name);
            // The entry beside it: whoever verifies needs the bytes.
            store::write_replacing(&path.with_extension("json"), &receipt.entry)
                .and_then(|()| store::write_replacing(&path, receipt.proof.as_bytes()))
                .map_err(|why| why.to_string())
        });
        kept.map_err(wrong)
    }
}

/// Why a heartbeat came to nothing.
enum Missed {
    Contradiction(String),
    /// The coordinator has no such service, or not for this caller.
    Unserved,
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
