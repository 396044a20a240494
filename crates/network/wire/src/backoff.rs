//! How long to wait before trying again.

use std::time::Duration;

use rand::rand_core::{Rng, UnwrapErr};
use rand::rngs::SysRng;

/// Before the first repetition, at most: a coordinator that restarts is back within about this.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);

/// The waits between tries of one thing: they double from [`RETRY_FIRST`] to the longest.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From the first wait on.
    pub fn new(longest: Duration) -> Self {
        Self { next: RETRY_FIRST.min(longest), longest }
    }

    /// The longest wait from the first on, for what a repetition seldom changes.
    pub fn at_its_longest(longest: Duration) -> Self {
        Self { next: longest, longest }
    }

    /// The next wait: half of it certain, half random, so that silos that lost one coordinator at one moment do
    /// not come back to it at one moment.
    pub fn wait(&mut self) -> Duration {
        let full = self.next;
        self.next = if full > self.longest / 2 { self.longest } else { full * 2 };
        let share = f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX);
        full.mul_f64(0.5 + 0.5 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half() {
        let mut backoff = Backoff::new(Duration::from_secs(15));
        for full in [200u64, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000] {
            let full = Duration::from_millis(full);
            let wait = backoff.wait();
            assert!(full / 2 <= wait && wait <= full, "{wait:?} for {full:?}");
        }
    }
}
