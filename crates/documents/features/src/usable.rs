//! Whether a plan's table can be meant.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CellKind, Classes, ColumnNames, Data, Day, Encoding, Feature, Missing, PLAN_COLUMNS_MAX, Pattern,
    spelled, words_of,
};

const CLASSES_MAX: usize = 1 << 12;
/// Each is compared with each.
const PATTERNS_MAX: usize = 64;
/// Beyond it, one row of a class would be all of a batch, or none of it.
const CLASS_WEIGHT_MAX: f64 = 1000.0;

/// What is wrong in a plan's table, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFault {
    /// Which field, dotted: `data.features[3]`.
    pub field: String,
    /// What is wrong, and what would fix it.
    pub text: String,
}

/// All that is wrong, as it is found.
#[derive(Default)]
struct Faults(Vec<TableFault>);

impl Faults {
    fn add(&mut self, field: &str, text: impl Into<String>) {
        self.0.push(TableFault { field: field.to_owned(), text: text.into() });
    }

    fn require(&mut self, holds: bool, field: &str, text: impl FnOnce() -> String) {
        if !holds {
            self.add(field, text());
        }
    }
}

impl Data {
    /// Everything that is wrong with the table; nothing where it can be meant.
    pub fn faults(&self) -> Vec<TableFault> {
        let mut faults = Faults::default();
        all(self, &mut faults);
        faults.0
    }
}

fn all(data: &Data, faults: &mut Faults) {
    classes(data, faults);
    let [low, high] = data.scaled_to;
    faults.require(low.is_finite() && high.is_finite() && low < high, "data.scaled_to", || {
        format!("[{low}, {high}] is no interval; usual is [0.0, 1.0]")
    });
    for (index, feature) in data.features.iter().enumerate() {
        one(&place(index), feature, faults);
    }
    let (columns, width) = (data.column_count(), data.width());
    faults.require((1..=PLAN_COLUMNS_MAX).contains(&columns), "data.features", || {
        format!("must list between 1 and {PLAN_COLUMNS_MAX} columns, and lists {columns}; ask for fewer")
    });
    faults.require(width <= PLAN_COLUMNS_MAX, "data.features", || {
        format!(
            "the model would get {width} numbers of a row, and {PLAN_COLUMNS_MAX} are the most; ask for fewer columns, or list fewer \
             categories and give the rest one place by `other = true`"
        )
    });
    let patterns =
        data.features.iter().filter(|feature| matches!(feature.columns, ColumnNames::Each(_))).count();
    faults.require(patterns <= PATTERNS_MAX, "data.features", || {
        format!("must have at most {PATTERNS_MAX} features with `columns`, and has {patterns}; join those that are alike")
    });
    if columns <= PLAN_COLUMNS_MAX && patterns <= PATTERNS_MAX {
        repeated(data, faults);
    }
}

fn place(index: usize) -> String {
    format!("data.features[{index}]")
}

fn classes(data: &Data, faults: &mut Faults) {
    let count = data.classes.count();
    faults.require((2..=CLASSES_MAX).contains(&count), "data.classes", || {
        format!("must be between 2 and {CLASSES_MAX}")
    });
    match &data.classes {
        Classes::Count(_) => {}
        Classes::Names(names) => texts(names, "data.classes", "class", faults),
        Classes::Flag(class) => faults.require(is_line(&class.flag), "data.classes", || {
            format!("{:?} is no text that a cell can be", class.flag)
        }),
    }
    let Some(weights) = &data.class_weights else { return };
    faults.require(weights.len() == count, "data.class_weights", || {
        format!("has {} numbers for {count} classes; give one for each", weights.len())
    });
    let range = CLASS_WEIGHT_MAX.recip()..=CLASS_WEIGHT_MAX;
    for weight in weights.iter().filter(|weight| !range.contains(weight)) {
        faults.add(
            "data.class_weights",
            format!(
                "{weight} is no weight: each must be a number between {} and {}",
                range.start(),
                range.end()
            ),
        );
    }
}

/// Texts that cells are compared with: each once.
fn texts(texts: &[String], field: &str, what: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for text in texts {
        faults.require(is_line(text), field, || format!("the {what} {text:?} is no text that a cell can be"));
        faults.require(seen.insert(spelled(text)), field, || {
            format!("the {what} {text:?} is listed twice; list it once (a number is one text, however it is written)")
        });
    }
}

/// A cell is trimmed, and holds no line break.
fn is_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

