//! What the coordinator's machine holds of one run: its journal's disk, what is staged and published.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use checkpoint::SignedManifest;
use optim::State;
use params::{Digest, Params};
use plan::AuthoredPlan;
use protocol::{Artifacts, Attempt, Record, SumFailure, SumJob, SumResult, Summed, next_model};
use secagg::ClientId;
use store::{Journal, JournalKind};

use crate::disk::Disk;
use crate::silo::Silo;

/// A sum that was opened, and what went into it.
pub struct OpenedSum {
    /// In which attempt.
    pub at: Attempt,
    pub included: BTreeSet<ClientId>,
    /// The opened lanes.
    pub sum: Vec<u32>,
    /// The wrapping sum of the included silos' lanes before masking.
    pub plaintext: Vec<u32>,
    /// Digest of the opened lanes, as the round's record names it.
    pub aggregate: Digest,
}

/// Where a masked vector lies.
pub(crate) type Staged = (Attempt, Digest, ClientId);

/// A run's folder; it outlives the process.
pub(crate) struct RunFiles {
    pub(crate) plan: AuthoredPlan,
    pub(crate) disk: Disk,
    /// Records whose write was acknowledged.
    pub(crate) acknowledged: Vec<Record>,
    pub(crate) staged: BTreeMap<Staged, Vec<u32>>,
    models: BTreeMap<Digest, (Params, State)>,
    pub(crate) published: BTreeMap<u64, Digest>,
    pub(crate) records: BTreeMap<u64, SignedManifest>,
    pub(crate) opened: Vec<OpenedSum>,
}

impl RunFiles {
    /// With an empty journal.
    pub(crate) fn new(plan: AuthoredPlan) -> Self {
        Self {
            plan,
            disk: Disk::new(Journal::empty(JournalKind::Coordinator)),
            acknowledged: Vec::new(),
            staged: BTreeMap::new(),
            models: BTreeMap::new(),
            published: BTreeMap::new(),
            records: BTreeMap::new(),
            opened: Vec::new(),
        }
    }

    /// Opens the journal; gives the records found there.
    ///
    /// # Errors
    /// What the journal says against it.
    pub(crate) fn open_journal(&self) -> Result<(Journal<Disk>, Vec<Record>), String> {
        let path = Path::new("coordinator's journal");
        let (journal, _) = Journal::mount(self.disk.clone(), path, JournalKind::Coordinator)
            .map_err(|why| why.to_string())?;
        let mut records = Vec::new();
        journal.replay(&mut |_, bytes| records.push(Record::decode(bytes))).map_err(|why| why.to_string())?;
        let records = records.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
        Ok((journal, records))
    }

    /// Stages version 0.
    pub(crate) fn genesis(&mut self) -> Artifacts {
        let params = self.plan.initial_model();
        let state = self.plan.initial_state(params.layout().len());
        let genesis = artifacts(&params, &state);
        self.models.insert(params.digest(), (params, state));
        genesis
    }

    /// Publishes a record.
    ///
    /// # Errors
    /// In words, where another record has that round already or its model was never staged.
    pub(crate) fn publish(&mut self, signed: &SignedManifest) -> Result<(), String> {
        let manifest =
            checkpoint::Manifest::from_bytes(&signed.manifest_bytes).map_err(|why| why.to_string())?;
        let digest = manifest.model.params_digest;
        if !self.models.contains_key(&digest) {
            return Err(format!("round {} publishes a model that was never staged", manifest.round));
        }
        self.records.insert(manifest.round, signed.clone());
        match self.published.insert(manifest.round, digest) {
            Some(before) if before != digest => Err(format!("round {} is published twice", manifest.round)),
            _ => Ok(()),
        }
    }

    /// The published records after this round, as the shell reads them from the chain's folder.
    pub(crate) fn chain_after(&self, after: Option<u64>) -> Vec<SignedManifest> {
        let newer = self.records.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        newer.map(|(_, signed)| signed.clone()).collect()
    }

    /// Opens a sum and steps the model, as the shell's worker does.
    pub(crate) fn open(&mut self, job: &SumJob, silos: &BTreeMap<ClientId, Silo>) -> SumResult {
        let lanes = self.plan.lanes();
        let (mut sum, mut plaintext) = (vec![0u32; lanes], vec![0u32; lanes]);
        for header in &job.uploads {
            let staged = self.staged.get(&(header.at, header.r2, header.client));
            secagg::sum_into(&mut sum, staged.expect("a staged vector is durable")).expect("admitted lanes");
            if let Some(own) = silos.get(&header.client).and_then(|silo| silo.plaintext.get(&header.digest)) {
                secagg::sum_into(&mut plaintext, own).expect("admitted lanes");
            }
        }
        let (removal, mechanism) = (job.removal()?, self.plan.mechanism().expect("a validated plan"));
        for sum in [&mut sum, &mut plaintext] {
            mechanism.remove_excess(sum, removal.excess()).map_err(SumFailure::BadAggregate)?;
            // Other noise each time a sum is opened, and the same in the one that it is held against.
            let mut noise = ChaCha20Rng::seed_from_u64(self.opened.len() as u64);
            mechanism.noise_sum(sum, &mut noise);
        }
        removal.remove(&mut sum);
        let parent = self.published.get(&job.parent_round).expect("the parent is published");
        let (params, state) = &self.models[parent];
        let next = next_model(&self.plan, &sum, job.included.len(), params, state.clone());
        let included = job.included.clone();
        let aggregate = next.as_ref().map_or_else(|_| Digest::from_bytes([0; 32]), |next| next.aggregate);
        self.opened.push(OpenedSum { at: job.at, included, sum, plaintext, aggregate });
        let next = next?;
        let artifacts = artifacts(&next.params, &next.state);
        self.models.insert(next.params.digest(), (next.params, next.state));
        Ok(Summed { aggregate: next.aggregate, artifacts, metrics: next.metrics })
    }
}

fn artifacts(params: &Params, state: &State) -> Artifacts {
    let bytes = checkpoint::model_bytes(params, &BTreeMap::new());
    Artifacts {
        model: checkpoint::ModelArtifact::of(&bytes, params.digest()),
        optimizer: Some(checkpoint::OptimizerArtifact::of(&state.to_bytes())),
    }
}
