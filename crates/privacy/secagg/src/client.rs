//! The client's first steps: advertise keys, share them, and take delivery of the peers' shares.
//!
//! Each step consumes the state before it, so no step can be repeated and no older secret outlives it. A
//! refusal consumes the state too: what is dropped is zeroised, and the attempt is over for this client.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::cohort::{
    AdvertsRejection, FixedCohort, Sharers, SharersRejection, advert_payload, complaint_payload, share_tree,
    shares_payload,
};
use crate::excess::{ExcessNoise, ExcessSeed, NoiseChain, NoiseSeeds};
use crate::mask::Masking;
use crate::merkle;
use crate::messages::{
    Advert, ClientId, Complaint, ComplaintReason, DeliveredShare, Delivery, Members, SealedShare,
    ShareBundle, SignedRoot,
};
use crate::prg::{Sign, SignedSeed};
use crate::seal::{CommittedShare, DealtShares};
use crate::secret::{self, Secret};
use crate::shamir;
use crate::threshold::{Floors, Threshold};
use crate::transcript::{Ctx0, R1, Signed};
use crate::unmask::HeldShares;

/// A client that has made its keys for one attempt.
///
/// # Security
/// The round seed, the self-mask seed and the transport key are independent draws: the first is opened when
/// the client drops and must not lead to the others. All are zeroised on drop and redacted in `Debug`.
#[derive(Debug)]
pub struct Advertised {
    pub(crate) ctx0: Ctx0,
    pub(crate) advert: Advert,
    round_seed: Secret,
    self_mask: Secret,
    transport: Secret,
    noise: Option<NoiseChain>,
}

impl Advertised {
    /// Draws fresh secrets and signs their public parts.
    ///
    /// # Security
    /// `rng` must be the operating system's generator outside tests and simulations.
    pub fn new(
        id: ClientId,
        ctx0: Ctx0,
        excess_noise: ExcessNoise,
        identity: &SigningKey,
        rng: &mut dyn CryptoRng,
    ) -> (Self, Advert) {
        let round_seed = Secret::random(rng);
        let self_mask = Secret::random(rng);
        let transport = Secret::random(rng);
        let noise = match excess_noise {
            ExcessNoise::Kept => None,
            ExcessNoise::Removed => Some(NoiseChain::new(id, ctx0, Secret::random(rng))),
        };
        let mut advert = Advert {
            id,
            ek_pub: secret::public_key(&transport),
            mk_pub: secret::public_key(&secret::mask_key(&round_seed)),
            commitment: secret::self_mask_commitment(ctx0, id, &self_mask),
            noise: noise.as_ref().map(NoiseChain::end),
            signature: [0; 64],
        };
        advert.signature = Signed::Advert.sign(identity, &ctx0.0, advert_payload(&advert));
        (Self { ctx0, advert: advert.clone(), round_seed, self_mask, transport, noise }, advert)
    }

