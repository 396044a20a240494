//! The federation's words for a file's columns, and what a plan asks of them.

use std::collections::{BTreeMap, BTreeSet};

use datasets::bare_name;
use plan::{CellKind, Classes, Data, Encoding};

/// What is known of a column before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing: what it holds is found out.
    Nothing,
    /// It is the label, and no plan says of what kind.
    Label,
    /// The plan takes whole numbers below this one for classes.
    Classes(usize),
    Number,
    Text,
    /// Texts of which it takes the words.
    Words,
    Day,
}

impl Asked {
    /// As an operator reads it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing | Self::Label => "anything",
            Self::Classes(_) => "the numbers of classes",
            Self::Number => "numbers",
            Self::Text | Self::Words => "texts",
            Self::Day => "days",
        }
    }
}

/// What a plan asks for, by its words: the label and every feature's column.
pub(crate) fn asked(plan: &Data) -> BTreeMap<String, Asked> {
    let features = plan.columns().map(|(column, feature)| {
        let asked = match feature.kind() {
            CellKind::Number => Asked::Number,
            CellKind::Text if matches!(feature.encoding, Encoding::Tokens { .. }) => Asked::Words,
            CellKind::Text => Asked::Text,
            CellKind::Day => Asked::Day,
        };
        (column.into_owned(), asked)
    });
    let label = match &plan.classes {
        Classes::Count(count) => Asked::Classes(*count),
        Classes::Names(_) | Classes::Flag(_) => Asked::Text,
    };
    features.chain([(plan.label.clone(), label)]).collect()
}

/// The word for each of these names, of which none is there twice. The plan's where it is the name or, of one column alone, the
/// name but for how it is written; else the name itself, made short.
pub(crate) fn words(names: &[&str], asked: &BTreeMap<String, Asked>) -> Vec<String> {
    let own: BTreeSet<&str> = names.iter().copied().collect();
    let mut wanted: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for word in asked.keys().filter(|word| !own.contains(word.as_str())) {
        wanted.entry(bare_name(word)).or_default().push(word);
    }
    let (mut near, mut short): (BTreeMap<String, usize>, BTreeMap<String, usize>) = Default::default();
    for name in names.iter().filter(|name| !asked.contains_key(**name)) {
        *near.entry(bare_name(name)).or_default() += 1;
        *short.entry(word(name)).or_default() += 1;
    }
    let of_plan = |name: &str| {
        let bare = bare_name(name);
        let [word] = wanted.get(&bare)?.as_slice() else { return None };
        (near.get(&bare) == Some(&1)).then(|| (*word).to_owned())
    };
    // A short word that another column has too, or is called, would be two columns of one word.
    let own_word = |name: &str| {
        let word = word(name);
        let is_anothers = own.contains(word.as_str()) || asked.contains_key(&word);
        (!word.is_empty() && short.get(&word) == Some(&1) && !is_anothers).then_some(word)
    };
    let of_name = |name: &&str| match asked.contains_key(*name) {
        true => (*name).to_owned(),
        false => of_plan(name).or_else(|| own_word(name)).unwrap_or_else(|| (*name).to_owned()),
    };
    names.iter().map(of_name).collect()
}

/// A name as federations write it: without its unit in brackets, small, with `_` between words.
fn word(name: &str) -> String {
    let before_unit = match name.find(['(', '[']) {
        Some(at) if at > 0 => name.split_at(at).0,
        _ => name,
    };
    let small = before_unit.trim().to_lowercase();
    let parts = small.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_small_and_without_its_unit() {
        for (name, is) in [
            ("Age (years)", "age"),
            ("capital-gain", "capital_gain"),
            ("ENSG0.1", "ensg0_1"),
            ("(x)", "x"),
            ("Größe", "größe"),
        ] {
            assert_eq!(word(name), is, "{name}");
        }
    }

    #[test]
    fn a_plans_word_goes_to_the_one_column_that_is_written_like_it() {
        let of = |names: &[&str], plan: &[&str]| {
            let asked = plan.iter().map(|word| ((*word).to_owned(), Asked::Number)).collect();
            words(names, &asked)
        };
        assert_eq!(of(&["Age (years)", "BP"], &["AGE", "chol"]), ["AGE", "bp"]);
        assert_eq!(
            of(&["age", "Age (years)"], &["age"]),
            ["age", "Age (years)"],
            "the exact name comes first"
        );
        assert_eq!(
            of(&["Age [y]", "AGE"], &["age"]),
            ["Age [y]", "AGE"],
            "one of two is for a person to choose"
        );
        assert_eq!(of(&["a (mg)", "a [g]", "a"], &[]), ["a (mg)", "a [g]", "a"]);
    }
}
