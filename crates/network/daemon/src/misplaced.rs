//! What is wrong in a text of a configuration, in words for whoever wrote it.

use serde::de::DeserializeOwned;

/// What is said of a word that stands where a value has to, such as `rounds_max = four`, in the text of a `T` that does not parse for it:
/// the line, the field and what that takes. `None` where something else is wrong, which `why` says.
pub fn misplaced_word<T: DeserializeOwned>(text: &str, why: &toml::de::Error) -> Option<String> {
    let before = text.get(..why.span()?.start)?;
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    let (above, below) = text.split_at_checked(begin)?;
    let line = below.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let (key, word) = (key.trim(), value.split('#').next()?.trim());
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    if key.is_empty() || !is_word(key) || !is_word(word) || !word.starts_with(char::is_alphabetic) {
        return None;
    }
    let table = above.lines().rev().map(str::trim).find_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let field = table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"));
    // As a text it has a type, and whoever reads it says which one it has to have.
    let quoted = format!("{above}{key} = \"{word}\"{}", below.get(line.len()..)?);
    let of_line = |why: &toml::de::Error| {
        why.span().is_some_and(|span| (begin..=begin + line.len()).contains(&span.start))
    };
    let takes = match toml::from_str::<T>(&quoted) {
        Ok(_) => "a text in quotes".to_owned(),
        Err(why) if of_line(&why) => taken(why.message())?,
        Err(_) => "a number in digits, a text in quotes, or true or false".to_owned(),
    };
    Some(format!("line {}: {field}: `{word}` is no value; it takes {takes}", 1 + above.matches('\n').count()))
}

/// What a parser says of a text, with its place, in one line.
pub(crate) fn placed(why: &toml::de::Error) -> String {
    let shown = why.to_string();
    let in_one_line = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(", ");
    // Its first line says where; what it draws below repeats the text.
    match shown.lines().next().and_then(|first| first.strip_prefix("TOML parse error at ")) {
        Some(place) => format!("{place}: {}", in_one_line(why.message())),
        None => in_one_line(&shown),
    }
}

/// The type that a parser names, for people.
fn taken(message: &str) -> Option<String> {
    let (_, expected) = message.split_once("expected ")?;
    let takes = match expected.trim() {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number in digits",
        "f32" | "f64" => "a number in digits",
        "a boolean" => "true or false",
        other => other,
    };
    Some(takes.to_owned())
}

#[cfg(test)]
mod tests {
    use plan::Policy;

    use super::*;

    #[test]
    fn a_word_where_a_value_has_to_stand_is_named_with_its_field_and_what_that_takes() {
        let text = |line: &str| format!("cohort_min = 3\n{line}  # as agreed\nepsilon_max = 5.0\n");
        for (line, said) in [
            (
                "rounds_max = four",
                Some("line 2: rounds_max: `four` is no value; it takes a whole number in digits"),
            ),
            ("delta_max = tiny", Some("line 2: delta_max: `tiny` is no value; it takes a number in digits")),
            (
                "require_federation = yes",
                Some("line 2: require_federation: `yes` is no value; it takes true or false"),
            ),
            ("rounds_max = 4 5", None),
            ("rounds_max", None),
        ] {
            let text = text(line);
            let why = toml::from_str::<Policy>(&text).unwrap_err();
            assert_eq!(misplaced_word::<Policy>(&text, &why).as_deref(), said, "{line}");
        }
        let nested = "[policy]\nroster_changes = auto\n";
        let why = toml::from_str::<toml::Table>(nested).unwrap_err();
        let said = misplaced_word::<toml::Table>(nested, &why).unwrap();
        assert_eq!(said, "line 2: policy.roster_changes: `auto` is no value; it takes a text in quotes");
    }
}
