//! What the text of a configuration says, also where it does not parse.

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

#[cfg(test)]
mod tests {
    use super::*;

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
