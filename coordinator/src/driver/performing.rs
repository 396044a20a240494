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

    /// The first effects, as far as their records fit into one append and may become durable in any order among the runs.
    fn take_an_append(&mut self) -> Vec<(Effect, Vec<u8>)> {
        let (mut taken, mut total) = (Vec::<(Effect, Vec<u8>)>::new(), 0);
        while let Some((effect, bytes)) = self.effects.front() {
            let of_another = |(one, bytes): &(Effect, Vec<u8>)| one.run != effect.run && !bytes.is_empty();
            let waits = effect.rests_on_other_runs() && taken.iter().any(of_another);
            if !taken.is_empty() && (waits || total + bytes.len() > APPEND_BYTES) {
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

#[cfg(test)]
mod tests {
    use protocol::{Attempt, RoundOutcome, Timestamp};
    use secagg::ClientId;

    use super::*;

    fn record(run: u32, record: Record) -> Effect {
        Effect { run: RunNumber(run), effect: protocol::Effect::Persist(record) }
    }

    fn aborted(run: u32) -> Effect {
        record(run, Record::Aborted { now: Timestamp(1), outcome: RoundOutcome::BadAggregate("none".into()) })
    }

    fn begun(run: u32) -> Effect {
        let at = Attempt { round: 1, attempt: 1 };
        record(run, Record::AttemptBegun { now: Timestamp(1), at, cohort: vec![ClientId(1)] })
    }

    fn restored(run: u32) -> Effect {
        let (by, reason) = ("ops".into(), "mistaken".into());
        record(run, Record::Restored { now: Timestamp(1), client: ClientId(1), by, reason })
    }

    /// The runs of the records of each append.
    fn appends(effects: impl IntoIterator<Item = Effect>) -> Vec<Vec<u32>> {
        let mut queue = Queue::default();
        queue.extend(effects);
        let mut appends = Vec::new();
        while !queue.is_empty() {
            appends.push(queue.take_an_append().into_iter().map(|(effect, _)| effect.run.0).collect());
        }
        appends
    }

    #[test]
    fn an_attempt_is_written_down_after_what_freed_its_silos_in_other_runs() {
        assert_eq!(appends([aborted(2), begun(1), aborted(1), begun(2)]), [vec![2], vec![1, 1], vec![2]]);
        assert_eq!(appends([aborted(1), begun(1)]), [vec![1, 1]], "a run alone writes all at once");
    }

    #[test]
    fn who_is_let_in_again_is_so_in_the_first_run_last_whatever_dies_between() {
        assert_eq!(appends([restored(3), restored(2), restored(1)]), [[3], [2], [1]]);
        assert_eq!(appends([aborted(1), aborted(2), aborted(1)]), [[1, 2, 1]], "others share an append");
    }
}
