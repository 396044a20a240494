//! What an audit says.

use std::fmt::Write;

use accounting::{Event, RdpCurve, rounded_down, rounded_up};
use empirical::membership::Attack;
use empirical::one_run::{Guesses, canaries_to_contradict, epsilon_bound_attainable, epsilon_lower_bound};
use plan::Plan;
use serde::Serialize;

use super::AuditError;

/// What is claimed of the run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Claim {
    pub(super) mode: String,
    pub(super) epsilon: Option<f64>,
    pub(super) delta: Option<f64>,
    pub(super) unit: String,
    pub(super) relation: String,
    pub(super) trust: String,
    /// What the claim is for one canary. Where silos are the unit and may be left out, a canary replaces its silo's update by
    /// another, which is twice as far.
    pub(super) epsilon_of_a_canary: Option<f64>,
}

impl Claim {
    /// What the plan's noise keeps over its whole run.
    pub(super) fn of(plan: &Plan) -> Result<Self, AuditError> {
        let epsilon = plan.event().map(|event| composed(plan, event, plan.rounds)).transpose()?;
        Self::after(plan, epsilon.flatten(), plan.rounds)
    }

    /// What is said to be spent by so many sums.
    pub(super) fn after(plan: &Plan, epsilon: Option<f64>, sums: u64) -> Result<Self, AuditError> {
        let delta = plan.budget().map(|(_, delta)| delta);
        let mode = plan.mode();
        let epsilon_of_a_canary = match plan.event().filter(|_| mode.unit() == "silo") {
            Some(event) => composed(plan, event.at_twice_the_sensitivity(), sums)?,
            None => epsilon,
        };
        Ok(Self {
            mode: mode.name().into(),
            epsilon,
            delta,
            unit: mode.unit().into(),
            relation: mode.relation().into(),
            trust: plan.trust(),
            epsilon_of_a_canary,
        })
    }
}

/// Epsilon of so many events, at the plan's delta.
fn composed(plan: &Plan, event: Event, count: u64) -> Result<Option<f64>, AuditError> {
    let Some((_, delta)) = plan.budget() else { return Ok(None) };
    let mut curve = RdpCurve::zero();
    curve.compose(&event, count)?;
    Ok(Some(curve.epsilon(delta)?.epsilon))
}

/// What an audit says of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The guesses are better than the claim allows.
    Contradicted,
    /// They could have been, and are not.
    NotContradicted,
    /// So few guesses contradict no such claim, were all of them right.
    CannotTell,
    /// The mode claims nothing.
    NothingClaimed,
}

/// What the attacks found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) claim: Claim,
    pub(super) canaries: u64,
    pub(super) guesses: u64,
    pub(super) correct: u64,
    pub(super) confidence: f64,
    /// The largest epsilon that the guesses contradict.
    pub(super) epsilon_lower_bound: f64,
    /// The largest that they could have contradicted: all right.
    pub(super) epsilon_bound_attainable: f64,
    pub(super) verdict: Verdict,
    /// Losses of members against those of held-out records, on the last model.
    pub(super) membership: Option<Membership>,
    /// How well a record is read off what leaves a silo, as a correlation with it.
    pub(super) inversion: Option<Inversion>,
}

#[derive(Debug, Serialize)]
pub(super) struct Membership {
    pub(super) members: usize,
    pub(super) others: usize,
    pub(super) auc: f64,
    pub(super) auc_interval_95: [f64; 2],
    pub(super) found_at_one_percent: f64,
}

