//! Text of other machines and errors, as people are shown them.

/// Whether a character shows as itself, and does nothing to what is around it: controls move the cursor, and format
/// characters, the bidirectional overrides among them, make a line read as another.
pub fn is_printable(c: char) -> bool {
    // Of the general category Cf in Unicode 17, and the separators of lines and paragraphs.
    let formats = matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !formats
}

/// A text of another machine, safe to show on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// An error with its causes, as one line.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many say their cause themselves.
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        next = cause.source();
    }
    line
}

/// A moment as people and programs read it, in UTC and to the second (RFC 3339); `ms` are milliseconds since the Unix epoch.
///
/// ```
/// assert_eq!(identity::utc(1_795_412_700_999), "2026-11-23T05:45:00Z");
/// ```
pub fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March on, so that the day of a leap year is their last; 719 468 days lie between the first of March of
    // the year 0 and 1970, and 146 097 days are 400 years.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A stretch of time as people say it: to the tenth of a second below a minute, and beyond in its two largest units.
///
/// ```
/// let said = [2_500, 60_000, 725_000, 5_400_000, 604_789_800].map(identity::span);
/// assert_eq!(said, ["2.5 s", "1 min", "12 min 5 s", "1 h 30 min", "6 d 23 h"]);
/// ```
pub fn span(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    };
    match (days, hours, minutes, ms / 100 % 10) {
        (0, 0, 0, 0) => format!("{seconds} s"),
        (0, 0, 0, tenths) => format!("{seconds}.{tenths} s"),
        (0, 0, ..) => two(minutes, "min", seconds % 60, "s"),
        (0, ..) => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// A stretch of time as people write it, such as `24h`, in seconds.
///
/// # Errors
/// What else it is, with the form.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time; write a number with s, m, h or d, such as 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(seconds).filter(|time| *time > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit_and_nothing_else_is() {
        assert_eq!(
            [parse_time("24h"), parse_time("30d"), parse_time("5m"), parse_time("9s")],
            [Ok(86_400), Ok(2_592_000), Ok(300), Ok(9)]
        );
        for text in ["", "h", "24", "0h", "-1h", "1.5h", "24H", "1é", "999999999999999999d"] {
            assert!(parse_time(text).is_err_and(|why| why.contains("such as 24h")), "{text}");
        }
    }

    #[test]
    fn a_stretch_of_time_never_rounds_up_to_a_unit_that_it_does_not_reach() {
        let said = [0, 99, 59_999, 3_599_999, 3_600_000, 86_399_999, 86_400_000, u64::MAX].map(span);
        let expected =
            ["0 s", "0 s", "59.9 s", "59 min 59 s", "1 h", "23 h 59 min", "1 d", "213503982334 d 14 h"];
        assert_eq!(said, expected);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the plan cannot be read")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("line 3: {0}")]
    struct Inner(#[source] std::fmt::Error);

    #[test]
    fn each_cause_is_said_once() {
        let why = with_causes(&Outer(Inner(std::fmt::Error)));
        assert_eq!(why, format!("the plan cannot be read: line 3: {}", std::fmt::Error));
    }

    #[test]
    fn neither_escapes_nor_overrides_of_direction_are_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        // Reads `north-live` on a terminal that obeys it.
        assert_eq!(printable("north-\u{202e}evil"), "north-\u{fffd}evil");
        for hidden in
            ['\u{200b}', '\u{200f}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{e0041}', '\u{9b}']
        {
            assert!(!is_printable(hidden), "{hidden:?}");
        }
        let people = "Müller 病院 مستشفى – 3 ± 0.5 € 🏥";
        assert_eq!(printable(people), people);
    }

    #[test]
    fn moments_are_in_utc_also_at_the_ends_of_months_years_and_centuries() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_078_012_800, "2004-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1000), text);
        }
        assert!(utc(u64::MAX).ends_with('Z'), "a peer may say any");
    }
}
