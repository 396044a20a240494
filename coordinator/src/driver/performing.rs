//! Effects, performed in order: first the records, durable by one fsync of each run's journal for as many as stand ready, then
//! the rest.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;
use federation::{Effect, RunNumber};
use protocol::Record;
use store::APPEND_BYTES_MAX;

use super::{APPEND_FAILED, Driver, EFFECT_FAILED, Reply};

/// Bytes of records in one append: far enough below the store's limit for what sealing adds to each. A single record that is
/// longer goes alone, and the store judges it.
const APPEND_BYTES: usize = APPEND_BYTES_MAX / 4;

/// Effects that wait, and the encoding of those that are records.
#[derive(Default)]
pub(super) struct Queue {
    effects: VecDeque<(Effect, Vec<u8>)>,
    bytes: usize,
}

impl Queue {
    pub(super) fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            let bytes = match &effect.effect {
                protocol::Effect::Persist(record) => record.encode(),
                _ => Vec::new(),
            };
            self.bytes += bytes.len();
            self.effects.push_back((effect, bytes));
        }
    }

    /// Of the records that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// The first effects, as far as their records fit into one append.
    fn take_an_append(&mut self) -> Vec<(Effect, Vec<u8>)> {
        let (mut taken, mut total) = (Vec::new(), 0);
        while let Some((_, bytes)) = self.effects.front() {
            if !taken.is_empty() && total + bytes.len() > APPEND_BYTES {
                break;
            }
            total += bytes.len();
            taken.extend(self.effects.pop_front());
        }
        self.bytes -= total;
        taken
    }
}

impl Driver {
    /// Performs what is queued, in order; records that stand ready, of whichever runs, are made durable before anything
    /// that follows any of them.
    pub(super) fn perform(&mut self) -> anyhow::Result<()> {
        while !self.effects.is_empty() {
            let together = self.effects.take_an_append();
            self.append(&together)?;
            for (effect, _) in together {
                self.perform_one(effect).context(EFFECT_FAILED)?;
            }
        }
        for Reply { to, result } in self.replies.drain(..) {
            let _ = to.send(result);
        }
        Ok(())
    }

    /// One append to the journal of each run that has records among these.
    fn append(&mut self, together: &[(Effect, Vec<u8>)]) -> anyhow::Result<()> {
        let mut journals: BTreeMap<RunNumber, (Vec<Vec<u8>>, Vec<&Record>)> = BTreeMap::new();
        for (Effect { run, effect }, encoded) in together {
            if let protocol::Effect::Persist(record) = effect {
                let (bytes, records) = journals.entry(*run).or_default();
                bytes.push(encoded.clone());
                records.push(record);
            }
        }
        for (run, (bytes, records)) in journals {
            // A failed append is a crash: the process ends and recovers from what is on disk.
            let first = self.at_work(run)?.folder.append(&bytes).context(APPEND_FAILED)?;
            self.audit.journalled(self.later_run(run), first, self.clock.now(), &records)?;
        }
        Ok(())
    }
}
