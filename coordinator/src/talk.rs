//! How much one silo may say: more than any round needs, and less than would keep the driver from everybody else.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use secagg::ClientId;
use tonic::Status;
use wire::{ServiceError, ToStatus, v1};

/// Said at once, and then in a second. A round is six messages; a session that begins is 20, a check-in 20 and more.
const AT_ONCE: u32 = 600;
const A_SECOND: u32 = 200;
/// A message counts once more for each of these.
const BYTES: usize = 64 << 10;
/// A session's beginning costs a signature, and a welcome with a plan and a roster.
const SESSION: u32 = 20;
/// A check-in is answered with the chain, as far as the silo lacks it.
const CHECK_IN: u32 = 20;
const RECORDS: u64 = 4;
/// How soon a silo that said too much may come back: its allowance is whole by then.
const RETRY: Duration = Duration::from_secs(AT_ONCE as u64 / A_SECOND as u64);

type Silos = RateLimiter<
    u32,
    HashMapStateStore<u32>,
    DefaultClock,
    NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>,
>;

/// The allowances of all silos, whatever sessions they begin; cheap to clone.
#[derive(Clone)]
pub(crate) struct Talk(Arc<Silos>);

impl Default for Talk {
    fn default() -> Self {
        let at = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at(A_SECOND)).allow_burst(at(AT_ONCE));
        Self(Arc::new(RateLimiter::new(quota, HashMapStateStore::default(), DefaultClock::default())))
    }
}

impl Talk {
    /// A session begins.
    ///
    /// # Errors
    /// [`ServiceError::TooManyMessages`].
    pub(crate) fn begins(&self, silo: ClientId) -> Result<(), Status> {
        self.spend(silo, SESSION)
    }

    /// A message arrived; `newest` is the chain's newest round.
    ///
    /// # Errors
    /// [`ServiceError::TooManyMessages`].
    pub(crate) fn says(
        &self,
        silo: ClientId,
        envelope: &v1::ClientEnvelope,
        newest: u64,
    ) -> Result<(), Status> {
        self.spend(silo, cost(envelope, newest))
    }

    fn spend(&self, silo: ClientId, cost: u32) -> Result<(), Status> {
        let cost = NonZeroU32::new(cost.min(AT_ONCE / 2)).unwrap_or(NonZeroU32::MIN);
        match self.0.check_key_n(&silo.0, cost) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ServiceError::TooManyMessages { retry_after: RETRY }.to_status()),
        }
    }
}

fn cost(envelope: &v1::ClientEnvelope, newest: u64) -> u32 {
    let bytes = wire::message_bytes(envelope) / BYTES;
    let more = match &envelope.message {
        Some(v1::client_envelope::Message::CheckIn(check_in)) => {
            let lacks = newest.saturating_sub(check_in.head.unwrap_or_default());
            CHECK_IN.saturating_add(u32::try_from(lacks / RECORDS).unwrap_or(u32::MAX))
        }
        _ => 0,
    };
    more.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silo_that_speaks_without_end_is_stopped_in_all_its_sessions_and_no_other_is() {
        let talk = Talk::default();
        let silent = v1::ClientEnvelope::default();
        let said = (0..10_000).take_while(|_| talk.says(ClientId(1), &silent, 0).is_ok()).count();
        assert!(said >= AT_ONCE as usize, "{said}");
        assert!(said < 10_000);
        let why = talk.begins(ClientId(1)).unwrap_err();
        assert_eq!(wire::reason(&why).as_deref(), Some("TOO_MANY_MESSAGES"));
        assert!(talk.begins(ClientId(2)).is_ok());
    }

    #[test]
    fn a_check_in_costs_what_it_is_answered_with() {
        let check_in = |head| v1::CheckIn { head, ..Default::default() };
        let says = |head| {
            let message = Some(v1::client_envelope::Message::CheckIn(check_in(head)));
            cost(&v1::ClientEnvelope { message, ..Default::default() }, 1000)
        };
        assert_eq!(says(Some(1000)), 21);
        assert_eq!(says(None), 271);
    }
}
