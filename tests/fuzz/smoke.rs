//! The fuzz targets as tests: on every kept input, on a fixed number of mutations of each, and under an allocator
//! that counts. `tests/fuzz/run` is the same with libFuzzer, for as long as one likes.

mod mutator;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mutator::Mutator;
use peak_alloc::PeakAlloc;
use targets::{CORES, DECODERS, Target};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What a decoder and its target's checks may hold at once: so many bytes, and so many for each of the input's, as
/// `wire::limits` states. The factor is that of the widest value that two bytes make: an empty entry of a list.
const HELD_BYTES: usize = 64 << 10;
const HELD_PER_BYTE: usize = 96;

const DECODER_MUTATIONS: usize = 300;
const CORE_MUTATIONS: usize = 12;
const LENGTH_PLACES: usize = 150;

/// The allocator counts for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// A target's kept inputs by name.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|why| panic!("{target} has no corpus: {why}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let named =
        |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap());
    let corpus: BTreeMap<String, Vec<u8>> = paths.map(named).collect();
    assert!(!corpus.is_empty(), "{target} has no corpus");
    corpus
}

/// Runs a target, and names the input with which it fails.
fn run((name, target): &Target, input: &[u8], what: &str) {
    if std::panic::catch_unwind(|| target(input)).is_err() {
        panic!("{name} fails on {what}: {}", hex::encode(input));
    }
}

/// How much more was held at once while a target read an input than before.
fn held((_, target): &Target, input: &[u8]) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    target(input);
    HEAP.peak_usage().saturating_sub(before)
}

#[test]
fn the_corpus_holds_every_seed() {
    let _alone = alone();
    for (target, name, bytes) in targets::seeds::all() {
        let path = folder(target).join(format!("seed-{name}"));
        if std::env::var_os("FOLKMOOT_WRITE_SEEDS").is_some() {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let kept = fs::read(&path).ok();
        assert!(
            kept.as_ref() == Some(&bytes),
            "{target}/seed-{name} is not what is made now: run `tests/fuzz/run seeds`"
        );
    }
}

#[test]
fn every_kept_input_holds_what_its_target_claims() {
    let _alone = alone();
    for target in targets::all() {
        for (name, input) in corpus(target.0) {
            run(target, &input, &name);
        }
    }
}

#[test]
fn every_mutation_of_a_kept_input_holds_what_its_target_claims() {
    let _alone = alone();
    for target in targets::all() {
        let count = if CORES.contains(target) { CORE_MUTATIONS } else { DECODER_MUTATIONS };
        let inputs: Vec<Vec<u8>> = corpus(target.0).into_values().collect();
        let mut mutator = Mutator::new(1, &inputs);
        for nth in 0..count {
            run(target, &mutator.next_input(), &format!("mutation {nth}"));
        }
    }
}

#[test]
fn no_input_makes_a_decoder_hold_more_than_a_small_multiple_of_it() {
    let _alone = alone();
    let mut widest = (0, String::new());
    for target in DECODERS {
        let inputs: Vec<Vec<u8>> = corpus(target.0).into_values().collect();
        let mut mutator = Mutator::new(2, &inputs);
        let mutations: Vec<Vec<u8>> = (0..DECODER_MUTATIONS).map(|_| mutator.next_input()).collect();
        target.1(&inputs[0]);
        for input in inputs.iter().chain(&mutations) {
            let bytes = held(target, input);
            assert!(
                bytes <= HELD_BYTES + HELD_PER_BYTE * input.len(),
                "{} holds {bytes} bytes for {}: {}",
                target.0,
                input.len(),
                hex::encode(input)
            );
            widest = widest.max((bytes, format!("{} for {} bytes", target.0, input.len())));
        }
    }
    assert!(widest.0 > 0, "the allocator does not count");
}

#[test]
fn a_length_of_two_to_the_sixtieth_is_refused_before_anything_is_held_for_it() {
    let _alone = alone();
    let varint = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    let fixed = (1u64 << 60).to_le_bytes();
    for target in DECODERS {
        for (name, input) in corpus(target.0) {
            for at in (0..input.len()).step_by(input.len().div_ceil(LENGTH_PLACES).max(1)) {
                for length in [&varint[..], &fixed] {
                    // In place of a length of one byte, and in place of one as wide.
                    for skipped in [1, length.len()] {
                        let rest = input.get(at + skipped..).unwrap_or_default();
                        let hostile = [&input[..at], length, rest].concat();
                        let bytes = held(target, &hostile);
                        let most = HELD_BYTES + HELD_PER_BYTE * hostile.len();
                        assert!(bytes <= most, "{}/{name} at {at} holds {bytes} bytes", target.0);
                    }
                }
            }
        }
    }
}

/// Two bytes announce an entry of a list, and an empty one is as wide in memory as a full one: nothing costs a
/// receiver more for each byte.
#[test]
fn a_message_of_empty_entries_is_held_within_the_bound() {
    let _alone = alone();
    let nested = |field: u8, inside: Vec<u8>| {
        let mut message = vec![field << 3 | 2];
        prost::encode_length_delimiter(inside.len(), &mut message).unwrap();
        [message, inside].concat()
    };
    let entries = |field: u8| [field << 3 | 2, 0].repeat(32 << 10);
    for (name, target) in [DECODERS[0], DECODERS[1]] {
        let mut most = 0;
        // Every message of an envelope, every list of it, one level deep and two.
        for (message, list, inner) in
            (1..16).flat_map(|m| (1..6).flat_map(move |l| (0..6).map(move |i| (m, l, i))))
        {
            let lists = if inner == 0 { entries(list) } else { nested(list, entries(inner)) };
            let input = nested(message, lists);
            let bytes = held(&(name, target), &input);
            let bound = HELD_BYTES + HELD_PER_BYTE * input.len();
            assert!(
                bytes <= bound,
                "{name} holds {bytes} bytes for {}: {message}.{list}.{inner}",
                input.len()
            );
            most = most.max(bytes);
        }
        assert!(most > 256 << 10, "{name} has lists, and none was met");
    }
}

#[test]
fn the_limits_of_one_format_are_the_same_wherever_it_is_read() {
    assert_eq!(wire::limits::PLAN_BYTES_MAX, plan::Plan::BYTES_MAX);
    assert_eq!(wire::limits::COHORT_MAX, secagg::COHORT_MAX);
    // A record holds a manifest and a bundle of the largest cohort at most, and an append many records.
    const { assert!(store::APPEND_BYTES_MAX > 2 * wire::limits::MESSAGE_BYTES_MAX) };
}

#[test]
fn the_kept_corpus_stays_small() {
    let mut total = 0;
    for (target, _) in targets::all() {
        let inputs = corpus(target);
        assert!(inputs.len() <= 48, "{target} keeps {} inputs", inputs.len());
        total += inputs.values().map(Vec::len).sum::<usize>();
    }
    assert!(total < 400 << 10, "the corpus has {total} bytes");
}
