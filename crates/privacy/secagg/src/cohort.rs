//! What both sides verify alike: the fixed cohort U1, and then U2 with the signed roots of its shares.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ed25519_dalek::VerifyingKey;

use crate::excess::ExcessNoise;
use crate::merkle;
use crate::messages::{
    Advert, ClientId, Complaint, IncludedSignature, Members, ShareBundle, SignedRoot, sealed_share_bytes,
};
use crate::secret::is_sound_public_key;
use crate::threshold::{Floors, Threshold, ThresholdError};
use crate::transcript::{Ctx0, R1, R2, Signed, Transcript};

/// Why an advert was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdvertRejection {
    /// The sender is not in the pinned roster.
    #[error("client {0} is not in the pinned roster")]
    UnknownMember(ClientId),
    /// The signature does not verify under the pinned key for this context.
    #[error("the signature of client {0} on its advert does not verify")]
    Signature(ClientId),
    /// A key is of small order or not canonically encoded.
    #[error("client {0} advertised an unusable public key")]
    UnsoundKey(ClientId),
    /// The end of a chain of noise seeds where the plan keeps excess noise, or none where it removes it.
    #[error("client {0} does not advertise noise seeds as the plan says")]
    NoiseSeeds(ClientId),
}

/// Why a roster of adverts was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdvertsRejection {
    /// Not strictly ascending: out of order, or a client twice.
    #[error("the adverts are not sorted, or name client {0} twice")]
    Order(ClientId),
    /// One advert is bad.
    #[error(transparent)]
    Advert(#[from] AdvertRejection),
    /// A public key occurs twice.
    #[error("client {0} advertised a key that occurs twice")]
    DuplicateKey(ClientId),
    /// The pinned roster gives two members one identity.
    #[error("client {0} has the identity key of another member")]
    DuplicateIdentity(ClientId),
    /// No threshold is safe.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// Fewer members than the plan demands.
    #[error("{members} members are below the plan's cohort_min of {cohort_min}")]
    CohortTooSmall {
        /// Members of the offered cohort.
        members: usize,
        cohort_min: usize,
    },
    /// More members than the plan has room for.
    #[error("{members} members are above the plan's cohort_max of {cohort_max}: their sum could wrap")]
    CohortTooLarge {
        /// Members of the offered cohort.
        members: usize,
        cohort_max: usize,
    },
    /// Fewer honest members in a sum than the plan demands.
    #[error("a sum would hold {honest} honest updates at least, the plan's honest_min is {honest_min}")]
    HonestTooFew {
        /// Honest members in any sum that could be opened.
        honest: usize,
        honest_min: usize,
    },
    /// The client's own advert is missing, or is not the one it sent.
    #[error("the own advert is missing from the roster or was changed")]
    OwnAdvert,
}

/// Why a bundle of shares was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleRejection {
    /// The sender is not in U1.
    #[error("client {0} is not in the cohort")]
    UnknownMember(ClientId),
    /// The recipients are not exactly U1 in order.
    #[error("client {0} did not address exactly the cohort")]
    Recipients(ClientId),
    /// A ciphertext has the wrong length, or there are not as many commitments as shares.
    #[error("client {0} sent a sealed share of the wrong length")]
    Length(ClientId),
    /// The signature does not verify over the recomputed root.
    #[error("the signature of client {0} on its shares does not verify")]
    Signature(ClientId),
}

/// Why a U2 was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SharersRejection {
    /// Not strictly ascending: out of order, or a client twice.
    #[error("the share roots are not sorted, or name client {0} twice")]
    Order(ClientId),
    /// A member that is not in U1.
    #[error("client {0} shared keys without being in the cohort")]
    UnknownMember(ClientId),
    /// A root's signature does not verify.
    #[error("the signature of client {0} on its share root does not verify")]
    Signature(ClientId),
    /// Below the threshold or the plan's floor.
    #[error("{members} members shared keys, {needed} are needed")]
    TooFew {
        /// Members of the offered U2.
        members: usize,
        /// The larger of t and `cohort_min`.
        needed: usize,
    },
    /// A bundle is bad, or is filed under another client.
    #[error(transparent)]
    Bundle(#[from] BundleRejection),
}

/// Why an included set was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IncludedRejection {
    /// A member that did not share its keys.
    #[error("client {0} is included without having shared its keys")]
    NotSharer(ClientId),
    /// Below the threshold or the plan's floor.
    #[error("{members} members are included, {needed} are needed")]
    TooFew {
        /// Members of the offered U3.
        members: usize,
        /// The larger of t and `cohort_min`.
        needed: usize,
    },
    /// The client that should sign is not in it.
    #[error("the own update is not included")]
    NotSelf,
}

