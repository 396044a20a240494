//! What a plan says of the silos' tables: which columns, what a cell of each becomes, and which classes there are.
//!
//! Owns: the plan's section `[data]` and its meaning, from a cell that was read to the numbers that the model gets. Does not: read a
//! file, or learn anything from rows: all constants are public and the plan's.
//!
//! ```
//! use features::{Cell, Encoder, Feature};
//! let age = Feature::range("age", 0.0, 100.0);
//! let mut numbers = Vec::new();
//! Encoder::new(&age, [-1.0, 1.0]).encode(Cell::Number(25.0), &mut numbers).unwrap();
//! assert_eq!(numbers, [-0.5]);
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod day;
mod described;
mod encoder;
mod feature;
mod pattern;
mod usable;
mod words;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use day::{Day, NoDay};
pub use encoder::{Cell, Encoder, Fit, Unfit, spelled};
pub use feature::{CellKind, ColumnNames, Encoding, Feature, Missing, STANDARD_SCORE_MAX};
pub use pattern::{Pattern, PatternError};
pub use usable::TableFault;
pub use words::{vocabulary, words_of};

/// Most columns that a plan asks for, and most numbers that its model gets of a row.
pub const PLAN_COLUMNS_MAX: usize = 1 << 16;

/// The table every silo must hold, and its public scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Column of the class.
    pub label: String,
    /// Which classes there are.
    pub classes: Classes,
    /// Every feature's public range is mapped to this interval, values outside it are clipped to it: no
    /// statistic of any silo's data is needed, so none leaks.
    pub scaled_to: [f64; 2],
    /// The feature columns, in the model's order.
    pub features: Vec<Feature>,
    /// How many times a row of each class counts in the loss; once where it is left out. Since format 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
}

/// What the label's cells are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`classes` must be how many there are, a list of their names, or { flag = \"TEXT\" }"
)]
pub enum Classes {
    /// A whole number below this one.
    Count(usize),
    /// One of these texts; the first is class 0. Since format 3.
    Names(Vec<String>),
    /// Any text: class 1 where it is the one named here, else 0. Since format 3.
    Flag(FlaggedClass),
}

/// The text of a label that is class 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlaggedClass {
    pub flag: String,
}

impl From<usize> for Classes {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

impl Classes {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Names(names) => names.len(),
            Self::Flag(_) => 2,
        }
    }

    /// What kind of cells the label has.
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Count(_) => CellKind::Number,
            Self::Names(_) | Self::Flag(_) => CellKind::Text,
        }
    }

    /// What a class is called: as the plan names it, or by its number. `None` where there is no such class.
    pub fn name(&self, class: usize) -> Option<Cow<'_, str>> {
        match self {
            Self::Count(count) => (class < *count).then(|| Cow::Owned(class.to_string())),
            Self::Names(names) => names.get(class).map(|name| Cow::Borrowed(name.as_str())),
            Self::Flag(FlaggedClass { flag }) => match class {
                0 => Some(Cow::Owned(format!("not {flag}"))),
                1 => Some(Cow::Borrowed(flag)),
                _ => None,
            },
        }
    }

    /// The class that a cell of the label says, counted from 0.
    ///
    /// # Errors
    /// [`Unfit`]: missing, or no class.
    pub fn class_of(&self, cell: Cell<'_>) -> Result<usize, Unfit> {
        if cell == Cell::Missing {
            return Err(Unfit::Missing);
        }
        let class = match (self, cell) {
            (Self::Count(count), Cell::Number(number)) => {
                let whole = number >= 0.0 && number < *count as f64 && number.fract() == 0.0;
                whole.then_some(number as usize)
            }
            (Self::Count(_), _) => None,
            (Self::Names(names), cell) => {
                let text = encoder::text(cell)?;
                names.iter().position(|name| encoder::spelled(name) == text)
            }
            (Self::Flag(FlaggedClass { flag }), cell) => {
                Some(usize::from(encoder::text(cell)? == encoder::spelled(flag)))
            }
        };
        class.ok_or(Unfit::NoClass)
    }
}

impl Data {
    /// How many numbers the model gets of a row.
    pub fn width(&self) -> usize {
        self.features.iter().map(Feature::width).sum()
    }

    /// How many feature columns the plan asks for.
    pub fn column_count(&self) -> usize {
        self.features.iter().map(Feature::count).sum()
    }

    /// Every feature column that the plan asks for, by its name, and the feature that it belongs to; in the model's order.
    pub fn columns(&self) -> impl Iterator<Item = (Cow<'_, str>, &Feature)> {
        self.features.iter().flat_map(|feature| feature.columns().map(move |name| (name, feature)))
    }

    /// How many times a row of this class counts in the loss.
    pub fn class_weight(&self, class: usize) -> f64 {
        let weight = self.class_weights.as_ref().map(|weights| weights.get(class).copied());
        weight.flatten().unwrap_or(1.0)
    }

    /// Whether formats 1 and 2 can say all of it.
    pub fn is_plain(&self) -> bool {
        matches!(self.classes, Classes::Count(_))
            && self.class_weights.is_none()
            && self.features.iter().all(Feature::is_plain)
    }
}
