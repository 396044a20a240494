//! The file in which an operator has confirmed how the silo's files are written and what their columns mean.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Column, Problem, Problems, Schema};
use serde::Deserialize;
use toml::de::{DeTable, ValueDeserializer};
use toml::{Spanned, de};

use crate::column::{Meaning, RegisteredColumn, Written};
use crate::dialect::Dialect;
use crate::ranges;

/// Longest text of a registration, in bytes.
pub const REGISTRATION_BYTES_MAX: usize = 1 << 20;

const FORMAT: &str = "1";
const NO_LABEL: &str = "have no label, and each plan asks for one: register the column by which rows are classified with type = \"label\", \
                        \"category\" or \"flag\"";

/// How the silo's files are written, and what stands in their columns in the federation's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    dialect: Dialect,
    columns: BTreeMap<String, RegisteredColumn>,
}

impl Registration {
    /// Reads a registration's TOML.
    ///
    /// # Errors
    /// All problems at once, each with its line.
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        let mut reading = Reading { text, problems: Vec::new() };
        if text.len() > REGISTRATION_BYTES_MAX {
            reading.say(
                "",
                None,
                format!(
                    "is longer than {REGISTRATION_BYTES_MAX} bytes; leave out columns that no plan asks for"
                ),
            );
            return Err(Problems(reading.problems));
        }
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            let start = fault.span().map(|span| span.start);
            reading.say("", start, syntax(fault, text));
        }
        let found = if faults.is_empty() { reading.document(document.into_inner()) } else { None };
        reading.problems.sort_by_key(|problem| problem.line);
        found.filter(|_| reading.problems.is_empty()).ok_or(Problems(reading.problems))
    }

    /// Of plain files whose columns have the federation's own names and hold what this schema says.
    pub fn of_schema(schema: &Schema) -> Self {
        let plain = |(word, column): (&String, &Column)| (word.clone(), RegisteredColumn::plain(column));
        Self { dialect: Dialect::default(), columns: schema.0.iter().map(plain).collect() }
    }

    /// How the files are written.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// What plans are held against before any file is opened: each column under the federation's word, and what a plan may take it
    /// for.
    ///
    /// # Errors
    /// Where no column can be a label, which each plan asks for.
    pub fn schema(&self) -> Result<Schema, Problem> {
        let column = |(word, column): (&String, &RegisteredColumn)| Some((word.clone(), column.schema()?));
        let columns: BTreeMap<String, Column> = self.columns.iter().filter_map(column).collect();
        let no_label =
            |column: &Column| matches!(column, Column::Number {} | Column::Date {} | Column::Person {});
        if columns.values().all(no_label) {
            return Err(Problem::new("columns", NO_LABEL));
        }
        Ok(Schema(columns))
    }

    /// The federation's words of all columns that a plan may ask for.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let used = self.columns.iter().filter(|(_, column)| column.meaning != Meaning::Ignore);
        used.map(|(word, _)| word.as_str())
    }

    /// The federation's word of the column that says whose a row is, where one does.
    pub fn person(&self) -> Option<&str> {
        let found = self.columns.iter().find(|(_, column)| column.meaning == Meaning::Person);
        found.map(|(word, _)| word.as_str())
    }

    /// The columns, under the federation's words.
    pub fn columns(&self) -> &BTreeMap<String, RegisteredColumn> {
        &self.columns
    }
}

/// What the parser says, where a reader of the file would ask what to do.
fn syntax(fault: &de::Error, text: &str) -> String {
    match (fault.message(), fault.span().and_then(|span| text.get(span))) {
        ("duplicate key", Some(key)) => format!(
            "{} stands there twice: a column or cell of the silo has one word of the federation, and no two columns have the same; \
             take one of them out, or rename it",
            key.trim()
        ),
        (message, _) => message.to_owned(),
    }
}

