//! Every wait of this daemon. Within a run it is the plan's; constant is only what is needed before a plan is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::Status;
use wire::RETRY_FIRST;

/// A connection that takes longer is tried again rather than waited for.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// How often an idle connection is probed, and how long the answer may take: a peer that vanished without a word is
/// noticed within twice this.
pub(crate) const PROBE: Duration = Duration::from_secs(5);
/// How long a coordinator may take from the first packet to the challenge: longer than the connection's own limit, which
/// knows better what is wrong with it.
pub(crate) const OPENING: Duration = Duration::from_secs(8);
/// Before any later one, at most, so that a thousand silos do not keep a coordinator busy that is coming back.
pub(crate) const RETRY_LONGEST: Duration = Duration::from_secs(15);

/// What the plan of the run gives; nothing before there is one.
#[derive(Clone, Default)]
pub(crate) struct Patience(Arc<AtomicU64>);

impl Patience {
    /// From now on as this plan says.
    pub(crate) fn learn(&self, plan: &plan::Plan) -> Duration {
        let patience = daemon::patience(plan);
        self.0.store(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        patience
    }

    /// How long the coordinator may be silent: the plan's, or a constant before there is one.
    pub(crate) fn current(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => PROBE,
            patience_ms => Duration::from_millis(patience_ms),
        }
    }

    /// Between two repetitions, at most: within one round a lost session is tried for again many times.
    pub(crate) fn retry_longest(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => RETRY_LONGEST,
            patience_ms => retry_longest(Duration::from_millis(patience_ms)),
        }
    }
}

/// See [`Patience::retry_longest`].
pub(crate) fn retry_longest(patience: Duration) -> Duration {
    (patience / 4).clamp(RETRY_FIRST, RETRY_LONGEST)
}

/// What comes next, unless the coordinator owes it for too long: then the stream is given up for a new one.
pub(crate) async fn within<T>(
    patience: Duration,
    next: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(patience, next).await.unwrap_or_else(|_| {
        let seconds = patience.as_secs_f64();
        Err(Status::deadline_exceeded(format!("nothing moved for {seconds} s")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_session_is_tried_for_again_at_least_ten_times_in_any_round() {
        let mut plan = sim::plan(3, 1);
        let patience = Patience::default();
        assert_eq!(patience.retry_longest(), RETRY_LONGEST);
        for round_ms in [5_000, 20_000, 60_000, 600_000] {
            plan.timing.round_deadline_ms = round_ms;
            patience.learn(&plan);
            assert!(patience.retry_longest() * 10 <= Duration::from_millis(round_ms), "in {round_ms} ms");
        }
    }
}
