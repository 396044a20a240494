//! What a lying client needs and an honest one has no use for: simulations and attack tests are made of it.
//!
//! A client that calls these functions breaks its own word, which any modified client can: it signs what it likes and
//! opens the shares that it holds without a quorum. That nothing comes of it as long as `c` of them do so is what the
//! tests are about. No program of this project may name this module; the repository's own tests check that.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;

use crate::cohort::{advert_payload, complaint_payload, included_payload, share_tree, shares_payload};
use crate::messages::{
    Advert, ClientId, Complaint, ComplaintReason, IncludedSignature, ShareBundle, UnmaskShares,
};
use crate::transcript::{R1, R2, Signed};
use crate::{Advertised, HeldShares, MaskedUpdate, Masking, UnmaskRejection};

/// Claims a commitment that the self-mask seed does not open.
pub fn claim_commitment(
    mut state: Advertised,
    commitment: [u8; 32],
    identity: &SigningKey,
) -> (Advertised, Advert) {
    state.advert.commitment = commitment;
    sign_advert(state, identity)
}

/// Claims an end of the chain of noise seeds that no link of it leads to.
pub fn claim_noise_seeds(
    mut state: Advertised,
    end: [u8; 32],
    identity: &SigningKey,
) -> (Advertised, Advert) {
    state.advert.noise = Some(end);
    sign_advert(state, identity)
}

fn sign_advert(mut state: Advertised, identity: &SigningKey) -> (Advertised, Advert) {
    state.advert.signature = Signed::Advert.sign(identity, &state.ctx0.0, advert_payload(&state.advert));
    let advert = state.advert.clone();
    (state, advert)
}

/// Signs a bundle again after it was spoilt, so that the dealer answers for it.
pub fn resign(bundle: &mut ShareBundle, r1: R1, identity: &SigningKey) {
    let root = share_tree(bundle).root();
    bundle.signature = Signed::Shares.sign(identity, &r1.0, shares_payload(bundle.sender, &root));
}

/// Complains about a peer whose shares are sound.
pub fn complain(r1: R1, accuser: ClientId, accused: ClientId, identity: &SigningKey) -> Complaint {
    let reason = ComplaintReason::Sealing;
    let mut complaint = Complaint { r1, accuser, accused, reason, signature: [0; 64] };
    complaint.signature = Signed::Complaint.sign(identity, &r1.0, complaint_payload(&complaint));
    complaint
}

/// Masks whatever lanes it likes, noised or not.
pub fn mask_any(masking: Masking, lanes: Vec<u32>) -> MaskedUpdate {
    masking.mask_lanes(lanes)
}

/// Signs any set as the included one, as often as it is asked.
pub fn sign_any_included(
    id: ClientId,
    r2: R2,
    set: &BTreeSet<ClientId>,
    identity: &SigningKey,
) -> IncludedSignature {
    IncludedSignature { id, signature: Signed::Included.sign(identity, &r2.0, included_payload(set)) }
}

/// Opens the shares that any set asks for, without a quorum and as often as it is asked.
///
/// # Errors
/// A member of U2 whose shares this client does not hold.
pub fn answer_any(held: &HeldShares, set: &BTreeSet<ClientId>) -> Result<UnmaskShares, UnmaskRejection> {
    held.open(set)
}
