//! Time as the daemons judge it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plan::Plan;
use protocol::Timestamp;
use tokio::time::Instant;

/// Bounds of [`patience`]: below, a busy machine looks like a dead one; above, a dead peer holds what a live one needs.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Bounds of [`heartbeat`].
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(30);
/// A fifth: whoever loses a stream in the middle of a round has time to go on with it more than once.
const PATIENCE_OF_A_ROUND: u32 = 5;

/// How long a peer that owes something may be silent under this plan. It bounds silence, not the whole: what moves, however
/// slowly, goes on until its step's deadline.
pub fn patience(plan: &Plan) -> Duration {
    let round = Duration::from_millis(plan.timing.round_deadline_ms);
    (round / PATIENCE_OF_A_ROUND).clamp(PATIENCE_MIN, PATIENCE_MAX)
}

/// How often a silo looks at the coordinator's audit log, given [`patience`]. The coordinator signs a new checkpoint
/// three times more rarely, so that the silos can cosign one and see each other's cosignatures before it is replaced.
pub fn heartbeat(patience: Duration) -> Duration {
    patience.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
}

/// Counts on from one reading of the system's clock, so that setting the clock moves no deadline.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Reads the system's clock, and counts from the later of that and `newest`: a journal's own newest time, so that
    /// deadlines count on where the clock was set back between two starts.
    pub fn not_before(newest: Timestamp) -> Self {
        Self::at(wall_ms(), newest)
    }

    fn at(system_ms: u64, newest: Timestamp) -> Self {
        Self { started: Instant::now(), started_ms: system_ms.max(newest.0) }
    }

    /// The time now, never before one that an earlier call returned.
    pub fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.started_ms).plus_ms(elapsed)
    }

    /// The time at which this clock was made.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.started_ms)
    }

    /// Waits until then; for ever where there is nothing to wait for.
    pub async fn reached(&self, at: Option<Timestamp>) {
        let wait = at.map(|at| Duration::from_millis(at.0.saturating_sub(self.started_ms)));
        match wait.and_then(|wait| self.started.checked_add(wait)) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

/// The wall clock: certificates, tokens and ledgers are judged by it, rounds are not. One that stands before 1970 counts as
/// 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// [`wall_ms`] in seconds since 1970, as certificates and tokens count.
pub fn now_s() -> u64 {
    wall_ms() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_an_hour_between_two_starts_delays_no_deadline() {
        let newest = Timestamp(10 * HOUR_MS);
        let clock = Clock::at(newest.0 - HOUR_MS, newest);
        assert_eq!(clock.now(), newest);
        let began = Instant::now();
        clock.reached(Some(newest.plus_ms(5))).await;
        assert_eq!(began.elapsed(), Duration::from_millis(5));
        assert_eq!(clock.now(), newest.plus_ms(5));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_passed_between_two_starts_counts() {
        let clock = Clock::at(10 * HOUR_MS, Timestamp(9 * HOUR_MS));
        assert_eq!((clock.now(), clock.started()), (Timestamp(10 * HOUR_MS), Timestamp(10 * HOUR_MS)));
        let began = Instant::now();
        clock.reached(Some(Timestamp(9 * HOUR_MS + 1))).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "a deadline that passed is due at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_beyond_what_the_machine_can_count_is_never_reached() {
        let clock = Clock::at(0, Timestamp(0));
        let waited = tokio::time::timeout(Duration::from_secs(1), clock.reached(Some(Timestamp(u64::MAX))));
        assert!(waited.await.is_err());
        let waited = tokio::time::timeout(Duration::from_secs(1), clock.reached(None));
        assert!(waited.await.is_err());
    }

    #[test]
    fn patience_is_a_fifth_of_the_round_within_its_bounds() {
        let mut plan = sim::plan(3, 1);
        for (round_ms, patience_ms) in
            [(100, 1_000), (5_000, 1_000), (20_000, 4_000), (300_000, 60_000), (HOUR_MS, 60_000)]
        {
            plan.timing.round_deadline_ms = round_ms;
            assert_eq!(patience(&plan), Duration::from_millis(patience_ms), "of {round_ms} ms");
        }
    }
}
