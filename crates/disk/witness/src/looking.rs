//! When the log is looked at.

use std::time::Duration;

use params::Digest;
use protocol::Attempt;

/// A log that has not grown is cosigned again after so long: what counts with the others is the time in a cosignature.
pub const COSIGN_AGAIN: Duration = Duration::from_secs(30);

/// At least so long between two looks, and so long before the first repeated one while a round waits for witnesses.
pub const SOON: Duration = Duration::from_millis(50);

/// What has the log looked at before the next heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The attempt in progress, with its run.
    attempt: Option<(Digest, Attempt)>,
    /// All that it waits for is that others witness the log.
    waits: bool,
}

impl Prompt {
    /// Takes what the core says now of its attempt; whether the log is to be looked at.
    pub fn follow(&mut self, (attempt, waits): (Option<(Digest, Attempt)>, bool)) -> bool {
        let before = std::mem::replace(self, Self { attempt, waits });
        attempt.is_some_and(|attempt| before.attempt != Some(attempt)) || (waits && !before.waits)
    }

    /// Whether a round waits for nothing but witnesses.
    pub fn waits(&self) -> bool {
        self.waits
    }
}

/// The longest pause before the log is looked at again.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(SOON)
    }
}

impl Pause {
    /// A heartbeat; while a round waits, shorter ones that grow.
    pub fn next(&mut self, waits: bool, heartbeat: Duration) -> Duration {
        let next = if waits { self.0.min(heartbeat) } else { heartbeat };
        self.0 = if waits { next * 2 } else { SOON };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Attempt = Attempt { round: 1, attempt: 1 };

    #[test]
    fn a_round_that_waits_for_witnesses_waits_for_no_heartbeat() {
        let heartbeat = Duration::from_secs(30);
        let mut pause = Pause::default();
        let waits = [false, true, true, true, false, true];
        let pauses = waits.map(|waits| pause.next(waits, heartbeat));
        assert_eq!(pauses, [heartbeat, SOON, SOON * 2, SOON * 4, heartbeat, SOON]);
        (0..100).for_each(|_| assert!(pause.next(true, heartbeat) <= heartbeat));
    }

    #[test]
    fn the_log_is_looked_at_for_each_attempt_once_and_when_it_begins_to_wait() {
        let mut prompt = Prompt::default();
        let [one, other] = [b"one", b"two"].map(|run| Digest::sha256(run));
        let (first, second) = (Some((one, FIRST)), Some((one, Attempt { round: 1, attempt: 2 })));
        let said = [(first, false), (first, true), (first, true), (first, false)];
        assert_eq!(said.map(|said| prompt.follow(said)), [true, true, false, false]);
        let said = [(None, false), (second, true), (None, false), (None, false)];
        assert_eq!(said.map(|said| prompt.follow(said)), [false, true, false, false]);
        let said = [(first, false), (Some((other, FIRST)), false)];
        assert_eq!(said.map(|said| prompt.follow(said)), [true, true], "the same attempt of two runs");
    }
}
