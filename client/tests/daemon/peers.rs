//! The three other silos of an attempt, made of `secagg`'s own types: honest, but that they sign what they are asked.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use identity::Plan;
use params::Digest;
use protocol::ToClient;
use secagg::adversary::sign_any_included;
use secagg::{
    Advert, Advertised, ClientId, Cohort, Floors, IncludedSignature, RoundBinding, ShareBundle, SharedCohort,
};

use super::mock::{FIRST, ME, key, roster};

const OTHERS: [ClientId; 3] = [ClientId(2), ClientId(3), ClientId(4)];

/// One attempt as far as the script has brought it.
pub(crate) struct Peers {
    pub(crate) adverts: Vec<Advert>,
    advertised: Vec<Advertised>,
    floors: Floors,
    bundles: BTreeMap<ClientId, ShareBundle>,
    cohort: Option<Cohort>,
    rng: ChaCha20Rng,
}

impl Peers {
    /// The daemon has advertised; so do the others.
    pub(crate) fn new(plan: &Plan, own: Advert) -> Self {
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let context = RoundBinding {
            run_id: *Digest::sha256(b"run").as_bytes(),
            plan_hash: *plan.digest().as_bytes(),
            roster_hash: *roster().digest().as_bytes(),
            round: FIRST.round,
            attempt: FIRST.attempt,
            model_hash: *plan.initial_model().digest().as_bytes(),
        }
        .ctx0();
        let (mut adverts, mut advertised) = (vec![own], Vec::new());
        for id in OTHERS {
            let (state, advert) = Advertised::new(id, context, key(id.0 as u8).signing_key(), &mut rng);
            adverts.push(advert);
            advertised.push(state);
        }
        let cohort = &plan.cohort;
        let floors =
            Floors { cohort_min: cohort.minimum, honest_min: cohort.honest_min, corrupt: cohort.corrupt };
        Self { adverts, advertised, floors, bundles: BTreeMap::new(), cohort: None, rng }
    }

    pub(crate) fn roster(&self) -> ToClient {
        ToClient::Roster { at: FIRST, adverts: self.adverts.clone() }
    }

    /// The daemon has shared keys; so do the others.
    pub(crate) fn share(&mut self, own: ShareBundle) {
        let members = roster().member_keys().unwrap();
        self.bundles.insert(ME, own);
        for (id, state) in OTHERS.into_iter().zip(std::mem::take(&mut self.advertised)) {
            let key = key(id.0 as u8);
            let accepted =
                state.accept_roster(&self.adverts, &members, &self.floors, key.signing_key(), &mut self.rng);
            let (state, bundle) = accepted.unwrap();
            self.cohort = Some(state.cohort().clone());
            self.bundles.insert(id, bundle);
        }
    }

    /// U2 without these.
    pub(crate) fn shared(&self, silent: &[ClientId]) -> SharedCohort {
        let mut bundles = self.bundles.clone();
        bundles.retain(|id, _| !silent.contains(id));
        self.cohort.as_ref().unwrap().fix_u2(&bundles).unwrap()
    }

    pub(crate) fn delivery(&self, silent: &[ClientId]) -> ToClient {
        ToClient::Deliver { at: FIRST, delivery: self.shared(silent).delivery_for(ME).unwrap() }
    }

    /// What these silos sign of a set, under the transcript that everybody is in.
    pub(crate) fn signatures(&self, set: &BTreeSet<ClientId>, of: &[ClientId]) -> Vec<IncludedSignature> {
        let r2 = self.shared(&[]).r2();
        of.iter().map(|id| sign_any_included(*id, r2, set, key(id.0 as u8).signing_key())).collect()
    }
}
