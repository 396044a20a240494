//! Lines of a registration that stand for many columns: `"pixel_{0..783}" = { from = "p{1..784}", type = "number" }`.

use plan::Pattern;

use crate::column::RegisteredColumn;

/// Most columns of a registration: what a plan may ask for, and as many again.
const COLUMNS_MAX: usize = 2 * plan::PLAN_COLUMNS_MAX;
/// Most texts that the columns of one line list together.
const LISTED_MAX: usize = 1 << 20;

/// The columns that a line stands for: the one of its word, or where ranges stand in that, one for each name, in order, with as many
/// names in the files. So many are registered already; what is wrong is added to `problems`.
pub(crate) fn spread(
    word: &str,
    column: RegisteredColumn,
    registered: usize,
    problems: &mut Vec<String>,
) -> Vec<(String, RegisteredColumn)> {
    let before = problems.len();
    if !has_range(word) {
        return vec![(word.to_owned(), column)];
    }
    let [words, from] = [Some(word), column.from.as_deref()].map(|text| {
        let pattern = text.map(|text| Pattern::try_from(text.to_owned())).transpose();
        pattern.unwrap_or_else(|why| {
            problems.push(why.to_string());
            None
        })
    });
    let Some(words) = words else { return Vec::new() };
    let count = words.count();
    if from.as_ref().is_some_and(|from| from.count() != count) {
        problems.push(format!(
            "stands for {count} columns; write a `from` with as many, such as \"p{{1..{count}}}\""
        ));
    }
    if registered + count > COLUMNS_MAX {
        problems.push(format!("is beyond {COLUMNS_MAX} columns, the most; leave out what no plan asks for"));
    }
    if count * column.listed() > LISTED_MAX {
        problems.push(format!(
            "lists more than {LISTED_MAX} cells in its {count} columns; register fewer in a line"
        ));
    }
    if problems.len() > before {
        return Vec::new();
    }
    let named = |word: String, from: Option<String>| (word, RegisteredColumn { from, ..column.clone() });
    match from {
        Some(from) => words.names().zip(from.names()).map(|(word, from)| named(word, Some(from))).collect(),
        None => words.names().map(|word| named(word, None)).collect(),
    }
}

/// Names by position, where one with ranges stands for many.
///
/// # Errors
/// What is no pattern, or too many names.
pub(crate) fn names(written: &[String]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for name in written {
        match has_range(name) {
            true => names.extend(Pattern::try_from(name.clone()).map_err(|why| why.to_string())?.names()),
            false => names.push(name.clone()),
        }
        if names.len() > COLUMNS_MAX {
            return Err(format!("has more than {COLUMNS_MAX} names"));
        }
    }
    Ok(names)
}

/// Whether something stands in braces that is meant as a range. A name may have other braces.
fn has_range(name: &str) -> bool {
    let inside = name.split_once('{').and_then(|(_, behind)| behind.split_once('}'));
    inside.is_some_and(|(inside, _)| inside.contains(".."))
}
