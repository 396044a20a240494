//! One aggregation of four clients, every message of it kept. Nothing in it is random: a seed decides all.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use ed25519_dalek::SigningKey;
use secagg::adversary::mask_any;
use secagg::{
    Advert, Advertised, ClientId, Ctx0, Delivery, ExcessNoise, FixedCohort, Floors, IncludedSignature,
    InputSignature, MaskedUpdate, Members, RoundBinding, ShareBundle, SharedCohort, UnmaskShares, sign_input,
};

/// Everything that was said. The last client falls silent after its shares: its vector is missing from the sum.
pub(crate) struct Session {
    pub(crate) ctx0: Ctx0,
    pub(crate) adverts: Vec<Advert>,
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
    pub(crate) shared: SharedCohort,
    pub(crate) deliveries: BTreeMap<ClientId, Delivery>,
    pub(crate) masked: BTreeMap<ClientId, (MaskedUpdate, InputSignature)>,
    pub(crate) included: BTreeSet<ClientId>,
    pub(crate) signatures: Vec<IncludedSignature>,
    pub(crate) answers: Vec<UnmaskShares>,
}

impl Session {
    /// Client k of 1 to 4 masks `update(k)`.
    pub(crate) fn run(seed: u8, update: impl Fn(u32) -> Vec<u32>) -> Self {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let binding = RoundBinding {
            run_id: [1; 32],
            plan_hash: [2; 32],
            roster_hash: [3; 32],
            round: 4,
            attempt: 1,
            model_hash: [5; 32],
        };
        let ctx0 = binding.ctx0();
        let floors = Floors {
            cohort_min: 3,
            cohort_max: 255,
            honest_min: 2,
            corrupt: 1,
            excess_noise: ExcessNoise::Kept,
        };
        let identities: BTreeMap<ClientId, SigningKey> =
            (1..=4).map(|id| (ClientId(id), SigningKey::from_bytes(&[id as u8; 32]))).collect();
        let members: Members = identities.iter().map(|(id, key)| (*id, key.verifying_key())).collect();

        let (mut adverts, mut clients) = (Vec::new(), BTreeMap::new());
        for (id, identity) in &identities {
            let (client, advert) = Advertised::new(*id, ctx0, ExcessNoise::Kept, identity, &mut rng);
            clients.insert(*id, client);
            adverts.push(advert);
        }
        let cohort = FixedCohort::new(ctx0, &adverts, &members, &floors).unwrap();
        let (mut bundles, mut sent) = (BTreeMap::new(), BTreeMap::new());
        for (id, client) in clients {
            let (client, bundle) =
                client.accept_adverts(&adverts, &members, &floors, &identities[&id], &mut rng).unwrap();
            sent.insert(id, client);
            bundles.insert(id, bundle);
        }
        let shared = cohort.fix_u2(&bundles).unwrap();
        let (mut deliveries, mut masked, mut held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (id, client) in sent {
            let delivery = shared.delivery_for(id).unwrap();
            let (masking, shares) = client.accept_delivery(&delivery, &identities[&id]).unwrap();
            let vector = mask_any(masking, update(id.0));
            let signature = sign_input(shared.r2(), vector.digest(), &identities[&id]);
            deliveries.insert(id, delivery);
            masked.insert(id, (vector, signature));
            held.insert(id, shares);
        }
        let included: BTreeSet<ClientId> = [1, 2, 3].map(ClientId).into();
        held.retain(|id, _| included.contains(id));
        let (mut signatures, mut signed) = (Vec::new(), Vec::new());
        for (id, shares) in held {
            let (state, signature) = shares.sign_included(&included, &identities[&id]).unwrap();
            signatures.push(signature);
            signed.push(state);
        }
        let answers = signed.into_iter().map(|state| state.unmask(&signatures).unwrap()).collect();
        Self { ctx0, adverts, bundles, shared, deliveries, masked, included, signatures, answers }
    }
}
