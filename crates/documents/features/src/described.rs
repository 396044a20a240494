//! A plan's table in words, for whoever signs or accepts the plan.

use std::fmt;

use crate::{Classes, Data, Encoding, Feature, Missing};

/// Texts that are named one by one; of more, the number is given.
const NAMED_MAX: usize = 8;

impl Data {
    /// Rows of a name and what it means: the label, the number of columns, then the columns in the model's order; neighbours
    /// that are treated alike share a row.
    pub fn described(&self) -> Vec<(String, String)> {
        let mut rows = vec![("label".to_owned(), format!("{:?}: {}", self.label, self.classes))];
        if let Some(weights) = &self.class_weights {
            let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
            rows.push(("class weights".into(), format!("{}, in the loss", weights.join(", "))));
        }
        let [low, high] = self.scaled_to;
        let (columns, width) = (self.column_count(), self.width());
        rows.push((
            "columns".into(),
            format!("{columns}, of which the model gets {width} numbers between {low} and {high}"),
        ));
        let mut features = self.features.iter().peekable();
        while let Some(first) = features.next() {
            let (mut last, mut count) = (first, first.count());
            while let Some(next) =
                features.next_if(|next| (&next.encoding, &next.missing) == (&first.encoding, &first.missing))
            {
                (last, count) = (next, count + next.count());
            }
            let name = match std::ptr::eq(first, last) {
                true => first.name().to_owned(),
                false => format!("{} to {} ({count})", first.name(), last.name()),
            };
            rows.push((format!("  {name}"), first.described()));
        }
        rows
    }
}

impl Feature {
    /// What its cells are, how they become numbers, and what becomes of missing ones.
    pub fn described(&self) -> String {
        match &self.missing {
            Missing::Misfit => self.encoding.to_string(),
            missing => format!("{}; missing: {missing}", self.encoding),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { minimum, maximum } => write!(f, "a number from {minimum} to {maximum}"),
            Self::Log { minimum, maximum } => {
                write!(f, "a number from {minimum} to {maximum}, by the logarithm of 1 + x - {minimum}")
            }
            Self::Standard { mean, deviation } => write!(
                f,
                "a number with mean {mean} and deviation {deviation}, within {} deviations",
                crate::STANDARD_SCORE_MAX
            ),
            Self::OneHot { categories, other } => {
                f.write_str("a number for each of ")?;
                listed(f, categories)?;
                f.write_str(if *other { ", and one for any other" } else { "" })
            }
            Self::Ordinal { categories } => {
                f.write_str("the place among ")?;
                listed(f, categories)
            }
            Self::Flag { value } => write!(f, "whether it is {value:?}"),
            Self::Days { first, last } => write!(f, "a day from {first} to {last}"),
            Self::Tokens { words, length } => {
                write!(f, "a text's first {length} words, by their number among ")?;
                listed(f, words)?;
                f.write_str(" and any other")
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misfit => f.write_str("the row contributes nothing"),
            Self::Flagged => f.write_str("a number beside it says so"),
            Self::Number(number) => write!(f, "as {number}"),
            Self::Text(text) => write!(f, "as {text:?}"),
        }
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => match count.checked_sub(1) {
                Some(last) => write!(f, "a whole number from 0 to {last}"),
                None => f.write_str("no number"),
            },
            Self::Names(names) => {
                f.write_str("one of ")?;
                listed(f, names)
            }
            Self::Flag(class) => write!(f, "whether it is {:?}", class.flag),
        }
    }
}

fn listed(f: &mut fmt::Formatter<'_>, texts: &[String]) -> fmt::Result {
    for (index, text) in texts.iter().take(NAMED_MAX).enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{text:?}")?;
    }
    match texts.len().checked_sub(NAMED_MAX) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}
