//! What all cells of one column come to, in bounded memory.

use std::collections::BTreeMap;

use plan::{Classes, Encoder, Encoding, Feature, Fit, Unfit};

use crate::reading::{Kind, Reader, Said};
use crate::repeats::Repeats;
use crate::shown::CELL_CHARS_MAX;
use crate::sketch::Sketch;

/// Different texts that are counted each, of all columns and of one.
const TEXTS_OF_ALL: usize = 1 << 17;
const TEXTS_MAX: usize = 200;
/// A longer text is counted among the others.
const TEXT_BYTES_MAX: usize = 128;

/// A column, cell by cell.
pub(crate) struct Profile<'a> {
    /// In the files.
    pub(crate) name: String,
    /// In the federation's words.
    pub(crate) word: String,
    pub(crate) reader: Reader<'a>,
    pub(crate) planned: Option<Planned<'a>>,
    pub(crate) known: u64,
    pub(crate) missing: u64,
    /// Cells that the registration knows nothing of, and the first of them, with why.
    pub(crate) strange: u64,
    pub(crate) first_strange: Option<(String, &'static str)>,
    pub(crate) numbers: Numbers,
    pub(crate) texts: Texts,
    /// How many rows each cell has, where the column may name persons.
    pub(crate) persons: Option<Repeats>,
}

/// What a plan makes of the column.
pub(crate) struct Planned<'a> {
    pub(crate) takes: Takes<'a>,
    pub(crate) outside: u64,
    /// The number that is farthest outside.
    pub(crate) farthest: Option<f64>,
    /// Cells whose rows contribute nothing, by why, with the first of each.
    pub(crate) unfit: BTreeMap<&'static str, (u64, String)>,
}

pub(crate) enum Takes<'a> {
    Feature {
        feature: &'a Feature,
        encoder: Encoder<'a>,
    },
    /// With how many rows each class has.
    Label {
        classes: &'a Classes,
        rows: Vec<u64>,
    },
}

/// Numbers, and days as numbers.
pub(crate) struct Numbers {
    pub(crate) sketch: Option<Sketch>,
    pub(crate) count: u64,
    pub(crate) lowest: Ends,
    pub(crate) highest: Ends,
    pub(crate) whole: bool,
    /// Whether each is the one before and one.
    pub(crate) counts_up: bool,
    last: Option<f64>,
}

/// The two outermost different numbers, and how often each comes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ends {
    pub(crate) first: Option<(f64, u64)>,
    pub(crate) second: Option<(f64, u64)>,
}

/// Texts, of which the first different ones are counted each.
#[derive(Default)]
pub(crate) struct Texts {
    most: usize,
    pub(crate) counts: BTreeMap<String, u64>,
    /// Cells of which the text is not among these.
    pub(crate) others: u64,
    /// Texts that are numbers all the same, and the first that is none.
    pub(crate) numbers: u64,
    pub(crate) first_other: Option<String>,
}

impl<'a> Profile<'a> {
    pub(crate) fn new(name: String, word: String, reader: Reader<'a>, room: usize, columns: usize) -> Self {
        let numbers = Numbers {
            sketch: (room > 0).then(|| Sketch::new(room)),
            count: 0,
            lowest: Ends::default(),
            highest: Ends::default(),
            whole: true,
            counts_up: true,
            last: None,
        };
        Self {
            name,
            word,
            reader,
            planned: None,
            known: 0,
            missing: 0,
            strange: 0,
            first_strange: None,
            numbers,
            texts: Texts { most: (TEXTS_OF_ALL / columns.max(1)).clamp(2, TEXTS_MAX), ..Texts::default() },
            persons: None,
        }
    }

    /// Adds a row's cell, of a file by its number, or none where the file says that there is none; whether it is known, and whether the plan
    /// can take it.
    pub(crate) fn add(&mut self, cell: Option<&str>, file: u32, numbers: &mut Vec<f32>) -> (bool, bool) {
        if self.reader.kind() == Kind::Ignored {
            return (true, true);
        }
        let text = cell.unwrap_or("");
        let said = match cell.map_or(Ok(Said::Missing), |cell| self.reader.read(cell)) {
            Ok(said) => said,
            Err(why) => {
                self.strange += 1;
                self.first_strange.get_or_insert_with(|| (begin(text), why));
                // What is not known to the registration is not known to a plan.
                return (true, self.planned.is_none());
            }
        };
        let fits = self.planned.as_mut().is_none_or(|planned| planned.fits(&said, text, numbers));
        match said {
            Said::Missing => {
                self.missing += 1;
                return (false, fits);
            }
            Said::Number(number) => self.numbers.add(number),
            Said::Day(day) => self.numbers.add(day.number() as f64),
            Said::Text(text) => self.texts.add(&text),
        }
        self.known += 1;
        if let Some(persons) = &mut self.persons {
            persons.add(text, file);
        }
        (true, fits)
    }
}

