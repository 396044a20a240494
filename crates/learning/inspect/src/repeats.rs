//! How often equal things come, in bounded memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Counts things by their hashes. Of too many different ones those are kept whose hashes end in zeros: which these are does not
/// depend on how often they come, so each that is kept has its full count, and stands for as many as were left out for it.
///
/// Two things of one hash of 64 bits would be one: among a million there are none in all likelihood, and what is found is shown to a
/// person.
///
/// # Paper
/// Gibbons 2001, *Distinct sampling for highly-accurate answers to distinct values queries and event reports*.
pub(crate) struct Repeats {
    most: usize,
    zeros: u32,
    kept: BTreeMap<u64, Times>,
}

struct Times {
    first_file: u32,
    count: u32,
    /// Of these in other files than the first.
    elsewhere: u32,
}

/// What was counted.
#[derive(Debug, PartialEq)]
pub(crate) struct Counts {
    /// How many things are different.
    pub(crate) different: u64,
    /// Those that are equal to an earlier one.
    pub(crate) repeated: u64,
    /// Of these, those whose first is in another file.
    pub(crate) in_other_files: u64,
    /// All that have an equal among the others, the first ones too.
    pub(crate) shared: u64,
    /// How often that comes which comes most often.
    pub(crate) most: u64,
    /// Whether there were too many to count all.
    pub(crate) is_estimate: bool,
}

impl Repeats {
    /// That keeps at most so many different things.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, zeros: 0, kept: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, thing: &str, file: u32) {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        self.add_hashed(hasher, file);
    }

    /// The same of a thing whose parts were hashed.
    pub(crate) fn add_hashed(&mut self, hasher: DefaultHasher, file: u32) {
        let hash = hasher.finish();
        if hash.trailing_zeros() < self.zeros {
            return;
        }
        let times = self.kept.entry(hash).or_insert(Times { first_file: file, count: 0, elsewhere: 0 });
        times.count += 1;
        times.elsewhere += u32::from(times.first_file != file);
        while self.kept.len() > self.most {
            self.zeros += 1;
            self.kept.retain(|hash, _| hash.trailing_zeros() >= self.zeros);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let all = |of: fn(&Times) -> u32| {
            self.kept.values().map(|times| u64::from(of(times))).sum::<u64>() << self.zeros
        };
        Counts {
            different: (self.kept.len() as u64) << self.zeros,
            repeated: all(|times| times.count - 1),
            in_other_files: all(|times| times.elsewhere),
            shared: all(|times| if times.count > 1 { times.count } else { 0 }),
            most: self.kept.values().map(|times| u64::from(times.count)).max().unwrap_or(0),
            is_estimate: self.zeros > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_things_are_counted_within_and_between_files() {
        let mut repeats = Repeats::new(100);
        for (thing, file) in [("a", 0), ("b", 0), ("a", 0), ("c", 1), ("a", 1)] {
            repeats.add(thing, file);
        }
        let expected =
            Counts { different: 3, repeated: 2, in_other_files: 1, shared: 3, most: 3, is_estimate: false };
        assert_eq!(repeats.counts(), expected);
    }

    #[test]
    fn of_many_things_there_are_nearly_as_many_as_is_said() {
        let mut repeats = Repeats::new(1_000);
        (0..50_000).for_each(|thing| repeats.add(&thing.to_string(), 0));
        (0..10_000).for_each(|thing| repeats.add(&thing.to_string(), 0));
        let counts = repeats.counts();
        assert!(counts.is_estimate && repeats.kept.len() <= 1_000 && counts.most == 2);
        for (found, real) in
            [(counts.different, 50_000.0), (counts.repeated, 10_000.0), (counts.shared, 20_000.0)]
        {
            assert!((found as f64 / real - 1.0).abs() < 0.3, "{found} for {real}");
        }
    }
}
