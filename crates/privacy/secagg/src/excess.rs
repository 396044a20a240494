//! The seeds of the excess noise: what of it a sum of many silos does not need can be drawn again, and taken off.
//!
//! Noise comes in components. The one of level `v` is there for sums of at most `v` updates; a sum of `u` does without
//! those of levels below `u`. Every member has one chain of links for an attempt, `link(v − 1) = H(link(v))`, drawn at its
//! upper end and advertised at its lower one, so that opening `link(u − 1)` tells every level below `u` and nothing of
//! the others.
//!
//! # Paper
//! Jiang, Wang, Chen 2024 (Dordis, EuroSys), where the scheme is called XNoise. Deviations: levels count those that
//! stay, not those that drop, so that a level's variance is the same in every cohort; seeds form a chain, so that one
//! opened secret of each member is enough; all seeds are opened from shares, because a member's own word for its seed
//! would need the shares as well once it falls silent; the chain's end is signed, so that a wrong seed has a culprit.

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::messages::ClientId;
use crate::secret::{self, Secret};
use crate::threshold::COHORT_MAX;
use crate::transcript::{Ctx0, R2};

/// Most members of a cohort whose excess noise is removed: each deals a share of every level to every other, and those
/// of one dealer travel in one message.
pub const EXCESS_COHORT_MAX: usize = 128;

/// What becomes of noise that a sum of many silos needs less of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExcessNoise {
    /// It stays in the sum.
    #[default]
    Kept,
    /// It is taken off once the included set is final: members share the seeds of its components.
    Removed,
}

impl ExcessNoise {
    /// Whether it is taken off.
    pub fn is_removed(self) -> bool {
        self == Self::Removed
    }
}

/// A member's chain for one attempt, by its upper end.
///
/// # Security
/// Independent of the member's other secrets. Zeroised on drop and redacted in `Debug`.
#[derive(Debug)]
pub(crate) struct NoiseChain {
    owner: ClientId,
    ctx0: Ctx0,
    top: Secret,
}

impl NoiseChain {
    pub(crate) fn new(owner: ClientId, ctx0: Ctx0, top: Secret) -> Self {
        Self { owner, ctx0, top }
    }

    /// The lower end, which is advertised.
    pub(crate) fn end(&self) -> [u8; 32] {
        *self.link(0).expose()
    }

    pub(crate) fn link(&self, level: usize) -> Secret {
        walk(self.ctx0, self.owner, Secret::copy_of(self.top.expose()), COHORT_MAX, level)
    }
}

/// The links of a dealer from an opened one down, unless they do not end where the dealer advertised.
pub(crate) fn opened_seeds(
    r2: R2,
    ctx0: Ctx0,
    owner: ClientId,
    end: &[u8; 32],
    opened: Secret,
    levels: std::ops::Range<usize>,
) -> Option<Vec<ExcessSeed>> {
    let mut seeds = Vec::with_capacity(levels.len());
    let mut at = levels.end.checked_sub(1)?;
    let mut link = opened;
    for level in levels.rev() {
        link = walk(ctx0, owner, link, at, level);
        at = level;
        seeds.push(ExcessSeed::of(r2, owner, level, &link));
    }
    (walk(ctx0, owner, link, at, 0).expose() == end).then_some(seeds)
}

/// Down the chain, from the link of one level to that of a lower one.
fn walk(ctx0: Ctx0, owner: ClientId, from: Secret, level: usize, to: usize) -> Secret {
    (to..level).rev().fold(from, |link, level| secret::noise_link(ctx0, &link, owner, level))
}

/// The seed of one component of one member's noise.
///
/// # Security
/// Zeroised on drop and redacted in `Debug`.
#[derive(Debug)]
pub struct ExcessSeed {
    level: usize,
    seed: Secret,
}

impl ExcessSeed {
    pub(crate) fn of(r2: R2, owner: ClientId, level: usize, link: &Secret) -> Self {
        Self { level, seed: secret::noise_seed(r2, link, owner) }
    }

    /// The component's level: it stays in sums of at most so many updates.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The generator that the component is drawn from, by its member and again by who takes it off.
    pub fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(*self.seed.expose())
    }
}

/// The seeds of all components that one member adds in one round.
#[derive(Debug)]
pub struct NoiseSeeds {
    silos: usize,
    lowest: usize,
    seeds: Vec<ExcessSeed>,
}

