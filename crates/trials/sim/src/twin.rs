//! A coordinator of two minds: a second core from the same journals and key, that hears what the first hears and
//! decides for itself who is in the cohort, in the included set, in the sum.
//!
//! Each of the two is sound; a silo that answered both would sign two sets, open both of a peer's secrets, or help
//! to two sums that differ by one silo.

use std::collections::BTreeSet;

use federation::{Effect, Effects, Input};
use protocol::{OfRun, SessionVersion, Timestamp, ToClient, ToCoordinator, UploadHeader};
use rand_core::CryptoRng;
use secagg::ClientId;

use crate::center::Center;

pub(crate) struct Twin {
    core: federation::Federation,
    /// Whom it hears and speaks to; the chain is the same for both minds, and the first says it.
    audience: BTreeSet<ClientId>,
}

/// What it says.
pub(crate) type Said = Vec<(ClientId, OfRun<ToClient>)>;

impl Twin {
    /// The second mind of this center, as its journals stand.
    pub(crate) fn of(
        center: &Center,
        audience: BTreeSet<ClientId>,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Option<(Self, Said)> {
        let journals = center.runs.iter().map(|(number, run)| (*number, run.acknowledged.clone())).collect();
        let core = center.recovered(&journals, now, &mut Effects::new()).ok()?;
        let mut twin = Self { core, audience };
        let mut said = Said::new();
        for client in twin.audience.clone() {
            said.extend(twin.take(now, rng, Input::Connected { client, version: SessionVersion::NEWEST }));
        }
        Some((twin, said))
    }

    pub(crate) fn hears(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        from: ClientId,
        message: OfRun<ToCoordinator>,
    ) -> Said {
        match self.audience.contains(&from) {
            true => self.take(now, rng, Input::Message { from, message }),
            false => Said::new(),
        }
    }

    /// A vector reached the staging that both share.
    pub(crate) fn staged(
        &mut self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        header: OfRun<UploadHeader>,
    ) -> Said {
        match self.core.admit_upload(&header) {
            Ok(run) => self.take(now, rng, Input::Staged { run, header: header.message }),
            Err(_) => Said::new(),
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp, rng: &mut dyn CryptoRng) -> Said {
        self.take(now, rng, Input::Tick)
    }

    fn take(&mut self, now: Timestamp, rng: &mut dyn CryptoRng, input: Input) -> Said {
        let mut effects = Effects::new();
        // It takes refusals as they come; whom it may not ask, it does not.
        let _ = self.core.handle(now, rng, input, &mut effects);
        let core = &self.core;
        let says = |Effect { run, effect }| match effect {
            protocol::Effect::Send { to, message } => {
                Some((to, OfRun { run: core.run(run)?.run_id(), message: *message }))
            }
            _ => None,
        };
        effects.into_iter().filter_map(says).filter(|(to, _)| self.audience.contains(to)).collect()
    }
}
