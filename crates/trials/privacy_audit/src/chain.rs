//! A run that is over, attacked by the canaries that were put in before it.

use checkpoint::{Manifest, PrivacySpent};
use datasets::Dataset;
use empirical::one_run::guess;
use optim::State;
use params::Params;
use plan::{Mechanism, Plan};

use crate::canaries::Canaries;
use crate::error::AuditError;
use crate::findings::{Claim, Findings};
use crate::scores::{Scores, Seen};

/// What was published with a version, beside its record.
pub struct AuditedVersion {
    /// The round's sum as it was opened, four little-endian bytes a lane; `None` where the record names none.
    pub sum: Option<Vec<u8>>,
    /// The model.
    pub model: Params,
    /// What the server remembered after its step.
    pub state: State,
}

/// An attack on a finished run's chain, with what every member of it was given.
pub struct ChainAttack<'a> {
    plan: &'a Plan,
    canaries: &'a Canaries,
    mechanism: Mechanism,
    scores: Scores<'a>,
    /// The newest model that was seen, and the state beside it.
    before: Option<(Params, State)>,
}

impl<'a> ChainAttack<'a> {
    /// `known` are records that are known to have been trained on, without the canaries.
    ///
    /// # Errors
    /// [`AuditError::MembersHoldCanaries`], [`AuditError::TooMany`], and canaries or a plan of which nothing can be made.
    pub fn new(
        plan: &'a Plan,
        canaries: &'a Canaries,
        known: Option<&'a Dataset>,
    ) -> Result<Self, AuditError> {
        let table = canaries.table(plan)?;
        if known.is_some_and(|known| share_a_record(known, &table)) {
            return Err(AuditError::MembersHoldCanaries);
        }
        let scores = Scores::new(plan, table, known)?;
        Ok(Self { plan, canaries, mechanism: plan.mechanism()?, scores, before: None })
    }

    /// Sees a chain that was verified, oldest record first; `read` brings what was published with one.
    ///
    /// # Errors
    /// [`AuditError::AnotherPlan`] before anything is read, whatever `read` ends with, and a sum that is none.
    pub fn see<E: From<AuditError>>(
        &mut self,
        manifests: &[Manifest],
        mut read: impl FnMut(&Manifest) -> Result<AuditedVersion, E>,
    ) -> Result<(), E> {
        if manifests.iter().any(|manifest| manifest.plan_digest != self.plan.digest()) {
            return Err(AuditError::AnotherPlan.into());
        }
        for manifest in manifests {
            let AuditedVersion { sum, model, state } = read(manifest)?;
            if let Some(sum) = sum {
                self.see_sum(&sum, manifest.included.len())?;
            }
            self.before = Some((model, state));
        }
        Ok(())
    }

    fn see_sum(&mut self, sum: &[u8], included: usize) -> Result<(), AuditError> {
        // The first record of a chain has no sum.
        let Some((before, state)) = &self.before else { return Ok(()) };
        let lanes: Vec<u32> = sum.as_chunks().0.iter().map(|lane| u32::from_le_bytes(*lane)).collect();
        let sum = self.mechanism.read_sum(&lanes, included, state)?;
        let clip_norm = self.plan.clip_norm_after(state).map_err(AuditError::ClipNorm)?;
        self.scores.see(&Seen { before, clip_norm, aggregate: &sum.update })
    }

    /// What it says of the claim, which is what the newest record says was spent: a run that ended early spent less than
    /// its plan allows.
    ///
    /// # Errors
    /// [`AuditError::Accounting`]
    pub fn findings(&self, spent: &PrivacySpent, confidence: f64) -> Result<Findings, AuditError> {
        let claim = Claim::after(self.plan, spent.epsilon, spent.steps)?;
        let guesses = guess(&self.scores.scores, &self.canaries.included(), self.canaries.canaries.len() / 4);
        Ok(Findings::new(claim, guesses, confidence))
    }
}

fn share_a_record(known: &Dataset, canaries: &Dataset) -> bool {
    let record =
        |table: &Dataset, row: usize| (table.row(row).map(<[f32]>::to_vec), table.labels().get(row).copied());
    let canaries: Vec<_> = (0..canaries.rows()).map(|row| record(canaries, row)).collect();
    (0..known.rows()).any(|row| canaries.contains(&record(known, row)))
}
