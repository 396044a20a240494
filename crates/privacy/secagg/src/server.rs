//! The coordinator's side of a fixed U2. It is trusted for liveness only, and verifies everything so that
//! the right party is blamed.

use std::collections::{BTreeMap, BTreeSet};

use crate::cohort::{
    BundleRejection, FixedCohort, IncludedRejection, Sharers, SharersRejection, SignatureRejection,
    share_tree,
};
use crate::mask::input_payload;
use crate::merkle;
use crate::messages::{
    ClientId, DeliveredShare, Delivery, IncludedSignature, InputSignature, OpenedShare, ShareBundle,
    ShareCommitments, SignedRoot, UnmaskShares,
};
use crate::secret::ShareKind;
use crate::threshold::Threshold;
use crate::transcript::{R1, R2, Signed};

/// A cohort whose U2 is fixed, with the bundles of its members.
///
/// `Debug` prints public data only: ciphertexts and commitments.
#[derive(Debug, Clone)]
pub struct SharedCohort {
    sharers: Sharers,
    dealt: BTreeMap<ClientId, Dealt>,
}

/// One member's shares for all others.
#[derive(Debug, Clone)]
struct Dealt {
    bundle: ShareBundle,
    tree: merkle::Tree,
}

/// Why an answer to the unmask request is the returner's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnmaskBlame {
    /// The returner is not in the included set.
    #[error("client {0} is not in the included set")]
    NotIncluded(ClientId),
    /// Not exactly the shares that the included set asks for, in order.
    #[error("client {0} did not return exactly the shares that were asked for")]
    Owners(ClientId),
    /// A share that is not the one its dealer committed to.
    #[error("client {returner} returned a share of client {owner} that does not open its commitment")]
    Opening {
        /// Who is to blame.
        returner: ClientId,
        /// Whose share it should have been.
        owner: ClientId,
        /// Of which secret.
        kind: ShareKind,
    },
}

impl FixedCohort {
    /// Fixes U2 as the senders of `bundles`, each verified, and with it R2.
    ///
    /// # Errors
    /// [`SharersRejection`].
    pub fn fix_u2(
        &self,
        bundles: &BTreeMap<ClientId, ShareBundle>,
    ) -> Result<SharedCohort, SharersRejection> {
        for (id, bundle) in bundles {
            if bundle.sender != *id {
                return Err(BundleRejection::UnknownMember(*id).into());
            }
            self.check_shape(bundle)?;
        }
        let trees: Vec<merkle::Tree> = bundles.values().map(share_tree).collect();
        let signed = bundles.values().zip(&trees).map(|(bundle, tree)| SignedRoot {
            id: bundle.sender,
            merkle_root: tree.root(),
            signature: bundle.signature,
        });
        let sharers = Sharers::new(self.clone(), &signed.collect::<Vec<_>>())?;
        let dealt = bundles
            .values()
            .cloned()
            .zip(trees)
            .map(|(bundle, tree)| (bundle.sender, Dealt { bundle, tree }));
        Ok(SharedCohort { sharers, dealt: dealt.collect() })
    }
}

impl SharedCohort {
    /// The cohort, U1.
    pub fn cohort(&self) -> &FixedCohort {
        self.sharers.cohort()
    }

    /// The digest of the first roster.
    pub fn r1(&self) -> R1 {
        self.cohort().r1()
    }

    /// The digest that all masks are bound to.
    pub fn r2(&self) -> R2 {
        self.sharers.r2()
    }

    /// U2: the silos whose shares everybody in it holds.
    pub fn u2(&self) -> BTreeSet<ClientId> {
        self.sharers.u2()
    }

    /// How many silos' shares open a secret.
    pub fn threshold(&self) -> Threshold {
        self.cohort().threshold()
    }

