//! What a cell says in the federation's words, by the registration alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::column::{DateForm, Label, Meaning, Number, RegisteredColumn};
use crate::dialect::Marks;
use crate::document::Registration;

/// What a cell says.
///
/// # Privacy
/// Stays in the silo.
#[derive(Debug, Clone, PartialEq)]
pub enum RegisteredCell<'a> {
    Missing,
    Number(f64),
    /// A category's word, a day like `2020-01-31`, a text as it is written, or what a person goes by.
    Text(Cow<'a, str>),
}

/// Why a cell says nothing that the registration knows: its row contributes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Misread {
    NoNumber,
    NotFinite,
    Outside,
    NoClass,
    NoValue,
    NoDate,
}

impl Misread {
    /// What is said of such a cell.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoNumber => "is no number in the registered spelling",
            Self::NotFinite => "is not finite",
            Self::Outside => "lies outside the registered minimum and maximum",
            Self::NoClass => "is none of the registered classes",
            Self::NoValue => "is none of the registered values",
            Self::NoDate => "is no date in the registered form",
        }
    }
}

/// Reads the cells of one column.
pub struct CellReader<'a> {
    meaning: &'a Meaning,
    marks: Marks,
    missing: Vec<&'a str>,
    /// Of the marks for "not known" those that are numbers: such a number means the same in any spelling.
    missing_numbers: Vec<f64>,
}

impl Registration {
    /// What reads the cells of a column of this word, and the column's name in the files. None of a column that is not registered, or
    /// to be ignored.
    pub fn reader(&self, word: &str) -> Option<(&str, CellReader<'_>)> {
        let (word, column) = self.columns().get_key_value(word)?;
        if column.meaning == Meaning::Ignore {
            return None;
        }
        // A registration was read only where there are such.
        let marks = self.dialect().marks().ok()?;
        let RegisteredColumn { from, meaning, missing } = column;
        let missing: Vec<&str> = self.dialect().missing.iter().chain(missing).map(String::as_str).collect();
        let missing_numbers = missing.iter().filter_map(|mark| number(mark, marks)).collect();
        let from = from.as_deref().unwrap_or(word);
        Some((from, CellReader { meaning, marks, missing, missing_numbers }))
    }
}

impl CellReader<'_> {
    /// What the cell says, of which the dialect has already taken quotes and spaces.
    ///
    /// # Errors
    /// [`Misread`]
    pub fn read<'c>(&'c self, text: &'c str) -> Result<RegisteredCell<'c>, Misread> {
        // Quotes keep spaces, and so do files that are no text: who is padded in one place is nobody else there.
        let text = if *self.meaning == Meaning::Person { text.trim() } else { text };
        if self.missing.contains(&text) {
            return Ok(RegisteredCell::Missing);
        }
        let missing =
            || number(text, self.marks).is_some_and(|number| self.missing_numbers.contains(&number));
        match self.meaning {
            // An exact word comes before a number that is spelled otherwise.
            Meaning::Category(values) if values.contains_key(text) => self.category(values, text),
            _ if !self.missing_numbers.is_empty() && missing() => Ok(RegisteredCell::Missing),
            Meaning::Number(rule) => self.number(*rule, text),
            Meaning::Label(label) => self.class(label, text),
            Meaning::Category(values) => self.category(values, text),
            Meaning::Flag { yes, no } => {
                let is_in = |cells: &BTreeSet<String>| {
                    cells.contains(text) || self.digits(text).is_some_and(|digits| cells.contains(&digits))
                };
                match (is_in(yes), is_in(no)) {
                    (true, false) => Ok(RegisteredCell::Number(1.0)),
                    (false, true) => Ok(RegisteredCell::Number(0.0)),
                    _ => Err(Misread::NoValue),
                }
            }
            Meaning::Date(form) => form.iso(text).map(RegisteredCell::from).ok_or(Misread::NoDate),
            Meaning::Text => Ok(RegisteredCell::Text(Cow::Borrowed(text))),
            Meaning::Person => Ok(RegisteredCell::Text(self.person(text))),
            Meaning::Ignore => Err(Misread::NoValue),
        }
    }

    fn number(&self, rule: Number, text: &str) -> Result<RegisteredCell<'static>, Misread> {
        let read = number(text, self.marks).ok_or(Misread::NoNumber)?;
        // Adding zero turns minus zero into zero: one number, one digest.
        let value = read * rule.times + rule.plus + 0.0;
        if !value.is_finite() {
            return Err(Misread::NotFinite);
        }
        if value < rule.minimum || value > rule.maximum {
            return Err(Misread::Outside);
        }
        Ok(RegisteredCell::Number(value))
    }

    fn class(&self, label: &Label, text: &str) -> Result<RegisteredCell<'static>, Misread> {
        let class = match &label.values {
            Some(values) => self.listed(values, text).map(|class| *class as f64),
            None => number(text, self.marks).map(|read| read + label.plus as f64),
        };
        let is_class = |class: &f64| class.fract() == 0.0 && (0.0..label.classes as f64).contains(class);
        class.filter(is_class).map(|class| RegisteredCell::Number(class + 0.0)).ok_or(Misread::NoClass)
    }

    fn category<'c>(
        &self,
        values: &'c BTreeMap<String, String>,
        text: &str,
    ) -> Result<RegisteredCell<'c>, Misread> {
        let word = self.listed(values, text).ok_or(Misread::NoValue)?;
        Ok(RegisteredCell::Text(Cow::Borrowed(word)))
    }

    /// What a person goes by: a whole number in digits is one however it is written, since a program that has met an empty cell in a column
    /// writes 17 as 17.0 there. Not one with an exponent: 12e4 and 120e3 are pseudonyms as likely as numbers. Two who are taken for one share a
    /// clipped contribution, which one of them alone moves by up to twice the clip norm; one who is taken for two is not hidden.
    fn person<'c>(&self, text: &'c str) -> Cow<'c, str> {
        const EXACT_MAX: f64 = (1u64 << 53) as f64;
        let in_digits = Some(text).filter(|text| !text.contains(['e', 'E']));
        let whole = in_digits
            .and_then(|text| number(text, self.marks))
            .filter(|number| number.fract() == 0.0 && number.abs() < EXACT_MAX);
        whole.map_or(Cow::Borrowed(text), |number| Cow::Owned((number + 0.0).to_string()))
    }

    /// What is listed for a cell: for a number also under its shortest spelling, so that 1.0 is 1.
    fn listed<'v, V>(&self, values: &'v BTreeMap<String, V>, text: &str) -> Option<&'v V> {
        values.get(text).or_else(|| values.get(&self.digits(text)?))
    }

    fn digits(&self, text: &str) -> Option<String> {
        number(text, self.marks).filter(|number| number.is_finite()).map(|number| (number + 0.0).to_string())
    }
}

