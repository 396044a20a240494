//! This silo as a witness of the coordinator's audit log.
//!
//! At each heartbeat it asks for the log's checkpoint and a proof that it continues what was seen before, verifies,
//! remembers, and cosigns; sooner where a session or a round begins, and again and again while a round waits for others to have
//! done so: the silos of a new federation wait for each other, and for no heartbeat. A coordinator that rewrites its history, or shows two, contradicts what it signed: the
//! daemon ends and keeps both texts. It also keeps a receipt for each of its uploads, and of nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::AuthorisedRoster;
use protocol::Witnessed;
use tokio::sync::{mpsc, watch};
use tokio::task::block_in_place;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::v1::audit_client::AuditClient;
use wire::{limits, v1};
use witness::{
    COSIGN_AGAIN, Cosignature, LookFault, Pause, Prompt, SOON, ShownLog, ShownReceipt, SiloWitness,
};

use crate::link::said;
use crate::patience::{Patience, within};

mod opening;
#[cfg(test)]
mod tests;

pub(crate) use opening::Lookout;

/// What the driver hears.
pub(crate) enum Seen {
    /// It continues what was seen before.
    Log(Witnessed),
    /// The log contradicts what its owner signed before.
    Contradiction(String),
}

/// See the module.
pub(crate) struct Watchman {
    channel: Channel,
    witness: SiloWitness,
    roster: watch::Receiver<Arc<AuthorisedRoster>>,
    patience: Patience,
    report: mpsc::Sender<Seen>,
    prompt: watch::Receiver<Prompt>,
}

impl Watchman {
    /// Watches until the daemon ends or the log contradicts itself.
    pub(crate) async fn keep(mut self) {
        let mut cosigned = None;
        let mut pause = Pause::default();
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
            let waits = self.prompt.borrow().waits();
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
    /// What was seen is reported before this silo cosigns: a coordinator that takes no cosignature keeps nothing from the driver.
    async fn beat(&mut self, cosigned: &mut Option<Instant>) -> Result<bool, Missed> {
        let patience = self.patience.current();
        let mut log =
            AuditClient::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let (seen, receipts_after) = (self.witness.size(), self.witness.receipts_after());
        let request = v1::WitnessRequest { seen, receipts_after };
        let shown = shown(within(patience, log.witness(request)).await?.into_inner());
        let roster = Arc::clone(&self.roster.borrow());
        let look = block_in_place(|| self.witness.look(shown, &roster, daemon::wall_ms() / 1000))?;
        self.report.send(Seen::Log(look.seen().clone())).await.map_err(|_| Missed::Over)?;
        let Cosignature { line, size, grown, more } = look.reported()?;
        let again = cosigned.is_none_or(|last| last.elapsed() >= COSIGN_AGAIN);
        if grown || again {
            match within(patience, log.cosign(v1::CosignRequest { line, size })).await {
                Ok(_) => *cosigned = Some(Instant::now()),
                // A newer checkpoint took this one's place meanwhile: the next heartbeat cosigns that.
                Err(why) if why.code() == Code::FailedPrecondition => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(more)
    }
}

fn shown(reply: v1::WitnessReply) -> ShownLog {
    let v1::WitnessReply { checkpoint, proof, receipts } = reply;
    let receipts = receipts.into_iter().map(|receipt| {
        let v1::Receipt { index, entry, proof } = receipt;
        ShownReceipt { index, entry, proof }
    });
    ShownLog { checkpoint, proof, receipts: receipts.collect() }
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

impl From<LookFault> for Missed {
    fn from(why: LookFault) -> Self {
        match why.is_contradiction() {
            true => Self::Contradiction(why.to_string()),
            false => Self::Other(why.to_string()),
        }
    }
}