impl Membership {
    pub(super) fn of(members: usize, others: usize, attack: Attack) -> Self {
        Self {
            members,
            others,
            auc: attack.auc,
            auc_interval_95: attack.interval,
            found_at_one_percent: attack.found_at_one_percent,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Inversion {
    pub(super) unmasked: f64,
    pub(super) noised: Option<f64>,
    pub(super) masked: f64,
}

impl Report {
    pub(super) fn new(claim: Claim, guesses: Guesses, confidence: f64) -> Self {
        let delta = claim.delta.unwrap_or_default();
        let bound = epsilon_lower_bound(&guesses, delta, confidence);
        let attainable = epsilon_bound_attainable(&guesses, delta, confidence);
        let verdict = match claim.epsilon_of_a_canary {
            None => Verdict::NothingClaimed,
            Some(claimed) if bound > claimed => Verdict::Contradicted,
            Some(claimed) if attainable > claimed => Verdict::NotContradicted,
            Some(_) => Verdict::CannotTell,
        };
        Self {
            claim,
            canaries: guesses.canaries,
            guesses: guesses.guesses,
            correct: guesses.correct,
            confidence,
            epsilon_lower_bound: bound,
            epsilon_bound_attainable: attainable,
            verdict,
            membership: None,
            inversion: None,
        }
    }

    /// Prints it; a contradicted claim is a failed verification.
    pub(super) fn finish(&self, json: bool) -> Result<(), AuditError> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            print!("{}", self.text());
        }
        if self.verdict != Verdict::Contradicted {
            return Ok(());
        }
        Err(AuditError::Contradicted {
            confidence: self.confidence,
            found: rounded_down(self.epsilon_lower_bound, 3).to_string(),
            claimed: rounded_up(self.claim.epsilon_of_a_canary.unwrap_or_default(), 3).to_string(),
        })
    }

    pub(super) fn text(&self) -> String {
        let claim = &self.claim;
        let claimed = match (claim.epsilon, claim.delta) {
            (Some(epsilon), Some(delta)) => format!("epsilon {} at delta {delta}", rounded_up(epsilon, 3)),
            _ => "nothing: this mode carries no differential privacy".into(),
        };
        let mut text = format!(
            "mode          {}\nclaimed       {claimed}\nunit          one {}; relation: {}\ntrusted       {}\n",
            claim.mode, claim.unit, claim.relation, claim.trust,
        );
        if let Some(epsilon) =
            claim.epsilon_of_a_canary.filter(|_| claim.epsilon_of_a_canary != claim.epsilon)
        {
            let _ = writeln!(
                text,
                "a canary      epsilon {}: it replaces its silo's update, which moves the sum twice as far",
                rounded_up(epsilon, 3)
            );
        }
        let _ = writeln!(
            text,
            "audit         {} of {} guesses right, of {} canaries\n\
             lower bound   epsilon {} at confidence {}; all guesses right would give {}\n\
             verdict       {}",
            self.correct,
            self.guesses,
            self.canaries,
            rounded_down(self.epsilon_lower_bound, 3),
            self.confidence,
            rounded_down(self.epsilon_bound_attainable, 3),
            self.said()
        );
        if let Some(m) = &self.membership {
            let _ = writeln!(
                text,
                "membership    AUC {:.3} ({:.3} to {:.3}) over {} members and {} others; {:.1} % found at 1 % false",
                m.auc,
                m.auc_interval_95[0],
                m.auc_interval_95[1],
                m.members,
                m.others,
                100.0 * m.found_at_one_percent
            );
        }
        if let Some(i) = &self.inversion {
            let noised =
                i.noised.map_or(String::new(), |noised| format!(", with a share of noise {noised:+.3}"));
            let _ = writeln!(
                text,
                "inversion     correlation with the record: unmasked {:+.3}{noised}, masked {:+.3}",
                i.unmasked, i.masked
            );
        }
        text.push_str("A low bound proves no privacy: it says that these attacks found no more.\n");
        text
    }

    fn said(&self) -> String {
        match self.verdict {
            Verdict::Contradicted => "CONTRADICTS THE CLAIM".into(),
            Verdict::NotContradicted => "does not contradict the claim".into(),
            Verdict::CannotTell => format!("cannot tell: {}", self.reach()),
            Verdict::NothingClaimed => "nothing is claimed".into(),
        }
    }

    /// What an audit of this size can contradict, and what it takes to contradict the claim.
    pub(super) fn reach(&self) -> String {
        let reach = format!(
            "with {} canaries, all guesses right show an epsilon above {}",
            self.canaries,
            rounded_down(self.epsilon_bound_attainable, 3)
        );
        let Some(epsilon) = self.claim.epsilon_of_a_canary else { return reach };
        let claimed = rounded_up(epsilon, 3);
        match canaries_to_contradict(epsilon, self.claim.delta.unwrap_or_default(), self.confidence) {
            Some(canaries) => format!("{reach}; it takes {canaries} to contradict the claimed {claimed}"),
            None => format!("{reach}; at this delta no number can contradict the claimed {claimed}"),
        }
    }
}
