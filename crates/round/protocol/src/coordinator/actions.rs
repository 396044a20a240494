//! What operators do to a run: pause it, take a model out of use, go back to an earlier one, remove a member.
//!
//! The shell has checked who may. Whatever an action changes is a record first, like everything else.

use std::collections::BTreeMap;

use checkpoint::{Action, Manifest, OPERATOR_BYTES_MAX, REASON_BYTES_MAX, SignedManifest};
use secagg::ClientId;

use super::state::{Absence, State};
use super::{Artifacts, Coordinator};
use crate::Timestamp;
use crate::invariant::invariant;
use crate::record::Record;
use messages::{Attempt, DropReason, Rejection, RoundOutcome, RunEnd};

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// No attempt opens until [`Act::Resume`]; the one in progress goes on to its end.
    Pause { by: String, reason: String },
    /// Rounds open again.
    Resume { by: String },
    /// The run is over, for good. The attempt in progress ends at once.
    Stop { by: String, reason: String },
    /// Nobody trains any more on the model that was this round's result. The attempt in progress ends at once, since
    /// the signed record takes the next place in the chain. Where it is the newest model, no round opens until a
    /// [`Act::Rollback`].
    Quarantine {
        /// The round whose result it was.
        round: u64,
        by: String,
        reason: String,
    },
    /// The run goes on from the model that was this round's result. The attempt in progress ends at once. What was
    /// spent since stays spent, and rounds since stay counted.
    Rollback {
        /// The round whose result it was.
        to_round: u64,
        by: String,
        reason: String,
    },
    /// A member that [`Act::Remove`] put out, or that was caught at a lie, may be in cohorts again.
    Restore { client: ClientId, by: String, reason: String },
    /// Two members that a complaint keeps apart may be in one cohort again.
    Reconcile {
        /// One of them.
        one: ClientId,
        other: ClientId,
        by: String,
        reason: String,
    },
    /// A member is out of the attempt in progress, and in no later one. What it said is taken back as far as the set
    /// that it would be in is not fixed.
    Remove { client: ClientId, reason: String },
}

const HELD: &str = "the newest model is quarantined: no round opens until a rollback";

/// What the records of actions come to.
#[derive(Default)]
pub(super) struct Acted {
    /// Who paused the run, and why.
    paused: Option<(String, String)>,
    /// In words, by the round that published the model.
    quarantined: BTreeMap<u64, String>,
    /// From each round with a result to the one whose model it started from.
    origins: BTreeMap<u64, u64>,
    /// The round whose result the newest model is.
    base: u64,
    /// The record of the newest result, and those of actions since: what a crash may have left unpublished, since
    /// actions follow each other without a silo's answer between.
    pub(super) recent: Vec<SignedManifest>,
}

impl Acted {
    /// A record of the chain is applied.
    pub(super) fn chained(&mut self, signed: &SignedManifest, manifest: &Manifest) {
        match &manifest.action {
            None => {
                self.origins.insert(manifest.round, self.base);
                self.base = manifest.round;
                self.recent.clear();
            }
            Some(action @ Action::Quarantine { round, .. }) => {
                self.quarantined.insert(*round, action.to_string());
            }
            Some(Action::Rollback { to_round, .. }) => self.base = *to_round,
        }
        self.recent.push(signed.clone());
    }

    pub(super) fn pause(&mut self, by: &str, reason: &str) {
        self.paused = Some((by.to_owned(), reason.to_owned()));
    }

    pub(super) fn resume(&mut self) {
        self.paused = None;
    }

    /// Whether the newest model came from this round's result, or is it.
    fn descends_from(&self, round: u64) -> bool {
        let mut at = self.base;
        while at > round {
            // An origin is an earlier round, so this ends.
            at = match self.origins.get(&at) {
                Some(origin) => *origin,
                None => {
                    invariant!("C3", "round {at} has no origin: the chain goes back to none but a result")
                }
            };
        }
        at == round
    }
}

impl State {
    /// Whether no round may open until an operator acts.
    pub(super) fn is_held(&self) -> bool {
        self.acted.paused.is_some() || self.head_is_quarantined()
    }

