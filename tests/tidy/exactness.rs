//! Noise is integers from the first random bit to the lane that is sent.

use crate::faults::gather;
use crate::tree;

/// The noise path, and the functions of its files that come after it.
const PATH: [(&str, &[&str]); 3] = [
    ("crates/privacy/dp/src/random_bits.rs", &[]),
    ("crates/privacy/dp/src/mechanism.rs", &[]),
    ("crates/privacy/dp/src/noise.rs", &["pub fn dequantize("]),
];

/// By which clippy refuses arithmetic that a type's name does not give away.
const DENIED: &str = "#![cfg_attr(not(test), deny(clippy::float_arithmetic))]";

/// Whoever names one of these draws noise that is not exact.
const INEXACT: [&str; 4] = ["rand_distr", "StandardNormal", "Distribution::Normal", "box_muller"];

#[test]
fn no_float_is_on_the_path_from_random_bits_to_a_noised_lane() {
    gather(|faults| {
        for (path, after) in PATH {
            let text = tree::read(path).unwrap_or_else(|| panic!("{path} is missing"));
            faults
                .unless(text.lines().any(|line| line == DENIED), || format!("{path} does not say {DENIED}"));
            let mut passed_over = 0;
            let mut skipping = false;
            for (number, line) in (1..).zip(text.lines()).take_while(|(_, line)| *line != "#[cfg(test)]") {
                if after.iter().any(|function| line.starts_with(function)) {
                    (skipping, passed_over) = (true, passed_over + 1);
                }
                if let Some(word) = float_in(line).filter(|_| !skipping) {
                    faults.add(format!("{path}:{number}: {word} is a float on the noise path"));
                }
                skipping &= line != "}";
            }
            faults.unless(passed_over == after.len(), || {
                format!("{path} has lost a function that this test passes over")
            });
        }
    });
}

#[test]
fn no_other_crate_draws_noise_of_floats() {
    gather(|faults| {
        for file in tree::files("", "rs").into_iter().filter(|file| file.path != "tests/tidy/exactness.rs") {
            for word in INEXACT.iter().filter(|word| file.text.contains(**word)) {
                faults.add(format!("{} names {word}: noise is drawn by dp, exactly", file.path));
            }
        }
    });
}

#[test]
fn a_float_is_found_by_its_type_and_by_its_literal_and_nothing_else_is() {
    for float in
        ["let x: f64 = y;", "f32::from_bits(z)", "x as f64", "2.5", "g(1e-3)", "1_000.", "3_f64", "0.5_f32"]
    {
        assert!(float_in(float).is_some(), "{float}");
    }
    for integer in [
        "0..10",
        "1..=9",
        "tuple.0",
        "a.0.1",
        "x1.max(2)",
        "0xe3",
        "buffer[2].len()",
        "2.max(y)",
        "// at 0.65",
        "2^-20",
    ] {
        assert_eq!(float_in(integer), None, "{integer}");
    }
}

/// A float's type or literal in a line of code.
fn float_in(line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let words = code.split(|c| !is_part(c)).flat_map(|word| word.split("..")).filter(|word| !word.is_empty());
    words.map(String::from).find(|word| {
        let after_digits = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let fraction =
            after_digits.strip_prefix('.').is_some_and(|rest| !rest.starts_with(char::is_alphabetic));
        let literal = is_number && (fraction || after_digits.starts_with('e'));
        literal || word.contains("f64") || word.contains("f32")
    })
}
