//! Many columns by one name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::PLAN_COLUMNS_MAX;

/// Names of columns that differ by numbers: `pixel_{0..783}`, `pixel_{0..27}_{0..27}`, `day_{01..31}`.
///
/// Each pair of braces stands for the numbers of a range, both ends among them, in turn: the last moves fastest. Where the first
/// end is written with leading zeros, all are. No two of the names are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
    count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Range(Range),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    /// Fewest digits: shorter numbers have zeros in front.
    digits: usize,
}

/// More than rows, columns, channels and one thing more.
const RANGES_MAX: usize = 4;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing in it varies.
    #[error("{0:?} has no range such as {{0..783}}; name a single column by `column`")]
    NoRange(String),
    /// Braces that hold something else.
    #[error(
        "{{{0}}} is no range: write the first and the last whole number, such as {{0..783}} or {{01..31}}"
    )]
    NoNumbers(String),
    /// Braces that do not pair.
    #[error(
        "{0:?} has a brace without its other half; name columns with braces in their names one by one, by `column`"
    )]
    Brace(String),
    /// Numbers that cannot be told from one another.
    #[error(
        "{0:?}: between two ranges must be something that is no digit, or all numbers of the first must have as many digits, as those \
         of {{00..27}} have"
    )]
    Adjacent(String),
    /// More ranges than a name may have.
    #[error("{0:?} has more than {RANGES_MAX} ranges")]
    Ranges(String),
    /// More columns than a table may have.
    #[error(
        "{0:?} stands for more than {PLAN_COLUMNS_MAX} columns, the most that a plan asks for; ask for fewer"
    )]
    TooMany(String),
}

impl Pattern {
    /// How many columns it stands for.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count).map(|place| self.name(place))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn name(&self, place: usize) -> String {
        // How many names follow one another until this part moves.
        let mut each = self.count;
        let mut name = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Range(range) => {
                    each /= range.numbers();
                    let number = u64::from(range.first) + (place / each % range.numbers()) as u64;
                    name.push_str(&range.written(number));
                }
            }
        }
        name
    }

    /// Whether one of its names is this.
    pub fn has(&self, name: &str) -> bool {
        fits(&self.parts, name)
    }

    /// A name that both have.
    pub(crate) fn common(&self, other: &Self) -> Option<String> {
        let (fewer, more) = if self.count <= other.count { (self, other) } else { (other, self) };
        let (one, two) = (fewer.before(), more.before());
        // Most patterns differ before their first range.
        let alike = one.starts_with(two) || two.starts_with(one);
        alike.then(|| fewer.names().find(|name| more.has(name))).flatten()
    }

    fn before(&self) -> &str {
        self.text.split('{').next().unwrap_or(&self.text)
    }
}

/// Whether a text is all of these parts, one after the other.
fn fits(parts: &[Part], text: &str) -> bool {
    let Some((part, behind)) = parts.split_first() else { return text.is_empty() };
    match part {
        Part::Text(part) => text.strip_prefix(part.as_str()).is_some_and(|rest| fits(behind, rest)),
        Part::Range(range) => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            (1..=digits).any(|digits| {
                text.split_at_checked(digits)
                    .is_some_and(|(number, rest)| range.has(number) && fits(behind, rest))
            })
        }
    }
}

impl Range {
    /// Of what stands between braces.
    fn read(inside: &str) -> Option<Self> {
        let (from, to) = inside.split_once("..")?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let padded = from.len() > 1 && from.starts_with('0');
        let digits = if padded { from.len() } else { 0 };
        // A last end with other zeros in front would be written as no name is.
        let alike = if padded { to.len() == digits } else { to == "0" || !to.starts_with('0') };
        let (first, last) = (number(from)?, number(to)?);
        (alike && first <= last).then_some(Self { first, last, digits })
    }

    fn numbers(&self) -> usize {
        self.last.abs_diff(self.first) as usize + 1
    }

    fn written(&self, number: u64) -> String {
        format!("{number:0digits$}", digits = self.digits)
    }

    fn has(&self, text: &str) -> bool {
        let number = text.parse::<u32>().ok().filter(|number| (self.first..=self.last).contains(number));
        number.is_some_and(|number| self.written(number.into()) == text)
    }

