//! What an operator may do who is no administrator: at night something must be stoppable, but a stolen token must not end
//! a run, nor fill its coordinator's disk.
//!
//! Each action that one person may repeat without end is counted, by the journal, so that a restart forgets none. Who is an
//! administrator is the shell's knowledge: it asks here for everybody else.

use checkpoint::{Action, Manifest};

use super::{Act, Coordinator};
use crate::Timestamp;
use crate::message::Rejection;
use crate::record::Record;

/// Times that one person may do each of these within an hour.
const MOST_AN_HOUR: usize = 5;
const HOUR_MS: u64 = 3_600_000;

/// The newest hour's deeds, oldest first: when, what in words, and who. Each wrote a record; a quarantine and a rollback a
/// copy of a model as well.
#[derive(Default)]
pub(super) struct Hourly(Vec<(Timestamp, &'static str, String)>);

const PAUSED: &str = "paused the run";
const RESUMED: &str = "resumed the run";
const QUARANTINED: &str = "quarantined a model";
const ROLLED_BACK: &str = "rolled the run back";

impl Hourly {
    /// A record is applied.
    pub(super) fn note(&mut self, record: &Record) {
        let (now, deed, by) = match record {
            Record::Paused { now, by, .. } => (*now, PAUSED, by.clone()),
            Record::Resumed { now, by } => (*now, RESUMED, by.clone()),
            Record::Acted { now, manifest } => {
                let Some(action) = Manifest::from_bytes(&manifest.manifest_bytes).ok().and_then(|m| m.action)
                else {
                    return;
                };
                let quarantines = matches!(action, Action::Quarantine { .. });
                (*now, if quarantines { QUARANTINED } else { ROLLED_BACK }, action.by().to_owned())
            }
            _ => return,
        };
        self.0.retain(|(at, ..)| at.plus_ms(HOUR_MS) > now);
        self.0.push((now, deed, by));
    }

    fn count(&self, deed: &str, by: &str, now: Timestamp) -> usize {
        self.0
            .iter()
            .filter(|(at, done, who)| *done == deed && who == by && at.plus_ms(HOUR_MS) > now)
            .count()
    }
}

impl Coordinator {
    /// Whether somebody may do this now who is no administrator. The shell asks before it stages anything.
    ///
    /// # Errors
    /// [`Rejection::NotPossible`]: one too many within an hour, or a quarantine that nothing could come back from.
    pub fn operator_may(&self, act: &Act, now: Timestamp) -> Result<(), Rejection> {
        let (deed, by) = match act {
            Act::Pause { by, .. } => (PAUSED, by),
            Act::Resume { by } => (RESUMED, by),
            Act::Quarantine { by, .. } => (QUARANTINED, by),
            Act::Rollback { by, .. } => (ROLLED_BACK, by),
            // Bars are counted where they are kept, a pair is together again once for each complaint, and only
            // administrators restore.
            Act::Restore { .. } | Act::Reconcile { .. } | Act::Remove { .. } => return Ok(()),
        };
        if let Act::Quarantine { round, .. } = act
            && self.state.chain.model_of(*round).is_some_and(|model| self.state.chain.is_last_sound(&model))
        {
            return Err(Rejection::NotPossible(format!(
                "the model of round {round} is the last one that is not quarantined, and nothing lifts a quarantine: it would \
                 end the run for ever; pause the run instead, or ask an administrator, who may"
            )));
        }
        if self.state.hourly.count(deed, by, now) >= MOST_AN_HOUR {
            return Err(Rejection::NotPossible(format!(
                "{by} has {deed} {MOST_AN_HOUR} times within an hour, the most that one operator may; ask an administrator, who \
                 may do it more often"
            )));
        }
        Ok(())
    }
}
