//! What the text of a configuration says, whatever it is the configuration of, and also where it does not parse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vault::files::{self, TEXT_BYTES_MAX};

use crate::resolve;

/// The path that a configuration gives for `key`, above its tables, whatever else is wrong with it: its lines are read one by one. Relative to the
/// file, as in a configuration that parses. `None` where none of them says so.
pub fn path_of(key: &str, file: &Path) -> Option<PathBuf> {
    let text = files::read_text(file, TEXT_BYTES_MAX).ok()?;
    let mut path = named(key, &text)?;
    resolve(file, [&mut path]);
    Some(path)
}

fn named(key: &str, text: &str) -> Option<PathBuf> {
    let above_tables = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let of_line = |line: &str| match line.parse::<toml::Table>().ok()?.remove(key)? {
        toml::Value::String(path) => Some(path.into()),
        _ => None,
    };
    above_tables.filter_map(of_line).next()
}

/// The keys in which two texts of a configuration differ, those of a table as `tls.key_file`, in order. A text that does not parse has none.
pub fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let keys = |text: &str| {
        let mut keys = BTreeMap::new();
        let Ok(table) = text.parse::<toml::Table>() else { return keys };
        for (key, value) in table {
            match value {
                toml::Value::Table(table) => {
                    keys.extend(table.into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)));
                }
                value => drop(keys.insert(key, value)),
            }
        }
        keys
    };
    let (before, after) = (keys(before), keys(after));
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_changed_added_or_taken_away_are_named_and_a_text_that_says_the_same_names_none() {
        let before = "log = 'info'\nproxy = 'none'\n[tls]\ncertificate = 'c'\nkey_file = 'k'\n";
        let same =
            "proxy = \"none\" # as before\nlog = \"info\"\ntls = { key_file = 'k', certificate = 'c' }\n";
        assert_eq!(changed_keys(before, same), [""; 0]);
        let after = "log = 'debug'\nlog_json = true\n[tls]\ncertificate = 'c'\nkey_file = 'another'\n";
        assert_eq!(changed_keys(before, after), ["log", "log_json", "proxy", "tls.key_file"]);
    }

    #[test]
    fn a_path_is_found_in_a_text_that_does_not_parse_and_not_in_a_table_of_it() {
        let of = |text: &str| named("state_dir", text);
        for text in
            ["state_dir = \"s\"\n", "a = = 1\nstate_dir = 's'  # here\nb = \"", "b\n  state_dir=\"s\"\n[x]\n"]
        {
            assert_eq!(of(text), Some("s".into()), "{text}");
        }
        for text in
            ["", "state_dir = s\n", "state_dir = 7\n", "[x]\nstate_dir = \"s\"\n", "# state_dir = \"s\"\n"]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
