//! The journalled state: what `apply` builds from the records, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkpoint::{AbortedRound, ChainVerifier, Manifest, SignedManifest};
use identity::{AuthorisedRoster, SignedRoster};
use params::Digest;
use secagg::{Advert, ClientId, Ctx0, FixedCohort, RoundBinding};

use super::Setup;
use super::actions::Acted;
use super::apart::Apart;
use super::emergency::Deeds;
use super::phase::{Advertising, Consistency, Phase, Recovering, Round, Sharing, Unmasking, Uploading};
use super::roster::Lineage;
use super::spoiled::Spoiled;
use super::told::DataTold;
use crate::Timestamp;
use crate::invariant::invariant;
use crate::message::{Attempt, DropReason, RoundOutcome};
use crate::record::Record;
use crate::step::round_start;

/// Reasons that one silo's refusals are written down for.
const REFUSALS_MAX: usize = 8;

/// Everything that survives a crash.
pub(super) struct State {
    pub(super) run: Option<Run>,
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
    /// The attempt that opens next.
    pub(super) next: Attempt,
    /// Rounds committed.
    pub(super) committed: u64,
    /// Rounds given up.
    pub(super) aborted: u64,
    /// Attempts aborted, of all rounds.
    pub(super) attempts_aborted: u64,
    /// Attempts aborted since the newest record.
    pub(super) aborted_since: Vec<AbortedRound>,
    /// Rounds in which uploads were asked for: each is charged to the budget, whatever became of it.
    pub(super) steps: u64,
    /// The last attempt was aborted: wait before the next.
    pub(super) backing_off: bool,
    pub(super) last_outcome: Option<RoundOutcome>,
    /// Who was out of the newest attempt that was aborted, and why.
    pub(super) last_dropped: BTreeMap<ClientId, DropReason>,
    /// Members that take no part in the run.
    pub(super) refused: BTreeMap<ClientId, Absence>,
    /// Digests of the reasons that each silo has refused the run for.
    refusals: BTreeMap<ClientId, BTreeSet<Digest>>,
    /// What complaints come to.
    pub(super) apart: Apart,
    /// Rounds that included and that left out each client.
    pub(super) tallies: BTreeMap<ClientId, Tally>,
    /// What silos told of their data.
    pub(super) data: DataTold,
    /// Who may spoil sums.
    pub(super) spoiled: Spoiled,
}

pub(super) struct Run {
    pub(super) id: Digest,
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
            run: None,
            roster,
            next_roster: None,
            lineage: Lineage::default(),
            phase: Phase::NotStarted,
            head_record: None,
            head: None,
            chain: ChainVerifier::new(None),
            acted: Acted::default(),
            deeds: Deeds::default(),
            next: Attempt { round: 1, attempt: 1 },
            committed: 0,
            aborted: 0,
            attempts_aborted: 0,
            aborted_since: Vec::new(),
            steps: 0,
            backing_off: false,
            last_outcome: None,
            last_dropped: BTreeMap::new(),
            refused: BTreeMap::new(),
            refusals: BTreeMap::new(),
            apart: Apart::new(corrupt),
            tallies: BTreeMap::new(),
            data: DataTold::default(),
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

    /// Whether a silo's refusal of the run is written down: each of its reasons once, and no more than a few. Whoever
    /// refuses and takes it back without end is kept out by its session alone.
    pub(super) fn is_new_refusal(&self, client: ClientId, reason: &str) -> bool {
        self.refusals.get(&client).is_none_or(|said| {
            said.len() < REFUSALS_MAX && !said.contains(&Digest::sha256(reason.as_bytes()))
        })
    }

