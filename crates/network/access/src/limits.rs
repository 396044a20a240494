//! How often whom: a bounded number of token buckets.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::requirements::RateClass;

/// Buckets of one kind at most, 100 bytes or so each.
const KEYS_MAX: usize = 1 << 14;
/// Calls between two sweeps for buckets that are full again, and so need not be kept.
const SWEEP_CALLS: u64 = 1 << 10;

/// What one caller may do of one RPC: so many at once, then so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls that may come at once.
    pub burst: NonZeroU32,
    /// Time after which one more is allowed.
    pub every: Duration,
}

/// The rates of all classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub probe: Rate,
    pub admission: Rate,
    pub round: Rate,
    pub read: Rate,
    pub change: Rate,
    /// Calls of one network without a certificate, counted before anything of them is judged.
    pub unproven: Rate,
}

const fn rate(burst: u32, every_ms: u64) -> Rate {
    let burst = match NonZeroU32::new(burst) {
        Some(burst) => burst,
        None => NonZeroU32::MIN,
    };
    Rate { burst, every: Duration::from_millis(every_ms) }
}

impl Default for Rates {
    /// Several times what the product's own programs do, so that only a fault or an attack meets them.
    fn default() -> Self {
        Self {
            probe: rate(50, 100),
            // Silos behind one address translation share it.
            admission: rate(50, 1000),
            // A client that came too early asks again every 200 ms.
            round: rate(200, 20),
            read: rate(50, 100),
            change: rate(50, 200),
            unproven: rate(500, 10),
        }
    }
}

impl Rates {
    fn of(&self, class: RateClass) -> Rate {
        match class {
            RateClass::Probe => self.probe,
            RateClass::Admission => self.admission,
            RateClass::Round => self.round,
            RateClass::Read => self.read,
            RateClass::Change => self.change,
        }
    }
}

/// Who is counted: a caller that proved who it is, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Identity(String),
    /// IPv4, or the network of an IPv6 address: a host has as many of those as it likes.
    Network(IpAddr),
    /// A connection that proved nothing, in plain text.
    Connection(SocketAddr),
    /// Everybody for whom there is no bucket left.
    Rest,
}

impl Key {
    pub(crate) fn network(address: IpAddr) -> Self {
        Self::Network(pki::networks(address).0)
    }
}

type Bucket = (Key, &'static str);
type Buckets<C> = RateLimiter<Bucket, HashMapStateStore<Bucket>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Token buckets for each caller and RPC.
///
/// Their number is bounded: who calls without an identity can change its address at will. While all are in use, new
/// addresses share one.
pub(crate) struct Limits<C: Clock = DefaultClock> {
    classes: [Buckets<C>; 5],
    unproven: Buckets<C>,
    clock: C,
    calls: AtomicU64,
    keys_max: usize,
}

impl<C: Clock + Clone> Limits<C> {
    pub(crate) fn new(rates: &Rates, clock: C) -> Self {
        let buckets = |rate: Rate| {
            let quota = Quota::with_period(rate.every)
                .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
                .allow_burst(rate.burst);
            RateLimiter::new(quota, HashMapStateStore::default(), clock.clone())
        };
        let classes =
            [RateClass::Probe, RateClass::Admission, RateClass::Round, RateClass::Read, RateClass::Change]
                .map(|class| buckets(rates.of(class)));
        let unproven = buckets(rates.unproven);
        Self { classes, unproven, clock, calls: AtomicU64::new(0), keys_max: KEYS_MAX }
    }

    /// Counts a call of who showed no certificate, whatever it will turn out to be.
    ///
    /// # Errors
    /// How long the caller must wait.
    pub(crate) fn check_unproven(&self, key: Key) -> Result<(), Duration> {
        self.check_in(&self.unproven, key, "")
    }

    /// Counts a call.
    ///
    /// # Errors
    /// How long the caller must wait.
    pub(crate) fn check(&self, key: Key, class: RateClass, path: &'static str) -> Result<(), Duration> {
        let [probe, admission, round, read, change] = &self.classes;
        let buckets = match class {
            RateClass::Probe => probe,
            RateClass::Admission => admission,
            RateClass::Round => round,
            RateClass::Read => read,
            RateClass::Change => change,
        };
        self.check_in(buckets, key, path)
    }

    fn check_in(&self, buckets: &Buckets<C>, key: Key, path: &'static str) -> Result<(), Duration> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_CALLS == SWEEP_CALLS - 1 {
            for buckets in self.classes.iter().chain([&self.unproven]) {
                buckets.retain_recent();
            }
        }
        let key = match key {
            // There are as many identities as certificates and tokens were issued: no stranger makes one.
            Key::Identity(name) => Key::Identity(name),
            _ if buckets.len() >= self.keys_max => Key::Rest,
            key => key,
        };
        buckets.check_key(&(key, path)).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const PATH: &str = "/folkmoot.v1.Admin/Pause";

    fn limits(clock: &FakeRelativeClock) -> Limits<FakeRelativeClock> {
        let two = rate(2, 3000);
        let rates = Rates { probe: two, admission: two, round: two, read: two, change: two, unproven: two };
        Limits::new(&rates, clock.clone())
    }

    fn alice() -> Key {
        Key::Identity("alice".into())
    }

    #[test]
    fn a_burst_is_served_then_one_call_each_period_and_the_refusal_says_when() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for _ in 0..2 {
            assert_eq!(limits.check(alice(), RateClass::Change, PATH), Ok(()));
        }
        assert_eq!(limits.check(alice(), RateClass::Change, PATH), Err(Duration::from_secs(3)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(limits.check(alice(), RateClass::Change, PATH), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(limits.check(alice(), RateClass::Change, PATH), Ok(()));
        assert!(limits.check(alice(), RateClass::Change, PATH).is_err());
    }

    #[test]
    fn another_caller_and_another_rpc_are_counted_apart() {
        let limits = limits(&FakeRelativeClock::default());
        while limits.check(alice(), RateClass::Change, PATH).is_ok() {}
        assert!(limits.check(Key::Identity("bob".into()), RateClass::Change, PATH).is_ok());
        assert!(limits.check(alice(), RateClass::Change, "/folkmoot.v1.Admin/Resume").is_ok());
    }

    #[test]
    fn a_network_of_many_addresses_is_one_caller() {
        let key = |text: &str| Key::network(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn strangers_share_one_bucket_once_all_are_in_use_and_old_ones_are_swept() {
        let clock = FakeRelativeClock::default();
        let mut limits = limits(&clock);
        limits.keys_max = 10;
        let stranger = |i: u32| Key::network(IpAddr::from(i.to_be_bytes()));
        for i in 0..10 {
            assert!(limits.check(stranger(i), RateClass::Admission, PATH).is_ok());
        }
        for i in 10..12 {
            assert!(limits.check(stranger(i), RateClass::Admission, PATH).is_ok());
        }
        assert!(limits.check(stranger(12), RateClass::Admission, PATH).is_err());
        assert!(limits.check(alice(), RateClass::Admission, PATH).is_ok(), "who is known keeps its own");
        let [_, admission, ..] = &limits.classes;
        assert_eq!(admission.len(), 12);
        clock.advance(Duration::from_secs(60));
        for _ in 0..SWEEP_CALLS {
            let _ = limits.check(alice(), RateClass::Change, PATH);
        }
        let [_, admission, ..] = &limits.classes;
        assert_eq!(admission.len(), 0);
        assert!(limits.check(stranger(12), RateClass::Admission, PATH).is_ok());
    }
}