impl From<String> for RegisteredCell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// A number by the dialect's marks. Marks between thousands stand between groups of three digits or nowhere: what is written otherwise is
/// no number, and never another one.
pub fn number(text: &str, marks: Marks) -> Option<f64> {
    let (whole, decimals) = match text.split_once(marks.decimal) {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (text, None),
    };
    let whole = match marks.thousands.filter(|mark| whole.contains(*mark)) {
        Some(mark) => Cow::Owned(grouped(whole, mark)?),
        None => Cow::Borrowed(whole),
    };
    // Where the decimal mark is a comma, a point is none.
    let is_strange = |part: &str| marks.decimal != '.' && part.contains('.');
    if is_strange(&whole) || decimals.is_some_and(is_strange) {
        return None;
    }
    match decimals {
        Some(decimals) => format!("{whole}.{decimals}").parse().ok(),
        None => whole.parse().ok(),
    }
}

fn grouped(whole: &str, mark: char) -> Option<String> {
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let all = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let mut groups = digits.split(mark);
    let first = groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && all(first));
    (first && groups.all(|group| group.len() == 3 && all(group))).then(|| whole.replace(mark, ""))
}

impl DateForm {
    /// The same day like `2020-01-31`; whether the calendar has it is for whoever reads that.
    pub fn iso(self, text: &str) -> Option<String> {
        let parts = |mark: char| {
            let mut parts = text.split(mark);
            let [first, second, third] = [parts.next()?, parts.next()?, parts.next()?];
            parts.next().is_none().then_some([first, second, third])
        };
        let [year, month, day] = match self {
            Self::Iso => parts('-')?,
            Self::Dotted => turned(parts('.')?),
            Self::DayFirst => turned(parts('/')?),
            Self::MonthFirst => {
                let [month, day, year] = parts('/')?;
                [year, month, day]
            }
            Self::Digits => [text.get(..4)?, text.get(4..6)?, text.get(6..)?],
        };
        let shortest = if matches!(self, Self::Iso | Self::Digits) { 2 } else { 1 };
        let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let whole = digits(year, 4..=4) && digits(month, shortest..=2) && digits(day, shortest..=2);
        whole.then(|| format!("{year}-{month:0>2}-{day:0>2}"))
    }
}

