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

#[cfg(test)]
mod tests {
    use super::*;

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
}