/// Why a signature or a complaint was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRejection {
    /// The signer has no part in this step.
    #[error("client {0} has no part in this step")]
    UnknownMember(ClientId),
    /// It does not verify over this transcript.
    #[error("the signature of client {0} does not verify")]
    Signature(ClientId),
    /// A complaint about another roster, or by a client about itself.
    #[error("the complaint of client {0} is not about a peer of this cohort")]
    Subject(ClientId),
}

/// Verifies one advert against the pinned roster and the plan: signature, sound keys, noise seeds where they are due.
///
/// # Errors
/// [`AdvertRejection`].
pub fn verify_advert(
    ctx0: Ctx0,
    advert: &Advert,
    members: &Members,
    excess_noise: ExcessNoise,
) -> Result<(), AdvertRejection> {
    let key = members.get(&advert.id).ok_or(AdvertRejection::UnknownMember(advert.id))?;
    if !Signed::Advert.verifies(key, &ctx0.0, advert_payload(advert), &advert.signature) {
        return Err(AdvertRejection::Signature(advert.id));
    }
    if !is_sound_public_key(&advert.ek_pub) || !is_sound_public_key(&advert.mk_pub) {
        return Err(AdvertRejection::UnsoundKey(advert.id));
    }
    if advert.noise.is_some() != excess_noise.is_removed() {
        return Err(AdvertRejection::NoiseSeeds(advert.id));
    }
    Ok(())
}

/// A fixed U1, fully verified: adverts under pinned identities, distinct keys, a safe threshold, the floors.
#[derive(Debug, Clone)]
pub struct FixedCohort {
    ctx0: Ctx0,
    adverts: Vec<Advert>,
    identities: BTreeMap<ClientId, VerifyingKey>,
    floors: Floors,
    threshold: Threshold,
    r1: R1,
}

impl FixedCohort {
    /// Verifies `adverts`, sorted by id, as the whole of U1. The threshold is computed here and nowhere else.
    ///
    /// # Errors
    /// [`AdvertsRejection`].
    pub fn new(
        ctx0: Ctx0,
        adverts: &[Advert],
        members: &Members,
        floors: &Floors,
    ) -> Result<Self, AdvertsRejection> {
        if let Some(id) = first_out_of_order(adverts.iter().map(|advert| advert.id)) {
            return Err(AdvertsRejection::Order(id));
        }
        let threshold = Threshold::new(adverts.len(), floors.corrupt)?;
        if adverts.len() < floors.cohort_min {
            return Err(AdvertsRejection::CohortTooSmall {
                members: adverts.len(),
                cohort_min: floors.cohort_min,
            });
        }
        if adverts.len() > floors.cohort_max {
            return Err(AdvertsRejection::CohortTooLarge {
                members: adverts.len(),
                cohort_max: floors.cohort_max,
            });
        }
        if threshold.honest_in_any_sum() < floors.honest_min {
            return Err(AdvertsRejection::HonestTooFew {
                honest: threshold.honest_in_any_sum(),
                honest_min: floors.honest_min,
            });
        }
        let mut keys_seen = BTreeSet::new();
        let mut identities_seen = BTreeSet::new();
        let mut identities = BTreeMap::new();
        for advert in adverts {
            verify_advert(ctx0, advert, members, floors.excess_noise)?;
            if !keys_seen.insert(advert.ek_pub) || !keys_seen.insert(advert.mk_pub) {
                return Err(AdvertsRejection::DuplicateKey(advert.id));
            }
            let identity = members.get(&advert.id).ok_or(AdvertRejection::UnknownMember(advert.id))?;
            if !identities_seen.insert(identity.to_bytes()) {
                return Err(AdvertsRejection::DuplicateIdentity(advert.id));
            }
            identities.insert(advert.id, *identity);
        }
        let r1 = first_roster_digest(ctx0, adverts);
        Ok(Self { ctx0, adverts: adverts.to_vec(), identities, floors: *floors, threshold, r1 })
    }

    /// The context of the attempt.
    pub fn ctx0(&self) -> Ctx0 {
        self.ctx0
    }

    /// The digest of this roster.
    pub fn r1(&self) -> R1 {
        self.r1
    }

    /// U1: whose adverts the cohort is made of.
    pub fn u1(&self) -> BTreeSet<ClientId> {
        self.identities.keys().copied().collect()
    }

    /// The adverts, sorted by id.
    pub fn adverts(&self) -> &[Advert] {
        &self.adverts
    }

