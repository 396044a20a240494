//! What of a silo's columns a person should look at, by a code for programs and in a sentence.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use datasets::bare_name;
use plan::Data;

use crate::profile::{Ends, Profile};
use crate::reading::{Kind, Reader};
use crate::repeats::Counts;
use crate::shown::{are, cell, count, cut, number, percent};
use crate::sketch::quantile;

/// Numbers that are written where nothing was measured.
const STAND_INS: [f64; 15] =
    [0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, 9.0, 99.0, 999.0, 9999.0, 99_999.0, 88.0, 888.0, 77.0, 777.0];
/// Of a column's cells, so many unknown ones are worth a word.
const MISSING_SHARE: f64 = 0.2;
/// A class with a smaller share is hard to learn.
const RARE_SHARE: f64 = 0.05;

/// Something to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFinding {
    /// What it is, for programs.
    pub code: &'static str,
    /// The column's name in the files; none of what is about whole rows or files.
    pub column: Option<String>,
    /// How many cells, rows or files it is about.
    pub count: u64,
    /// For people: with at most one cell, cut, and safe to show.
    pub text: String,
}

impl DataFinding {
    /// About rows or files.
    pub(crate) fn of_rows(code: &'static str, count: u64, text: String) -> Self {
        Self { code, column: None, count, text }
    }

    fn of(column: &str, code: &'static str, count: u64, text: String) -> Self {
        Self { code, column: Some(column.to_owned()), count, text }
    }
}

/// All that is to be said of one column.
pub(crate) fn of_column(profile: &Profile<'_>) -> Vec<DataFinding> {
    let mut found = Vec::new();
    let mut say =
        |code, count: u64, text: String| found.push(DataFinding::of(&profile.name, code, count, text));
    let all = profile.known + profile.missing + profile.strange;
    if profile.missing as f64 >= MISSING_SHARE * all.max(1) as f64 && profile.missing > 0 {
        let text = format!("{} of the cells are not known", percent(profile.missing, all));
        say("missing", profile.missing, text);
    }
    if let Some((first, why)) = &profile.first_strange {
        let text =
            format!("{} not as registered: the first, {}, {why}", are(profile.strange, "cell"), cell(first));
        say("not_as_registered", profile.strange, text);
    }
    if let Some((times, stand_in)) = stand_in(profile) {
        let which = match times == profile.known {
            true => format!("all known cells are {}", number(stand_in)),
            false => format!("{} {}, far from all others", are(times, "cell"), number(stand_in)),
        };
        let text = format!("{which}: if that means \"not known\", list it in `missing`");
        say("stands_for_missing", times, text);
    } else if let Some(only) = constant(profile) {
        say("constant", profile.known, format!("all known cells are {only}: a model learns nothing from it"));
    }
    if profile.numbers.whole
        && profile.numbers.counts_up
        && profile.numbers.count >= 20
        && profile.reader.kind() == Kind::Number
    {
        let text = "it counts the rows, and is no measurement: leave it out of plans";
        say("index", profile.known, text.into());
    }
    if let Some(persons) = &profile.persons {
        let counts = persons.counts();
        if counts.most > 0 {
            say_persons(&counts, profile.known, &mut say);
        }
    }
    of_texts(profile, &mut say);
    of_plan(profile, &mut say);
    found
}