    fn head_is_quarantined(&self) -> bool {
        self.head.as_ref().is_some_and(|head| self.chain.is_quarantined(&head.model.params_digest))
    }

    /// What operators have done that still matters, in words.
    pub(super) fn notices(&self) -> Vec<String> {
        let paused = self.acted.paused.iter().map(|(by, reason)| format!("paused by {by}: {reason}"));
        let quarantined = self.acted.quarantined.iter().map(|(round, what)| {
            let descends = if self.acted.descends_from(*round) { "descends" } else { "does not descend" };
            match self.acted.base == *round {
                true => what.clone(),
                false => format!("{what}; the newest model {descends} from it"),
            }
        });
        let held = self.head_is_quarantined().then(|| HELD.to_owned());
        paused.chain(quarantined).chain(held).collect()
    }
}

impl Coordinator {
    /// The place in the chain that an action's record takes now: the shell stages its files under it.
    pub fn action_at(&self) -> Attempt {
        self.state.next_after(&self.setup)
    }

    /// Whether this would change anything. The shell asks before it stages a copy of a model, and before it counts who does what:
    /// to ask twice costs nothing.
    ///
    /// # Errors
    /// [`Rejection::AlreadySo`]; [`Rejection::NotPossible`] of a run that is over and is to be paused or resumed.
    pub fn changes_something(&self, act: &Act) -> Result<(), Rejection> {
        let acted = &self.state.acted;
        let so = match act {
            _ if self.is_new() => None,
            Act::Pause { .. } | Act::Resume { .. } | Act::Stop { .. } if self.ended().is_some() => {
                let why = self.ended().map(|end| format!("the run is over: {end}")).unwrap_or_default();
                match act {
                    Act::Stop { .. } => Some(why),
                    _ => return impossible(why),
                }
            }
            Act::Pause { .. } => {
                acted.paused.as_ref().map(|(by, why)| format!("the run is paused already, by {by}: {why}"))
            }
            Act::Resume { .. } => acted.paused.is_none().then(|| "the run is not paused".to_owned()),
            Act::Quarantine { round, .. } => {
                acted.quarantined.get(round).map(|what| format!("quarantined already: {what}"))
            }
            // One that is quarantined holds the run, and going back to it is no way out.
            Act::Rollback { to_round, .. } => (acted.base == *to_round && !self.state.head_is_quarantined())
                .then(|| format!("the newest model is round {to_round}'s already")),
            Act::Stop { .. } | Act::Restore { .. } | Act::Reconcile { .. } | Act::Remove { .. } => None,
        };
        so.map_or(Ok(()), |so| Err(Rejection::AlreadySo(so)))
    }

    /// Each act by its own rule, in one place: what is not possible is refused before anything is written down, and what is
    /// written down is one record, but for those that end the attempt in progress or a member's part in it.
    pub(super) fn act(
        &mut self,
        act: Act,
        staged: Option<Artifacts>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        if self.is_new() {
            return impossible("the run has not begun");
        }
        self.changes_something(&act)?;
        // An action on the chain returns at once: it ends the attempt in progress before its own record is written.
        let record = match act {
            Act::Pause { by, reason } => {
                check_said(&by, &reason)?;
                Record::Paused { now, by, reason }
            }
            Act::Resume { by } => {
                check_words(&by, OPERATOR_BYTES_MAX, "the operator's name")?;
                self.idle_since = now;
                Record::Resumed { now, by }
            }
            Act::Stop { by, reason } => {
                check_said(&by, &reason)?;
                self.finish(RunEnd::Stopped { by, reason });
                return Ok(());
            }
            Act::Restore { client, by, reason } => {
                if self.state.absent.get(&client).is_none_or(Absence::is_declined) {
                    return impossible(format!("silo {client} is not barred"));
                }
                check_said(&by, &reason)?;
                self.reasons.over(client);
                Record::Restored { now, client, by, reason }
            }
            Act::Reconcile { one, other, by, reason } => {
                if !self.state.apart.keeps(one, other, self.state.next.round) {
                    return impossible(format!("no complaint keeps silos {one} and {other} apart"));
                }
                check_said(&by, &reason)?;
                Record::Reconciled { now, one, other, by, reason }
            }
            Act::Quarantine { round, by, reason } => {
                let Some(model) = self.state.chain.model_of(round) else {
                    let why = format!("round {round} has no result; name the round whose result it was");
                    return impossible(why);
                };
                let action = Action::Quarantine { model, round, reason, by };
                return self.chain_action(action, RoundOutcome::Quarantined { round }, None, now);
            }
            Act::Rollback { to_round, by, reason } => {
                return self.roll_back(to_round, by, reason, staged, now);
            }
            Act::Remove { client, reason } => return self.remove(client, reason),
        };
        self.commit(record);
        Ok(())
    }