    /// The threshold of this cohort.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// `max(t, cohort_min)`: the least size of U2 and of U3.
    pub fn quorum(&self) -> usize {
        self.threshold.value().max(self.floors.cohort_min)
    }

    /// Levels of the excess noise's components, of which each member deals a link: from the fewest updates that can be
    /// opened to one below the most; none where excess is kept.
    pub(crate) fn noise_levels(&self) -> Range<usize> {
        let fewest = self.threshold.value();
        match self.floors.excess_noise {
            ExcessNoise::Kept => fewest..fewest,
            ExcessNoise::Removed => fewest..self.size(),
        }
    }

    /// The place of the link that is opened for a sum of `included` updates, if it has any excess.
    pub(crate) fn opened_noise(&self, included: usize) -> Option<usize> {
        let levels = self.noise_levels();
        let level = included.checked_sub(1).filter(|level| levels.contains(level))?;
        Some(level - levels.start)
    }

    /// Verifies a client's shares for all of U1. Whether they are good inside, only their holders can tell.
    ///
    /// # Errors
    /// [`BundleRejection`].
    pub fn verify_bundle(&self, bundle: &ShareBundle) -> Result<(), BundleRejection> {
        self.check_shape(bundle)?;
        let root = SignedRoot {
            id: bundle.sender,
            merkle_root: share_tree(bundle).root(),
            signature: bundle.signature,
        };
        if !self.verifies_root(&root) {
            return Err(BundleRejection::Signature(bundle.sender));
        }
        Ok(())
    }

    /// Verifies that a member of this cohort complains of another one.
    ///
    /// # Errors
    /// [`SignatureRejection`].
    pub fn verify_complaint(&self, complaint: &Complaint) -> Result<(), SignatureRejection> {
        let accuser = complaint.accuser;
        let key = self.identities.get(&accuser).ok_or(SignatureRejection::UnknownMember(accuser))?;
        if complaint.r1 != self.r1
            || complaint.accused == accuser
            || !self.identities.contains_key(&complaint.accused)
        {
            return Err(SignatureRejection::Subject(accuser));
        }
        if !Signed::Complaint.verifies(key, &self.r1.0, complaint_payload(complaint), &complaint.signature) {
            return Err(SignatureRejection::Signature(accuser));
        }
        Ok(())
    }