fn say_persons(counts: &Counts, known: u64, say: &mut impl FnMut(&'static str, u64, String)) {
    if counts.repeated == 0 {
        let text = "it looks like an identifier: each cell is another; register it as `ignore`, and ask for it in no plan";
        return say("identifier", known, text.into());
    }
    let nearly = if counts.is_estimate { "about " } else { "" };
    let text = format!(
        "it looks like a number of persons: {nearly}{} of them; one has {} rows, and {} of the rows are of persons with several. A \
         promise about one record is about one of these rows, and not about the person",
        count(counts.different),
        count(counts.most),
        percent(counts.shared, known)
    );
    say("rows_per_person", counts.most, text);
}

/// The number that may stand for "not known", and how often it is there: a usual one, and all there is, or outermost and far from
/// the next.
fn stand_in(profile: &Profile<'_>) -> Option<(u64, f64)> {
    if profile.reader.kind() != Kind::Number {
        return None;
    }
    let numbers = &profile.numbers;
    let (lowest, _) = numbers.lowest.first?;
    let (highest, times) = numbers.highest.first?;
    let is_usual = |number: f64| STAND_INS.contains(&number);
    if lowest == highest {
        return (is_usual(lowest) && times > 1).then_some((times, lowest));
    }
    let weighed = numbers.sketch.as_ref()?.weighed();
    [&numbers.lowest, &numbers.highest].into_iter().find_map(|ends| {
        let (end, times) = ends.first.filter(|(end, _)| is_usual(*end))?;
        // Among numbers below zero, one more is a measurement.
        if end < 0.0 && ends.second.is_some_and(|(next, _)| next < 0.0) {
            return None;
        }
        is_far(ends, &weighed, [lowest, highest]).then_some((times, end))
    })
}

/// Whether the outermost number is farther from the next than that is, by a quarter, from the middle of all others; and by three times
/// what lies between others on average, so that none of a row of codes is.
fn is_far(ends: &Ends, weighed: &[(f64, u64)], [lowest, highest]: [f64; 2]) -> bool {
    let (Some((end, _)), Some((next, _))) = (ends.first, ends.second) else { return false };
    let other_end = if end == lowest { highest } else { lowest };
    let others: Vec<(f64, u64)> = weighed.iter().filter(|(number, _)| *number != end).copied().collect();
    let mut different: Vec<f64> = others.iter().map(|(number, _)| *number).collect();
    different.dedup();
    let Some(middle) = quantile(&others, 0.5).filter(|_| different.len() > 1) else { return false };
    let apart = (other_end - next).abs() / (different.len() - 1) as f64;
    let gap = (next - end).abs();
    gap >= 0.25 * (middle - next).abs() && gap >= 3.0 * apart
}

/// The only value, where there are several cells and one value.
fn constant(profile: &Profile<'_>) -> Option<String> {
    if profile.known < 2 {
        return None;
    }
    let texts = &profile.texts;
    match (profile.numbers.lowest.first, profile.numbers.highest.first, texts.counts.len()) {
        (Some((lowest, _)), Some((highest, _)), 0)
            if lowest == highest && profile.reader.kind() == Kind::Number =>
        {
            Some(number(lowest))
        }
        (None, None, 1) if texts.others == 0 => texts.counts.keys().next().map(|only| cell(only)),
        _ => None,
    }
}

fn of_texts(profile: &Profile<'_>, say: &mut impl FnMut(&'static str, u64, String)) {
    let texts = &profile.texts;
    let all = texts.counts.values().sum::<u64>() + texts.others;
    let is_found = profile.planned.as_ref().is_none_or(|planned| planned.unfit.contains_key("no_number"));
    if is_found && texts.numbers * 2 > all && texts.numbers < all {
        let other = all - texts.numbers;
        let first =
            texts.first_other.as_deref().map_or(String::new(), |first| format!(", such as {}", cell(first)));
        let text = format!("{} text in a column of numbers{first}", are(other, "cell"));
        say("mixed", other, text);
    }
    let mut spellings: BTreeMap<String, Vec<(&String, u64)>> = BTreeMap::new();
    for (text, count) in &texts.counts {
        spellings.entry(spelling(text)).or_default().push((text, *count));
    }
    for alike in spellings.into_values().filter(|alike| alike.len() > 1) {
        let most = alike.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let rare = alike.iter().map(|(_, count)| *count).sum::<u64>() - most;
        let Some((first, _)) = alike.first() else { continue };
        let text = format!(
            "{} perhaps another spelling of a value that is there too: {} and {} more; give them one word in `values`",
            are(rare, "cell"),
            cell(first),
            alike.len() - 1
        );
        say("spellings", rare, text);
    }
}

/// A value without what people write differently.
fn spelling(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || "_-".contains(letter))
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").trim_end_matches('.').to_lowercase()
}

