//! Recovery of the masks that do not cancel in the sum over an included set, and of the noise that it has too much of.

use std::collections::{BTreeMap, BTreeSet};

use crate::cohort::IncludedRejection;
use crate::excess::{self, ExcessSeed};
use crate::messages::{Advert, ClientId, OpenedShare, UnmaskShares};
use crate::prg::{self, Sign, SignedSeed};
use crate::secret::{self, Secret};
use crate::server::SharedCohort;
use crate::shamir;

/// Why the masks of an included set could not be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The set is not one that could have been signed.
    #[error(transparent)]
    Included(#[from] IncludedRejection),
    /// Not enough valid answers. Invalid ones do not count; their returners are blamed by
    /// [`SharedCohort::verify_unmask`].
    #[error("{valid} valid unmask answers, {needed} are needed")]
    TooFewAnswers {
        /// Answers that verify.
        valid: usize,
        needed: usize,
    },
    /// The shares are those the dealer committed to and recover something else than it advertised.
    #[error("the shares that client {0} dealt do not recover the secret it advertised")]
    Dealer(ClientId),
}

/// Recovers the self masks of `u3`, the pairwise masks between `u3` and those that dropped, and the seeds of the excess
/// noise where it is removed.
///
/// Deterministic: among the valid answers, those of the `t` lowest ids are used.
///
/// # Errors
/// [`RecoverError`]. Nothing may be published then.
pub fn recover(
    shared: &SharedCohort,
    u3: &BTreeSet<ClientId>,
    answers: &BTreeMap<ClientId, UnmaskShares>,
) -> Result<MaskRemoval, RecoverError> {
    shared.check_included(u3)?;
    let quorum = Quorum::new(shared, u3, answers)?;
    let (cohort, r2) = (shared.cohort(), shared.r2());
    let (mut seeds, mut components) = (Vec::new(), Vec::new());
    let levels = cohort.noise_levels().start..u3.len();
    for (place, id) in u3.iter().enumerate() {
        let self_mask = quorum.secret(|answer| answer.self_mask.get(place));
        let advert = cohort.advert(*id).ok_or(IncludedRejection::NotSharer(*id))?;
        if secret::self_mask_commitment(cohort.ctx0(), *id, &self_mask) != advert.commitment {
            return Err(RecoverError::Dealer(*id));
        }
        seeds.push(SignedSeed { sign: Sign::Minus, seed: secret::self_seed(r2, &self_mask, *id) });
        if let Some(end) = advert.noise.filter(|_| !levels.is_empty()) {
            let link = quorum.secret(|answer| answer.noise.get(place));
            let opened = excess::opened_seeds(r2, cohort.ctx0(), *id, &end, link, levels.clone());
            components.extend(opened.ok_or(RecoverError::Dealer(*id))?);
        }
    }
    for (place, dropped) in shared.u2().difference(u3).enumerate() {
        let mask_key = secret::mask_key(&quorum.secret(|answer| answer.round_seed.get(place)));
        let advert = cohort.advert(*dropped).ok_or(IncludedRejection::NotSharer(*dropped))?;
        if secret::public_key(&mask_key) != advert.mk_pub {
            return Err(RecoverError::Dealer(*dropped));
        }
        for survivor in u3.iter().filter_map(|id| cohort.advert(*id)) {
            seeds.push(pair_removal(shared, survivor, *dropped, &mask_key)?);
        }
    }
    Ok(MaskRemoval { seeds, excess: components })
}

/// The masks to take off the sum over an included set.
///
/// # Security
/// The seeds are zeroised when this is used or dropped, and redacted in `Debug`.
#[derive(Debug)]
pub struct MaskRemoval {
    seeds: Vec<SignedSeed>,
    excess: Vec<ExcessSeed>,
}

impl MaskRemoval {
    /// The components of its members' noise that the sum does without; none where excess is kept.
    pub fn excess(&self) -> &[ExcessSeed] {
        &self.excess
    }

    /// Turns the sum of the masked updates into the sum of the updates, modulo 2^32.
    pub fn remove(self, sum: &mut [u32]) {
        prg::apply(&self.seeds, sum);
    }
}

/// The `t` valid answers that secrets are recovered from, with their interpolation factors.
struct Quorum<'a> {
    answers: Vec<&'a UnmaskShares>,
    factors: Vec<u8>,
}

impl<'a> Quorum<'a> {
    fn new(
        shared: &SharedCohort,
        u3: &BTreeSet<ClientId>,
        answers: &'a BTreeMap<ClientId, UnmaskShares>,
    ) -> Result<Self, RecoverError> {
        let needed = shared.threshold().value();
        let valid: Vec<(u8, &UnmaskShares)> = answers
            .iter()
            .filter(|(id, answer)| **id == answer.id && shared.verify_unmask(u3, answer).is_ok())
            .filter_map(|(id, answer)| Some((u8::try_from(shared.cohort().position(*id)? + 1).ok()?, answer)))
            .take(needed)
            .collect();
        if valid.len() < needed {
            return Err(RecoverError::TooFewAnswers { valid: valid.len(), needed });
        }
        let (points, answers): (Vec<u8>, Vec<&UnmaskShares>) = valid.into_iter().unzip();
        Ok(Self { factors: shamir::lagrange_at_zero(&points), answers })
    }

    /// The secret whose share `of` finds in an answer. Verified answers all have it at the same place.
    fn secret(&self, of: impl Fn(&'a UnmaskShares) -> Option<&'a OpenedShare>) -> Secret {
        shamir::combine(
            &self.factors,
            self.answers.iter().filter_map(|answer| of(answer)).map(|share| &share.share),
        )
    }
}

/// Undoes the mask that `survivor` shares with the client that dropped.
fn pair_removal(
    shared: &SharedCohort,
    survivor: &Advert,
    dropped: ClientId,
    dropped_key: &Secret,
) -> Result<SignedSeed, RecoverError> {
    // A key that passed the roster's checks always contributes.
    let agreed = secret::agree(dropped_key, &survivor.mk_pub).ok_or(RecoverError::Dealer(survivor.id))?;
    Ok(SignedSeed {
        sign: Sign::of_pair(survivor.id, dropped).reversed(),
        seed: secret::pair_seed(shared.r2(), &agreed, survivor.id, dropped),
    })
}
