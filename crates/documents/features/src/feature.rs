//! A column of the silos' tables and how it becomes numbers, as plans write it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::day::Day;
use crate::pattern::Pattern;

/// A standard score is clipped to so many deviations on both sides.
pub const STANDARD_SCORE_MAX: f64 = 4.0;

/// A column, or several that are treated alike, and what the model gets of it: by public constants alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Feature {
    pub columns: ColumnNames,
    pub encoding: Encoding,
    pub missing: Missing,
}

/// Which columns of the silos' tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnNames {
    /// The one of this name.
    One(String),
    /// All of these names, in their order.
    Each(Pattern),
}

/// How a cell becomes numbers within [`crate::Data::scaled_to`].
#[derive(Debug, Clone, PartialEq)]
pub enum Encoding {
    /// A number: its public range is mapped to the interval, what is outside is clipped.
    Range { minimum: f64, maximum: f64 },
    /// The same, of the logarithm of 1 + x - minimum: for numbers of which most are small.
    Log { minimum: f64, maximum: f64 },
    /// The same, of the range of [`STANDARD_SCORE_MAX`] deviations on both sides of the mean, both public: the mean comes to
    /// the middle of the interval.
    Standard { mean: f64, deviation: f64 },
    /// One number for each category: the interval's upper end for the cell's own, its lower for all else. With `other` one more, for
    /// whatever is not listed.
    OneHot { categories: Vec<String>, other: bool },
    /// The place among categories that have an order: the first is the interval's lower end, the last its upper.
    Ordinal { categories: Vec<String> },
    /// The interval's upper end where the cell is this text, its lower where it is any other.
    Flag { value: String },
    /// A day of a range, as a number is of its.
    Days { first: Day, last: Day },
    /// The numbers of a text's first `length` words, as [`crate::words_of`] has them: of those listed their place, counted from 2; 1 for
    /// any other, 0 where the text has no more. For a network whose input is such numbers.
    Tokens { words: Vec<String>, length: usize },
}

/// What becomes of a cell that is not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Missing {
    /// Its row contributes nothing.
    #[default]
    Misfit,
    /// The interval's middle stands for it (no category, in [`Encoding::OneHot`]), and a number more says whether it does: the
    /// interval's upper end where the cell is missing, else its lower.
    Flagged,
    /// This number stands for it.
    Number(f64),
    /// This category, or this day, stands for it.
    Text(String),
}

/// What kind of cell an encoding takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    Number,
    Text,
    Day,
}

impl Feature {
    /// A number within a public range, as the plans of every format have them.
    pub fn range(column: impl Into<String>, minimum: f64, maximum: f64) -> Self {
        let columns = ColumnNames::One(column.into());
        Self { columns, encoding: Encoding::Range { minimum, maximum }, missing: Missing::Misfit }
    }

    /// The names of its columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (one, each) = match &self.columns {
            ColumnNames::One(name) => (Some(Cow::Borrowed(name.as_str())), None),
            ColumnNames::Each(pattern) => (None, Some(pattern.names().map(Cow::Owned))),
        };
        one.into_iter().chain(each.into_iter().flatten())
    }

    /// As the plan writes its columns.
    pub fn name(&self) -> &str {
        self.columns.as_str()
    }

    /// How many columns it has.
    pub fn count(&self) -> usize {
        match &self.columns {
            ColumnNames::One(_) => 1,
            ColumnNames::Each(pattern) => pattern.count(),
        }
    }

    /// How many numbers the model gets of each of its columns.
    pub fn width_of_each(&self) -> usize {
        let numbers = match &self.encoding {
            Encoding::OneHot { categories, other } => categories.len() + usize::from(*other),
            Encoding::Tokens { length, .. } => *length,
            Encoding::Range { .. }
            | Encoding::Log { .. }
            | Encoding::Standard { .. }
            | Encoding::Ordinal { .. }
            | Encoding::Flag { .. }
            | Encoding::Days { .. } => 1,
        };
        numbers + usize::from(self.missing == Missing::Flagged)
    }

    /// How many numbers the model gets of all its columns.
    pub fn width(&self) -> usize {
        self.count() * self.width_of_each()
    }

    /// What kind of cells its columns have.
    pub fn kind(&self) -> CellKind {
        match &self.encoding {
            Encoding::Range { .. } | Encoding::Log { .. } | Encoding::Standard { .. } => CellKind::Number,
            Encoding::OneHot { .. }
            | Encoding::Ordinal { .. }
            | Encoding::Flag { .. }
            | Encoding::Tokens { .. } => CellKind::Text,
            Encoding::Days { .. } => CellKind::Day,
        }
    }

    /// Whether formats 1 and 2 have it.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.columns, ColumnNames::One(_))
            && matches!(self.encoding, Encoding::Range { .. })
            && self.missing == Missing::Misfit
    }
}

impl ColumnNames {
    fn as_str(&self) -> &str {
        match self {
            Self::One(name) => name,
            Self::Each(pattern) => pattern.as_str(),
        }
    }
}

impl Encoding {
    /// Its ends, where it is a range of numbers.
    pub fn number_range(&self) -> Option<[f64; 2]> {
        match *self {
            Self::Range { minimum, maximum } | Self::Log { minimum, maximum } => Some([minimum, maximum]),
            Self::Standard { mean, deviation } => Some(standard_range(mean, deviation)),
            Self::OneHot { .. }
            | Self::Ordinal { .. }
            | Self::Flag { .. }
            | Self::Days { .. }
            | Self::Tokens { .. } => None,
        }
    }
}

