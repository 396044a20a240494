//! Names, cells and numbers as people are shown them.

use identity::{is_printable, printable};

/// So much of a cell is shown.
pub(crate) const CELL_CHARS_MAX: usize = 32;

/// A cell of a silo, cut, in quotes, and safe on a terminal.
pub(crate) fn cell(text: &str) -> String {
    format!("\"{}\"", cut(text, CELL_CHARS_MAX))
}

/// At most so many characters of a text, safe on a terminal.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return printable(text);
    }
    let begin: String = text.chars().take(chars_max.max(1) - 1).collect();
    printable(&begin) + "…"
}

/// A text as a part of an HTML page: what a browser would obey, or show as something else, is written out.
pub(crate) fn html(text: &str) -> String {
    let mut escaped = String::new();
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// JSON in which characters that a terminal obeys are escaped: in JSON they stand in texts alone, and mean the same there.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if is_printable(letter) {
            escaped.push(letter);
        } else {
            let mut units = [0; 2];
            letter
                .encode_utf16(&mut units)
                .iter()
                .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// A number in at most eight characters or so: whole ones whole, others to four figures.
pub(crate) fn number(number: f64) -> String {
    let size = number.abs();
    if number.fract() == 0.0 && size < 1e7 {
        return format!("{number:.0}");
    }
    if !(1e-3..1e7).contains(&size) {
        return format!("{number:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 6);
    let text = format!("{number:.*}", decimals as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A count with its thousands apart.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let places =
        digits.char_indices().map(|(at, digit)| (at > 0 && (digits.len() - at).is_multiple_of(3), digit));
    places.flat_map(|(apart, digit)| apart.then_some(',').into_iter().chain([digit])).collect()
}

/// So many things, with the verb that goes with them: `1 row is`, `2 rows are`.
pub(crate) fn are(times: u64, thing: &str) -> String {
    match times {
        1 => format!("1 {thing} is"),
        times => format!("{} {thing}s are", count(times)),
    }
}

/// A share in per cent, never rounded to none or all.
pub(crate) fn percent(part: u64, all: u64) -> String {
    let share = 100.0 * part as f64 / all.max(1) as f64;
    match share {
        share if part > 0 && share < 0.1 => "under 0.1 %".into(),
        share if part < all && share > 99.9 => "over 99.9 %".into(),
        share if share == share.round() => format!("{share:.0} %"),
        share => format!("{share:.1} %"),
    }
}

/// A day by its number since 1970-01-01.
pub(crate) fn day(number: f64) -> String {
    let seconds = number.round() as i64 * 86_400;
    match u64::try_from(seconds) {
        Ok(seconds) => identity::utc(seconds * 1000).split_at(10).0.to_owned(),
        // Before 1970 the calendar repeats after 400 years.
        Err(_) => before_1970(number.round() as i64),
    }
}

/// The same day 400 years later, as often as it takes, with the years taken off again.
fn before_1970(mut number: i64) -> String {
    const ERA_DAYS: i64 = 146_097;
    let mut years = 0;
    while number < 0 {
        number += ERA_DAYS;
        years += 400;
    }
    let later = day(number as f64);
    let (year, rest) = later.split_at(4);
    year.parse::<i64>().map_or(later.clone(), |year| format!("{:04}{rest}", year - years))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_cell_is_cut_and_does_nothing() {
        let hostile = "<script>\u{1b}[31m\u{202e}\0&\"'";
        assert_eq!(cell(hostile), "\"<script>\u{fffd}[31m\u{fffd}\u{fffd}&\"'\"");
        assert_eq!(html(hostile), "&lt;script&gt;\u{fffd}[31m\u{fffd}\u{fffd}&amp;&quot;&#39;");
        assert_eq!(cell(&"é".repeat(40)), format!("\"{}…\"", "é".repeat(31)));
        let text = serde_json::to_string(hostile).unwrap();
        assert!(json(&text).chars().all(is_printable));
        assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), hostile);
    }

    #[test]
    fn numbers_are_short_and_shares_do_not_round_to_none_or_all() {
        let numbers = [0.0, -9.0, 99_999.0, 0.1, 12.345_67, -0.000_01, 1e12, 1234.5, 0.333_33].map(number);
        assert_eq!(numbers, ["0", "-9", "99999", "0.1", "12.35", "-1.00e-5", "1.00e12", "1234", "0.3333"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1, 0, 2_000].map(|times| are(times, "row")),
            ["1 row is", "0 rows are", "2,000 rows are"]
        );
        let shares =
            [(0, 5), (1, 3), (1, 100_000), (99_999, 100_000), (5, 5)].map(|(part, all)| percent(part, all));
        assert_eq!(shares, ["0 %", "33.3 %", "under 0.1 %", "over 99.9 %", "100 %"]);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for text in ["1970-01-01", "2020-02-29", "1969-12-31", "1900-03-01", "0001-01-01", "9999-12-31"] {
            let number = text.parse::<plan::Day>().unwrap().number();
            assert_eq!(day(number as f64), text);
        }
    }
}
