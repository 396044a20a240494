//! The journalled state: what `apply` builds from the records, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{AbortedRound, ChainVerifier, Manifest, SignedManifest};
use identity::{AuthorisedRoster, SignedRoster};
use params::Digest;
use secagg::{ClientId, Ctx0, RoundBinding};
use suspicion::{Apart, Spoiled};

use super::Setup;
use super::actions::Acted;
use super::declared::Declared;
use super::emergency::Deeds;
use super::phase::{Advertising, Phase, Round, Step, Summing};
use super::roster::Lineage;
use crate::Timestamp;
use crate::invariant::invariant;
use crate::record::Record;
use crate::server_step::round_start;
use messages::{Attempt, DropReason, RoundOutcome, RunEnd};

/// Reasons that one silo is written down to have declined for.
const DECLINES_MAX: usize = 8;

/// Everything that survives a crash.
pub(super) struct State {
    /// The roster in force: constant while an attempt is in progress.
    pub(super) roster: AuthorisedRoster,
    /// A later one, to be in force when the attempt in progress has ended.
    next_roster: Option<AuthorisedRoster>,
    /// Every roster of this journal, oldest first.
    pub(super) lineage: Lineage,
    pub(super) phase: Phase,
    /// The newest record, as it is published.
    pub(super) head_record: Option<SignedManifest>,
    /// The same, decoded.
    pub(super) head: Option<Manifest>,
    /// The rules of the chain, and what they need of earlier records.
    pub(super) chain: ChainVerifier,
    /// What operators did.
    pub(super) acted: Acted,
    /// How often they did it of late.
    pub(super) deeds: Deeds,
    /// When the run began, in milliseconds since the Unix epoch.
    pub(super) begun_ms: u64,
    /// When the newest attempt opened.
    pub(super) last_opened: Option<Timestamp>,
    /// Since when too few silos are willing; an operator's word to go on lets it wait anew.
    pub(super) waits_since: Option<Timestamp>,
    /// The attempt that opens next.
    pub(super) next: Attempt,
    pub(super) committed: u64,
    /// Rounds given up.
    pub(super) aborted: u64,
    /// Attempts aborted, of all rounds.
    pub(super) attempts_aborted: u64,
    /// Attempts aborted since the newest record.
    pub(super) aborted_since: Vec<AbortedRound>,
    /// Rounds in which uploads were asked for: each is charged to the budget, whatever became of it.
    pub(super) charged_rounds: u64,
    /// The last attempt was aborted: wait before the next.
    pub(super) backing_off: bool,
    pub(super) last_outcome: Option<RoundOutcome>,
    /// Who was out of the newest attempt that was aborted, and why.
    pub(super) last_dropped: BTreeMap<ClientId, DropReason>,
    /// Members that take no part in the run.
    pub(super) absent: BTreeMap<ClientId, Absence>,
    /// Digests of the reasons that each silo has declined the run for.
    declines: BTreeMap<ClientId, BTreeSet<Digest>>,
    /// What complaints come to.
    pub(super) apart: Apart,
    /// Rounds that included and that left out each client.
    pub(super) tallies: BTreeMap<ClientId, Tally>,
    /// What silos declared of their data.
    pub(super) declared: Declared,
    /// Who may spoil sums.
    pub(super) spoiled: Spoiled,
}

/// Why a member takes no part.
pub(super) enum Absence {
    /// In its own words, which it can take back.
    Declined(String),
    /// In the words of who put it out, or of what it was caught at.
    Barred(String),
}

impl Absence {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Declined(reason) | Self::Barred(reason) => reason,
        }
    }

    pub(super) fn is_declined(&self) -> bool {
        matches!(self, Self::Declined(_))
    }
}

#[derive(Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) included: u64,
    pub(super) left_out: u64,
}