    fn roll_back(
        &mut self,
        to_round: u64,
        by: String,
        reason: String,
        staged: Option<Artifacts>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        if self.state.chain.model_of(to_round).is_none() {
            return impossible(format!("round {to_round} has no result to go back to"));
        }
        if self.state.acted.base == to_round {
            return impossible(format!("the newest model is round {to_round}'s already"));
        }
        if staged.is_none() {
            return impossible(format!("the files of round {to_round} are not there"));
        }
        let outcome = RoundOutcome::RolledBack { to_round };
        self.chain_action(Action::Rollback { to_round, reason, by }, outcome, staged, now)
    }

    /// Signs and publishes an action's record, after the attempt in progress. The chain's own rules say whether it
    /// makes sense, before anything is ended.
    fn chain_action(
        &mut self,
        action: Action,
        outcome: RoundOutcome,
        staged: Option<Artifacts>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        check_said(action.by(), action.reason())?;
        let head = self.state.begun();
        let files = staged
            .unwrap_or_else(|| Artifacts { model: head.model.clone(), optimizer: head.optimizer.clone() });
        let tried = self.sign(&self.action_manifest(now, action.clone(), files.clone()));
        if let Err(why) = self.state.chain.check(&tried) {
            return impossible(why.to_string());
        }
        self.abort(now, outcome);
        // Again: it names the attempt that it ended.
        let signed = self.sign(&self.action_manifest(now, action, files));
        let next = self.state.next.round + 1;
        self.commit(Record::Acted { now, manifest: signed.clone() });
        self.idle_since = now;
        self.publish(signed, next);
        Ok(())
    }

    fn action_manifest(&self, now: Timestamp, action: Action, files: Artifacts) -> Manifest {
        Manifest { action: Some(action), ..self.child(now, self.action_at(), files) }
    }

    fn remove(&mut self, client: ClientId, reason: String) -> Result<(), Rejection> {
        let rosters = [&self.state.roster, self.state.newest_roster()];
        if !rosters.iter().any(|roster| roster.keys().contains_key(&client)) {
            return Err(Rejection::UnknownClient(client));
        }
        check_words(&reason, REASON_BYTES_MAX, "the reason")?;
        self.drop_client(client, DropReason::Removed(reason.clone()));
        self.reasons.keeps_out(client, reason.clone());
        if self.state.absent.get(&client).is_none_or(Absence::is_declined) {
            self.commit(Record::Barred { client, reason });
        }
        self.links.remove(&client);
        Ok(())
    }
}

fn check_said(by: &str, reason: &str) -> Result<(), Rejection> {
    check_words(by, OPERATOR_BYTES_MAX, "the operator's name")?;
    check_words(reason, REASON_BYTES_MAX, "the reason")
}

fn check_words(text: &str, bytes_max: usize, what: &str) -> Result<(), Rejection> {
    if (1..=bytes_max).contains(&text.len()) {
        return Ok(());
    }
    impossible(format!("{what} has {} bytes; it needs 1 to {bytes_max}", text.len()))
}

fn impossible(why: impl Into<String>) -> Result<(), Rejection> {
    Err(Rejection::NotPossible(why.into()))
}
