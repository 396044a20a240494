//! What a plan says of the silos' tables: which columns there are and what the model gets of them.
//!
//! Owns: the plan's section `[data]`. Does not: read a file, or learn anything from rows: all constants are public and the plan's.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod day;
mod pattern;

use serde::{Deserialize, Serialize};

pub use day::{Day, NoDay};
pub use pattern::{Pattern, PatternError};

/// Most columns that a plan asks for, and most numbers that its model gets of a row.
pub const PLAN_COLUMNS_MAX: usize = 1 << 16;

/// The table every silo must hold, and its public scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Column of the class, an integer in `0..classes`.
    pub label: String,
    /// How many classes.
    pub classes: usize,
    /// Every feature's public range is mapped to this interval, values outside it are clipped to it: no
    /// statistic of any silo's data is needed, so none leaks.
    pub scaled_to: [f64; 2],
    /// The feature columns, in the model's order.
    pub features: Vec<Feature>,
}

/// One feature column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name in the file's header.
    pub column: String,
    /// Public lower end of its range.
    pub minimum: f64,
    /// Public upper end of its range.
    pub maximum: f64,
}