/// What lies within [`STANDARD_SCORE_MAX`] deviations of the mean.
pub(crate) fn standard_range(mean: f64, deviation: f64) -> [f64; 2] {
    let reach = STANDARD_SCORE_MAX * deviation;
    [mean - reach, mean + reach]
}

/// [`Feature`], by its keys: those of formats 1 and 2 first and in their order, so that their bytes stay what they are.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Pattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_range: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_hot: Option<Vec<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordinal: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_day: Option<Day>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_day: Option<Day>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<StandIn>,
}

/// What `missing` is set to.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "`missing` must be a number, a text, or \"flag\"")]
enum StandIn {
    Number(f64),
    Text(String),
}

/// The word that asks for a number that says whether the cell is missing.
const FLAG: &str = "flag";
const ENCODINGS: &str = "minimum and maximum, log_range, mean and deviation, one_hot, ordinal, flag, first_day and last_day, or tokens and length";

impl TryFrom<Written> for Feature {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let columns = match (written.column, written.columns) {
            (Some(name), None) => ColumnNames::One(name),
            (None, Some(pattern)) => ColumnNames::Each(pattern),
            (Some(name), Some(_)) => {
                return Err(format!(
                    "the feature {name:?} has `column` and `columns`; leave one of them out"
                ));
            }
            (None, None) => {
                return Err("a feature has neither `column` nor `columns`; name its column".into());
            }
        };
        let name = columns.as_str();
        // Each way that is written: to take the first would pass over another without a word.
        let mut found = Vec::new();
        if let Some((minimum, maximum)) =
            pair(name, ["minimum", "maximum"], written.minimum, written.maximum)?
        {
            found.push(Encoding::Range { minimum, maximum });
        }
        found.extend(written.log_range.map(|[minimum, maximum]| Encoding::Log { minimum, maximum }));
        if let Some((mean, deviation)) = pair(name, ["mean", "deviation"], written.mean, written.deviation)? {
            found.push(Encoding::Standard { mean, deviation });
        }
        let other = written.other;
        if other && written.one_hot.is_none() {
            return Err(format!("the feature {name:?} has `other` without `one_hot`; list the categories"));
        }
        found.extend(written.one_hot.map(|categories| Encoding::OneHot { categories, other }));
        found.extend(written.ordinal.map(|categories| Encoding::Ordinal { categories }));
        found.extend(written.flag.map(|value| Encoding::Flag { value }));
        if let Some((first, last)) =
            pair(name, ["first_day", "last_day"], written.first_day, written.last_day)?
        {
            found.push(Encoding::Days { first, last });
        }
        if let Some((words, length)) = pair(name, ["tokens", "length"], written.tokens, written.length)? {
            found.push(Encoding::Tokens { words, length });
        }
        let ways = found.len();
        let [encoding] = <[Encoding; 1]>::try_from(found).map_err(|_| {
            format!("the feature {name:?} says in {ways} ways how its cells become numbers; give it one of {ENCODINGS}")
        })?;
        let missing = match written.missing {
            None => Missing::Misfit,
            Some(StandIn::Text(word)) if word == FLAG => Missing::Flagged,
            Some(StandIn::Text(text)) => Missing::Text(text),
            Some(StandIn::Number(number)) => Missing::Number(number),
        };
        Ok(Self { columns, encoding, missing })
    }
}

/// Two keys that mean something together.
fn pair<T, U>(
    name: &str,
    [first, second]: [&str; 2],
    one: Option<T>,
    other: Option<U>,
) -> Result<Option<(T, U)>, String> {
    let half = |has: &str, lacks: &str| {
        Err(format!("the feature {name:?} has `{has}` and no `{lacks}`; give both, or neither"))
    };
    match (one, other) {
        (Some(one), Some(other)) => Ok(Some((one, other))),
        (None, None) => Ok(None),
        (Some(_), None) => half(first, second),
        (None, Some(_)) => half(second, first),
    }
}

impl From<Feature> for Written {
    fn from(Feature { columns, encoding, missing }: Feature) -> Self {
        let mut written = Self::default();
        match columns {
            ColumnNames::One(name) => written.column = Some(name),
            ColumnNames::Each(pattern) => written.columns = Some(pattern),
        }
        match encoding {
            Encoding::Range { minimum, maximum } => {
                (written.minimum, written.maximum) = (Some(minimum), Some(maximum));
            }
            Encoding::Log { minimum, maximum } => written.log_range = Some([minimum, maximum]),
            Encoding::Standard { mean, deviation } => {
                (written.mean, written.deviation) = (Some(mean), Some(deviation));
            }
            Encoding::OneHot { categories, other } => {
                (written.one_hot, written.other) = (Some(categories), other);
            }
            Encoding::Ordinal { categories } => written.ordinal = Some(categories),
            Encoding::Flag { value } => written.flag = Some(value),
            Encoding::Days { first, last } => {
                (written.first_day, written.last_day) = (Some(first), Some(last));
            }
            Encoding::Tokens { words, length } => {
                (written.tokens, written.length) = (Some(words), Some(length));
            }
        }
        written.missing = match missing {
            Missing::Misfit => None,
            Missing::Flagged => Some(StandIn::Text(FLAG.into())),
            Missing::Number(number) => Some(StandIn::Number(number)),
            Missing::Text(text) => Some(StandIn::Text(text)),
        };
        written
    }
}