    /// Accepts U1 and deals shares of its secrets to all of it.
    ///
    /// # Errors
    /// [`AdvertsRejection`]; the keys are then gone and the attempt is over for this client.
    pub fn accept_adverts(
        self,
        adverts: &[Advert],
        members: &Members,
        floors: &Floors,
        identity: &SigningKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<(SharesSent, ShareBundle), AdvertsRejection> {
        let own = self.advert.id;
        let cohort = FixedCohort::new(self.ctx0, adverts, members, floors)?;
        if cohort.advert(own) != Some(&self.advert) {
            return Err(AdvertsRejection::OwnAdvert);
        }
        let (r1, threshold) = (cohort.r1(), cohort.threshold().value());
        let mut split = |secret: &Secret| shamir::split(secret, threshold, cohort.size(), rng);
        let seed_shares = split(&self.round_seed);
        let mask_shares = split(&self.self_mask);
        let mut link_shares: Vec<_> = match &self.noise {
            Some(chain) => cohort.noise_levels().map(|level| split(&chain.link(level)).into_iter()).collect(),
            None => Vec::new(),
        };

        let mut shares = Vec::with_capacity(cohort.size());
        let mut held = BTreeMap::new();
        let mut unsealing_keys = BTreeMap::new();
        for ((peer, seed_share), mask_share) in cohort.adverts().iter().zip(seed_shares).zip(mask_shares) {
            // One share of every link: each iterator moves on by one for each peer.
            let links = link_shares.iter_mut().filter_map(Iterator::next);
            let dealt = DealtShares {
                round_seed: CommittedShare::new(seed_share, rng),
                self_mask: CommittedShare::new(mask_share, rng),
                noise: links.map(|share| CommittedShare::new(share, rng)).collect(),
            };
            let commitments = dealt.commitments(own, peer.id);
            // The own share never leaves this machine and is not sealed; its commitments are signed like the others.
            let ciphertext = if peer.id == own {
                held.insert(own, dealt);
                Vec::new()
            } else {
                let agreed = secret::agree(&self.transport, &peer.ek_pub)
                    .ok_or(crate::AdvertRejection::UnsoundKey(peer.id))?;
                unsealing_keys.insert(peer.id, secret::sealing_key(r1, &agreed, peer.id, own));
                dealt.seal(&secret::sealing_key(r1, &agreed, own, peer.id), r1, own, peer.id)
            };
            shares.push(SealedShare { recipient: peer.id, ciphertext, commitments });
        }

        let mut bundle = ShareBundle { sender: own, shares, signature: [0; 64] };
        let merkle_root = share_tree(&bundle).root();
        bundle.signature = Signed::Shares.sign(identity, &r1.0, shares_payload(own, &merkle_root));
        let sent = SharesSent {
            own_root: SignedRoot { id: own, merkle_root, signature: bundle.signature },
            cohort,
            round_seed: self.round_seed,
            self_mask: self.self_mask,
            noise: self.noise,
            unsealing_keys,
            held,
        };
        Ok((sent, bundle))
    }
}

/// A client that has dealt its shares and waits for those of its peers.
///
/// # Security
/// The transport key is gone: what is left of it opens one message of each peer. One U2 can be accepted:
///
/// ```compile_fail,E0382
/// # use secagg::{Delivery, SharesSent};
/// fn accept_two(state: SharesSent, deliveries: [Delivery; 2], key: &ed25519_dalek::SigningKey) {
///     let _ = state.accept_delivery(&deliveries[0], key);
///     let _ = state.accept_delivery(&deliveries[1], key);
/// }
/// ```
#[derive(Debug)]
pub struct SharesSent {
    cohort: FixedCohort,
    own_root: SignedRoot,
    round_seed: Secret,
    self_mask: Secret,
    noise: Option<NoiseChain>,
    unsealing_keys: BTreeMap<ClientId, Secret>,
    held: BTreeMap<ClientId, DealtShares>,
}

impl SharesSent {
    /// The digest of the accepted roster.
    pub fn r1(&self) -> R1 {
        self.cohort.r1()
    }

    /// The accepted cohort.
    pub fn cohort(&self) -> &FixedCohort {
        &self.cohort
    }

    /// The threshold that this client computed.
    pub fn threshold(&self) -> Threshold {
        self.cohort.threshold()
    }