/// What is wrong with a feature by itself.
fn one(field: &str, feature: &Feature, faults: &mut Faults) {
    let column = feature.name();
    if let ColumnNames::One(name) = &feature.columns {
        faults.require(!name.is_empty(), field, || "a column has an empty name; name it".into());
    }
    match &feature.encoding {
        Encoding::Range { minimum, maximum } | Encoding::Log { minimum, maximum } => {
            let range = minimum.is_finite()
                && maximum.is_finite()
                && minimum < maximum
                && (maximum - minimum).is_finite();
            faults.require(range, field, || {
                format!("column {column:?}: minimum must be below maximum, both finite")
            });
        }
        Encoding::Standard { deviation, .. } => {
            let finite = feature
                .encoding
                .number_range()
                .is_some_and(|[minimum, maximum]| minimum < maximum && (maximum - minimum).is_finite());
            faults.require(*deviation > 0.0 && finite, field, || {
                format!(
                    "column {column:?}: deviation must be a positive number, and mean a finite one that it is not lost beside; a column \
                     that never varies tells nothing, leave it out"
                )
            });
        }
        Encoding::OneHot { categories, .. } => {
            faults.require(!categories.is_empty(), field, || {
                format!("column {column:?}: one_hot lists no category; list those that there are")
            });
            texts(categories, field, "category", faults);
        }
        Encoding::Ordinal { categories } => {
            faults.require(categories.len() >= 2, field, || {
                format!("column {column:?}: ordinal must list at least 2 categories, from the lowest to the highest")
            });
            texts(categories, field, "category", faults);
        }
        Encoding::Flag { value } => faults.require(is_line(value), field, || {
            format!("column {column:?}: the flag {value:?} is no text that a cell can be")
        }),
        Encoding::Days { first, last } => faults
            .require(first < last, field, || format!("column {column:?}: first_day must be before last_day")),
        Encoding::Tokens { words, length } => tokens(field, column, words, *length, faults),
    }
    stand_in(field, feature, faults);
}

/// Words that no text has would never be met.
fn tokens(field: &str, column: &str, words: &[String], length: usize, faults: &mut Faults) {
    faults.require((1..=PLAN_COLUMNS_MAX).contains(&length), field, || {
        format!("column {column:?}: length must be between 1 and {PLAN_COLUMNS_MAX} words")
    });
    faults.require(!words.is_empty(), field, || {
        format!("column {column:?}: tokens lists no word; list those that the model is to know")
    });
    let mut seen = BTreeSet::new();
    for word in words {
        faults.require(words_of(word).eq([word.as_str()]), field, || {
            format!("column {column:?}: {word:?} is not one word in lower case, as texts are cut into")
        });
        faults.require(seen.insert(word), field, || {
            format!("column {column:?}: the word {word:?} is listed twice; list it once")
        });
    }
}

/// What stands for a missing cell must be a cell that the feature takes.
fn stand_in(field: &str, feature: &Feature, faults: &mut Faults) {
    let column = feature.name();
    let is_tokens = matches!(feature.encoding, Encoding::Tokens { .. });
    let usable = match (&feature.missing, feature.kind()) {
        (Missing::Misfit, _) => true,
        (Missing::Flagged, _) => !is_tokens,
        (Missing::Number(number), CellKind::Number) => {
            feature.encoding.number_range().is_some_and(|[low, high]| (low..=high).contains(number))
        }
        (Missing::Number(_), CellKind::Text | CellKind::Day) | (Missing::Text(_), CellKind::Number) => false,
        (Missing::Text(text), CellKind::Text) => match &feature.encoding {
            Encoding::OneHot { other: true, .. } | Encoding::Flag { .. } => is_line(text),
            Encoding::OneHot { categories, .. } | Encoding::Ordinal { categories } => {
                categories.contains(text)
            }
            Encoding::Range { .. }
            | Encoding::Log { .. }
            | Encoding::Standard { .. }
            | Encoding::Days { .. } => false,
            // Also one without a word.
            Encoding::Tokens { .. } => !text.chars().any(char::is_control),
        },
        (Missing::Text(text), CellKind::Day) => match (&feature.encoding, text.parse::<Day>()) {
            (Encoding::Days { first, last }, Ok(day)) => (*first..=*last).contains(&day),
            _ => false,
        },
    };
    let wanted = match feature.kind() {
        CellKind::Text if is_tokens => "a text, such as \"\"",
        CellKind::Number => "a number within the range",
        CellKind::Text => "one of the categories",
        CellKind::Day => "a day between first_day and last_day, like \"2020-01-31\"",
    };
    let flag = if is_tokens { "" } else { ", or \"flag\"" };
    faults.require(usable, field, || {
        format!("column {column:?}: missing must be {wanted}{flag}, or be left out")
    });
}

/// A column may be asked for once, and not as the label too. No pattern is written out for that: a short plan takes little room.
fn repeated(data: &Data, faults: &mut Faults) {
    let (mut ones, mut patterns): (BTreeMap<&str, usize>, Vec<(usize, &Pattern)>) = Default::default();
    for (index, feature) in data.features.iter().enumerate() {
        let label = data.label.as_str();
        let is_label = match &feature.columns {
            ColumnNames::One(name) => name == label,
            ColumnNames::Each(pattern) => pattern.has(label),
        };
        faults.require(!is_label, &place(index), || {
            format!("column {label:?} is the label, which the model must not see; leave it out")
        });
        let repeated = match &feature.columns {
            ColumnNames::One(name) => {
                let one = ones.get(name.as_str()).copied();
                let earlier = one.or_else(|| Some(patterns.iter().find(|(_, pattern)| pattern.has(name))?.0));
                ones.insert(name, index);
                earlier.map(|earlier| (earlier, name.clone()))
            }
            ColumnNames::Each(pattern) => {
                let one = ones.iter().find(|(name, _)| pattern.has(name));
                let one = one.map(|(name, earlier)| (*earlier, (*name).to_owned()));
                let several =
                    || patterns.iter().find_map(|(at, earlier)| Some((*at, earlier.common(pattern)?)));
                let earlier = one.or_else(several);
                patterns.push((index, pattern));
                earlier
            }
        };
        if let Some((earlier, name)) = repeated {
            faults.add(
                &place(index),
                format!("column {name:?} is repeated: {} has it too; ask for it once", place(earlier)),
            );
        }
    }
}
