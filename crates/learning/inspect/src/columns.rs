//! What seems to stand in a column, of all its cells.

use std::collections::BTreeMap;

use registration::{DateForm, Marks, number};

use crate::words::Asked;

/// What usually means "not known", in any column.
const MISSING: [&str; 11] = ["?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "NN", "k.A."];
/// What does among numbers: in texts it may be a value.
const MISSING_AMONG_NUMBERS: [&str; 8] = ["-", "--", ".", "none", "None", "unknown", "missing", "n.d."];
/// A column with more different cells holds no categories.
pub(crate) const VALUES_MAX: usize = 100;
/// A longer cell is no category.
const VALUE_BYTES_MAX: usize = 128;

/// The cells of one column, counted.
pub(crate) struct Counted {
    marks: Marks,
    values_max: usize,
    rows: u64,
    numbers: u64,
    whole: bool,
    /// Each different cell and how often it stands there; of too many, the first.
    values: BTreeMap<String, u64>,
    too_many: bool,
    dates: [u64; DateForm::ALL.len()],
}

/// What a column seems to hold.
#[derive(Debug, PartialEq)]
pub(crate) enum Holds {
    Numbers,
    /// Whole numbers of classes, from this one.
    Classes {
        first: i64,
        count: usize,
    },
    Categories(Vec<String>),
    Dates(&'static str),
    /// Texts of which a plan takes the words.
    Words,
    /// So many different texts that they are no categories.
    Texts,
    Nothing,
}

impl Holds {
    /// What it is, where a plan asks for something else.
    pub(crate) fn but_for(&self, asked: Asked) -> Option<&'static str> {
        let is = match self {
            Self::Numbers => "numbers",
            Self::Classes { .. } => "the numbers of classes",
            Self::Categories(_) | Self::Words | Self::Texts => "texts",
            Self::Dates(_) => "days",
            Self::Nothing => "no cell that is known",
        };
        let is_asked = matches!(
            (asked, self),
            (Asked::Nothing | Asked::Label, _)
                | (Asked::Number, Self::Numbers)
                | (Asked::Classes(_), Self::Classes { .. })
                | (Asked::Text, Self::Categories(_) | Self::Texts)
                | (Asked::Words, Self::Words)
                | (Asked::Day, Self::Dates(_))
        );
        (!is_asked).then_some(is)
    }
}

impl Counted {
    pub(crate) fn new(marks: Marks, values_max: usize) -> Self {
        let (values, dates) = (BTreeMap::new(), [0; DateForm::ALL.len()]);
        Self { marks, values_max, rows: 0, numbers: 0, whole: true, values, too_many: false, dates }
    }

    pub(crate) fn add(&mut self, cell: &str) {
        if cell.is_empty() {
            return;
        }
        self.rows += 1;
        let read = number(cell, self.marks).filter(|number| number.is_finite());
        if let Some(number) = read {
            self.numbers += 1;
            self.whole &= number.fract() == 0.0;
        }
        for ((_, form), count) in DateForm::ALL.iter().zip(&mut self.dates) {
            // Of the forms of days, one alone is a number too.
            if read.is_none() || *form == DateForm::Digits {
                *count += u64::from(form.iso(cell).is_some_and(|day| is_possible(&day)));
            }
        }
        if let Some(count) = self.values.get_mut(cell) {
            *count += 1;
        } else if self.values.len() < self.values_max && cell.len() <= VALUE_BYTES_MAX {
            self.values.insert(cell.to_owned(), 1);
        } else {
            self.too_many = true;
        }
    }

    /// The cells that mean "not known".
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let often =
            MISSING.iter().chain(&MISSING_AMONG_NUMBERS).filter(|mark| self.values.contains_key(**mark));
        let marked: u64 = often.clone().filter_map(|mark| self.values.get(*mark)).sum();
        let are_numbers = self.numbers * 2 > self.rows - marked;
        often.filter(|mark| are_numbers || MISSING.contains(mark)).copied().collect()
    }

    /// What the other cells are: a label's numbers are classes, and numbers that a plan takes for texts are categories.
    pub(crate) fn holds(&self, asked: Asked) -> Holds {
        let missing = self.missing();
        let known = self.known();
        let values = || self.values.keys().filter(|value| !missing.contains(&value.as_str()));
        if known == 0 {
            return Holds::Nothing;
        }
        if asked == Asked::Words {
            return Holds::Words;
        }
        let are_numbers = self.numbers == known;
        // A day without marks is a number too.
        if let Some(form) = self.date_forms().next().filter(|_| !are_numbers || asked != Asked::Number) {
            return Holds::Dates(form);
        }
        if are_numbers {
            let classes = (self.whole && !self.too_many).then(|| self.classes()).flatten();
            return match (asked, classes) {
                (Asked::Classes(count), classes) => {
                    Holds::Classes { first: classes.map_or(0, |(first, _)| first), count }
                }
                (Asked::Label, Some((first, count))) => Holds::Classes { first, count },
                (Asked::Label | Asked::Text, _) if !self.too_many => {
                    Holds::Categories(values().cloned().collect())
                }
                _ => Holds::Numbers,
            };
        }
        if self.too_many || (known > 20 && values().count() as u64 * 2 > known) {
            return Holds::Texts;
        }
        Holds::Categories(values().cloned().collect())
    }

    /// How many cells are there that do not mean "not known".
    fn known(&self) -> u64 {
        self.rows - self.missing().iter().filter_map(|mark| self.values.get(*mark)).sum::<u64>()
    }

    /// The ways to write a day in which all known cells are days. Of several the cells do not say which was meant.
    pub(crate) fn date_forms(&self) -> impl Iterator<Item = &'static str> {
        let known = self.known();
        DateForm::ALL
            .iter()
            .zip(self.dates)
            .filter(move |(_, count)| known > 0 && *count == known)
            .map(|((name, _), _)| *name)
    }

    /// The first class and how many there are, where no whole number between is left out, and there are at least two.
    fn classes(&self) -> Option<(i64, usize)> {
        let mut numbers: Vec<i64> = self
            .values
            .keys()
            .filter_map(|value| number(value, self.marks))
            .map(|number| number as i64)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let (first, last) = (*numbers.first()?, *numbers.last()?);
        // Classes begin at 0 or at 1, as people count.
        let count = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
        ((0..=1).contains(&first) && count >= 2 && count == numbers.len()).then_some((first, count))
    }
}

