//! From a cell to the numbers that the model gets, by a plan's public constants alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::day::Day;
use crate::feature::{Encoding, Feature, Missing, standard_range};
use crate::words::Vocabulary;

/// A cell of a silo's table, as it was read.
///
/// # Privacy
/// Stays in the silo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Not known: what marks that is the silo's own to say.
    Missing,
    Number(f64),
    Text(&'a str),
}

/// How a cell fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As the plan expects it.
    Inside,
    /// A number or a day outside the range, which was clipped to it.
    Clipped,
    /// A text that is in no list, where the plan has a place for all of those.
    Other,
    /// Missing, and the plan says what stands for it.
    StoodIn,
}

/// Why a cell fits no plan's feature or label: its row contributes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// And the plan says nothing of that.
    #[error("is missing, and the plan says nothing that stands for it")]
    Missing,
    #[error("is not a number")]
    NoNumber,
    #[error("is not finite")]
    NotFinite,
    #[error("is none of the plan's categories")]
    NoCategory,
    #[error("is no day, written like 2020-01-31")]
    NoDay,
    #[error("is no class of the plan")]
    NoClass,
}

/// A feature's rule, made ready for many cells.
pub struct Encoder<'a> {
    rule: Rule<'a>,
    missing: &'a Missing,
    /// What the numbers lie between.
    ends: [f64; 2],
    width: usize,
}

