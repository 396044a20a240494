//! A record's cells: where each lies, and what it says without its quotes.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

/// Where a cell lies, counted from the record's begin, its quotes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) form: Form,
}

/// How a cell stands in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bare,
    /// Between two quotes.
    Quoted,
    /// In quotes, and each quote in it is doubled.
    Doubled,
    /// The file says itself that there is no value.
    Null,
}

/// The cells of one record.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    pub(crate) text: &'a str,
    pub(crate) spans: &'a [Span],
    pub(crate) quote: Option<u8>,
    pub(crate) trim: bool,
}

impl<'a> Cells<'a> {
    /// How many: as many as there are columns.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, as in a file without columns.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The cell in a column, counted from 0, without its quotes, and without the spaces around it where the dialect says so;
    /// `None` where there is no such column.
    pub fn get(&self, index: usize) -> Option<Cow<'a, str>> {
        let span = self.spans.get(index)?;
        let cell = self.text.get(span.start as usize..span.end as usize)?;
        Some(match (span.form, self.quote) {
            (Form::Bare, _) if self.trim => Cow::Borrowed(cell.trim()),
            (Form::Doubled, Some(quote)) => {
                let quote = char::from(quote).to_string();
                Cow::Owned(cell.replace(&quote.repeat(2), &quote))
            }
            _ => Cow::Borrowed(cell),
        })
    }

    /// Whether the file says itself that there is no value in a column, whatever the dialect has for "not known". No text does.
    pub fn is_null(&self, index: usize) -> bool {
        self.spans.get(index).is_some_and(|span| span.form == Form::Null)
    }
}

/// Marks between and around cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splitter {
    pub(crate) separator: u8,
    pub(crate) quote: Option<u8>,
    /// Beyond so many, cells are counted and not kept.
    pub(crate) kept: usize,
}

/// What was found of a record up to the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// All of it.
    Whole,
    /// A quoted cell that begins here has not ended.
    Open { start: usize },
    /// Something follows a closing quote that is no separator.
    Broken,
}

/// Cells as they are found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) spans: Vec<Span>,
    pub(crate) count: usize,
}

impl Found {
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.count = 0;
    }

    pub(crate) fn push(&mut self, kept: usize, start: usize, end: usize, form: Form) {
        if self.count < kept {
            // A record is shorter than 4 GiB: see `RECORD_BYTES_MAX`.
            self.spans.push(Span { start: start as u32, end: end as u32, form });
        }
        self.count += 1;
    }
}

impl Splitter {
    /// Adds the cells from `start` up to the end of `text`, which is the end of a line.
    pub(crate) fn split(&self, text: &[u8], mut start: usize, found: &mut Found) -> Split {
        let mut quote_at = None;
        loop {
            let (_, rest) = text.split_at(start);
            // Looked for once, not once for each cell before it.
            if quote_at.is_none_or(|at| at < start) {
                let next = self.quote.and_then(|quote| memchr(quote, rest));
                quote_at = next.map(|at| start + at);
            }
            let (Some(quote), Some(at)) = (self.quote, quote_at) else {
                let offset = start;
                for end in memchr_iter(self.separator, rest) {
                    found.push(self.kept, start, offset + end, Form::Bare);
                    start = offset + end + 1;
                }
                found.push(self.kept, start, text.len(), Form::Bare);
                return Split::Whole;
            };
            let end = if at == start {
                let Some((end, form)) = closing(rest, quote) else {
                    return Split::Open { start: start + 1 };
                };
                found.push(self.kept, start + 1, start + end, form);
                start + end + 1
            } else {
                let end = memchr(self.separator, rest).map_or(text.len(), |end| start + end);
                found.push(self.kept, start, end, Form::Bare);
                end
            };
            match text.get(end) {
                None => return Split::Whole,
                Some(next) if *next == self.separator => start = end + 1,
                Some(_) => return Split::Broken,
            }
        }
    }
}

/// Where the quote stands that ends the cell that begins with one.
fn closing(cell: &[u8], quote: u8) -> Option<(usize, Form)> {
    let (mut from, mut form) = (1, Form::Quoted);
    loop {
        let end = from + memchr(quote, cell.get(from..)?)?;
        if cell.get(end + 1) != Some(&quote) {
            return Some((end, form));
        }
        form = Form::Doubled;
        from = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Vec<String>, Split> {
        let splitter = Splitter { separator: b',', quote: Some(b'"'), kept: 99 };
        let mut found = Found::default();
        match splitter.split(line.as_bytes(), 0, &mut found) {
            Split::Whole => {
                assert_eq!(found.count, found.spans.len());
                let cells = Cells { text: line, spans: &found.spans, quote: Some(b'"'), trim: true };
                Ok((0..cells.len()).map(|index| cells.get(index).unwrap().into_owned()).collect())
            }
            other => Err(other),
        }
    }

    #[test]
    fn empty_cells_count() {
        assert_eq!(read("").unwrap(), [""]);
        assert_eq!(read(",a,").unwrap(), ["", "a", ""]);
        assert_eq!(read("\"\",\"\"").unwrap(), ["", ""]);
        assert_eq!(read("\"a\",").unwrap(), ["a", ""]);
    }

    #[test]
    fn spaces_are_removed_around_unquoted_cells_only() {
        assert_eq!(read(" 1.5 ,\" b \"").unwrap(), ["1.5", " b "]);
        let cells = Cells {
            text: " a ",
            spans: &[Span { start: 0, end: 3, form: Form::Bare }],
            quote: None,
            trim: false,
        };
        assert_eq!(cells.get(0).as_deref(), Some(" a "));
        assert!(cells.get(1).is_none() && !cells.is_empty());
    }

    #[test]
    fn a_quote_within_an_unquoted_cell_is_part_of_it() {
        assert_eq!(read("5'11\",a \"b\" c, \"d\"").unwrap(), ["5'11\"", "a \"b\" c", "\"d\""]);
    }

    #[test]
    fn a_quote_that_does_not_end_as_a_cell_is_open_or_broken() {
        for (line, split) in [
            ("\"a", Split::Open { start: 1 }),
            ("a,\"b\"\"", Split::Open { start: 3 }),
            ("\"a\"b,c", Split::Broken),
            ("\"a\" ,b", Split::Broken),
        ] {
            assert_eq!(read(line), Err(split), "{line}");
        }
    }

    #[test]
    fn cells_beyond_those_that_are_kept_are_counted() {
        for line in ["a,b,c,d", "a,\"b\",c,\"d\""] {
            let mut found = Found::default();
            Splitter { separator: b',', quote: Some(b'"'), kept: 2 }.split(line.as_bytes(), 0, &mut found);
            assert_eq!((found.count, found.spans.len()), (4, 2), "{line}");
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