fn turned<T>([first, second, third]: [T; 3]) -> [T; 3] {
    [third, second, first]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registration(dialect: &str, column: &str) -> Registration {
        Registration::from_toml(&format!("format = 1\n[dialect]\n{dialect}\n[columns]\nx = {column}\n"))
            .unwrap()
    }

    /// What each cell says, missing as none.
    fn check(registration: &Registration, cells: &[(&str, Result<Option<f64>, Misread>)]) {
        let (_, reader) = registration.reader("x").unwrap();
        for (text, expected) in cells {
            let read = reader.read(text).map(|cell| match cell {
                RegisteredCell::Missing => None,
                RegisteredCell::Number(number) => Some(number),
                RegisteredCell::Text(text) => panic!("{text} is a text"),
            });
            assert_eq!(&read, expected, "{text:?}");
        }
    }

    fn text(registration: &Registration, text: &str) -> Result<String, Misread> {
        let (_, reader) = registration.reader("x").unwrap();
        match reader.read(text)? {
            RegisteredCell::Text(text) => Ok(text.into_owned()),
            other => panic!("{other:?} is no text"),
        }
    }

    #[test]
    fn a_number_is_read_by_the_marks_of_the_dialect_and_never_as_another() {
        let plain = registration("", "{ type = \"number\" }");
        let no = Err(Misread::NoNumber);
        check(
            &plain,
            &[
                ("1.5", Ok(Some(1.5))),
                (" 1.5", no),
                ("+55", Ok(Some(55.0))),
                (".7", Ok(Some(0.7))),
                ("7.", Ok(Some(7.0))),
                ("1E+2", Ok(Some(100.0))),
                ("-0", Ok(Some(0.0))),
                ("1,5", no),
                ("1,234", no),
                ("0x10", no),
                ("1_000", no),
                ("", Ok(None)),
                ("inf", Err(Misread::NotFinite)),
                ("NaN", Err(Misread::NotFinite)),
                ("1e400", Err(Misread::NotFinite)),
            ],
        );
        let german =
            registration("separator = \";\"\ndecimal = \",\"\nthousands = \".\"", "{ type = \"number\" }");
        check(
            &german,
            &[
                ("1.234,5", Ok(Some(1234.5))),
                ("-1.234.567", Ok(Some(-1_234_567.0))),
                ("1234,5", Ok(Some(1234.5))),
                ("0,5", Ok(Some(0.5))),
                ("1.5", no),
                ("1.23.456", no),
                ("1234.567", no),
                ("1,234.5", no),
                ("1,2,3", no),
                (".123", no),
            ],
        );
        check(&registration("separator = \";\"\ndecimal = \",\"", "{ type = \"number\" }"), &[("1.5", no)]);
        check(
            &registration("thousands = \",\"", "{ type = \"number\" }"),
            &[("1,234", Ok(Some(1234.0))), ("1,23", no)],
        );
    }

    #[test]
    fn a_number_comes_to_the_federations_unit_and_within_its_domain_or_fits_nothing() {
        let chol = registration(
            "missing = [\"\", \"?\"]",
            "{ type = \"number\", times = 40, plus = 2, minimum = 50, maximum = 602, missing = [\"0\"] }",
        );
        check(
            &chol,
            &[
                ("5", Ok(Some(202.0))),
                ("15", Ok(Some(602.0))),
                ("15.1", Err(Misread::Outside)),
                ("-1", Err(Misread::Outside)),
                ("?", Ok(None)),
                ("0", Ok(None)),
                ("0.0", Ok(None)),
                ("-0", Ok(None)),
                ("n/a", Err(Misread::NoNumber)),
            ],
        );
    }

    #[test]
    fn a_label_is_a_class_by_its_number_or_by_its_cell() {
        let no = Err(Misread::NoClass);
        let shifted = registration("", "{ type = \"label\", classes = 2, plus = -1 }");
        check(
            &shifted,
            &[
                ("1", Ok(Some(0.0))),
                ("2.0", Ok(Some(1.0))),
                ("0", no),
                ("3", no),
                ("1.5", no),
                ("x", no),
                ("NaN", no),
            ],
        );
        let named = registration(
            "",
            "{ type = \"label\", classes = 2, values = { \"<=50K\" = 0, \">50K\" = 1, \"7\" = 1 } }",
        );
        check(
            &named,
            &[("<=50K", Ok(Some(0.0))), ("7.0", Ok(Some(1.0))), ("1", no), ("<=50K.", no), ("", Ok(None))],
        );
    }

    #[test]
    fn a_category_has_the_federations_word_and_what_is_not_listed_fits_nothing() {
        let sex = registration(
            "",
            "{ type = \"category\", values = { M = \"male\", \"1\" = \"male\", F = \"female\" } }",
        );
        for (cell, word) in
            [("M", Ok("male")), ("F", Ok("female")), ("1.0", Ok("male")), ("m", Err(Misread::NoValue))]
        {
            assert_eq!(text(&sex, cell).as_deref(), word.as_ref().copied(), "{cell}");
        }
        let listed =
            registration("", "{ type = \"category\", values = [\"a\", \"0.0\"], missing = [\"0\"] }");
        assert_eq!(text(&listed, "0.0").unwrap(), "0.0", "an exact word comes first");
        let (_, reader) = listed.reader("x").unwrap();
        assert_eq!(reader.read("0.00").unwrap(), RegisteredCell::Missing);
    }

    #[test]
    fn a_flag_is_one_of_two_lists() {
        let flag = registration("", "{ type = \"flag\", yes = [\"ja\", \"1\"], no = [\"nein\"] }");
        check(
            &flag,
            &[
                ("ja", Ok(Some(1.0))),
                ("1.0", Ok(Some(1.0))),
                ("nein", Ok(Some(0.0))),
                ("0", Err(Misread::NoValue)),
            ],
        );
        check(&registration("", "{ type = \"flag\" }"), &[("0.0", Ok(Some(0.0))), ("1", Ok(Some(1.0)))]);
    }

    #[test]
    fn a_person_goes_by_a_text_or_a_whole_number_in_any_spelling() {
        let person = registration("missing = [\"\", \"0\"]", "{ type = \"person\" }");
        for (cells, name) in [
            (&["17", "17.0", "017", "+17", " 17", "17.0  "][..], "17"),
            (&["17.5"], "17.5"),
            (&["P-17", " P-17", "P-17\t", "\u{a0}P-17 "], "P-17"),
            (&["P 17"], "P 17"),
            (&["p-17"], "p-17"),
            (&["9007199254740993"], "9007199254740993"),
            (&["12e4"], "12e4"),
            (&["120E3"], "120E3"),
            (&["nan"], "nan"),
        ] {
            for cell in cells {
                assert_eq!(text(&person, cell).as_deref(), Ok(name), "{cell}");
            }
        }
        let (_, reader) = person.reader("x").unwrap();
        for nobody in ["", "0", "0.0", "  ", " 0.0 "] {
            assert_eq!(reader.read(nobody), Ok(RegisteredCell::Missing), "{nobody:?}");
        }
    }

    #[test]
    fn a_day_is_read_in_its_one_form() {
        for (form, cell, day) in [
            ("YYYY-MM-DD", "2020-01-31", Some("2020-01-31")),
            ("YYYY-MM-DD", "2020-1-31", None),
            ("DD.MM.YYYY", "31.1.2020", Some("2020-01-31")),
            ("DD.MM.YYYY", "31.01.20", None),
            ("DD/MM/YYYY", "02/03/2020", Some("2020-03-02")),
            ("MM/DD/YYYY", "02/03/2020", Some("2020-02-03")),
            ("MM/DD/YYYY", "02/03/2020/1", None),
            ("YYYYMMDD", "20200131", Some("2020-01-31")),
            ("YYYYMMDD", "2020013", None),
            ("YYYYMMDD", "202é131", None),
        ] {
            let date = registration("", &format!("{{ type = \"date\", written = \"{form}\" }}"));
            assert_eq!(text(&date, cell).ok().as_deref(), day, "{cell} as {form}");
        }
    }

    #[test]
    fn what_is_not_registered_or_to_be_ignored_has_no_reader() {
        let registration = registration("", "{ type = \"ignore\" }");
        assert!(registration.reader("x").is_none() && registration.reader("y").is_none());
    }

    proptest! {
        #[test]
        fn a_whole_number_with_marks_is_the_number_without(value in any::<i64>(), comma in any::<bool>()) {
            let mark = if comma { ',' } else { ' ' };
            let digits = value.unsigned_abs().to_string();
            let places = digits.char_indices().map(|(at, digit)| (at > 0 && (digits.len() - at) % 3 == 0, digit));
            let grouped: String = places.flat_map(|(marked, digit)| marked.then_some(mark).into_iter().chain([digit])).collect();
            let sign = if value < 0 { "-" } else { "" };
            let marks = Marks { separator: b';', quote: None, decimal: '.', thousands: Some(mark) };
            let plain = format!("{sign}{digits}").parse::<f64>().unwrap();
            prop_assert_eq!(number(&format!("{sign}{grouped}"), marks), Some(plain));
        }
    }
}