struct Reading<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn say(&mut self, field: &str, start: Option<usize>, what: String) {
        let line =
            start.and_then(|start| self.text.get(..start)).map(|before| 1 + before.matches('\n').count());
        self.problems.push(Problem { line, ..Problem::new(field, what) });
    }

    fn document(&mut self, mut document: DeTable<'_>) -> Option<Registration> {
        let [format, dialect, columns] = ["format", "dialect", "columns"].map(|key| document.remove(key));
        for key in document.keys() {
            let what = format!(
                "{}: a registration has `format`, `dialect` and `columns`; take it out",
                key.get_ref()
            );
            self.say("", Some(key.span().start), what);
        }
        match format.as_ref().map(|format| format.get_ref().as_integer().map(|number| number.as_str())) {
            Some(Some(FORMAT)) => {}
            None => self.say("format", Some(0), format!("is not there; write format = {FORMAT}")),
            Some(_) => {
                let what =
                    format!("this release reads format = {FORMAT}; write that, or install a later release");
                self.say("format", format.map(|format| format.span().start), what);
            }
        }
        let dialect = match dialect {
            Some(table) => self.dialect(table)?,
            None => Dialect::default(),
        };
        let Some(columns) = columns else {
            self.say("columns", None, "is not there; register at least the label and one feature".into());
            return None;
        };
        let columns = self.columns(columns, &dialect)?;
        let persons = columns.iter().filter(|(_, column)| column.meaning == Meaning::Person);
        if let [first, second, ..] = persons.map(|(word, _)| word.as_str()).collect::<Vec<_>>()[..] {
            let what = format!(
                "{first:?} and {second:?} are both of the type person, and a row is one person's; take one out"
            );
            self.say("columns", None, what);
        }
        Some(Registration { dialect, columns })
    }

    fn dialect(&mut self, table: Spanned<de::DeValue<'_>>) -> Option<Dialect> {
        let start = table.span().start;
        match Dialect::deserialize(ValueDeserializer::from(table)) {
            Ok(mut dialect) => {
                match ranges::names(&dialect.columns) {
                    Ok(names) => dialect.columns = names,
                    Err(why) => self.say("dialect.columns", Some(start), why),
                }
                if let Err(problems) = dialect.marks() {
                    self.problems.extend(problems.with_lines_of(self.text).0);
                }
                Some(dialect)
            }
            Err(why) => {
                let start = why.span().map_or(start, |span| span.start);
                self.say("dialect", Some(start), why.message().to_owned());
                None
            }
        }
    }

    fn columns(
        &mut self,
        table: Spanned<de::DeValue<'_>>,
        dialect: &Dialect,
    ) -> Option<BTreeMap<String, RegisteredColumn>> {
        let start = table.span().start;
        let de::DeValue::Table(table) = table.into_inner() else {
            self.say(
                "columns",
                Some(start),
                "is no table; write [columns] and a line for each column below".into(),
            );
            return None;
        };
        if table.is_empty() {
            self.say("columns", Some(start), "is empty; register at least the label and one feature".into());
        }
        // Where they stand in a header, they are looked for there.
        let names = (!dialect.header).then(|| dialect.columns.iter().map(String::as_str).collect());
        let mut columns = BTreeMap::new();
        for (word, value) in table {
            let (key, word) = (word.span().start, word.into_inner().into_owned());
            let field = format!("columns.{word}");
            match Written::deserialize(ValueDeserializer::from(value)) {
                Ok(written) => {
                    let mut said = Vec::new();
                    let column = written.column(&dialect.missing, &mut said);
                    let spread = column.map(|column| ranges::spread(&word, column, columns.len(), &mut said));
                    said.extend(add(&mut columns, spread.into_iter().flatten(), &names));
                    for what in said {
                        self.say(&field, Some(key), what);
                    }
                }
                Err(why) => {
                    let start = why.span().map_or(key, |span| span.start);
                    self.say(&field, Some(start), why.message().to_owned());
                }
            }
        }
        Some(columns)
    }
}

