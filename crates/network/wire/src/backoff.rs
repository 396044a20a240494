//! How long to wait before trying again.

use std::time::Duration;

use rand::rand_core::{Rng, UnwrapErr};
use rand::rngs::SysRng;
use tonic::{Code, Status};

use crate::status::retry_after;

/// Before the first repetition, at most: a coordinator that restarts is back within about this.
pub const RETRY_FIRST: Duration = Duration::from_millis(200);

/// However long the other side asks for, at most.
const ASKED_LONGEST: Duration = Duration::from_secs(600);

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

    /// The next wait behind this answer: where the other side says when it may be asked again, that long more. Without the wait on
    /// top, all that were refused at one moment would come back at one moment.
    pub fn after(&mut self, answer: &Status) -> Duration {
        self.after_asked(retry_after(answer))
    }

    /// The same, of an answer that asked for so long.
    pub fn after_asked(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.wait();
        asked.map_or(wait, |asked| asked.min(ASKED_LONGEST) + wait)
    }

    /// The next wait where there were too many calls and the answer says when the same one may be made again.
    ///
    /// # Errors
    /// Any other answer.
    pub fn again(&mut self, answer: Status) -> Result<Duration, Status> {
        match answer.code() {
            Code::ResourceExhausted if retry_after(&answer).is_some() => Ok(self.after(&answer)),
            _ => Err(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServiceError, ToStatus};

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half() {
        let mut backoff = Backoff::new(Duration::from_secs(15));
        for full in [200u64, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000] {
            let full = Duration::from_millis(full);
            let wait = backoff.wait();
            assert!(full / 2 <= wait && wait <= full, "{wait:?} for {full:?}");
        }
    }

    fn busy(retry_after: Duration) -> Status {
        ServiceError::Busy { retry_after }.to_status()
    }

    #[test]
    fn whoever_calls_too_often_waits_as_long_as_the_answer_says_and_longer_each_time() {
        let asked = Duration::from_secs(3);
        let mut backoff = Backoff::new(Duration::from_secs(10));
        for full in [200u64, 400, 800, 1600] {
            let full = Duration::from_millis(full);
            let wait = backoff.again(busy(asked)).unwrap();
            assert!(asked + full / 2 <= wait && wait <= asked + full, "{wait:?} for {full:?}");
        }
        let wait = backoff.again(busy(Duration::MAX)).unwrap();
        assert!(wait < ASKED_LONGEST * 2, "whatever the other side asks for: {wait:?}");
    }

    #[test]
    fn an_answer_that_more_calls_do_not_change_is_given_back() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let restarting = ServiceError::Restarting { retry_after: Duration::from_secs(3) }.to_status();
        for answer in [restarting, Status::resource_exhausted("a message is too long")] {
            let code = answer.code();
            assert_eq!(backoff.again(answer).unwrap_err().code(), code);
        }
    }
}
