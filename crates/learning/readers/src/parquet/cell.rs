//! What a value of a column says, as text: as a CSV file with the same table would have it.

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::data_type::Int96;
use parquet::schema::types::ColumnDescriptor;

use crate::fault::RecordFault;

/// What the values of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// As it stands: a number, a boolean as 1 or 0.
    Plain,
    /// A whole number that is never negative.
    Unsigned,
    /// Days since 1970.
    Day,
    /// So many of a second's parts since 1970.
    Timestamp {
        a_second: i64,
    },
    /// A whole number of which so many digits are decimals.
    Decimal {
        decimals: u32,
    },
    Text,
}

/// Most digits of a decimal: what fits 16 bytes.
const DECIMALS_MAX: u32 = 38;

/// Days from 1970-01-01 back to what INT96 counts from.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

const DAY_SECONDS: i64 = 86_400;

impl Meaning {
    /// Of a column.
    ///
    /// # Errors
    /// What its values are, where nothing is made of them here.
    pub(crate) fn of(column: &ColumnDescriptor) -> Result<Self, String> {
        let physical = column.physical_type();
        if physical == Type::INT96 {
            return Ok(Self::Timestamp { a_second: 1_000_000_000 });
        }
        let meaning = match column.logical_type_ref() {
            Some(logical) => Self::logical(logical),
            None => Self::converted(column.converted_type()),
        };
        let decimals = u32::try_from(column.type_scale().max(0)).unwrap_or(0);
        match (meaning, physical) {
            (
                Some(Self::Decimal { .. }),
                Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY,
            ) if decimals <= DECIMALS_MAX && column.type_scale() >= 0 => Ok(Self::Decimal { decimals }),
            (Some(Self::Plain | Self::Text), Type::BYTE_ARRAY) => Ok(Self::Text),
            (Some(Self::Plain), Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE)
            | (Some(Self::Unsigned), Type::INT32 | Type::INT64)
            | (Some(Self::Day), Type::INT32)
            | (Some(Self::Timestamp { .. }), Type::INT64) => meaning.ok_or_else(String::new),
            _ => Err(format!("{} ({physical})", called(column))),
        }
    }

    fn logical(logical: &LogicalType) -> Option<Self> {
        Some(match logical {
            LogicalType::String | LogicalType::Enum | LogicalType::Json => Self::Text,
            LogicalType::Integer(integer) if integer.is_signed => Self::Plain,
            LogicalType::Integer(_) => Self::Unsigned,
            LogicalType::Date => Self::Day,
            LogicalType::Timestamp(timestamp) => Self::Timestamp {
                a_second: match timestamp.unit {
                    TimeUnit::MILLIS => 1_000,
                    TimeUnit::MICROS => 1_000_000,
                    TimeUnit::NANOS => 1_000_000_000,
                },
            },
            LogicalType::Decimal(_) => Self::Decimal { decimals: 0 },
            // A column in which every value is null.
            LogicalType::Unknown => Self::Plain,
            _ => return None,
        })
    }

    fn converted(converted: ConvertedType) -> Option<Self> {
        Some(match converted {
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64 => Self::Plain,
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Self::Text,
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Self::Unsigned,
            ConvertedType::DATE => Self::Day,
            ConvertedType::TIMESTAMP_MILLIS => Self::Timestamp { a_second: 1_000 },
            ConvertedType::TIMESTAMP_MICROS => Self::Timestamp { a_second: 1_000_000 },
            ConvertedType::DECIMAL => Self::Decimal { decimals: 0 },
            _ => return None,
        })
    }

    /// Of a whole number that a column has in so many bits.
    pub(crate) fn integer(self, value: i64, bits: u32, text: &mut String) {
        match self {
            Self::Unsigned => {
                let below = if bits < 64 { (1 << bits) - 1 } else { u64::MAX };
                text.push_str(&(value.cast_unsigned() & below).to_string());
            }
            Self::Day => text.push_str(&day(value)),
            Self::Timestamp { a_second } => text.push_str(&timestamp(value, a_second)),
            Self::Decimal { decimals } => text.push_str(&decimal(i128::from(value), decimals)),
            Self::Plain | Self::Text => text.push_str(&value.to_string()),
        }
    }

    /// Of bytes: a text, or a decimal.
    pub(crate) fn bytes(self, bytes: &[u8], text: &mut String) -> Result<(), RecordFault> {
        match self {
            Self::Decimal { decimals } => {
                text.push_str(&decimal(big_endian(bytes).ok_or(RecordFault::Decimal)?, decimals));
            }
            _ => text.push_str(std::str::from_utf8(bytes).map_err(|_| RecordFault::NotText("UTF-8"))?),
        }
        Ok(())
    }
}

/// What Parquet calls a column's values.
fn called(column: &ColumnDescriptor) -> String {
    match column.logical_type_ref().map(|logical| format!("{logical:?}")) {
        // Without what is said of it further.
        Some(logical) => {
            logical.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
        }
        None => column.converted_type().to_string(),
    }
}

