//! Fields of one line of CSV.

use std::borrow::Cow;

/// A quoted field that does not end before a comma or the line's end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QuoteError;

/// The line's fields, quotes undone, spaces around unquoted ones removed.
///
/// A row is one line: a quoted line break, which RFC 4180 allows, is a quote that does not end.
pub(crate) fn fields(line: &str) -> Fields<'_> {
    Fields { rest: Some(line) }
}

pub(crate) struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Cow<'a, str>, QuoteError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let Some(quoted) = rest.strip_prefix('"') else {
            let field = match rest.split_once(',') {
                Some((field, rest)) => {
                    self.rest = Some(rest);
                    field
                }
                None => rest,
            };
            return Some(Ok(Cow::Borrowed(field.trim())));
        };
        let (field, after) = match unquote(quoted) {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error)),
        };
        self.rest = after.strip_prefix(',');
        if self.rest.is_none() && !after.is_empty() {
            return Some(Err(QuoteError));
        }
        Some(Ok(field))
    }
}

/// The field before the closing quote, and what follows that quote.
fn unquote(quoted: &str) -> Result<(Cow<'_, str>, &str), QuoteError> {
    let mut field = Cow::Borrowed("");
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"').ok_or(QuoteError)?;
        field += part;
        let Some(doubled) = after.strip_prefix('"') else {
            return Ok((field, after));
        };
        field += "\"";
        rest = doubled;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Vec<String>, QuoteError> {
        fields(line).map(|field| field.map(Cow::into_owned)).collect()
    }

    #[test]
    fn empty_fields_count() {
        assert_eq!(read("").unwrap(), [""]);
        assert_eq!(read(",a,").unwrap(), ["", "a", ""]);
        assert_eq!(read("\"\",\"\"").unwrap(), ["", ""]);
    }

    #[test]
    fn spaces_are_removed_around_unquoted_fields_only() {
        assert_eq!(read(" 1.5 ,\" b \"").unwrap(), ["1.5", " b "]);
    }

    #[test]
    fn a_quote_that_does_not_end_as_a_field_is_refused() {
        for line in ["\"a", "a,\"b\"\"", "\"a\"b,c", "\"a\" ,b"] {
            assert_eq!(read(line), Err(QuoteError), "{line}");
        }
    }

    proptest! {
        #[test]
        fn quoting_any_text_and_reading_it_gives_it_back(texts in prop::collection::vec("[^\r\n]{0,9}", 1..6)) {
            let quoted: Vec<_> = texts.iter().map(|t| format!("\"{}\"", t.replace('"', "\"\""))).collect();
            prop_assert_eq!(read(&quoted.join(",")).unwrap(), texts);
        }
    }
}