/// Whether a day like `2020-01-31` has a month and a day that are some.
fn is_possible(day: &str) -> bool {
    let part = |range| day.get(range).and_then(|part: &str| part.parse::<u8>().ok());
    part(5..7).is_some_and(|month| (1..=12).contains(&month))
        && part(8..10).is_some_and(|day| (1..=31).contains(&day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(cells: &[&str]) -> Counted {
        let marks = Marks { separator: b',', quote: None, decimal: '.', thousands: None };
        let mut counted = Counted::new(marks, VALUES_MAX);
        cells.iter().for_each(|cell| counted.add(cell));
        counted
    }

    #[test]
    fn a_column_holds_what_all_its_known_cells_are() {
        let numbers = counted(&["1", "2.5", "?", "", "-"]);
        assert_eq!((numbers.holds(Asked::Nothing), numbers.missing()), (Holds::Numbers, vec!["?", "-"]));
        let texts = counted(&["x", "-", "?", "y"]);
        assert_eq!(texts.holds(Asked::Nothing), Holds::Categories(vec!["-".into(), "x".into(), "y".into()]));
        assert_eq!(counted(&["31.1.2020", "02.02.2021"]).holds(Asked::Nothing), Holds::Dates("DD.MM.YYYY"));
        assert_eq!(counted(&["01/31/2020"]).holds(Asked::Nothing), Holds::Dates("MM/DD/YYYY"));
        let either = counted(&["01/02/2020", "12/12/2020", "?"]);
        assert_eq!(either.holds(Asked::Nothing), Holds::Dates("DD/MM/YYYY"));
        assert_eq!(either.date_forms().collect::<Vec<_>>(), ["DD/MM/YYYY", "MM/DD/YYYY"]);
        assert_eq!(counted(&["01/02/2020", "31/12/2020"]).date_forms().collect::<Vec<_>>(), ["DD/MM/YYYY"]);
        assert_eq!(counted(&["", "?"]).holds(Asked::Nothing), Holds::Nothing);
        let names: Vec<String> = (0..40).map(|index| format!("patient {index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(counted(&names).holds(Asked::Nothing), Holds::Texts);
    }

    #[test]
    fn a_label_of_numbers_has_classes_from_its_first() {
        assert_eq!(counted(&["0.0", "1.0", "0"]).holds(Asked::Label), Holds::Classes { first: 0, count: 2 });
        assert_eq!(counted(&["1", "2", "2"]).holds(Asked::Label), Holds::Classes { first: 1, count: 2 });
        assert_eq!(counted(&["2", "4"]).holds(Asked::Label), Holds::Categories(vec!["2".into(), "4".into()]));
        assert_eq!(counted(&["0", "1"]).holds(Asked::Nothing), Holds::Numbers);
        let outermost = [i64::MIN.to_string(), i64::MAX.to_string()];
        assert_eq!(
            counted(&[&outermost[0], &outermost[1]]).holds(Asked::Label),
            Holds::Categories(outermost.into())
        );
    }

    #[test]
    fn what_a_plan_asks_for_decides_where_cells_could_be_either() {
        let codes = ["1".to_owned(), "2".to_owned()];
        assert_eq!(counted(&["1", "2"]).holds(Asked::Text), Holds::Categories(codes.into()));
        assert_eq!(counted(&["1", "2"]).holds(Asked::Classes(3)), Holds::Classes { first: 1, count: 3 });
        assert_eq!(counted(&["0", "4"]).holds(Asked::Classes(5)), Holds::Classes { first: 0, count: 5 });
        assert_eq!(counted(&["20200131"]).holds(Asked::Day), Holds::Dates("YYYYMMDD"));
        assert_eq!(counted(&["20200131"]).holds(Asked::Number), Holds::Numbers);
    }

    #[test]
    fn a_long_cell_is_no_category_and_is_not_kept() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let column = counted(&[&long, "y"]);
        assert_eq!((column.holds(Asked::Nothing), column.values.len()), (Holds::Texts, 1));
    }
}
