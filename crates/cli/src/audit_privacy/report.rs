//! What an audit says.

use std::fmt::Write;

use accounting::{rounded_down, rounded_up};
use empirical::membership::Attack;
use empirical::one_run::{Guesses, epsilon_lower_bound};
use identity::Plan;
use serde::Serialize;

use crate::Failure;

/// What is claimed of the run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Claim {
    pub(super) mode: String,
    pub(super) epsilon: Option<f64>,
    pub(super) delta: Option<f64>,
    pub(super) unit: String,
    pub(super) relation: String,
    pub(super) trust: String,
}

impl Claim {
    /// What the plan promises for its whole run.
    pub(super) fn of(plan: &Plan) -> Self {
        let (epsilon, delta) = plan.budget().unzip();
        let mode = plan.mode();
        Self {
            mode: mode.name().into(),
            epsilon,
            delta,
            unit: mode.unit().into(),
            relation: mode.relation().into(),
            trust: plan.trust(),
        }
    }
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
    /// Whether the claim is not contradicted.
    pub(super) consistent: bool,
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
        let bound = epsilon_lower_bound(&guesses, claim.delta.unwrap_or_default(), confidence);
        let consistent = claim.epsilon.is_none_or(|epsilon| bound <= epsilon);
        Self {
            claim,
            canaries: guesses.canaries,
            guesses: guesses.guesses,
            correct: guesses.correct,
            confidence,
            epsilon_lower_bound: bound,
            consistent,
            membership: None,
            inversion: None,
        }
    }

    /// Prints it; a contradicted claim is a failed verification.
    pub(super) fn finish(&self, json: bool) -> Result<(), Failure> {
        if json {
            println!("{}", serde_json::to_string(self).map_err(Failure::failed)?);
        } else {
            print!("{}", self.text());
        }
        if self.consistent {
            return Ok(());
        }
        Err(Failure::verification(format!(
            "the audit CONTRADICTS THE CLAIM: at confidence {} epsilon is above {}, claimed is {}",
            self.confidence,
            rounded_down(self.epsilon_lower_bound, 3),
            rounded_up(self.claim.epsilon.unwrap_or_default(), 3)
        )))
    }

    pub(super) fn text(&self) -> String {
        let claim = &self.claim;
        let claimed = match (claim.epsilon, claim.delta) {
            (Some(epsilon), Some(delta)) => format!("epsilon {} at delta {delta}", rounded_up(epsilon, 3)),
            _ => "nothing: this mode carries no differential privacy".into(),
        };
        let mut text = format!(
            "mode          {}\nclaimed       {claimed}\nunit          one {}; relation: {}\ntrusted       {}\n\
             audit         {} of {} guesses right, of {} canaries\n\
             lower bound   epsilon {} at confidence {}{}\n",
            claim.mode,
            claim.unit,
            claim.relation,
            claim.trust,
            self.correct,
            self.guesses,
            self.canaries,
            rounded_down(self.epsilon_lower_bound, 3),
            self.confidence,
            match (claim.epsilon, self.consistent) {
                (None, _) => "",
                (_, true) => ": consistent with the claim",
                (_, false) => ": CONTRADICTS THE CLAIM",
            },
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
}
