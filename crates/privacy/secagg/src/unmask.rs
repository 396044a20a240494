//! The client's last steps: sign one included set, and open the masks of that set, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::SigningKey;

use crate::cohort::{
    FixedCohort, IncludedRejection, Sharers, SignatureRejection, included_payload, unmask_request_digest,
};
use crate::messages::{ClientId, IncludedSignature, UnmaskShares};
use crate::seal::DealtShares;
use crate::threshold::Threshold;
use crate::transcript::{R1, R2, Signed};

/// A step that was refused, with the state it left as it was.
pub struct Refused<State, Reason> {
    /// The unchanged state.
    pub state: Box<State>,
    pub reason: Reason,
}

impl<State, Reason: fmt::Debug> fmt::Debug for Refused<State, Reason> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// The shares that a client holds of every member of U2, before it signed an included set.
///
/// # Security
/// Zeroised on drop and redacted in `Debug`. One set can be signed:
///
/// ```compile_fail,E0382
/// # use std::collections::BTreeSet;
/// # use secagg::{ClientId, HeldShares};
/// fn sign_two(held: HeldShares, sets: [BTreeSet<ClientId>; 2], key: &ed25519_dalek::SigningKey) {
///     let _ = held.sign_included(&sets[0], key);
///     let _ = held.sign_included(&sets[1], key);
/// }
/// ```
#[derive(Debug)]
pub struct HeldShares {
    own: ClientId,
    sharers: Sharers,
    held: BTreeMap<ClientId, DealtShares>,
}

impl HeldShares {
    pub(crate) fn new(own: ClientId, sharers: Sharers, held: BTreeMap<ClientId, DealtShares>) -> Self {
        Self { own, sharers, held }
    }

    #[cfg(test)]
    pub(crate) fn shares(&self) -> impl Iterator<Item = &DealtShares> {
        self.held.values()
    }

    /// The digest of the accepted roster.
    pub fn r1(&self) -> R1 {
        self.sharers.cohort().r1()
    }

    /// The digest that all masks are bound to.
    pub fn r2(&self) -> R2 {
        self.sharers.r2()
    }

    /// The accepted cohort, U1.
    pub fn cohort(&self) -> &FixedCohort {
        self.sharers.cohort()
    }

    /// U1: whose adverts the cohort is made of.
    pub fn u1(&self) -> BTreeSet<ClientId> {
        self.sharers.cohort().u1()
    }

    /// U2: the silos whose shares everybody in it holds.
    pub fn u2(&self) -> BTreeSet<ClientId> {
        self.sharers.u2()
    }

    /// The threshold that this client computed.
    pub fn threshold(&self) -> Threshold {
        self.sharers.cohort().threshold()
    }

    /// Signs the included set. The caller has uploaded its masked update under this R2.
    ///
    /// # Errors
    /// [`IncludedRejection`], with the state unchanged: nothing was signed.
    pub fn sign_included(
        self,
        u3: &BTreeSet<ClientId>,
        identity: &SigningKey,
    ) -> Result<(SignedIncluded, IncludedSignature), Refused<Self, IncludedRejection>> {
        let checked = self
            .sharers
            .check_included(u3)
            .and_then(|()| if u3.contains(&self.own) { Ok(()) } else { Err(IncludedRejection::NotSelf) });
        if let Err(reason) = checked {
            return Err(Refused { state: Box::new(self), reason });
        }
        let signature = Signed::Included.sign(identity, &self.sharers.r2().0, included_payload(u3));
        let signed = IncludedSignature { id: self.own, signature };
        Ok((SignedIncluded { shares: self, u3: u3.clone() }, signed))
    }