    /// The part of [`FixedCohort::verify_bundle`] that needs no cryptography.
    pub(crate) fn check_shape(&self, bundle: &ShareBundle) -> Result<(), BundleRejection> {
        let sender = bundle.sender;
        if !self.identities.contains_key(&sender) {
            return Err(BundleRejection::UnknownMember(sender));
        }
        if !bundle.shares.iter().map(|share| &share.recipient).eq(self.identities.keys()) {
            return Err(BundleRejection::Recipients(sender));
        }
        let links = self.noise_levels().len();
        for share in &bundle.shares {
            let length = if share.recipient == sender { 0 } else { sealed_share_bytes(links) };
            if share.ciphertext.len() != length || share.commitments.noise.len() != links {
                return Err(BundleRejection::Length(sender));
            }
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> usize {
        self.adverts.len()
    }

    pub(crate) fn advert(&self, id: ClientId) -> Option<&Advert> {
        self.adverts.get(self.position(id)?)
    }

    /// A member's place in sorted U1, from 0. Its shares sit one further, at `x = place + 1`.
    pub(crate) fn position(&self, id: ClientId) -> Option<usize> {
        self.adverts.binary_search_by_key(&id, |advert| advert.id).ok()
    }

    fn verifies_root(&self, root: &SignedRoot) -> bool {
        self.identities.get(&root.id).is_some_and(|key| {
            let payload = shares_payload(root.id, &root.merkle_root);
            Signed::Shares.verifies(key, &self.r1.0, payload, &root.signature)
        })
    }
}

/// A fixed U2: a cohort and the verified share roots of those of its members that shared their keys.
#[derive(Debug, Clone)]
pub(crate) struct Sharers {
    cohort: FixedCohort,
    roots: BTreeMap<ClientId, SignedRoot>,
    r2: R2,
}

impl Sharers {
    pub(crate) fn new(cohort: FixedCohort, roots: &[SignedRoot]) -> Result<Self, SharersRejection> {
        if let Some(id) = first_out_of_order(roots.iter().map(|root| root.id)) {
            return Err(SharersRejection::Order(id));
        }
        if let Some(root) = roots.iter().find(|root| cohort.position(root.id).is_none()) {
            return Err(SharersRejection::UnknownMember(root.id));
        }
        if roots.len() < cohort.quorum() {
            return Err(SharersRejection::TooFew { members: roots.len(), needed: cohort.quorum() });
        }
        if let Some(root) = roots.iter().find(|root| !cohort.verifies_root(root)) {
            return Err(SharersRejection::Signature(root.id));
        }
        let r2 = R2(Transcript::new("u2")
            .bytes(&cohort.r1.0)
            .list(roots.iter(), |hash, root| {
                hash.client(root.id).bytes(&root.merkle_root).bytes(&root.signature)
            })
            .finish());
        Ok(Self { cohort, roots: roots.iter().map(|root| (root.id, root.clone())).collect(), r2 })
    }

    pub(crate) fn cohort(&self) -> &FixedCohort {
        &self.cohort
    }

    pub(crate) fn roots(&self) -> &BTreeMap<ClientId, SignedRoot> {
        &self.roots
    }

    pub(crate) fn r2(&self) -> R2 {
        self.r2
    }

    pub(crate) fn u2(&self) -> BTreeSet<ClientId> {
        self.roots.keys().copied().collect()
    }

    /// The pinned key of a member of U2.
    pub(crate) fn identity(&self, id: ClientId) -> Option<&VerifyingKey> {
        self.roots.get(&id).and_then(|_| self.cohort.identities.get(&id))
    }

    pub(crate) fn check_included(&self, u3: &BTreeSet<ClientId>) -> Result<(), IncludedRejection> {
        if let Some(id) = u3.iter().find(|id| !self.roots.contains_key(id)) {
            return Err(IncludedRejection::NotSharer(*id));
        }
        if u3.len() < self.cohort.quorum() {
            return Err(IncludedRejection::TooFew { members: u3.len(), needed: self.cohort.quorum() });
        }
        Ok(())
    }

    pub(crate) fn verify_included(
        &self,
        u3: &BTreeSet<ClientId>,
        signed: &IncludedSignature,
    ) -> Result<(), SignatureRejection> {
        let key = self
            .identity(signed.id)
            .filter(|_| u3.contains(&signed.id))
            .ok_or(SignatureRejection::UnknownMember(signed.id))?;
        if !Signed::Included.verifies(key, &self.r2.0, included_payload(u3), &signed.signature) {
            return Err(SignatureRejection::Signature(signed.id));
        }
        Ok(())
    }
}

/// The identity of an unmask request: a client answers one such digest and refuses every other for ever.
pub fn unmask_request_digest(r2: R2, u3: &BTreeSet<ClientId>) -> [u8; 32] {
    Transcript::new("unmask-request").bytes(&r2.0).list(u3.iter(), |hash, id| hash.client(*id)).finish()
}

/// The tree whose root a bundle's signature stands for.
pub(crate) fn share_tree(bundle: &ShareBundle) -> merkle::Tree {
    let leaves = bundle.shares.iter();
    merkle::Tree::new(
        leaves.map(|share| merkle::leaf(share.recipient, &share.ciphertext, &share.commitments)).collect(),
    )
}

pub(crate) fn advert_payload(advert: &Advert) -> [u8; 32] {
    advertised(Signed::Advert.payload(), advert).finish()
}

/// An advert's fields but its signature.
fn advertised(hash: Transcript, advert: &Advert) -> Transcript {
    let hash = hash.client(advert.id).bytes(&advert.ek_pub).bytes(&advert.mk_pub).bytes(&advert.commitment);
    // Absent, it adds nothing: no other field has its length at this place.
    advert.noise.iter().fold(hash, |hash, end| hash.bytes(end))
}

pub(crate) fn shares_payload(id: ClientId, merkle_root: &[u8; 32]) -> [u8; 32] {
    Signed::Shares.payload().client(id).bytes(merkle_root).finish()
}

pub(crate) fn included_payload(u3: &BTreeSet<ClientId>) -> [u8; 32] {
    Signed::Included.payload().list(u3.iter(), |hash, id| hash.client(*id)).finish()
}

pub(crate) fn complaint_payload(complaint: &Complaint) -> [u8; 32] {
    Signed::Complaint
        .payload()
        .client(complaint.accuser)
        .client(complaint.accused)
        .u32(complaint.reason as u32)
        .finish()
}

fn first_roster_digest(ctx0: Ctx0, adverts: &[Advert]) -> R1 {
    R1(Transcript::new("u1")
        .bytes(&ctx0.0)
        .list(adverts.iter(), |hash, advert| advertised(hash, advert).bytes(&advert.signature))
        .finish())
}

fn first_out_of_order(ids: impl Iterator<Item = ClientId>) -> Option<ClientId> {
    let mut last = None;
    for id in ids {
        if last >= Some(id) {
            return Some(id);
        }
        last = Some(id);
    }
    None
}