    /// Accepts U2 and the shares addressed to this client, and derives its masks.
    ///
    /// # Errors
    /// [`DeliveryRejection`]. In either case the attempt is over for this client: going on without the peer
    /// would let the coordinator choose whom to leave out.
    pub fn accept_delivery(
        self,
        delivery: &Delivery,
        identity: &SigningKey,
    ) -> Result<(Masking, HeldShares), DeliveryRejection> {
        let own = self.own_root.id;
        let sharers = Sharers::new(self.cohort, &delivery.members).map_err(DeliveryFault::from)?;
        if sharers.roots().get(&own) != Some(&self.own_root) {
            return Err(DeliveryFault::OwnRoot.into());
        }
        let senders = sharers.roots().keys().filter(|id| **id != own);
        if !delivery.shares.iter().map(|share| &share.sender).eq(senders) {
            return Err(DeliveryFault::Senders.into());
        }
        let mut held = self.held;
        for share in &delivery.shares {
            let key = self.unsealing_keys.get(&share.sender).ok_or(DeliveryFault::Senders)?;
            check_path(&sharers, share, own)?;
            let dealt = unseal(sharers.cohort(), share, key, own)
                .map_err(|reason| complain(sharers.cohort().r1(), own, share.sender, reason, identity))?;
            held.insert(share.sender, dealt);
        }
        let seeds = mask_seeds(&sharers, own, &self.round_seed, &self.self_mask)?;
        let noise = noise_seeds(&sharers, own, self.noise.as_ref());
        Ok((Masking::new(sharers.r2(), seeds, noise), HeldShares::new(own, sharers, held)))
    }
}

/// Why a delivery of shares ended the attempt for this client.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryRejection {
    /// A dealer signed for a bad share. The complaint goes to the coordinator.
    #[error("client {} dealt a bad share", .0.accused)]
    Complain(Complaint),
    /// What the coordinator delivered is not what the dealers signed.
    #[error(transparent)]
    Coordinator(#[from] DeliveryFault),
}

/// A delivery for which only the coordinator can be at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryFault {
    /// The U2 is not acceptable.
    #[error(transparent)]
    Sharers(#[from] SharersRejection),
    /// The own root is missing from U2, or is not the one that was signed.
    #[error("the own share root is missing or was changed")]
    OwnRoot,
    /// Not exactly one share of each peer in U2, sorted.
    #[error("the delivered shares are not one of each peer in order")]
    Senders,
    /// The share of a peer does not lead to the root that the peer signed.
    #[error("the share of client {0} is not the one that it signed")]
    MerklePath(ClientId),
    /// A key that an accepted roster cannot hold.
    #[error("the mask key of client {0} contributes nothing")]
    UnsoundKey(ClientId),
}

fn check_path(sharers: &Sharers, share: &DeliveredShare, own: ClientId) -> Result<(), DeliveryFault> {
    let cohort = sharers.cohort();
    let leaf = merkle::leaf(own, &share.ciphertext, &share.commitments);
    let root = cohort
        .position(own)
        .and_then(|place| merkle::root_of_path(leaf, place, cohort.size(), &share.merkle_path));
    let signed = sharers.roots().get(&share.sender).map(|root| root.merkle_root);
    if root.is_none() || root != signed {
        return Err(DeliveryFault::MerklePath(share.sender));
    }
    Ok(())
}

fn unseal(
    cohort: &FixedCohort,
    share: &DeliveredShare,
    key: &Secret,
    own: ClientId,
) -> Result<DealtShares, ComplaintReason> {
    let links = cohort.noise_levels().len();
    let dealt = DealtShares::unseal(&share.ciphertext, key, cohort.r1(), share.sender, own)
        .ok_or(ComplaintReason::Sealing)?;
    let opened = dealt.commitments(share.sender, own);
    let committed = &share.commitments;
    if opened.noise.len() != links || committed.noise.len() != links {
        return Err(ComplaintReason::Commitment);
    }
    let noise = opened.noise.iter().zip(&committed.noise);
    let matches = noise.fold(
        opened.round_seed.ct_eq(&committed.round_seed) & opened.self_mask.ct_eq(&committed.self_mask),
        |matches, (opened, committed)| matches & opened.ct_eq(committed),
    );
    if bool::from(matches) { Ok(dealt) } else { Err(ComplaintReason::Commitment) }
}

fn complain(
    r1: R1,
    accuser: ClientId,
    accused: ClientId,
    reason: ComplaintReason,
    identity: &SigningKey,
) -> DeliveryRejection {
    let mut complaint = Complaint { r1, accuser, accused, reason, signature: [0; 64] };
    complaint.signature = Signed::Complaint.sign(identity, &r1.0, complaint_payload(&complaint));
    DeliveryRejection::Complain(complaint)
}

/// Of every level that a sum under this U2 can have: those above are of sums that it cannot make.
fn noise_seeds(sharers: &Sharers, own: ClientId, chain: Option<&NoiseChain>) -> NoiseSeeds {
    let (silos, levels) = (sharers.roots().len(), sharers.cohort().noise_levels());
    let seeds = chain.map(|chain| {
        let levels = levels.start..levels.end.min(silos);
        levels.map(|level| ExcessSeed::of(sharers.r2(), own, level, &chain.link(level))).collect()
    });
    NoiseSeeds::new(silos, levels.start, seeds.unwrap_or_default())
}

fn mask_seeds(
    sharers: &Sharers,
    own: ClientId,
    round_seed: &Secret,
    self_mask: &Secret,
) -> Result<Vec<SignedSeed>, DeliveryFault> {
    let r2 = sharers.r2();
    let mask_key = secret::mask_key(round_seed);
    let mut seeds = vec![SignedSeed { sign: Sign::Plus, seed: secret::self_seed(r2, self_mask, own) }];
    for peer in sharers.roots().keys().filter(|id| **id != own) {
        let agreed = sharers
            .cohort()
            .advert(*peer)
            .and_then(|advert| secret::agree(&mask_key, &advert.mk_pub))
            .ok_or(DeliveryFault::UnsoundKey(*peer))?;
        seeds.push(SignedSeed {
            sign: Sign::of_pair(own, *peer),
            seed: secret::pair_seed(r2, &agreed, own, *peer),
        });
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Federation, Sharing};
    use crate::{AdvertRejection, RecoverError, ShareKind, recover, verify_advert};

    /// Re-signs a bundle that its dealer spoilt.
    fn resign(federation: &Federation, sharing: &mut Sharing, dealer: ClientId) {
        let bundle = sharing.bundles.get_mut(&dealer).unwrap();
        let root = share_tree(bundle).root();
        let r1 = sharing.cohort.r1();
        bundle.signature =
            Signed::Shares.sign(federation.identity(dealer), &r1.0, shares_payload(dealer, &root));
    }

    #[test]
    fn a_dealer_of_another_self_mask_seed_is_blamed_and_nothing_is_opened() {
        let mut federation = Federation::new(5, 1);
        let dealer = federation.id(2);
        let mut keyed = federation.advertise();
        keyed.clients.get_mut(&dealer).unwrap().self_mask = Secret::copy_of(&[1; 32]);
        let sharing = federation.share(keyed);
        let round = federation.deliver(sharing, &[]);
        let u3 = round.shared.u2();
        let (shared, answers) = federation.unmask(round, &u3);
        assert_eq!(recover(&shared, &u3, &answers).unwrap_err(), RecoverError::Dealer(dealer));
    }

    #[test]
    fn a_dealer_of_another_round_seed_is_blamed_when_it_drops() {
        let mut federation = Federation::new(5, 1);
        let dealer = federation.id(4);
        let mut keyed = federation.advertise();
        keyed.clients.get_mut(&dealer).unwrap().round_seed = Secret::copy_of(&[1; 32]);
        let sharing = federation.share(keyed);
        let round = federation.deliver(sharing, &[]);
        let mut u3 = round.shared.u2();
        u3.remove(&dealer);
        let (shared, answers) = federation.unmask(round, &u3);
        assert_eq!(recover(&shared, &u3, &answers).unwrap_err(), RecoverError::Dealer(dealer));
    }

    #[test]
    fn a_dealer_of_another_chain_of_noise_seeds_is_blamed_and_nothing_is_opened() {
        let mut federation = Federation::removing_excess(5, 1);
        let dealer = federation.id(3);
        let mut keyed = federation.advertise();
        let other = NoiseChain::new(dealer, federation.ctx0, Secret::copy_of(&[1; 32]));
        keyed.clients.get_mut(&dealer).unwrap().noise = Some(other);
        let sharing = federation.share(keyed);
        let round = federation.deliver(sharing, &[]);
        let u3 = round.shared.u2();
        let (shared, answers) = federation.unmask(round, &u3);
        assert_eq!(recover(&shared, &u3, &answers).unwrap_err(), RecoverError::Dealer(dealer));
    }

    #[test]
    fn a_signed_but_broken_seal_brings_a_complaint_that_verifies() {
        let mut federation = Federation::new(4, 1);
        let (dealer, victim) = (federation.id(0), federation.id(2));
        let keyed = federation.advertise();
        let mut sharing = federation.share(keyed);
        sharing.bundles.get_mut(&dealer).unwrap().shares[2].ciphertext[7] ^= 1;
        resign(&federation, &mut sharing, dealer);
        let complaint = federation.complaint_of(sharing, victim);
        assert_eq!((complaint.accuser, complaint.accused), (victim, dealer));
        assert_eq!(complaint.reason, ComplaintReason::Sealing);
    }

    #[test]
    fn signed_shares_that_miss_their_commitments_bring_a_complaint_that_verifies() {
        for kind in [ShareKind::RoundSeed, ShareKind::SelfMask, ShareKind::Noise { place: 0 }] {
            let mut federation = Federation::removing_excess(4, 1);
            let (dealer, victim) = (federation.id(3), federation.id(1));
            let keyed = federation.advertise();
            let mut sharing = federation.share(keyed);
            let commitments = &mut sharing.bundles.get_mut(&dealer).unwrap().shares[1].commitments;
            match kind {
                ShareKind::RoundSeed => commitments.round_seed[0] ^= 1,
                ShareKind::SelfMask => commitments.self_mask[31] ^= 1,
                ShareKind::Noise { place } => commitments.noise[place][9] ^= 1,
            }
            resign(&federation, &mut sharing, dealer);
            let complaint = federation.complaint_of(sharing, victim);
            assert_eq!(
                (complaint.accused, complaint.reason),
                (dealer, ComplaintReason::Commitment),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_complaint_of_another_roster_about_oneself_or_changed_is_refused() {
        let mut federation = Federation::new(4, 1);
        let (accuser, accused, other) = (federation.id(0), federation.id(1), federation.id(2));
        let keyed = federation.advertise();
        let cohort = federation.share(keyed).cohort;
        let sign = |accuser: ClientId, r1: R1, accused: ClientId| {
            let identity = federation.identity(accuser);
            match complain(r1, accuser, accused, ComplaintReason::Sealing, identity) {
                DeliveryRejection::Complain(complaint) => complaint,
                other => panic!("{other:?}"),
            }
        };
        let honest = sign(accuser, cohort.r1(), accused);
        assert_eq!(cohort.verify_complaint(&honest), Ok(()));
        let subject = Err(crate::SignatureRejection::Subject(accuser));
        assert_eq!(cohort.verify_complaint(&sign(accuser, R1([0; 32]), accused)), subject);
        assert_eq!(cohort.verify_complaint(&sign(accuser, cohort.r1(), accuser)), subject);
        assert_eq!(cohort.verify_complaint(&sign(accuser, cohort.r1(), ClientId(1))), subject);
        let forged = Complaint { accused: other, ..honest };
        let signature = Err(crate::SignatureRejection::Signature(accuser));
        assert_eq!(cohort.verify_complaint(&forged), signature);
    }

    #[test]
    fn keys_of_small_order_are_refused_though_their_owner_signed_them() {
        let mut federation = Federation::new(4, 1);
        let id = federation.id(3);
        let mut one = [0; 32];
        one[0] = 1;
        for low_order in [[0; 32], one] {
            for spoil in [
                |advert: &mut Advert, key: [u8; 32]| advert.ek_pub = key,
                |advert: &mut Advert, key| advert.mk_pub = key,
            ] {
                let mut keyed = federation.advertise();
                let advert = &mut keyed.adverts[3];
                spoil(advert, low_order);
                advert.signature =
                    Signed::Advert.sign(federation.identity(id), &federation.ctx0.0, advert_payload(advert));
                let refused = AdvertRejection::UnsoundKey(id);
                assert_eq!(
                    verify_advert(federation.ctx0, advert, &federation.members, ExcessNoise::Kept),
                    Err(refused)
                );
                let cohort = FixedCohort::new(
                    federation.ctx0,
                    &keyed.adverts,
                    &federation.members,
                    &federation.floors,
                );
                assert_eq!(cohort.unwrap_err(), refused.into());
            }
        }
    }

    #[test]
    fn no_state_prints_a_secret() {
        let mut federation = Federation::removing_excess(4, 1);
        let id = federation.id(1);
        let keyed = federation.advertise();
        let state = &keyed.clients[&id];
        let chain = state.noise.as_ref().unwrap();
        let mut secrets =
            [&state.round_seed, &state.self_mask, &state.transport].map(|s| *s.expose()).to_vec();
        secrets.extend((1..=crate::COHORT_MAX).map(|level| *chain.link(level).expose()));
        let mut texts = vec![format!("{state:?}")];
        let sharing = federation.share(keyed);
        let sent = &sharing.clients[&id];
        secrets.extend(sent.unsealing_keys.values().map(|key| *key.expose()));
        texts.push(format!("{sent:?}"));
        let round = federation.deliver(sharing, &[]);
        let held = &round.held[&id];
        for pair in held.shares() {
            let noise = pair.noise.iter().map(|share| share.open(id));
            for opened in [pair.self_mask.open(id), pair.round_seed.open(id)].into_iter().chain(noise) {
                secrets.extend([opened.share, opened.opening]);
            }
        }
        texts.push(format!("{held:?} {:?}", round.masking[&id]));
        let u3 = round.shared.u2();
        let (shared, answers) = federation.unmask(round, &u3);
        texts.push(format!("{:?}", answers[&id]));
        texts.push(format!("{:?}", recover(&shared, &u3, &answers).unwrap()));
        for text in texts {
            for secret in &secrets {
                let decimal = format!("{:?}", &secret[..8]);
                assert!(!text.contains(decimal.trim_matches(['[', ']'])), "{text}");
                assert!(!text.contains(&hex::encode(&secret[..8])), "{text}");
            }
        }
    }
}