impl State {
    pub(super) fn new(roster: AuthorisedRoster, corrupt: usize) -> Self {
        Self {
            roster,
            next_roster: None,
            lineage: Lineage::default(),
            phase: Phase::NotStarted,
            head_record: None,
            head: None,
            chain: ChainVerifier::new(None),
            acted: Acted::default(),
            deeds: Deeds::default(),
            begun_ms: 0,
            last_opened: None,
            waits_since: None,
            next: Attempt { round: 1, attempt: 1 },
            committed: 0,
            aborted: 0,
            attempts_aborted: 0,
            aborted_since: Vec::new(),
            charged_rounds: 0,
            backing_off: false,
            last_outcome: None,
            last_dropped: BTreeMap::new(),
            absent: BTreeMap::new(),
            declines: BTreeMap::new(),
            apart: Apart::new(corrupt),
            tallies: BTreeMap::new(),
            declared: Declared::default(),
            spoiled: Spoiled::new(corrupt),
        }
    }

    /// The latest roster that the authority has signed, in force or not yet.
    pub(super) fn newest_roster(&self) -> &AuthorisedRoster {
        self.next_roster.as_ref().unwrap_or(&self.roster)
    }

    pub(super) fn head_round(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.round)
    }

    /// Whether it is written down that a silo declines the run: each of its reasons once, and no more than a few. Whoever
    /// declines and takes it back without end is kept out by its session alone.
    pub(super) fn is_new_decline(&self, client: ClientId, reason: &str) -> bool {
        self.declines.get(&client).is_none_or(|said| {
            said.len() < DECLINES_MAX && !said.contains(&Digest::sha256(reason.as_bytes()))
        })
    }

    /// The newest record, decoded.
    ///
    /// # Panics
    /// C1: before the run has begun.
    pub(super) fn begun(&self) -> &Manifest {
        match &self.head {
            Some(head) => head,
            None => invariant!("C1", "version 0 is a run's first record, and nothing but that begins one"),
        }
    }

    /// The context that every message of an attempt is bound to.
    fn context(&self, setup: &Setup, at: Attempt) -> Ctx0 {
        let head = self.begun();
        RoundBinding {
            run_id: *head.run_id.as_bytes(),
            plan_hash: *setup.plan.digest().as_bytes(),
            roster_hash: *self.roster.digest().as_bytes(),
            round: at.round,
            attempt: at.attempt,
            model_hash: *round_start(&setup.plan, head).as_bytes(),
        }
        .ctx0()
    }

    /// Applies one journalled fact.
    ///
    /// # Panics
    /// C1: a record that cannot follow those before it.
    pub(super) fn apply(&mut self, record: &Record, setup: &Setup) {
        let before = self.phase.name();
        if self.follow(record, setup).is_none() {
            invariant!("C1", "{record:?} cannot follow the phase {}", before.word());
        }
        self.deeds.note(record);
        if matches!(self.phase, Phase::Idle | Phase::Ended(_))
            && let Some(roster) = self.next_roster.take()
        {
            self.roster = roster;
            let members = self.roster.keys();
            self.apart.under(|client| members.contains_key(client));
        }
    }

    /// One method a record, here or where the record's subject is. `None` where it has no place in the phase: which record
    /// may follow which is decided by those methods that say so, and the other records may come at any time.
    fn follow(&mut self, record: &Record, setup: &Setup) -> Option<()> {
        match record {
            Record::RunStarted { roster, genesis, .. } => self.started(roster, genesis, setup)?,
            Record::AttemptBegun { now, at, cohort } => self.attempt_begun(*now, *at, cohort, setup)?,
            Record::Staged(header) => {
                self.declared.staged(header.client);
                self.answered(record)?;
            }
            Record::Advertised(_) | Record::Shared(_) | Record::IncludedSigned(_) | Record::Unmasked(_) => {
                self.answered(record)?;
            }
            Record::SharesFixed { now } => {
                // From here on silos are asked for uploads: the round is charged, whatever becomes of it.
                self.charged_rounds += 1;
                self.step_ended(*now, record, setup)?;
            }
            Record::AdvertsFixed { now }
            | Record::IncludedFixed { now }
            | Record::UnmaskRequested { now }
            | Record::SharesComplete { now } => self.step_ended(*now, record, setup)?,
            Record::Committed { manifest, .. } => self.round_committed(manifest)?,
            Record::Aborted { now, outcome } => self.aborted(*now, outcome, setup)?,
            Record::Dropped { client, reason } => self.dropped(client, reason),
            Record::Declined { client, reason } => self.declined(*client, reason),
            Record::Willing { client } | Record::Restored { client, .. } => drop(self.absent.remove(client)),
            Record::Barred { client, reason } => {
                self.absent.insert(*client, Absence::Barred(reason.clone()));
            }
            Record::DataDeclared { client, data } => self.declared.declare_data(*client, *data),
            Record::SandboxDeclared { client, level } => {
                self.declared.declare_sandbox(*client, level.clone());
            }
            Record::KeptApart { accuser, accused } => {
                let round = self.phase.round().map_or(self.next.round, |round| round.at.round);
                self.apart.complained(*accuser, *accused, round);
            }
            Record::Reconciled { one, other, .. } => self.apart.reconciled(*one, *other),
            Record::RosterChanged { roster } => {
                let roster = authorised(roster, setup);
                self.lineage.add(&roster);
                self.next_roster = Some(roster);
            }
            Record::Paused { by, reason, .. } => self.acted.pause(by, reason),
            Record::Resumed { .. } => {
                self.acted.resume();
                self.waits_since = None;
            }
            Record::Waits { now, over } => self.waits_since = (!over).then_some(*now),
            Record::Acted { manifest, .. } => self.operator_acted(manifest)?,
            Record::Ended { reason } => self.ended(reason)?,
            // Of the federation's list, which reads it itself.
            Record::Submitted { .. } => {}
        }
        Some(())
    }

    fn started(&mut self, roster: &SignedRoster, genesis: &SignedManifest, setup: &Setup) -> Option<()> {
        let Phase::NotStarted = self.phase else { return None };
        self.roster = authorised(roster, setup);
        self.lineage.add(&self.roster);
        // It names the run, as the record does.
        self.push_head(genesis);
        self.begun_ms = self.begun().created_ms;
        self.phase = Phase::Idle;
        Some(())
    }

    fn attempt_begun(
        &mut self,
        now: Timestamp,
        at: Attempt,
        cohort: &[ClientId],
        setup: &Setup,
    ) -> Option<()> {
        let Phase::Idle = self.phase else { return None };
        self.backing_off = false;
        self.last_opened = Some(now);
        self.waits_since = None;
        self.declared.attempt_begun();
        let round = Round {
            at,
            model: self.begun().model.params_digest,
            context: self.context(setup, at),
            begun: now,
            since: now,
            cohort: cohort.iter().copied().collect(),
            dropped: BTreeMap::new(),
        };
        let step = Advertising { minimum: setup.plan.cohort.minimum, adverts: BTreeMap::new() };
        self.phase = Phase::InRound(Box::new(round), Step::Advertising(step));
        Some(())
    }

    fn answered(&mut self, record: &Record) -> Option<()> {
        let Phase::InRound(_, step) = &mut self.phase else { return None };
        step.answered(record)
    }

    fn step_ended(&mut self, now: Timestamp, record: &Record, setup: &Setup) -> Option<()> {
        let (mut round, step) = self.out_of_round()?;
        let step = step.ended(record, &round, self.roster.keys(), &setup.plan)?;
        round.since = now;
        self.phase = Phase::InRound(round, step);
        Some(())
    }

    /// Leaves the attempt in progress, if there is one.
    fn out_of_round(&mut self) -> Option<(Box<Round>, Step)> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::InRound(round, step) => Some((round, step)),
            Phase::NotStarted | Phase::Idle | Phase::Ended(_) => None,
        }
    }

    fn round_committed(&mut self, manifest: &SignedManifest) -> Option<()> {
        let (round, Step::Summing(Summing { sum, .. })) = self.out_of_round()? else { return None };
        for client in &round.cohort {
            let tally = self.tallies.entry(*client).or_default();
            let counted =
                if sum.included.contains(client) { &mut tally.included } else { &mut tally.left_out };
            *counted += 1;
        }
        self.apart.committed(&sum.included);
        self.declared.committed();
        self.spoiled.commit(&sum.included);
        self.push_head(manifest);
        self.committed += 1;
        self.aborted_since.clear();
        self.last_outcome = Some(RoundOutcome::Committed);
        self.next = Attempt { round: round.at.round + 1, attempt: 1 };
        Some(())
    }

    fn aborted(&mut self, now: Timestamp, outcome: &RoundOutcome, setup: &Setup) -> Option<()> {
        // Whoever was still silent had no time to answer, where the attempt ended because others had left it.
        let awaited = self.phase.patience(&setup.plan).is_some_and(|patience| now < patience);
        self.next = self.next_after(setup);
        let (round, step) = self.out_of_round()?;
        self.aborted_since.push(AbortedRound {
            round: round.at.round,
            attempt: round.at.attempt,
            outcome: outcome.to_string(),
        });
        if let (Step::Summing(step), RoundOutcome::Weights(_)) = (&step, outcome) {
            self.spoiled.spoil(&step.sum.included);
        }
        let fell_out = round.dropped.iter().filter(|(_, reason)| !(awaited && reason.is_silence()));
        self.apart.aborted(fell_out.map(|(client, _)| client));
        self.attempts_aborted += 1;
        if self.next.round > round.at.round {
            self.aborted += 1;
        }
        self.last_outcome = Some(outcome.clone());
        self.last_dropped = round.dropped;
        self.backing_off = true;
        Some(())
    }

    /// The attempt that would open next if the one in progress were aborted now.
    pub(super) fn next_after(&self, setup: &Setup) -> Attempt {
        let Some(Round { at, .. }) = self.phase.round() else { return self.next };
        // Whoever has received U2 may have uploaded, and a client takes no second attempt after that.
        let before_uploads = matches!(self.phase, Phase::InRound(_, Step::Advertising(_) | Step::Sharing(_)));
        if before_uploads && at.attempt < setup.plan.timing.attempts_max {
            Attempt { round: at.round, attempt: at.attempt + 1 }
        } else {
            Attempt { round: at.round + 1, attempt: 1 }
        }
    }

    fn dropped(&mut self, client: &ClientId, reason: &DropReason) {
        let Phase::InRound(round, step) = &mut self.phase else { return };
        round.dropped.insert(*client, reason.clone());
        if matches!(reason, DropReason::Removed(_)) {
            step.take_back(client);
        }
    }

    fn declined(&mut self, client: ClientId, reason: &str) {
        self.declines.entry(client).or_default().insert(Digest::sha256(reason.as_bytes()));
        self.absent.insert(client, Absence::Declined(reason.to_owned()));
    }

    fn operator_acted(&mut self, manifest: &SignedManifest) -> Option<()> {
        let (Phase::Idle | Phase::Ended(_)) = self.phase else { return None };
        self.push_head(manifest);
        self.aborted_since.clear();
        self.waits_since = None;
        self.next = Attempt { round: self.head_round() + 1, attempt: 1 };
        Some(())
    }

    fn ended(&mut self, reason: &RunEnd) -> Option<()> {
        match (&self.phase, reason) {
            (Phase::Idle, _) => {}
            // It ends the attempt in progress too.
            (Phase::InRound(..), RunEnd::Stopped { .. }) => self.attempts_aborted += 1,
            _ => return None,
        }
        self.phase = Phase::Ended(reason.clone());
        Some(())
    }

    fn push_head(&mut self, signed: &SignedManifest) {
        match self.chain.push(signed) {
            Ok(manifest) => {
                self.acted.chained(signed, &manifest);
                self.head = Some(manifest);
            }
            Err(why) => invariant!("C3", "a journalled checkpoint record does not continue the chain: {why}"),
        }
        self.head_record = Some(signed.clone());
    }
}

/// A roster that was admitted under the authority's signature before it was journalled.
fn authorised(roster: &SignedRoster, setup: &Setup) -> AuthorisedRoster {
    match roster.clone().authorise(&setup.authority) {
        Ok(roster) => roster,
        Err(why) => invariant!("C1", "a journalled roster does not open: {why}"),
    }
}