impl NoiseSeeds {
    pub(crate) fn new(silos: usize, lowest: usize, seeds: Vec<ExcessSeed>) -> Self {
        Self { silos, lowest, seeds }
    }

    /// For a sum in one process, which no member can drop out of: no component would stay in it.
    pub fn nobody_drops(silos: usize) -> Self {
        Self { silos, lowest: silos, seeds: Vec::new() }
    }

    /// How many members mask under this transcript, U2.
    pub fn silos(&self) -> usize {
        self.silos
    }

    /// One seed for every level from the fewest updates that can be opened to one below [`NoiseSeeds::silos`]; nothing
    /// where a level has none, as in a cohort that keeps its excess.
    pub fn complete(&self) -> Option<&[ExcessSeed]> {
        let levels = self.seeds.iter().map(ExcessSeed::level);
        levels.eq(self.lowest..self.silos).then_some(&self.seeds)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;

    const CTX: Ctx0 = Ctx0([3; 32]);
    const OWNER: ClientId = ClientId(7);

    fn chain() -> NoiseChain {
        NoiseChain::new(OWNER, CTX, Secret::copy_of(&[5; 32]))
    }

    fn draws(seed: &ExcessSeed) -> u64 {
        seed.rng().next_u64()
    }

    #[test]
    fn an_opened_link_tells_its_own_and_all_lower_levels_as_their_member_drew_them() {
        let (chain, r2) = (chain(), R2([9; 32]));
        let opened = opened_seeds(r2, CTX, OWNER, &chain.end(), chain.link(7), 3..8).unwrap();
        let own: Vec<ExcessSeed> =
            (3..8).map(|level| ExcessSeed::of(r2, OWNER, level, &chain.link(level))).collect();
        assert_eq!(opened.iter().map(ExcessSeed::level).collect::<Vec<_>>(), [7, 6, 5, 4, 3]);
        assert!(opened.iter().zip(own.iter().rev()).all(|(a, b)| draws(a) == draws(b)));
    }

    #[test]
    fn a_link_of_another_level_member_or_attempt_does_not_end_where_it_was_advertised() {
        let (chain, r2) = (chain(), R2([9; 32]));
        let end = chain.end();
        let opens = |ctx0, owner, link, levels| opened_seeds(r2, ctx0, owner, &end, link, levels).is_some();
        assert!(opens(CTX, OWNER, chain.link(4), 3..5));
        assert!(!opens(CTX, OWNER, chain.link(5), 3..5));
        assert!(!opens(CTX, OWNER, chain.link(3), 3..5));
        assert!(!opens(CTX, ClientId(8), chain.link(4), 3..5));
        assert!(!opens(Ctx0([4; 32]), OWNER, chain.link(4), 3..5));
    }

    #[test]
    fn seeds_differ_by_level_member_and_transcript() {
        let link = chain().link(4);
        let mut all = vec![
            draws(&ExcessSeed::of(R2([1; 32]), OWNER, 4, &link)),
            draws(&ExcessSeed::of(R2([2; 32]), OWNER, 4, &link)),
            draws(&ExcessSeed::of(R2([1; 32]), ClientId(8), 4, &link)),
            draws(&ExcessSeed::of(R2([1; 32]), OWNER, 5, &chain().link(5))),
        ];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_member_that_lacks_a_level_is_not_complete() {
        let seed = |level| ExcessSeed::of(R2([1; 32]), OWNER, level, &chain().link(level));
        assert!(NoiseSeeds::new(5, 3, vec![seed(3), seed(4)]).complete().is_some());
        assert!(NoiseSeeds::new(5, 3, vec![seed(4)]).complete().is_none());
        assert!(NoiseSeeds::new(5, 3, vec![]).complete().is_none());
        assert!(NoiseSeeds::nobody_drops(5).complete().is_some());
    }

    #[test]
    fn the_chain_is_pinned() {
        // Computed by another implementation (Python's hashlib and hmac).
        assert_eq!(
            hex::encode(chain().end()),
            "8ba22fa8b3c2d8a5a70aaeea396f13025053f01042eb98cee291a532abc6d726"
        );
        let seed = ExcessSeed::of(R2([1; 32]), OWNER, 254, &chain().link(254));
        assert_eq!(
            hex::encode(seed.seed.expose()),
            "c0f95836128fcb93897d013e4434ef2b0f49de8d0295eab44970a0849a6b3e60"
        );
    }
}