    /// A share of one of the two mask secrets of each member of U2, as `u3` asks for, and of the link of noise seeds that
    /// the sum over so many has too much of.
    pub(crate) fn open(&self, u3: &BTreeSet<ClientId>) -> Result<UnmaskShares, UnmaskRejection> {
        let mut shares =
            UnmaskShares { id: self.own, self_mask: Vec::new(), round_seed: Vec::new(), noise: Vec::new() };
        let link = self.sharers.cohort().opened_noise(u3.len());
        for owner in self.sharers.roots().keys() {
            let dealt = self.held.get(owner).ok_or(UnmaskRejection::NotHeld(*owner))?;
            if u3.contains(owner) {
                shares.self_mask.push(dealt.self_mask.open(*owner));
                if let Some(place) = link {
                    let share = dealt.noise.get(place).ok_or(UnmaskRejection::NotHeld(*owner))?;
                    shares.noise.push(share.open(*owner));
                }
            } else {
                shares.round_seed.push(dealt.round_seed.open(*owner));
            }
        }
        Ok(shares)
    }
}

/// The shares that a client holds, after it signed an included set.
///
/// # Security
/// As [`HeldShares`]. One request can be answered:
///
/// ```compile_fail,E0382
/// fn answer_twice(state: secagg::SignedIncluded, signatures: &[secagg::IncludedSignature]) {
///     let _ = state.unmask(signatures);
///     let _ = state.unmask(signatures);
/// }
/// ```
#[derive(Debug)]
pub struct SignedIncluded {
    shares: HeldShares,
    u3: BTreeSet<ClientId>,
}

/// Why an unmask request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnmaskRejection {
    /// A client's signature was sent twice.
    #[error("the signature of client {0} was sent twice")]
    Duplicate(ClientId),
    /// A signature is foreign to the included set, or does not verify over it.
    #[error(transparent)]
    Signature(#[from] SignatureRejection),
    /// Fewer signatures than the threshold.
    #[error("{signatures} clients signed the included set, {needed} are needed")]
    BelowQuorum { signatures: usize, needed: usize },
    /// A member of U2 whose shares this client does not hold.
    #[error("no share of client {0} is held")]
    NotHeld(ClientId),
}

impl SignedIncluded {
    /// The digest that all masks are bound to.
    pub fn r2(&self) -> R2 {
        self.shares.sharers.r2()
    }

    /// The accepted cohort, U1.
    pub fn cohort(&self) -> &FixedCohort {
        self.shares.sharers.cohort()
    }

    /// U2: the silos whose shares everybody in it holds.
    pub fn u2(&self) -> BTreeSet<ClientId> {
        self.shares.sharers.u2()
    }

    /// The included set that was signed.
    pub fn u3(&self) -> &BTreeSet<ClientId> {
        &self.u3
    }

    /// The identity of the one request that this client may answer.
    pub fn unmask_request_digest(&self) -> [u8; 32] {
        unmask_request_digest(self.shares.sharers.r2(), &self.u3)
    }

    /// Opens the self-mask shares of the included set and the round-seed shares of those that dropped, once a
    /// quorum signed the very set that this client signed; and where excess noise is removed, shares of what the sum over
    /// that set has too much of.
    ///
    /// # Errors
    /// [`UnmaskRejection`], with the state unchanged: nothing was opened.
    ///
    /// # Privacy
    /// The coordinator learns the sum over the included set, of at least `t - c` honest updates. For each peer
    /// one of its two mask secrets is opened, never both. Which link of noise seeds is opened follows from the size of the
    /// one set that a quorum signed and whose sum is opened: nobody can have it removed from a smaller sum.
    pub fn unmask(
        self,
        signatures: &[IncludedSignature],
    ) -> Result<UnmaskShares, Refused<Self, UnmaskRejection>> {
        match self.verify_quorum(signatures).and_then(|()| self.shares.open(&self.u3)) {
            Ok(shares) => Ok(shares),
            Err(reason) => Err(Refused { state: Box::new(self), reason }),
        }
    }

    fn verify_quorum(&self, signatures: &[IncludedSignature]) -> Result<(), UnmaskRejection> {
        let mut signers = BTreeSet::new();
        for signed in signatures {
            if !signers.insert(signed.id) {
                return Err(UnmaskRejection::Duplicate(signed.id));
            }
            self.shares.sharers.verify_included(&self.u3, signed)?;
        }
        let needed = self.shares.sharers.cohort().threshold().value();
        if signers.len() < needed {
            return Err(UnmaskRejection::BelowQuorum { signatures: signers.len(), needed });
        }
        Ok(())
    }
}