    /// What `client` is to receive: U2 and the shares addressed to it; nothing if it is not in U2.
    pub fn delivery_for(&self, client: ClientId) -> Option<Delivery> {
        let place = self.dealt.get(&client).and_then(|_| self.cohort().position(client))?;
        let peers = self.dealt.values().filter(|dealt| dealt.bundle.sender != client);
        let shares = peers.filter_map(|Dealt { bundle, tree }| {
            bundle.shares.get(place).map(|share| DeliveredShare {
                sender: bundle.sender,
                ciphertext: share.ciphertext.clone(),
                commitments: share.commitments.clone(),
                merkle_path: tree.path(place),
            })
        });
        Some(Delivery { members: self.sharers.roots().values().cloned().collect(), shares: shares.collect() })
    }

    /// Verifies a member's signature over the digest of its masked update.
    ///
    /// # Errors
    /// [`SignatureRejection`].
    pub fn verify_input(
        &self,
        client: ClientId,
        digest: [u8; 32],
        signature: &InputSignature,
    ) -> Result<(), SignatureRejection> {
        let key = self.sharers.identity(client).ok_or(SignatureRejection::UnknownMember(client))?;
        if !Signed::Input.verifies(key, &self.r2().0, input_payload(digest), &signature.0) {
            return Err(SignatureRejection::Signature(client));
        }
        Ok(())
    }

    /// Whether `u3` may be offered for signing: a subset of U2 of at least `max(t, cohort_min)` members.
    ///
    /// # Errors
    /// [`IncludedRejection`].
    pub fn check_included(&self, u3: &BTreeSet<ClientId>) -> Result<(), IncludedRejection> {
        self.sharers.check_included(u3)
    }

    /// Verifies one member's signature over the included set.
    ///
    /// # Errors
    /// [`SignatureRejection`].
    pub fn verify_included_signature(
        &self,
        u3: &BTreeSet<ClientId>,
        signed: &IncludedSignature,
    ) -> Result<(), SignatureRejection> {
        self.sharers.verify_included(u3, signed)
    }

    /// Verifies an answer to the unmask request: the shares asked for, each opening its commitment.
    ///
    /// # Errors
    /// [`UnmaskBlame`], always at the returner: the dealers' commitments were checked by their holders.
    pub fn verify_unmask(&self, u3: &BTreeSet<ClientId>, answer: &UnmaskShares) -> Result<(), UnmaskBlame> {
        let returner = answer.id;
        let place = self
            .cohort()
            .position(returner)
            .filter(|_| u3.contains(&returner) && self.dealt.contains_key(&returner))
            .ok_or(UnmaskBlame::NotIncluded(returner))?;
        let dropped = self.dealt.keys().filter(|id| !u3.contains(id));
        let link = self.cohort().opened_noise(u3.len());
        let noised = u3.iter().filter(|_| link.is_some());
        if !owners(&answer.self_mask).eq(u3)
            || !owners(&answer.round_seed).eq(dropped)
            || !owners(&answer.noise).eq(noised)
        {
            return Err(UnmaskBlame::Owners(returner));
        }
        let noise = ShareKind::Noise { place: link.unwrap_or_default() };
        let opened = [
            (ShareKind::SelfMask, &answer.self_mask),
            (ShareKind::RoundSeed, &answer.round_seed),
            (noise, &answer.noise),
        ];
        for (kind, shares) in opened {
            for share in shares {
                let commitments = self.commitments(share.owner, place);
                let opens = kind.commit(share.owner, returner, &share.share, &share.opening);
                if commitments.and_then(|committed| kind.of(committed)) != Some(&opens) {
                    return Err(UnmaskBlame::Opening { returner, owner: share.owner, kind });
                }
            }
        }
        Ok(())
    }

    fn commitments(&self, dealer: ClientId, place: usize) -> Option<&ShareCommitments> {
        Some(&self.dealt.get(&dealer)?.bundle.shares.get(place)?.commitments)
    }
}

fn owners(shares: &[OpenedShare]) -> impl Iterator<Item = &ClientId> {
    shares.iter().map(|share| &share.owner)
}
