//! Secure aggregation: a coordinator learns the sum of its clients' vectors and nothing else.
//!
//! Owns the cryptography of one aggregation over one cohort, both sides, for a coordinator that is malicious
//! against privacy and up to `c` clients that collude with it: keys, shares, masks, the consistency step,
//! unmasking, recovery from dropouts, and blame. It knows nothing of learning; of what
//! it masks it knows by type that its noise is in it.
//!
//! It does no I/O, keeps no journal, knows no deadline and resends nothing: that a client accepts one roster,
//! uploads once and repeats only stored answers is the caller's to hold across restarts. Within a process the
//! types hold it: each step consumes the state before it.
//!
//! ```text
//! client                                            coordinator
//! Advertised::new            -- Advert ---------->  verify_advert, FixedCohort::new (U1, R1)
//!   .accept_adverts           <- adverts ----------
//! SharesSent                 -- ShareBundle ----->  FixedCohort::verify_bundle, fix_u2 (U2, R2)
//!   .accept_delivery         <- Delivery ---------  SharedCohort::delivery_for
//! Masking::mask, sign_input  -- masked update --->  verify_input, sum_into
//! HeldShares::sign_included  <- U3 --------------
//!                            -- IncludedSignature>  verify_included_signature
//! SignedIncluded::unmask     <- t signatures -----
//!                            -- UnmaskShares ---->  verify_unmask, recover, MaskRemoval::remove
//! ```
//!
//! The threshold is everyone's own arithmetic:
//!
//! ```
//! let threshold = secagg::Threshold::new(5, 1)?;
//! assert_eq!(threshold.value(), 4);
//! assert_eq!(threshold.dropouts_tolerated(), 1);
//! assert_eq!(threshold.honest_in_any_sum(), 3);
//! # Ok::<(), secagg::ThresholdError>(())
//! ```
//!
//! # Security
//! Not covered: availability against the coordinator, hiding who took part, and what a sum itself reveals;
//! without differential privacy, security is for one sum of one round.
//!
//! # Paper
//! Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (CCS 2017), in the
//! form for malicious servers. Deviations: masks are salted with the whole transcript (against model
//! inconsistency, Pasquini et al. 2022); excess noise can be taken off the sum (`ExcessNoise`); shares are committed to in a signed Merkle tree, so that a bad share
//! has a culprit; the mask key derives from the shared round seed; `t` allows for `c` corrupt clients.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

// The tests' federation speaks of this crate as any user does.
#[cfg(test)]
extern crate self as secagg;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(feature = "adversary")]
pub mod adversary;
mod client;
mod cohort;
mod excess;
mod gf256;
mod mask;
mod merkle;
mod messages;
mod prg;
mod recover;
mod seal;
mod secret;
mod server;
mod shamir;
mod threshold;
mod transcript;
mod unmask;

pub use client::{Advertised, DeliveryFault, DeliveryRejection, SharesSent};
pub use cohort::{
    AdvertRejection, AdvertsRejection, BundleRejection, FixedCohort, IncludedRejection, SharersRejection,
    SignatureRejection, unmask_request_digest, verify_advert,
};
pub use excess::{EXCESS_COHORT_MAX, ExcessNoise, ExcessSeed, NoiseSeeds};
pub use mask::{LengthMismatch, MaskedUpdate, Masking, sign_input, sum_into};
pub use messages::{
    Advert, ClientId, Complaint, ComplaintReason, DeliveredShare, Delivery, IncludedSignature,
    InputSignature, Members, OpenedShare, SealedShare, ShareBundle, ShareCommitments, SignedRoot,
    UnmaskShares, sealed_share_bytes,
};
pub use recover::{MaskRemoval, RecoverError, recover};
pub use secret::ShareKind;
pub use server::{SharedCohort, UnmaskBlame};
pub use threshold::{COHORT_MAX, Floors, Threshold, ThresholdError};
pub use transcript::{Ctx0, R1, R2, RoundBinding};
pub use unmask::{HeldShares, Refused, SignedIncluded, UnmaskRejection};
