//! The messages of secure aggregation.

use secagg::{
    Advert, ClientId, Complaint, ComplaintReason, DeliveredShare, Delivery, IncludedSignature, OpenedShare,
    R1, SealedShare, ShareBundle, ShareCommitments, SignedRoot, UnmaskShares, sealed_share_bytes,
};

use super::{ConversionError, Fault, fixed, list, required};
use crate::{limits, v1};

impl From<Advert> for v1::Advert {
    fn from(advert: Advert) -> Self {
        Self {
            id: advert.id.0,
            ek_pub: advert.ek_pub.to_vec(),
            mk_pub: advert.mk_pub.to_vec(),
            commitment: advert.commitment.to_vec(),
            signature: advert.signature.to_vec(),
            noise: advert.noise.map(|end| end.to_vec()),
        }
    }
}

impl TryFrom<v1::Advert> for Advert {
    type Error = ConversionError;

    fn try_from(advert: v1::Advert) -> Result<Self, ConversionError> {
        Ok(Self {
            id: ClientId(advert.id),
            ek_pub: fixed("ek_pub", &advert.ek_pub)?,
            mk_pub: fixed("mk_pub", &advert.mk_pub)?,
            commitment: fixed("commitment", &advert.commitment)?,
            noise: advert.noise.as_deref().map(|end| fixed("noise", end)).transpose()?,
            signature: fixed("signature", &advert.signature)?,
        })
    }
}

impl From<ShareCommitments> for v1::ShareCommitments {
    fn from(commitments: ShareCommitments) -> Self {
        Self {
            round_seed: commitments.round_seed.to_vec(),
            self_mask: commitments.self_mask.to_vec(),
            noise: commitments.noise.iter().map(|commitment| commitment.to_vec()).collect(),
        }
    }
}

impl TryFrom<v1::ShareCommitments> for ShareCommitments {
    type Error = ConversionError;

    fn try_from(commitments: v1::ShareCommitments) -> Result<Self, ConversionError> {
        Ok(Self {
            round_seed: fixed("round_seed", &commitments.round_seed)?,
            self_mask: fixed("self_mask", &commitments.self_mask)?,
            noise: digests("noise", &commitments.noise, limits::NOISE_LINKS_MAX)?,
        })
    }
}

impl From<SealedShare> for v1::SealedShare {
    fn from(share: SealedShare) -> Self {
        Self {
            recipient: share.recipient.0,
            ciphertext: share.ciphertext,
            commitments: Some(share.commitments.into()),
        }
    }
}

impl TryFrom<v1::SealedShare> for SealedShare {
    type Error = ConversionError;

    fn try_from(share: v1::SealedShare) -> Result<Self, ConversionError> {
        Ok(Self {
            recipient: ClientId(share.recipient),
            // A dealer keeps its own share: whether an empty one is in the right place, the round decides.
            ciphertext: if share.ciphertext.is_empty() { Vec::new() } else { ciphertext(share.ciphertext)? },
            commitments: required("commitments", share.commitments)?,
        })
    }
}

impl From<ShareBundle> for v1::ShareBundle {
    fn from(bundle: ShareBundle) -> Self {
        Self {
            sender: bundle.sender.0,
            shares: bundle.shares.into_iter().map(Into::into).collect(),
            signature: bundle.signature.to_vec(),
        }
    }
}

impl TryFrom<v1::ShareBundle> for ShareBundle {
    type Error = ConversionError;

    fn try_from(bundle: v1::ShareBundle) -> Result<Self, ConversionError> {
        Ok(Self {
            sender: ClientId(bundle.sender),
            shares: list("shares", bundle.shares, limits::COHORT_MAX)?,
            signature: fixed("signature", &bundle.signature)?,
        })
    }
}

impl From<SignedRoot> for v1::SignedRoot {
    fn from(root: SignedRoot) -> Self {
        Self { id: root.id.0, merkle_root: root.merkle_root.to_vec(), signature: root.signature.to_vec() }
    }
}

impl TryFrom<v1::SignedRoot> for SignedRoot {
    type Error = ConversionError;

    fn try_from(root: v1::SignedRoot) -> Result<Self, ConversionError> {
        Ok(Self {
            id: ClientId(root.id),
            merkle_root: fixed("merkle_root", &root.merkle_root)?,
            signature: fixed("signature", &root.signature)?,
        })
    }
}

impl From<DeliveredShare> for v1::DeliveredShare {
    fn from(share: DeliveredShare) -> Self {
        Self {
            sender: share.sender.0,
            ciphertext: share.ciphertext,
            commitments: Some(share.commitments.into()),
            merkle_path: share.merkle_path.iter().map(|node| node.to_vec()).collect(),
        }
    }
}

impl TryFrom<v1::DeliveredShare> for DeliveredShare {
    type Error = ConversionError;

