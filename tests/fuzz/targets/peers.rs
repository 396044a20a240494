//! The three other silos of an attempt, made of `secagg`'s own types and in the coordinator's hands: they sign and
//! answer whatever it wants.

use std::collections::{BTreeMap, BTreeSet};

use chacha20::ChaCha20Rng;
use params::Digest;
use plan::Plan;
use protocol::{Attempt, ToClient};
use secagg::adversary::sign_any_included;
use secagg::{
    Advert, Advertised, ClientId, Delivery, Floors, IncludedSignature, Members, RoundBinding, ShareBundle,
    SharedCohort, SharesSent,
};

use super::seeds::{roster, signing_key};

/// The silo that is driven.
pub(crate) const OWN: ClientId = ClientId(1);
const OTHERS: std::ops::RangeInclusive<u32> = 2..=4;

/// One attempt as far as it has come.
pub(crate) struct Exchange {
    pub(crate) at: Attempt,
    adverts: Vec<Advert>,
    advertised: BTreeMap<ClientId, Advertised>,
    dealt: BTreeMap<ClientId, SharesSent>,
    bundles: BTreeMap<ClientId, ShareBundle>,
    shared: Option<SharedCohort>,
    own_signature: Option<IncludedSignature>,
    members: Members,
    floors: Floors,
}

impl Exchange {
    /// The driven silo has advertised; so do all others.
    pub(crate) fn new(
        at: Attempt,
        own: Advert,
        run: Digest,
        plan: &Plan,
        model: Digest,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let roster = roster();
        let context = RoundBinding {
            run_id: *run.as_bytes(),
            plan_hash: *plan.digest().as_bytes(),
            roster_hash: *roster.digest().as_bytes(),
            round: at.round,
            attempt: at.attempt,
            model_hash: *model.as_bytes(),
        }
        .ctx0();
        let (mut adverts, mut advertised) = (vec![own], BTreeMap::new());
        for id in OTHERS {
            let (peer, advert) =
                Advertised::new(ClientId(id), context, plan.excess_noise(), &signing_key(id as u8), rng);
            advertised.insert(ClientId(id), peer);
            adverts.push(advert);
        }
        Self {
            at,
            adverts,
            advertised,
            dealt: BTreeMap::new(),
            bundles: BTreeMap::new(),
            shared: None,
            own_signature: None,
            members: roster.member_keys().expect("sound keys"),
            floors: plan.floors(),
        }
    }

    /// U1, without the silos whose bits are set, or with two of them exchanged.
    pub(crate) fn roster(&mut self, lie: u8, rng: &mut ChaCha20Rng) -> ToClient {
        let mut adverts = self.adverts.clone();
        if lie & 0x80 == 0 {
            adverts.retain(|advert| !chosen(lie, advert.id));
        } else {
            adverts.swap(usize::from(lie) % 4, usize::from(lie >> 2) % 4);
        }
        if self.dealt.is_empty() {
            for (id, peer) in std::mem::take(&mut self.advertised) {
                let key = signing_key(id.0 as u8);
                if let Ok((peer, bundle)) =
                    peer.accept_adverts(&self.adverts, &self.members, &self.floors, &key, rng)
                {
                    self.dealt.insert(id, peer);
                    self.bundles.insert(id, bundle);
                }
            }
        }
        ToClient::Adverts { at: self.at, adverts }
    }

    /// The driven silo's bundle.
    pub(crate) fn shares(&mut self, bundle: ShareBundle) {
        self.bundles.insert(OWN, bundle);
    }

    /// U2 without the silos whose bits are set, with the shares for the driven one.
    pub(crate) fn deliver(&mut self, silent: u8) -> Option<ToClient> {
        let cohort = self.dealt.values().next()?.cohort();
        let mut bundles = self.bundles.clone();
        bundles.retain(|id, _| !chosen(silent, *id));
        let shared = cohort.fix_u2(&bundles).ok()?;
        let delivery: Delivery = shared.delivery_for(OWN)?;
        self.shared = Some(shared);
        Some(ToClient::Deliver { at: self.at, delivery })
    }

    /// The driven silo's signature on a set.
    pub(crate) fn signed(&mut self, signature: IncludedSignature) {
        self.own_signature = Some(signature);
    }

    /// A set U3 without the silos whose bits are set.
    pub(crate) fn included(&self, left_out: u8) -> ToClient {
        ToClient::Included { at: self.at, included: self.set(left_out).into_iter().collect() }
    }

    /// A request for such a set; all but those whose upper bits are set have signed it.
    pub(crate) fn request(&self, lie: u8) -> Option<ToClient> {
        let set = self.set(lie);
        let r2 = self.shared.as_ref()?.r2();
        let mut signatures: Vec<IncludedSignature> = self.own_signature.into_iter().collect();
        for id in OTHERS.map(ClientId).filter(|id| !chosen(lie >> 4, *id)) {
            signatures.push(sign_any_included(id, r2, &set, &signing_key(id.0 as u8)));
        }
        Some(ToClient::UnmaskRequest { at: self.at, included: set.into_iter().collect(), signatures })
    }

    fn set(&self, left_out: u8) -> BTreeSet<ClientId> {
        let everyone = self.shared.as_ref().map(SharedCohort::u2).unwrap_or_default();
        everyone.into_iter().filter(|id| !chosen(left_out, *id)).collect()
    }
}

/// Silo 1 is the lowest bit.
fn chosen(bits: u8, id: ClientId) -> bool {
    bits >> (id.0 - 1) & 1 == 1
}
