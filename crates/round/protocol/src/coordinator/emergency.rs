//! What an operator may do who is no administrator: at night something must be stoppable, but a stolen token must not end
//! a run, nor fill its coordinator's disk.
//!
//! Each action that one person may repeat without end is counted, by the journal, so that a restart forgets none. Who is an
//! administrator is the shell's knowledge: it asks here for everybody else.

use checkpoint::{Action, Manifest};

use super::{Act, Coordinator};
use crate::Timestamp;
use crate::record::Record;
use messages::Rejection;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Paused,
    Resumed,
    Quarantined,
    RolledBack,
}

impl Deed {
    fn of(record: &Record) -> Option<(Timestamp, Deed, String)> {
        match record {
            Record::Paused { now, by, .. } => Some((*now, Deed::Paused, by.clone())),
            Record::Resumed { now, by } => Some((*now, Deed::Resumed, by.clone())),
            Record::Acted { now, manifest } => {
                let action = Manifest::from_bytes(&manifest.manifest_bytes).ok().and_then(|m| m.action)?;
                let quarantines = matches!(action, Action::Quarantine { .. });
                let deed = if quarantines { Deed::Quarantined } else { Deed::RolledBack };
                Some((*now, deed, action.by().to_owned()))
            }
            _ => None,
        }
    }

    /// Times that one person may do it, and within what time. A quarantine is for ever and takes one version each; it and a
    /// rollback leave a copy of a model on the disk, so that one person makes no more than seven in a day.
    fn most(self) -> (usize, u64) {
        match self {
            Deed::Paused | Deed::Resumed => (5, HOUR_MS),
            Deed::Quarantined => (2, DAY_MS),
            Deed::RolledBack => (5, DAY_MS),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Deed::Paused => "paused the run",
            Deed::Resumed => "resumed the run",
            Deed::Quarantined => "quarantined a model",
            Deed::RolledBack => "rolled the run back",
        }
    }
}

/// The newest day's deeds, oldest first: when, what, and who.
#[derive(Default)]
pub(super) struct Deeds(Vec<(Timestamp, Deed, String)>);

impl Deeds {
    /// A record is applied.
    pub(super) fn note(&mut self, record: &Record) {
        if let Some((now, deed, by)) = Deed::of(record) {
            self.0.retain(|(at, ..)| at.plus_ms(DAY_MS) > now);
            self.0.push((now, deed, by));
        }
    }

    /// Whether this person may do it no more at present.
    fn are_enough(&self, deed: Deed, by: &str, now: Timestamp) -> bool {
        let (most, within_ms) = deed.most();
        let newest = self.0.iter().filter(|(at, ..)| at.plus_ms(within_ms) > now);
        newest.filter(|(_, done, who)| *done == deed && who == by).count() >= most
    }
}

impl Coordinator {
    /// Whether somebody may do this now who is no administrator. The shell asks before it stages anything.
    ///
    /// # Errors
    /// [`Rejection::NotPossible`]: one too many within its time, or a quarantine that leaves nothing trained.
    pub fn operator_may(&self, act: &Act, now: Timestamp) -> Result<(), Rejection> {
        let (deed, by) = match act {
            Act::Pause { by, .. } => (Deed::Paused, by),
            Act::Resume { by } => (Deed::Resumed, by),
            Act::Quarantine { by, .. } => (Deed::Quarantined, by),
            Act::Rollback { by, .. } => (Deed::RolledBack, by),
            // Its author or an administrator stops a run: the shell knows who is.
            Act::Stop { .. } => return Ok(()),
            // Bars are counted where they are kept, a pair is together again once for each complaint, and only
            // administrators restore.
            Act::Restore { .. } | Act::Reconcile { .. } | Act::Remove { .. } => return Ok(()),
        };
        if let Act::Quarantine { round, .. } = act
            && self.state.chain.model_of(*round).is_some_and(|model| self.state.chain.is_last_sound(&model))
        {
            return Err(Rejection::NotPossible(format!(
                "without the model of round {round} no trained model is left that is not quarantined, and nothing lifts a \
                 quarantine; pause the run instead, or ask an administrator, who may"
            )));
        }
        if self.state.deeds.are_enough(deed, by, now) {
            let (most, within_ms) = deed.most();
            return Err(Rejection::NotPossible(format!(
                "{by} has {} {most} times within {}, the most that one operator may; ask an administrator, who may do it more \
                 often",
                deed.words(),
                if within_ms == DAY_MS { "a day" } else { "an hour" }
            )));
        }
        Ok(())
    }
}
