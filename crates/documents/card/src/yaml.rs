//! YAML that readers of YAML 1.1 and of 1.2 take for the same: a text stays a text, a number a number.
//!
//! The library's own writer quotes what YAML 1.2 would take for something else. PyYAML, which most tools read with, follows 1.1: there
//! `2026-01-02` is a date, `no` is false, `12:30:45` is 45045, and `1e-6` is a text.

use std::fmt::Write;

use serde_norway::{Number, Value};

/// Words that mean something else than themselves to some reader, in small letters.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A mapping or a list, in block style, each item on lines of its own.
pub(crate) fn write(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (name, inner) in entries {
                let _ = write!(text, "{:indent$}{}:", "", scalar(name));
                item(text, inner, indent);
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            for inner in items {
                let mut lines = String::new();
                block(&mut lines, inner, indent + 2);
                // The first line stands behind the dash.
                let _ = write!(text, "{:indent$}- {}", "", lines.trim_start());
            }
        }
        value => {
            let _ = writeln!(text, "{:indent$}{}", "", scalar(value));
        }
    }
}

/// What stands behind a name.
fn item(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Mapping(entries) if !entries.is_empty() => {
            text.push('\n');
            block(text, value, indent + 2);
        }
        Value::Sequence(items) if !items.is_empty() => {
            text.push('\n');
            block(text, value, indent);
        }
        value => {
            text.push(' ');
            block(text, value, 0);
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => self::number(number),
        Value::String(text) => string(text),
        // Empty: a list or a mapping with something in it has lines.
        Value::Sequence(_) => "[]".into(),
        Value::Mapping(_) => "{}".into(),
        Value::Tagged(tagged) => scalar(&tagged.value),
    }
}

/// A number of 1.1 has a point before its exponent, and a sign in it.
fn number(number: &Number) -> String {
    let plain = number.to_string();
    match (number.is_f64(), plain.split_once('e')) {
        (true, Some((digits, exponent))) => {
            let point = if digits.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            format!("{digits}{point}e{sign}{exponent}")
        }
        _ => plain,
    }
}

/// Plain where nobody takes it for anything else, else in double quotes with everything escaped that is no letter.
fn string(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || " _-./()+".contains(character);
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What readers of YAML 1.1 or 1.2 take for a date, a number, a truth, nothing, or a mark of the language.
    pub(super) const ODD: [&str; 58] = [
        "",
        " ",
        "~",
        "null",
        "Null",
        "NULL",
        "y",
        "Y",
        "n",
        "N",
        "yes",
        "Yes",
        "no",
        "NO",
        "on",
        "On",
        "off",
        "OFF",
        "true",
        "TRUE",
        "false",
        "False",
        "2026-01-02",
        "2026-1-2 3:04:05",
        "2026-01-02T03:04:05Z",
        "12:30:45",
        "1:2",
        "0",
        "-1",
        "+1",
        "007",
        "0777",
        "0o17",
        "0x10",
        "0b11",
        "1_000",
        "1e3",
        "1.0e+3",
        "1.",
        ".5",
        "-.5",
        ".inf",
        "-.Inf",
        "+.INF",
        ".nan",
        ".NaN",
        "=",
        "<<",
        "-",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "#a",
        "*a",
        "&a",
        "!a",
        "%a",
    ];

    #[test]
    fn words_that_a_reader_of_yaml_1_1_takes_for_something_else_are_quoted_and_others_are_not() {
        for odd in ODD {
            assert_eq!(string(odd), format!("\"{odd}\""));
        }
        for plain in
            ["age", "folkmoot-model-card/2", "mutual TLS 1.3", "e3", "nobody", "x (y)", "fl.example.org"]
        {
            assert_eq!(string(plain), plain);
        }
        assert_eq!(
            string("a\"b\\c\nd\u{2028}\u{85}é\u{7f}"),
            "\"a\\\"b\\\\c\\nd\\U00002028\\U00000085é\\U0000007F\""
        );
    }

    #[test]
    fn numbers_are_numbers_to_readers_of_both() {
        let of = |number: f64| super::number(&Number::from(number));
        assert_eq!([1e-6, 1e22, 1.5e-9, 0.25, -3.0].map(of), ["1.0e-6", "1.0e+22", "1.5e-9", "0.25", "-3.0"]);
        assert_eq!(super::number(&Number::from(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn whatever_is_written_reads_back() {
        let list = |items: &[Value]| Value::Sequence(items.to_vec());
        let mapping = |entries: &[(&str, Value)]| {
            Value::Mapping(entries.iter().map(|(name, value)| (Value::from(*name), value.clone())).collect())
        };
        let words: Vec<Value> = ODD.iter().map(|odd| Value::from(*odd)).collect();
        let deep = mapping(&[
            ("no", list(&words)),
            ("empty", list(&[list(&[]), mapping(&[]), Value::Null, Value::from(true)])),
            ("lists", list(&[list(&[Value::from(1), list(&[Value::from(2.5)])]), list(&[])])),
            (
                "mappings",
                list(&[mapping(&[("a", mapping(&[("b", list(&words[..2]))])), ("c", Value::from(1e-7))])]),
            ),
            ("12:30", Value::from("a\n b\n\n\tc \u{feff}\u{fffe}\u{10ffff}\u{0}")),
        ]);
        let text = write(&deep);
        assert_eq!(serde_norway::from_str::<Value>(&text).unwrap(), deep, "{text}");
    }
}