impl<'a> Planned<'a> {
    pub(crate) fn new(takes: Takes<'a>) -> Self {
        Self { takes, outside: 0, farthest: None, unfit: BTreeMap::new() }
    }

    fn fits(&mut self, said: &Said<'_>, cell: &str, numbers: &mut Vec<f32>) -> bool {
        let mut day = String::new();
        let taken = said.as_cell(&mut day);
        let fit = match &mut self.takes {
            Takes::Feature { encoder, .. } => {
                numbers.clear();
                encoder.encode(taken, numbers)
            }
            Takes::Label { classes, rows } => classes.class_of(taken).map(|class| {
                if let Some(rows) = rows.get_mut(class) {
                    *rows += 1;
                }
                Fit::Inside
            }),
        };
        match fit {
            Ok(Fit::Clipped) => {
                self.outside += 1;
                if let (Said::Number(number), Some(range)) = (said, self.range()) {
                    let beyond = |number: f64| (range[0] - number).max(number - range[1]);
                    if self.farthest.is_none_or(|farthest| beyond(*number) > beyond(farthest)) {
                        self.farthest = Some(*number);
                    }
                }
                true
            }
            Ok(Fit::Inside | Fit::Other | Fit::StoodIn) => true,
            Err(why) => {
                self.unfit.entry(code(why)).or_insert_with(|| (0, begin(cell))).0 += 1;
                false
            }
        }
    }

    /// What the plan takes numbers within.
    pub(crate) fn range(&self) -> Option<[f64; 2]> {
        match &self.takes {
            Takes::Feature { feature, .. } => match &feature.encoding {
                Encoding::Days { first, last } => Some([first.number() as f64, last.number() as f64]),
                encoding => encoding.number_range(),
            },
            Takes::Label { .. } => None,
        }
    }
}

/// As much of a cell as is kept to be shown: it may have megabytes.
fn begin(cell: &str) -> String {
    cell.chars().take(2 * CELL_CHARS_MAX).collect()
}

/// What programs call cells that fit no plan.
fn code(why: Unfit) -> &'static str {
    match why {
        Unfit::Missing => "no_value",
        Unfit::NoNumber => "no_number",
        Unfit::NotFinite => "not_finite",
        Unfit::NoCategory => "no_category",
        Unfit::NoDay => "no_day",
        Unfit::NoClass => "no_class",
    }
}

impl Numbers {
    fn add(&mut self, number: f64) {
        self.count += 1;
        if !number.is_finite() {
            return;
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.add(number);
        }
        self.whole &= number.fract() == 0.0;
        self.counts_up &= self.last.is_none_or(|last| number == last + 1.0);
        self.last = Some(number);
        self.lowest.add(number, |one, other| one < other);
        self.highest.add(number, |one, other| one > other);
    }
}

impl Ends {
    fn add(&mut self, number: f64, is_further: fn(f64, f64) -> bool) {
        match (&mut self.first, &mut self.second) {
            (Some(first), _) if first.0 == number => first.1 += 1,
            (Some(first), second) if is_further(number, first.0) => {
                *second = Some(*first);
                *first = (number, 1);
            }
            (Some(_), Some(second)) if second.0 == number => second.1 += 1,
            (Some(_), Some(second)) if !is_further(number, second.0) => {}
            (Some(_), second) => *second = Some((number, 1)),
            (first, _) => *first = Some((number, 1)),
        }
    }
}

impl Texts {
    fn add(&mut self, text: &str) {
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            self.numbers += 1;
        } else if self.first_other.is_none() {
            self.first_other = Some(begin(text));
        }
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
        } else if self.counts.len() < self.most && text.len() <= TEXT_BYTES_MAX {
            self.counts.insert(text.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_outermost_numbers_are_counted_whole_in_any_order() {
        for numbers in
            [[3.0, 1.0, 2.0, 1.0, 2.0, 9.0], [2.0, 1.0, 9.0, 3.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0, 3.0, 9.0]]
        {
            let (mut lowest, mut highest) = (Ends::default(), Ends::default());
            for number in numbers {
                lowest.add(number, |one, other| one < other);
                highest.add(number, |one, other| one > other);
            }
            assert_eq!(lowest, Ends { first: Some((1.0, 2)), second: Some((2.0, 2)) }, "{numbers:?}");
            assert_eq!(highest, Ends { first: Some((9.0, 1)), second: Some((3.0, 1)) }, "{numbers:?}");
        }
    }
}