    /// Whether all of its numbers have as many digits.
    fn is_even(&self) -> bool {
        self.written(self.first.into()).len() == self.written(self.last.into()).len()
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        let (mut parts, mut count, mut rest) = (Vec::new(), 1usize, text.as_str());
        let mut last: Option<Range> = None;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let inside = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((inside, behind)) = inside.filter(|(inside, _)| !inside.contains('{')) else {
                return Err(PatternError::Brace(text));
            };
            let Some(range) = Range::read(inside) else {
                return Err(PatternError::NoNumbers(inside.to_owned()));
            };
            if last.is_some_and(|last| !last.is_even()) && before.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(PatternError::Adjacent(text));
            }
            count = match count.checked_mul(range.numbers()) {
                Some(count) if count <= PLAN_COLUMNS_MAX => count,
                _ => return Err(PatternError::TooMany(text)),
            };
            parts.extend([Part::Text(before.to_owned()), Part::Range(range)]);
            (last, rest) = (Some(range), behind);
        }
        match parts.len() / 2 {
            0 => return Err(PatternError::NoRange(text)),
            1..=RANGES_MAX => {}
            _ => return Err(PatternError::Ranges(text)),
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, count, text })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<Pattern, PatternError> {
        Pattern::try_from(text.to_owned())
    }

    fn names(text: &str) -> Vec<String> {
        pattern(text).unwrap().names().collect()
    }

    #[test]
    fn a_range_stands_for_its_numbers_and_the_last_moves_fastest() {
        assert_eq!(names("pixel_{8..11}"), ["pixel_8", "pixel_9", "pixel_10", "pixel_11"]);
        assert_eq!(names("{0..1}x{3..5}y"), ["0x3y", "0x4y", "0x5y", "1x3y", "1x4y", "1x5y"]);
        assert_eq!(names("day_{08..10}"), ["day_08", "day_09", "day_10"]);
        assert_eq!(names("{0..0}"), ["0"]);
        assert_eq!(names("µ{4294967295..4294967295}"), ["µ4294967295"]);
        let image = pattern("pixel_{0..783}").unwrap();
        assert_eq!((image.count(), image.names().last().as_deref()), (784, Some("pixel_783")));
    }

    #[test]
    fn its_names_are_all_different_and_those_that_it_has() {
        for text in [
            "pixel_{0..120}",
            "{0..11}1-1{0..11}",
            "{00..27}{00..27}",
            "{5..9}{0..11}",
            "a{1..3}b{098..101}{7..7}0",
        ] {
            let pattern = pattern(text).unwrap();
            let names: std::collections::BTreeSet<String> = pattern.names().collect();
            assert_eq!(names.len(), pattern.count(), "{text}");
            assert!(names.iter().all(|name| pattern.has(name)), "{text}");
            for name in &names {
                for other in [
                    format!("{name}0"),
                    format!("0{name}"),
                    name.replacen('1', "01", 1),
                    name.replacen('0', "", 1),
                ] {
                    assert_eq!(pattern.has(&other), names.contains(&other), "{text}: {other}");
                }
            }
        }
        assert!(!pattern("a{0..9}").unwrap().has("a+1"));
    }

    #[test]
    fn a_name_that_two_patterns_have_is_found() {
        let common = |one: &str, two: &str| pattern(one).unwrap().common(&pattern(two).unwrap());
        assert_eq!(common("p{1..9}", "p{7..12}").as_deref(), Some("p7"));
        assert_eq!(common("p{0..65535}", "p{3..4}").as_deref(), Some("p3"));
        assert_eq!(common("p{1..9}", "p{10..12}"), None);
        assert_eq!(common("{1..2}a{1..1}", "1a{0..9}").as_deref(), Some("1a1"));
        assert_eq!(common("a{0..9}", "b{0..9}"), None);
    }

    #[test]
    fn sixty_thousand_columns_are_a_line_and_more_than_a_plan_may_have_are_refused() {
        assert_eq!(pattern("g{1..60000}").unwrap().names().count(), 60_000);
        assert_eq!(pattern("g{1..65536}").unwrap().count(), PLAN_COLUMNS_MAX);
        for text in ["g{0..65536}", "{0..4294967295}x{0..4294967295}x{0..4294967295}", "{0..256}x{0..255}"] {
            assert_eq!(pattern(text), Err(PatternError::TooMany(text.into())));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        assert!(matches!(pattern("age"), Err(PatternError::NoRange(_))));
        for text in ["a{", "a}", "a{0..1", "a{{0..1}}", "a}{0..1}", "{0..1}}"] {
            assert!(matches!(pattern(text), Err(PatternError::Brace(_))), "{text}: {:?}", pattern(text));
        }
        for text in [
            "{}",
            "{5}",
            "{a..b}",
            "{3..2}",
            "{0..+1}",
            "{-1..1}",
            "{01..2}",
            "{1..02}",
            "{0..4294967296}",
            "{..}",
        ] {
            assert!(matches!(pattern(text), Err(PatternError::NoNumbers(_))), "{text}: {:?}", pattern(text));
        }
        for text in ["{0..11}{0..11}", "{0..10}12{0..3}"] {
            assert!(matches!(pattern(text), Err(PatternError::Adjacent(_))), "{text}: {:?}", pattern(text));
        }
        assert!(matches!(pattern(&"{0..0}".repeat(5)), Err(PatternError::Ranges(_))));
    }
}
