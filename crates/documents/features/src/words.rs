//! A text's words, by a rule that programs in any language can follow to the letter.

use std::collections::BTreeMap;

use crate::Fit;

/// Stands where a text has no more words.
const NOTHING: usize = 0;
/// Stands for any word that is not listed.
const UNLISTED: usize = 1;
/// The number of the first word that is listed.
const FIRST: usize = 2;

/// How many numbers tokens have: one for each listed word, one for no word, one for all other words.
pub fn vocabulary(words: &[String]) -> usize {
    FIRST + words.len()
}

/// The words of a text in lower case, one after the other. What stands between them: white space, ASCII signs that are neither letter
/// nor digit, the signs of Unicode's blocks General Punctuation (U+2000 to U+206F) and CJK Symbols and Punctuation (U+3000 to U+303F),
/// and `¡«·»¿`.
///
/// Deviation from Unicode's word boundaries (UAX 29): those need tables that differ from one release of Unicode to the next.
pub fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(is_between).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

fn is_between(letter: char) -> bool {
    match letter {
        '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '¡' | '«' | '·' | '»' | '¿' => true,
        letter if letter.is_ascii() => !letter.is_ascii_alphanumeric(),
        letter => letter.is_whitespace(),
    }
}

/// A plan's list of words, made ready for many texts.
pub(crate) struct Vocabulary<'a> {
    numbers: BTreeMap<&'a str, usize>,
    length: usize,
}

impl<'a> Vocabulary<'a> {
    pub(crate) fn new(words: &'a [String], length: usize) -> Self {
        Self { numbers: words.iter().map(String::as_str).zip(FIRST..).collect(), length }
    }

    /// Appends the numbers of a text's first words, and zeros up to the length. Words beyond it are clipped.
    pub(crate) fn encode(&self, text: &str, numbers: &mut Vec<f32>) -> Fit {
        let end = numbers.len() + self.length;
        let mut words = words_of(text);
        let number = |word: String| match self.numbers.get(word.as_str()) {
            Some(number) => *number,
            None => UNLISTED,
        };
        // Exact: a plan has fewer words than f32 has whole numbers.
        numbers.extend(words.by_ref().take(self.length).map(|word| number(word) as f32));
        numbers.resize(end, NOTHING as f32);
        if words.next().is_some() { Fit::Clipped } else { Fit::Inside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_what_is_no_letter_and_no_digit() {
        for (text, words) in [
            ("No chest pain.", &["no", "chest", "pain"][..]),
            ("chest-pain, 38.5\u{b0}C / N\u{ba} 7", &["chest", "pain", "38", "5\u{b0}c", "n\u{ba}", "7"]),
            ("\u{201c}Größe\u{201d}\u{a0}\u{2014}\u{bf}qué?", &["größe", "qué"]),
            ("痛み。なし", &["痛み", "なし"]),
            (" \t\r\n,;", &[]),
            ("", &[]),
        ] {
            assert_eq!(words_of(text).collect::<Vec<_>>(), words, "{text}");
        }
    }

    #[test]
    fn a_text_has_its_first_words_and_zeros_after_them() {
        let words = ["pain".to_owned(), "no".to_owned()];
        assert_eq!(vocabulary(&words), 4);
        let rule = Vocabulary::new(&words, 3);
        for (text, expected, fit) in [
            ("No pain", [3.0, 2.0, 0.0], Fit::Inside),
            ("no chest pain", [3.0, 1.0, 2.0], Fit::Inside),
            ("no chest pain today", [3.0, 1.0, 2.0], Fit::Clipped),
            ("", [0.0; 3], Fit::Inside),
        ] {
            let mut numbers = vec![9.0];
            assert_eq!(rule.encode(text, &mut numbers), fit, "{text}");
            assert_eq!(numbers[1..], expected, "{text}");
        }
    }
}
