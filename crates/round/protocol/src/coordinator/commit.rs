//! Starting a run, and turning an opened sum into the chain's next record.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{LeftOut, Manifest, SignedManifest};
use params::Digest;
use rand_core::CryptoRng;
use secagg::ClientId;

use super::phase::{Round, Step, Sum, Summing};
use super::{Artifacts, Coordinator, Effect, SumFailure, SumResult, Summed};
use crate::Timestamp;
use crate::invariant::invariant;
use crate::record::Record;
use crate::spend::spent;
use messages::{Attempt, RoundOutcome};

impl Coordinator {
    pub(super) fn start(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, genesis: Artifacts) {
        if !self.is_new() {
            return;
        }
        let mut seed = [0u8; 32];
        rng.fill_bytes(&mut seed);
        let (plan, roster) = (self.setup.plan.digest(), self.state.roster.signed().clone());
        let members = self.state.roster.digest();
        let run_id = Digest::of("folkmoot/v1/run", &[&seed, plan.as_bytes(), members.as_bytes()]);
        let manifest = self.manifest(now, run_id, Attempt { round: 0, attempt: 0 }, genesis);
        let genesis = self.sign(&manifest);
        self.commit(Record::RunStarted { run_id, plan, roster, genesis: genesis.clone() });
        self.idle_since = now;
        self.started = now;
        self.effects.push(Effect::Publish(genesis));
        let connected: Vec<_> = self.links.iter().map(|(client, link)| (*client, link.version)).collect();
        for (client, version) in connected {
            // Known members that connected before the run began: `connected` cannot refuse them.
            let _ = self.connected(client, version);
        }
    }

    pub(super) fn summed(&mut self, at: Attempt, result: SumResult, now: Timestamp) {
        // The attempt is the job's name: it comes once in a journal, a process asks for its sum once, and no result outlives the process.
        let Ok((round, Step::Summing(Summing { sum, .. }))) = self.state.phase.step(at) else { return };
        match result {
            Ok(summed) => {
                let manifest = self.next_manifest(now, round, sum, summed);
                let signed = self.sign(&manifest);
                self.commit(Record::Committed { now, manifest: signed.clone() });
                self.reasons.committed((at.round, at.attempt));
                self.idle_since = now;
                self.publish(signed, at.round + 1);
            }
            Err(SumFailure::WrongSecret(client)) => {
                let outcome = RoundOutcome::WrongSecret { client };
                self.commit(Record::Barred { client, reason: outcome.to_string() });
                self.reasons.keeps_out(client, outcome.to_string());
                self.abort(now, outcome);
            }
            Err(SumFailure::Weights(why)) => self.abort(now, RoundOutcome::Weights(why)),
            Err(SumFailure::BadAggregate(why)) => {
                self.abort(now, RoundOutcome::BadAggregate(why));
            }
        }
    }

    fn next_manifest(&self, now: Timestamp, round: &Round, sum: &Sum, summed: Summed) -> Manifest {
        let ids = |clients: &BTreeSet<ClientId>| clients.iter().map(|client| client.0).collect();
        let left_out = round
            .cohort
            .difference(&sum.included)
            .map(|client| LeftOut {
                client: client.0,
                reason: round
                    .dropped
                    .get(client)
                    .map_or_else(|| "was not in the included set".to_owned(), ToString::to_string),
            })
            .collect();
        Manifest {
            transcript: Some(Digest::from_bytes(sum.cohort.r2().0)),
            cohort: ids(&sum.cohort.cohort().u1()),
            shared: ids(&sum.cohort.u2()),
            included: ids(&sum.included),
            left_out,
            aggregate_digest: Some(summed.aggregate),
            metrics: summed.metrics,
            ..self.child(now, round.at, summed.artifacts)
        }
    }

    /// A record that follows the newest one: a round's, or of what an operator did.
    pub(super) fn child(&self, now: Timestamp, at: Attempt, artifacts: Artifacts) -> Manifest {
        let head = self.state.begun();
        Manifest {
            parent: self.state.head_record.as_ref().map(SignedManifest::digest),
            parent_model: Some(head.model.params_digest),
            previous_rounds_aborted: self.state.aborted_since.clone(),
            ..self.manifest(now, head.run_id, at, artifacts)
        }
    }

    /// A record with what every record of this run has in common.
    fn manifest(&self, now: Timestamp, run_id: Digest, at: Attempt, artifacts: Artifacts) -> Manifest {
        Manifest {
            format: checkpoint::MANIFEST_FORMAT.to_owned(),
            run_id,
            run_name: self.setup.plan.name.clone(),
            round: at.round,
            attempt: at.attempt,
            action: None,
            parent: None,
            plan_digest: self.setup.plan.digest(),
            roster_digest: self.state.roster.digest(),
            parent_model: None,
            model: artifacts.model,
            optimizer: artifacts.optimizer,
            transcript: None,
            cohort: Vec::new(),
            shared: Vec::new(),
            included: Vec::new(),
            left_out: Vec::new(),
            aggregate_digest: None,
            metrics: BTreeMap::new(),
            privacy: spent(&self.setup.plan, self.price.as_ref(), self.state.charged_rounds),
            created_ms: now.0,
            previous_rounds_aborted: Vec::new(),
            public_key: checkpoint::public_key_text(&self.setup.key.verifying_key()),
        }
    }

    pub(super) fn sign(&self, manifest: &Manifest) -> SignedManifest {
        match SignedManifest::sign(manifest, &self.setup.key) {
            Ok(signed) => signed,
            Err(why) => invariant!("C3", "a record of the coordinator's own does not encode: {why}"),
        }
    }
}
