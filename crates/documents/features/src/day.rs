//! Days of the calendar, as plans write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A day of the Gregorian calendar, written `2020-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

/// A text that is no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written as year, month and day, like 2020-01-31, and must be in the calendar")]
pub struct NoDay;

impl Day {
    /// Days since 1970-01-01, negative before it.
    ///
    /// # Paper
    /// Hinnant, *chrono-Compatible Low-Level Date Algorithms*: `days_from_civil`, with years that begin in March.
    pub fn number(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u16>().ok())?
        };
        let (Some(year), Some(month), Some(day)) = (part(4), part(2), part(2)) else { return Err(NoDay) };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u16::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return Err(NoDay),
        };
        match (parts.next(), u8::try_from(month), u8::try_from(day)) {
            (None, Ok(month), Ok(number)) if (1..=days).contains(&day) => {
                Ok(Self { year, month, day: number })
            }
            _ => Err(NoDay),
        }
    }
}

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|why: NoDay| format!("{text:?} is no day: {why}"))
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_by_the_calendar() {
        for (text, number) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2024-12-31", 20_088),
            ("1900-03-01", -25_508),
            ("0000-01-01", -719_528),
            ("9999-12-31", 2_932_896),
        ] {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.number(), day.to_string().as_str()), (number, text));
        }
    }

    #[test]
    fn each_day_of_eight_hundred_years_follows_the_one_before() {
        let mut expected = "1600-01-01".parse::<Day>().unwrap().number();
        for year in 1600..2400 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let Ok(day) = format!("{year:04}-{month:02}-{day:02}").parse::<Day>() else { continue };
                    assert_eq!(day.number(), expected, "{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(expected - "1600-01-01".parse::<Day>().unwrap().number(), 2 * 146_097);
    }

    #[test]
    fn what_is_in_no_calendar_or_written_otherwise_is_no_day() {
        for text in [
            "",
            "2021-02-29",
            "1900-02-29",
            "2020-04-31",
            "2020-13-01",
            "2020-00-10",
            "2020-01-00",
            "2020-1-1",
            "20-01-01",
            "2020-01-01-01",
            "2020-01-01T00:00",
            "2020/01/01",
            "+020-01-01",
            "２０２０-01-01",
            " 2020-01-01",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