/// Adds the columns of a line; says what is wrong with the first of them that has anything wrong.
fn add(
    columns: &mut BTreeMap<String, RegisteredColumn>,
    line: impl Iterator<Item = (String, RegisteredColumn)>,
    names: &Option<BTreeSet<&str>>,
) -> Option<String> {
    let mut said = None;
    for (word, column) in line {
        let from = column.from.as_deref().unwrap_or(&word);
        if names.as_ref().is_some_and(|names| !names.contains(from)) {
            said = said.or_else(|| {
                Some(format!("{from:?} is none of the names in `dialect.columns`; correct one of them"))
            });
        }
        if columns.contains_key(&word) {
            said = said.or_else(|| Some(format!("{word:?} has a line already; take it out of one of them")));
        }
        columns.insert(word, column);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let Problems(problems) = Registration::from_toml(text).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_registration_is_read_with_the_defaults_of_a_plain_file() {
        let text = "format = 1\n[columns]\nage = { type = \"number\" }\n\
                    chol = { from = \"Cholesterol (mmol/l)\", type = \"number\", times = 38.67, missing = [\"0\"] }\n\
                    sex = { from = \"Sex\", type = \"category\", values = { M = \"male\", F = \"female\" } }\n";
        let registration = Registration::from_toml(text).unwrap();
        assert_eq!(registration.dialect(), &Dialect::default());
        let chol = &registration.columns()["chol"];
        assert_eq!(chol.from.as_deref(), Some("Cholesterol (mmol/l)"));
        assert!(
            matches!(chol.meaning, Meaning::Number(number) if number.times == 38.67 && number.plus == 0.0)
        );
        assert_eq!(chol.missing, ["0"]);
        let Meaning::Category(values) = &registration.columns()["sex"].meaning else { panic!("a category") };
        assert_eq!((values["M"].as_str(), values.len()), ("male", 2));
    }

    #[test]
    fn every_problem_is_said_at_once_with_its_line() {
        let said = problems(
            "format = 2\ncolour = 1\n[dialect]\nseparator = \";;\"\nmissing = [\"?\"]\n[columns]\n\
             a = { type = \"number\", times = 0 }\n\
             \"b.c\" = { type = \"number\", plus = inf, minimum = 5, maximum = 5 }\n\
             c = { type = \"colour\" }\nd = { type = \"category\" }\n\
             e = { type = \"category\", values = [\"x\", \"x\", \"?\"] }\n\
             f = { type = \"flag\", yes = [\"1\"], no = [\"1\"] }\n\
             g = { type = \"date\", written = \"YY\", times = 2 }\n\
             h = { type = \"label\", classes = 2, values = { x = 2 } }\n\
             i = { type = \"number\", colour = 1 }\nj = { type = \"number\", from = \"\" }\nk = 1\n\
             l = { type = \"label\" }\n",
        );
        let begins = [
            "line 1: format: this release reads format = 1",
            "line 2: colour: a registration has",
            "line 4: dialect.separator: \";;\"",
            "line 7: columns.a: `times` is 0",
            "line 8: columns.b.c: `plus` is not finite",
            "line 8: columns.b.c: `minimum` is not below",
            "line 9: columns.c: the type \"colour\" is none of number",
            "line 10: columns.d: has no `values`",
            "line 11: columns.e: the value \"x\" stands there twice",
            "line 11: columns.e: \"?\" means \"not known\"",
            "line 12: columns.f: \"1\" stands in `yes` and `no`",
            "line 13: columns.g: `times` is of the type number",
            "line 13: columns.g: `written` is \"YY\"",
            "line 14: columns.h: \"x\" is class 2, and the classes are 0 to 1",
            "line 15: columns.i: unknown field `colour`",
            "line 16: columns.j: `from` is empty",
            "line 17: columns.k: ",
            "line 18: columns.l: write `classes`",
        ];
        assert_eq!(said.len(), begins.len(), "{said:#?}");
        for (problem, begin) in said.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem:?} for {begin:?}");
        }
    }

    #[test]
    fn each_column_is_what_plans_may_take_it_for_under_the_federations_word() {
        let read =
            |columns: &str| Registration::from_toml(&format!("format = 1\n[columns]\n{columns}")).unwrap();
        let registration = read(
            "a = { from = \"A (mg)\", type = \"number\" }\nb = { type = \"label\", classes = 3 }\n\
             c = { type = \"category\", values = { M = \"male\", m = \"male\", F = \"female\" } }\n\
             d = { type = \"flag\", yes = [\"ja\"] }\ne = { type = \"date\" }\nf = { type = \"ignore\" }\n",
        );
        let values = ["female", "male"].map(String::from).into();
        let expected = [
            ("a", Column::Number {}),
            ("b", Column::Label { classes: 3 }),
            ("c", Column::Category { values }),
            ("d", Column::Flag {}),
            ("e", Column::Date {}),
        ];
        assert_eq!(
            registration.schema().unwrap().0,
            expected.map(|(word, column)| (word.to_owned(), column)).into()
        );
        assert_eq!(registration.words().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        let plain = Registration::of_schema(&registration.schema().unwrap());
        assert_eq!(plain.schema().unwrap(), registration.schema().unwrap());
        let why =
            read("a = { type = \"number\" }\nb = { type = \"ignore\" }\n").schema().unwrap_err().to_string();
        assert!(why.starts_with("columns: have no label") && why.contains("type = \"label\""), "{why}");
    }

    #[test]
    fn two_columns_of_one_word_and_a_cell_of_two_words_are_refused_in_our_words() {
        let said = problems(
            "format = 1\n[columns]\nage = { type = \"number\" }\nage = { type = \"number\", from = \"b\" }\n",
        );
        assert!(said.len() == 1 && said[0].starts_with("line 4: age stands there twice: "), "{said:?}");
        let said = problems(
            "format = 1\n[columns]\ns = { type = \"category\", values = { M = \"m\", M = \"f\" } }\n",
        );
        assert!(said.len() == 1 && said[0].starts_with("line 3: M stands there twice: "), "{said:?}");
    }

    #[test]
    fn a_line_with_ranges_is_a_column_for_each_of_its_names() {
        let read = |text: &str| Registration::from_toml(&format!("format = 1\n{text}"));
        let images = read(
            "[dialect]\nheader = false\ncolumns = [\"y\", \"p{1..784}\"]\n[columns]\ny = { type = \"label\", classes = 10 }\n\
             \"pixel_{0..27}_{0..27}\" = { from = \"p{1..784}\", type = \"number\", maximum = 255 }\n",
        );
        let images = images.unwrap();
        assert_eq!((images.columns().len(), images.dialect().columns.len()), (785, 785));
        let from = |word: &str| images.reader(word).unwrap().0;
        assert_eq!((from("pixel_0_0"), from("pixel_0_27"), from("pixel_27_27")), ("p1", "p28", "p784"));
        let own =
            read("[columns]\n\"snp{08..11}\" = { type = \"category\", values = [\"0\", \"1\", \"2\"] }\n")
                .unwrap();
        assert_eq!(own.words().collect::<Vec<_>>(), ["snp08", "snp09", "snp10", "snp11"]);
        assert_eq!(own.reader("snp10").unwrap().0, "snp10");
        let braces = read("[columns]\n\"a{1}\" = { from = \"b{..}\", type = \"number\" }\n").unwrap();
        assert_eq!(braces.reader("a{1}").unwrap().0, "b{..}", "a name may have braces");
    }

    #[test]
    fn a_line_with_ranges_that_cannot_be_meant_is_refused_with_what_to_write() {
        let number = "type = \"number\"";
        for (columns, why) in [
            (format!("\"a{{0..9}}\" = {{ from = \"b{{0..8}}\", {number} }}"), "stands for 10 columns; write a `from` with as many"),
            (format!("\"a{{0..9}}\" = {{ from = \"b\", {number} }}"), "\"b\" has no range such as"),
            (format!("\"a{{0..x}}\" = {{ {number} }}"), "{0..x} is no range"),
            (format!("\"a{{0..9}}\" = {{ {number} }}\na3 = {{ {number} }}"), "has a line already"),
            (
                ["a", "b", "c"].map(|name| format!("\"{name}{{1..60000}}\" = {{ {number} }}")).join("\n"),
                "is beyond 131072 columns",
            ),
            (
                "\"a{1..60000}\" = { type = \"category\", values = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\", \"k\", \"l\", \"m\", \"n\", \"o\", \"p\", \"q\", \"r\"] }".into(),
                "lists more than 1048576 cells in its 60000 columns",
            ),
        ] {
            let said = problems(&format!("format = 1\n[columns]\n{columns}\n"));
            assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
        }
        let said = problems(
            "format = 1\n[dialect]\nheader = false\ncolumns = [\"a{3..1}\"]\n[columns]\nb = { type = \"number\" }\n",
        );
        assert!(
            said.iter().any(|problem| problem.contains("dialect.columns: {3..1} is no range")),
            "{said:?}"
        );
    }

    #[test]
    fn without_a_header_a_column_is_one_of_the_names_by_position() {
        let text = "format = 1\n[dialect]\nheader = false\ncolumns = [\"a\", \"b\"]\n[columns]\n\
                    a = { type = \"number\" }\nc = { from = \"d\", type = \"number\" }\n";
        assert_eq!(
            problems(text),
            ["line 7: columns.c: \"d\" is none of the names in `dialect.columns`; correct one of them"]
        );
    }

    #[test]
    fn what_lacks_a_format_or_columns_or_is_too_long_is_refused() {
        assert_eq!(
            problems(""),
            [
                "columns: is not there; register at least the label and one feature",
                "line 1: format: is not there; write format = 1"
            ]
        );
        assert!(problems("format = 1\n[columns]\n")[0].contains("is empty"));
        assert!(problems("format = 1\ncolumns = 3\n")[0].starts_with("line 2: columns: is no table"));
        assert!(
            problems(&" ".repeat(REGISTRATION_BYTES_MAX + 1))[0].starts_with("is longer than 1048576 bytes")
        );
    }
}