    /// The context that every message of an attempt is bound to.
    pub(super) fn context(&self, setup: &Setup, at: Attempt) -> Ctx0 {
        let (Some(run), Some(head)) = (&self.run, &self.head) else {
            invariant!("C1", "an attempt before the run started");
        };
        RoundBinding {
            run_id: *run.id.as_bytes(),
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
        self.advance_phase(record, setup);
        self.deeds.note(record);
        if matches!(self.phase, Phase::Idle | Phase::Ended(_))
            && let Some(roster) = self.next_roster.take()
        {
            self.roster = roster;
            let members = self.roster.keys();
            self.apart.under(|client| members.contains_key(client));
        }
    }

    fn advance_phase(&mut self, record: &Record, setup: &Setup) {
        let phase = std::mem::replace(&mut self.phase, Phase::NotStarted);
        self.phase = match (phase, record) {
            (Phase::NotStarted, Record::RunStarted { run_id, roster, genesis, .. }) => {
                self.roster = opened(roster, setup);
                self.lineage.add(&self.roster);
                self.run = Some(Run { id: *run_id });
                self.push_head(genesis);
                Phase::Idle
            }
            (Phase::Idle, Record::Opened { now, at, cohort }) => {
                self.backing_off = false;
                self.data.opened();
                let model = self.head.as_ref().map(|head| head.model.params_digest);
                let Some(model) = model else { invariant!("C1", "an attempt without a model") };
                let context = self.context(setup, *at);
                Phase::Advertising(Advertising {
                    round: Round {
                        at: *at,
                        model,
                        context,
                        opened: *now,
                        since: *now,
                        cohort: cohort.iter().copied().collect(),
                        dropped: BTreeMap::new(),
                    },
                    adverts: BTreeMap::new(),
                })
            }
            (Phase::Advertising(mut phase), Record::Advertised(advert)) => {
                phase.adverts.insert(advert.id, advert.clone());
                Phase::Advertising(phase)
            }
            (Phase::Advertising(phase), Record::RosterFixed { now }) => {
                let adverts: Vec<Advert> = phase.adverts.into_values().collect();
                let context = phase.round.context;
                match FixedCohort::new(context, &adverts, self.roster.keys(), &setup.plan.floors()) {
                    Ok(cohort) => Phase::Sharing(Sharing {
                        round: phase.round.entered(*now),
                        cohort,
                        bundles: BTreeMap::new(),
                    }),
                    Err(why) => invariant!("C2", "a fixed roster that does not verify: {why}"),
                }
            }
            (Phase::Sharing(mut phase), Record::Shared(bundle)) => {
                phase.bundles.insert(bundle.sender, bundle.clone());
                Phase::Sharing(phase)
            }
            (Phase::Sharing(phase), Record::SharesFixed { now }) => {
                self.steps += 1;
                match phase.cohort.fix_u2(&phase.bundles) {
                    Ok(cohort) => Phase::Uploading(Uploading {
                        round: phase.round.entered(*now),
                        cohort: Arc::new(cohort),
                        staged: BTreeMap::new(),
                    }),
                    Err(why) => invariant!("C2", "a fixed U2 that does not verify: {why}"),
                }
            }
            (Phase::Uploading(mut phase), Record::Staged(header)) => {
                phase.staged.insert(header.client, header.clone());
                self.data.staged(header.client);
                Phase::Uploading(phase)
            }
            (Phase::Uploading(phase), Record::IncludedFixed { now }) => Phase::Consistency(Consistency {
                round: phase.round.entered(*now),
                included: phase.staged.keys().copied().collect(),
                cohort: phase.cohort,
                staged: phase.staged,
                signatures: BTreeMap::new(),
            }),
            (Phase::Consistency(mut phase), Record::IncludedSigned(signature)) => {
                phase.signatures.insert(signature.id, *signature);
                Phase::Consistency(phase)
            }
            (Phase::Consistency(phase), Record::UnmaskRequested { now }) => Phase::Unmasking(Unmasking {
                round: phase.round.entered(*now),
                cohort: phase.cohort,
                included: phase.included,
                staged: phase.staged,
                signatures: phase.signatures.into_values().collect(),
                answers: BTreeMap::new(),
            }),
            (Phase::Unmasking(mut phase), Record::Unmasked(shares)) => {
                phase.answers.insert(shares.id, shares.clone());
                Phase::Unmasking(phase)
            }
            (Phase::Unmasking(phase), Record::SharesComplete { now }) => Phase::Recovering(Recovering {
                round: phase.round.entered(*now),
                cohort: phase.cohort,
                included: phase.included,
                staged: phase.staged,
                answers: phase.answers,
            }),
            (Phase::Recovering(phase), Record::Committed { manifest, .. }) => {
                self.tally(&phase);
                self.apart.committed(&phase.included);
                self.data.committed();
                self.spoiled.commit(&phase.included);
                self.push_head(manifest);
                self.committed += 1;
                self.aborted_since.clear();
                self.last_outcome = Some(RoundOutcome::Committed);
                self.next = Attempt { round: phase.round.at.round + 1, attempt: 1 };
                Phase::Idle
            }
            (phase, Record::Dropped { client, reason }) => {
                let mut phase = phase;
                if let Some(round) = phase.round_mut() {
                    round.dropped.insert(*client, reason.clone());
                }
                if matches!(reason, DropReason::Removed(_)) {
                    phase.take_back(client);
                }
                phase
            }
            (phase, Record::Refused { client, reason }) => {
                self.refusals.entry(*client).or_default().insert(Digest::sha256(reason.as_bytes()));
                self.refused.insert(*client, Absence::Declined(reason.clone()));
                phase
            }
            (phase, Record::Willing { client } | Record::Restored { client, .. }) => {
                self.refused.remove(client);
                phase
            }
            (phase, Record::Barred { client, reason }) => {
                self.refused.insert(*client, Absence::Barred(reason.clone()));
                phase
            }
            (phase, Record::DataTold { client, data }) => {
                self.data.tell(*client, *data);
                phase
            }
            (phase, Record::KeptApart { accuser, accused }) => {
                let round = phase.round().map_or(self.next.round, |round| round.at.round);
                self.apart.complained(*accuser, *accused, round);
                phase
            }
            (phase, Record::Reconciled { one, other, .. }) => {
                self.apart.reconciled(*one, *other);
                phase
            }
            (phase, Record::RosterChanged { roster }) => {
                let roster = opened(roster, setup);
                self.lineage.add(&roster);
                self.next_roster = Some(roster);
                phase
            }
            (phase, Record::Aborted { now, outcome }) => self.abort(&phase, *now, outcome, setup),
            (Phase::Idle, Record::Ended { reason }) => Phase::Ended(reason.clone()),
            (phase, Record::Paused { by, reason, .. }) => {
                self.acted.pause(by, reason);
                phase
            }
            (phase, Record::Resumed { .. }) => {
                self.acted.resume();
                phase
            }
            (phase @ (Phase::Idle | Phase::Ended(_)), Record::Acted { manifest, .. }) => {
                self.push_head(manifest);
                self.aborted_since.clear();
                self.next = Attempt { round: self.head_round() + 1, attempt: 1 };
                phase
            }
            (phase, record) => invariant!("C1", "{record:?} cannot follow the phase {}", phase.name()),
        };
    }

    fn abort(&mut self, phase: &Phase, now: Timestamp, outcome: &RoundOutcome, setup: &Setup) -> Phase {
        let Some(round) = phase.round() else { invariant!("C1", "an abort without an attempt") };
        self.aborted_since.push(AbortedRound {
            round: round.at.round,
            attempt: round.at.attempt,
            outcome: outcome.to_string(),
        });
        if let (Phase::Recovering(phase), RoundOutcome::Weights(_)) = (phase, outcome) {
            self.spoiled.spoil(&phase.included);
        }
        // Whoever was still silent had no time to answer, where the attempt ended because others had left it.
        let awaited = phase.patience(&setup.plan).is_some_and(|patience| now < patience);
        let fell_out = round.dropped.iter().filter(|(_, reason)| !(awaited && reason.is_silence()));
        self.apart.aborted(fell_out.map(|(client, _)| client));
        self.next = self.next_after(phase, setup);
        self.attempts_aborted += 1;
        if self.next.round > round.at.round {
            self.aborted += 1;
        }
        self.last_outcome = Some(outcome.clone());
        self.last_dropped = round.dropped.clone();
        self.backing_off = true;
        Phase::Idle
    }

    /// The attempt that would open next if the one in progress were aborted now.
    pub(super) fn next_after(&self, phase: &Phase, setup: &Setup) -> Attempt {
        let Some(Round { at, .. }) = phase.round() else { return self.next };
        // Who was told U2 may have uploaded, and a client takes no second attempt after that.
        if phase.before_uploads() && at.attempt < setup.plan.timing.attempts_max {
            Attempt { round: at.round, attempt: at.attempt + 1 }
        } else {
            Attempt { round: at.round + 1, attempt: 1 }
        }
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

    fn tally(&mut self, phase: &Recovering) {
        for client in &phase.round.cohort {
            let tally = self.tallies.entry(*client).or_default();
            if phase.included.contains(client) {
                tally.included += 1;
            } else {
                tally.left_out += 1;
            }
        }
    }
}

/// A roster that was admitted under the authority's signature before it was journalled.
fn opened(roster: &SignedRoster, setup: &Setup) -> AuthorisedRoster {
    match roster.clone().authorise(&setup.authority) {
        Ok(roster) => roster,
        Err(why) => invariant!("C1", "a journalled roster does not open: {why}"),
    }
}