    fn try_from(share: v1::DeliveredShare) -> Result<Self, ConversionError> {
        Ok(Self {
            sender: ClientId(share.sender),
            ciphertext: ciphertext(share.ciphertext)?,
            commitments: required("commitments", share.commitments)?,
            merkle_path: digests("merkle_path", &share.merkle_path, limits::MERKLE_PATH_MAX)?,
        })
    }
}

impl From<Delivery> for v1::Delivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            members: delivery.members.into_iter().map(Into::into).collect(),
            shares: delivery.shares.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Delivery> for Delivery {
    type Error = ConversionError;

    fn try_from(delivery: v1::Delivery) -> Result<Self, ConversionError> {
        Ok(Self {
            members: list("members", delivery.members, limits::COHORT_MAX)?,
            shares: list("shares", delivery.shares, limits::COHORT_MAX)?,
        })
    }
}

impl From<IncludedSignature> for v1::IncludedSignature {
    fn from(signed: IncludedSignature) -> Self {
        Self { id: signed.id.0, signature: signed.signature.to_vec() }
    }
}

impl TryFrom<v1::IncludedSignature> for IncludedSignature {
    type Error = ConversionError;

    fn try_from(signed: v1::IncludedSignature) -> Result<Self, ConversionError> {
        Ok(Self { id: ClientId(signed.id), signature: fixed("signature", &signed.signature)? })
    }
}

impl From<OpenedShare> for v1::OpenedShare {
    fn from(share: OpenedShare) -> Self {
        Self { owner: share.owner.0, share: share.share.to_vec(), opening: share.opening.to_vec() }
    }
}

impl TryFrom<v1::OpenedShare> for OpenedShare {
    type Error = ConversionError;

    fn try_from(share: v1::OpenedShare) -> Result<Self, ConversionError> {
        Ok(Self {
            owner: ClientId(share.owner),
            share: fixed("share", &share.share)?,
            opening: fixed("opening", &share.opening)?,
        })
    }
}

impl From<UnmaskShares> for v1::UnmaskShares {
    fn from(shares: UnmaskShares) -> Self {
        Self {
            id: shares.id.0,
            self_mask: shares.self_mask.into_iter().map(Into::into).collect(),
            round_seed: shares.round_seed.into_iter().map(Into::into).collect(),
            noise: shares.noise.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::UnmaskShares> for UnmaskShares {
    type Error = ConversionError;

    fn try_from(shares: v1::UnmaskShares) -> Result<Self, ConversionError> {
        Ok(Self {
            id: ClientId(shares.id),
            self_mask: list("self_mask", shares.self_mask, limits::COHORT_MAX)?,
            round_seed: list("round_seed", shares.round_seed, limits::COHORT_MAX)?,
            noise: list("noise", shares.noise, limits::COHORT_MAX)?,
        })
    }
}

impl From<Complaint> for v1::Complaint {
    fn from(complaint: Complaint) -> Self {
        let reason = match complaint.reason {
            ComplaintReason::Sealing => v1::ComplaintReason::Sealing,
            ComplaintReason::Commitment => v1::ComplaintReason::Commitment,
        };
        Self {
            r1: complaint.r1.0.to_vec(),
            accuser: complaint.accuser.0,
            accused: complaint.accused.0,
            reason: reason.into(),
            signature: complaint.signature.to_vec(),
        }
    }
}

impl TryFrom<v1::Complaint> for Complaint {
    type Error = ConversionError;

    fn try_from(complaint: v1::Complaint) -> Result<Self, ConversionError> {
        let reason = match v1::ComplaintReason::try_from(complaint.reason) {
            Ok(v1::ComplaintReason::Sealing) => ComplaintReason::Sealing,
            Ok(v1::ComplaintReason::Commitment) => ComplaintReason::Commitment,
            Ok(v1::ComplaintReason::Unspecified) | Err(_) => {
                return Err(ConversionError::new("reason", Fault::Unknown(complaint.reason)));
            }
        };
        Ok(Self {
            r1: R1(fixed("r1", &complaint.r1)?),
            accuser: ClientId(complaint.accuser),
            accused: ClientId(complaint.accused),
            reason,
            signature: fixed("signature", &complaint.signature)?,
        })
    }
}

fn ciphertext(bytes: Vec<u8>) -> Result<Vec<u8>, ConversionError> {
    // How many links of noise seeds it has to hold is the cohort's business.
    let links =
        bytes.len().saturating_sub(sealed_share_bytes(0)) / (sealed_share_bytes(1) - sealed_share_bytes(0));
    let (got, need) = (bytes.len(), sealed_share_bytes(links.min(limits::NOISE_LINKS_MAX)));
    if got != need {
        return Err(ConversionError::new("ciphertext", Fault::Length { got, need }));
    }
    Ok(bytes)
}

fn digests(field: &str, entries: &[Vec<u8>], max: usize) -> Result<Vec<[u8; 32]>, ConversionError> {
    super::at_most(field, entries.len() as u64, max as u64, "entries")?;
    entries.iter().enumerate().map(|(i, entry)| fixed(&format!("{field}[{i}]"), entry)).collect()
}