fn of_plan(profile: &Profile<'_>, say: &mut impl FnMut(&'static str, u64, String)) {
    let Some(planned) = &profile.planned else { return };
    if profile.word != profile.name
        && profile.reader.kind() != Kind::Ignored
        && !matches!(profile.reader, Reader::Registered(..))
    {
        let text = format!(
            "the plan calls it {}: register it (`folkmoot data register`), or rename it",
            cut(&profile.word, 64)
        );
        say("near_name", 1, text);
    }
    if planned.outside > 0 {
        let range = planned
            .range()
            .map_or(String::new(), |[low, high]| format!(" {} to {}", number(low), number(high)));
        let farthest = planned
            .farthest
            .map_or(String::new(), |farthest| format!("; the farthest is {}", number(farthest)));
        let unit = if planned.outside * 2 > profile.known {
            ". Is it another unit? `times` in a registration converts"
        } else {
            ""
        };
        let text = format!(
            "{} outside the plan's range{range}, and read as its ends{farthest}{unit}",
            are(planned.outside, "cell")
        );
        say("outside_range", planned.outside, text);
    }
    for (code, (times, first)) in &planned.unfit {
        let times = *times;
        let text = match *code {
            "no_value" => {
                format!("{} left out under the plan: the cell is not known", are(times, "row"))
            }
            _ => format!("{} left out under the plan: {} {}", are(times, "row"), cell(first), reason(code)),
        };
        say(code, times, text);
    }
}

fn reason(code: &str) -> &'static str {
    match code {
        "no_number" => "is no number",
        "no_category" => "is none of its categories",
        "no_day" => "is no day",
        "no_class" => "is none of its classes",
        _ => "is not finite",
    }
}

/// What is to be said of how many rows each class of this column has.
pub(crate) fn of_classes(column: &str, classes: &[(String, u64)]) -> Vec<DataFinding> {
    let all: u64 = classes.iter().map(|(_, rows)| rows).sum();
    let of = |(name, rows): &(String, u64)| match *rows {
        0 => Some(DataFinding::of(
            column,
            "no_row_of_class",
            0,
            format!("no row is of the class {}", cell(name)),
        )),
        rows if (rows as f64) < RARE_SHARE * all as f64 => {
            let text = format!("the class {} has {} of the rows", cell(name), percent(rows, all));
            Some(DataFinding::of(column, "rare_class", rows, text))
        }
        _ => None,
    };
    classes.iter().filter(|_| all > 0).filter_map(of).collect()
}

/// Columns that the plan asks for and the files have not.
pub(crate) fn of_absent(plan: &Data, profiles: &[Profile<'_>]) -> Vec<DataFinding> {
    let words: BTreeSet<&str> = profiles.iter().map(|profile| profile.word.as_str()).collect();
    let mut near: BTreeMap<String, usize> = BTreeMap::new();
    for profile in profiles {
        *near.entry(bare_name(&profile.name)).or_default() += 1;
    }
    let asked = plan.columns().map(|(column, _)| column).chain([Cow::Borrowed(plan.label.as_str())]);
    let absent = |word: Cow<'_, str>| {
        let text = match near.get(&bare_name(&word)) {
            None => "the plan asks for it, and no column has this name or one like it".to_owned(),
            Some(near) => format!(
                "the plan asks for it: say in a registration which column it is (`from`), {near} having a name like it"
            ),
        };
        DataFinding::of(&word, "no_column", 0, text)
    };
    asked.filter(|word| !words.contains(word.as_ref())).map(absent).collect()
}

/// Names that no plan can use.
pub(crate) fn of_names(names: &[String]) -> Vec<DataFinding> {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for name in names {
        *times.entry(name).or_default() += 1;
    }
    let mut found = Vec::new();
    for (name, times) in times {
        match (name, times) {
            ("", times) => found.push(DataFinding::of(
                name,
                "no_name",
                times,
                format!("{} without a name: no plan can ask for it", are(times, "column")),
            )),
            (name, times) if times > 1 => found.push(DataFinding::of(
                name,
                "name_twice",
                times,
                format!("{times} columns have this name, and no plan can ask for them"),
            )),
            _ => {}
        }
    }
    found
}