/// Of a timestamp as older writers have it: nanoseconds of a day, and the day.
pub(crate) fn int96(value: &Int96) -> String {
    match value.data() {
        [low, high, julian] => {
            let nanoseconds = (u64::from(*high) << 32 | u64::from(*low)).cast_signed();
            at(i64::from(*julian) - JULIAN_DAY_OF_1970, nanoseconds, 1_000_000_000)
        }
        _ => String::new(),
    }
}

fn timestamp(value: i64, a_second: i64) -> String {
    let a_day = a_second * DAY_SECONDS;
    at(value.div_euclid(a_day), value.rem_euclid(a_day), a_second)
}

/// A day, and the time of it where it is not midnight.
fn at(days: i64, of_day: i64, a_second: i64) -> String {
    let (seconds, parts) = (of_day.div_euclid(a_second), of_day.rem_euclid(a_second));
    let mut text = day(days);
    if of_day != 0 {
        text.push_str(&format!("T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    }
    if parts != 0 {
        let places = a_second.ilog10() as usize;
        text.push_str(format!(".{parts:0places$}").trim_end_matches('0'));
    }
    text
}

/// Like `2020-01-31`.
///
/// # Paper
/// Hinnant, *chrono-Compatible Low-Level Date Algorithms*: `civil_from_days`, with years that begin in March.
fn day(since_1970: i64) -> String {
    let days = i128::from(since_1970) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn decimal(value: i128, decimals: u32) -> String {
    let width = decimals as usize + 1;
    let digits = format!("{:0>width$}", value.unsigned_abs());
    let (whole, part) = digits.split_at(digits.len() - decimals as usize);
    let sign = if value < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// None of more than 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let start = if negative { -1_i128 } else { 0 };
    (bytes.len() <= 16).then(|| bytes.iter().fold(start, |value, byte| value << 8 | i128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use plan::Day;
    use proptest::prelude::*;

    use super::*;

    fn integer(meaning: Meaning, value: i64, bits: u32) -> String {
        let mut text = String::new();
        meaning.integer(value, bits, &mut text);
        text
    }

    #[test]
    fn whole_numbers_are_written_by_what_they_mean() {
        let (millis, nanos) =
            (Meaning::Timestamp { a_second: 1_000 }, Meaning::Timestamp { a_second: 1_000_000_000 });
        for (meaning, value, bits, text) in [
            (Meaning::Plain, -7, 32, "-7"),
            (Meaning::Unsigned, -1, 32, "4294967295"),
            (Meaning::Unsigned, -1, 64, "18446744073709551615"),
            (Meaning::Day, 0, 32, "1970-01-01"),
            (Meaning::Day, 18_292, 32, "2020-01-31"),
            (Meaning::Day, -1, 32, "1969-12-31"),
            (millis, 18_292 * 86_400_000, 64, "2020-01-31"),
            (millis, 18_292 * 86_400_000 + 3_723_004, 64, "2020-01-31T01:02:03.004"),
            (millis, -1, 64, "1969-12-31T23:59:59.999"),
            (nanos, 1_500_000_000, 64, "1970-01-01T00:00:01.5"),
            (Meaning::Decimal { decimals: 2 }, -5, 32, "-0.05"),
            (Meaning::Decimal { decimals: 2 }, 12_345, 64, "123.45"),
            (Meaning::Decimal { decimals: 0 }, 12, 64, "12"),
        ] {
            assert_eq!(integer(meaning, value, bits), text);
        }
        let mut old = Int96::new();
        old.set_data(0, 0, 2_440_588 + 18_292);
        assert_eq!(int96(&old), "2020-01-31");
    }

    #[test]
    fn bytes_are_texts_or_decimals_and_what_is_neither_is_said() {
        let read = |meaning: Meaning, bytes: &[u8]| {
            let mut text = String::new();
            meaning.bytes(bytes, &mut text).map(|()| text)
        };
        let decimal = Meaning::Decimal { decimals: 1 };
        assert_eq!(read(decimal, &[0xff, 0x38]).as_deref(), Ok("-20.0"));
        assert_eq!(read(decimal, &[1, 0, 0]).as_deref(), Ok("6553.6"));
        assert_eq!(read(decimal, &[1; 17]), Err(RecordFault::Decimal));
        assert_eq!(read(Meaning::Text, "é".as_bytes()).as_deref(), Ok("é"));
        assert_eq!(read(Meaning::Text, b"\xff"), Err(RecordFault::NotText("UTF-8")));
    }

    proptest! {
        #[test]
        fn a_day_is_written_as_a_plan_reads_it(number in -719_528_i64..2_932_896) {
            prop_assert_eq!(Day::from_str(&day(number)).unwrap().number(), number);
        }

        #[test]
        fn every_number_has_a_text(value: i64, julian: u32, high: u32) {
            for a_second in [1_000, 1_000_000, 1_000_000_000] {
                prop_assert!(timestamp(value, a_second).contains('-'));
            }
            let mut old = Int96::new();
            old.set_data(7, high, julian);
            prop_assert!(!int96(&old).is_empty());
            prop_assert_eq!(decimal(i128::from(value), 0), value.to_string());
        }
    }
}