enum Rule<'a> {
    Range { minimum: f64, maximum: f64 },
    Log { minimum: f64, maximum: f64 },
    Days { first: f64, last: f64 },
    OneHot { places: BTreeMap<Cow<'a, str>, usize>, numbers: usize, other: bool },
    Ordinal { places: BTreeMap<Cow<'a, str>, usize>, last: f64 },
    Flag { value: Cow<'a, str> },
    Tokens(Vocabulary<'a>),
}

impl<'a> Encoder<'a> {
    /// Of a feature of a valid plan, whose numbers lie within `scaled_to`.
    pub fn new(feature: &'a Feature, scaled_to: [f64; 2]) -> Self {
        let rule = match &feature.encoding {
            Encoding::Log { minimum, maximum } => Rule::Log { minimum: *minimum, maximum: *maximum },
            Encoding::Days { first, last } => {
                Rule::Days { first: first.number() as f64, last: last.number() as f64 }
            }
            Encoding::OneHot { categories, other } => {
                let numbers = categories.len() + usize::from(*other);
                Rule::OneHot { places: places(categories), numbers, other: *other }
            }
            Encoding::Ordinal { categories } => {
                let last = categories.len() as f64 - 1.0;
                Rule::Ordinal { places: places(categories), last }
            }
            Encoding::Flag { value } => Rule::Flag { value: spelled(value) },
            Encoding::Tokens { words, length } => Rule::Tokens(Vocabulary::new(words, *length)),
            Encoding::Range { minimum, maximum } => Rule::Range { minimum: *minimum, maximum: *maximum },
            Encoding::Standard { mean, deviation } => {
                let [minimum, maximum] = standard_range(*mean, *deviation);
                Rule::Range { minimum, maximum }
            }
        };
        Self { rule, missing: &feature.missing, ends: scaled_to, width: feature.width_of_each() }
    }

    /// How many numbers a cell becomes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Appends what the model gets of a cell: [`Encoder::width`] finite numbers within the plan's interval.
    ///
    /// # Errors
    /// [`Unfit`]; nothing is appended then.
    pub fn encode(&self, cell: Cell<'_>, numbers: &mut Vec<f32>) -> Result<Fit, Unfit> {
        let [low, high] = self.ends;
        let fit = match (cell, self.missing) {
            (Cell::Missing, Missing::Misfit) => return Err(Unfit::Missing),
            (Cell::Missing, Missing::Flagged) => {
                self.unknown(numbers);
                Fit::StoodIn
            }
            (Cell::Missing, Missing::Number(number)) => {
                self.present(Cell::Number(*number), numbers)?;
                Fit::StoodIn
            }
            (Cell::Missing, Missing::Text(text)) => {
                self.present(Cell::Text(text), numbers)?;
                Fit::StoodIn
            }
            (cell, _) => self.present(cell, numbers)?,
        };
        if *self.missing == Missing::Flagged {
            numbers.push(if fit == Fit::StoodIn { high } else { low } as f32);
        }
        Ok(fit)
    }

    /// What stands beside the number that says that a cell is missing.
    fn unknown(&self, numbers: &mut Vec<f32>) {
        match &self.rule {
            Rule::OneHot { numbers: count, .. } => self.one_of(None, *count, numbers),
            // A valid plan has nothing beside a text: see `usable`.
            Rule::Tokens(vocabulary) => {
                vocabulary.encode("", numbers);
            }
            Rule::Range { .. }
            | Rule::Log { .. }
            | Rule::Days { .. }
            | Rule::Ordinal { .. }
            | Rule::Flag { .. } => {
                numbers.push(self.at(0.5));
            }
        }
    }

    fn present(&self, cell: Cell<'_>, numbers: &mut Vec<f32>) -> Result<Fit, Unfit> {
        match &self.rule {
            Rule::Range { minimum, maximum } => {
                let (inside, fit) = within(number(cell)?, *minimum, *maximum);
                numbers.push(self.at((inside - minimum) / (maximum - minimum)));
                Ok(fit)
            }
            Rule::Log { minimum, maximum } => {
                let (inside, fit) = within(number(cell)?, *minimum, *maximum);
                numbers.push(self.at((inside - minimum).ln_1p() / (maximum - minimum).ln_1p()));
                Ok(fit)
            }
            Rule::Days { first, last } => {
                let day: Day = text(cell)?.parse().map_err(|_| Unfit::NoDay)?;
                let (inside, fit) = within(day.number() as f64, *first, *last);
                numbers.push(self.at((inside - first) / (last - first)));
                Ok(fit)
            }
            Rule::OneHot { places, numbers: count, other } => {
                let place = places.get(text(cell)?.as_ref()).copied();
                if place.is_none() && !other {
                    return Err(Unfit::NoCategory);
                }
                // The place for all others is the last.
                self.one_of(Some(place.unwrap_or(places.len())), *count, numbers);
                Ok(if place.is_some() { Fit::Inside } else { Fit::Other })
            }
            Rule::Ordinal { places, last } => {
                let place = places.get(text(cell)?.as_ref()).ok_or(Unfit::NoCategory)?;
                numbers.push(self.at(*place as f64 / last));
                Ok(Fit::Inside)
            }
            Rule::Flag { value } => {
                let [low, high] = self.ends;
                numbers.push(if text(cell)? == *value { high } else { low } as f32);
                Ok(Fit::Inside)
            }
            Rule::Tokens(vocabulary) => match cell {
                // As it is written: a text that is a number has that number's digits for words.
                Cell::Text(text) => Ok(vocabulary.encode(text, numbers)),
                other => Ok(vocabulary.encode(&text(other)?, numbers)),
            },
        }
    }

    /// So far from the interval's lower end to its upper.
    fn at(&self, share: f64) -> f32 {
        let [low, high] = self.ends;
        (low + share * (high - low)) as f32
    }

    /// So many numbers, all at the interval's lower end but the one at `place`.
    fn one_of(&self, place: Option<usize>, count: usize, numbers: &mut Vec<f32>) {
        let [low, high] = self.ends;
        let first = numbers.len();
        numbers.resize(first + count, low as f32);
        if let Some(number) = place.and_then(|place| numbers.get_mut(first + place)) {
            *number = high as f32;
        }
    }
}

fn places(categories: &[String]) -> BTreeMap<Cow<'_, str>, usize> {
    categories.iter().map(|category| spelled(category)).zip(0..).collect()
}

/// A text as it is compared: one that is a number in its shortest spelling, so that `1.0` in one silo's file is `1` in another's.
pub fn spelled(text: &str) -> Cow<'_, str> {
    /// All numbers of fewer characters are told from one another.
    const CHARS_MAX: usize = 15;
    let begins = text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.'));
    let number = (begins && text.len() <= CHARS_MAX).then(|| text.parse::<f64>().ok()).flatten();
    match number.filter(|number| number.is_finite()) {
        // Adding zero turns minus zero into zero.
        Some(number) => Cow::Owned((number + 0.0).to_string()),
        None => Cow::Borrowed(text),
    }
}

fn number(cell: Cell<'_>) -> Result<f64, Unfit> {
    match cell {
        Cell::Number(number) if number.is_finite() => Ok(number),
        Cell::Number(_) => Err(Unfit::NotFinite),
        Cell::Text(_) => Err(Unfit::NoNumber),
        Cell::Missing => Err(Unfit::Missing),
    }
}

/// A cell's text as it is compared.
pub(crate) fn text(cell: Cell<'_>) -> Result<Cow<'_, str>, Unfit> {
    match cell {
        Cell::Text(text) => Ok(spelled(text)),
        Cell::Number(number) if number.is_finite() => Ok(Cow::Owned((number + 0.0).to_string())),
        Cell::Number(_) => Err(Unfit::NotFinite),
        Cell::Missing => Err(Unfit::Missing),
    }
}

fn within(number: f64, minimum: f64, maximum: f64) -> (f64, Fit) {
    let inside = number.max(minimum).min(maximum);
    (inside, if inside == number { Fit::Inside } else { Fit::Clipped })
}
