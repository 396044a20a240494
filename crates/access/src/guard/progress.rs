//! How many calls are in progress, by whom: each holds memory until its answer is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::Key;

/// Calls of one identity, network, or connection in plain text.
const EACH: usize = 64;
/// Calls of all who proved nothing.
const UNPROVEN: usize = 512;

/// Calls in progress.
#[derive(Default)]
pub(super) struct Progress(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    each: HashMap<Key, usize>,
    unproven: usize,
}

/// One call, counted until this is dropped.
pub(super) struct Counted {
    progress: Arc<Progress>,
    key: Key,
}

impl Progress {
    /// Counts a call in; none where the caller has as many as it may.
    pub(super) fn begin(progress: &Arc<Self>, key: Key) -> Option<Counted> {
        let mut counts = progress.0.lock().unwrap_or_else(PoisonError::into_inner);
        let strange = matches!(key, Key::Network(_) | Key::Rest);
        if strange && counts.unproven >= UNPROVEN {
            return None;
        }
        // Its keys are those of calls that are counted: it is as large as they are many.
        if counts.each.get(&key).is_some_and(|calls| *calls >= EACH) {
            return None;
        }
        *counts.each.entry(key.clone()).or_default() += 1;
        counts.unproven += usize::from(strange);
        drop(counts);
        Some(Counted { progress: Arc::clone(progress), key })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.progress.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.key, Key::Network(_) | Key::Rest) {
            counts.unproven = counts.unproven.saturating_sub(1);
        }
        if let Some(calls) = counts.each.get_mut(&self.key) {
            *calls = calls.saturating_sub(1);
            if *calls == 0 {
                counts.each.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn one_caller_has_so_many_calls_at_once_and_strangers_so_many_together() {
        let progress = Arc::default();
        let silo = |name: &str| Progress::begin(&progress, Key::Identity(name.into()));
        let mut of_one: Vec<Counted> = (0..EACH).map(|_| silo("silo/1").unwrap()).collect();
        assert!(silo("silo/1").is_none());
        assert!(silo("silo/2").is_some(), "another's are its own");
        of_one.pop();
        of_one.extend(silo("silo/1"));
        assert_eq!(of_one.len(), EACH);
        let stranger = |host: u32| Progress::begin(&progress, Key::network(IpAddr::from(host.to_be_bytes())));
        let all: Vec<Counted> = (0..UNPROVEN as u32).map(|host| stranger(host).unwrap()).collect();
        assert!(stranger(u32::MAX).is_none());
        assert!(silo("silo/2").is_some(), "who proved itself is no stranger");
        drop((all, of_one));
        assert!(progress.0.lock().unwrap().each.is_empty());
        assert!(stranger(u32::MAX).is_some());
    }
}
