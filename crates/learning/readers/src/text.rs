//! One record of text after another.

use std::io::Read;

use encoding_rs::{Encoding, ISO_2022_JP, REPLACEMENT};
use registration::Dialect;

use crate::cells::{Cells, Form, Found, Split, Splitter};
use crate::fault::{FileFault, RecordFault};
use crate::records::{COLUMNS_MAX, RECORD_BYTES_MAX, Record};
use crate::resemblance::{self, Resemblance};
use crate::source::Source;
use crate::window::{Line, Window, line_ends};

/// Ends a text file of old systems.
const END_OF_TEXT: u8 = 0x1a;

/// How far a record is followed over line breaks before it is believed that it is one, however long: more than one may have, since
/// lines within a cell of somebody else's making must not become records.
const FOLLOWED_BYTES: usize = 4 * RECORD_BYTES_MAX;

/// A text file's records in their order.
pub(crate) struct TextRecords<R> {
    window: Window<R>,
    splitter: Splitter,
    encoding: &'static str,
    comment: Vec<u8>,
    trim: bool,
    line_breaks: bool,
    names: Vec<String>,
    header_line: Option<u64>,
    /// The cells of the record that was read last, and where it ends.
    found: Found,
    end: usize,
    /// Where the next record begins, from the window's start; and the number of its line, from 1.
    next: usize,
    line: u64,
}

impl<R: Read> TextRecords<R> {
    /// The text file that [`Records::new`](crate::Records::new) opens.
    pub(crate) fn new(file: R, dialect: &Dialect) -> Result<Self, FileFault> {
        let marks = dialect.marks().map_err(FileFault::Dialect)?;
        let encoding = encoding(&dialect.encoding)?;
        let is_headed = dialect.header || dialect.skip_lines > 0;
        let mut records = Self {
            window: Window::new(Source::new(file, dialect.compression)?, encoding, is_headed)?,
            splitter: Splitter { separator: marks.separator, quote: marks.quote, kept: COLUMNS_MAX },
            encoding: encoding.name(),
            comment: dialect.comment.clone().into_bytes(),
            trim: dialect.trim,
            line_breaks: dialect.line_breaks,
            names: dialect.columns.clone(),
            header_line: None,
            found: Found::default(),
            end: 0,
            next: 0,
            line: 1,
        };
        for _ in 0..dialect.skip_lines {
            records.window.skip_line()?;
            records.line += 1;
        }
        if dialect.header {
            records.read_header()?;
        }
        records.splitter.kept = records.names.len();
        Ok(records)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn header_line(&self) -> Option<u64> {
        self.header_line
    }

    pub(crate) fn resembles(&self) -> Option<Resemblance> {
        Resemblance::of(self.window.head(), self.splitter.separator)
    }

    pub(crate) fn line_with<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Option<u64> {
        resemblance::line_with(self.window.head(), names)
    }

    /// The next record. Blank lines and comments are none.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record<'_>>, FileFault> {
        let Some((line, read)) = self.advance(Some(self.names.len()))? else { return Ok(None) };
        let cells = read.and_then(|()| self.cells());
        Ok(Some(Record { line, cells }))
    }

    fn read_header(&mut self) -> Result<(), FileFault> {
        let (line, read) = self.advance(None)?.ok_or(FileFault::NoHeader)?;
        let names = read.and_then(|()| self.cells()).map(|cells| {
            (0..cells.len()).filter_map(|index| cells.get(index)).map(String::from).collect::<Vec<_>>()
        });
        match names {
            Ok(_) if self.found.count > COLUMNS_MAX => Err(RecordFault::TooWide),
            names => names,
        }
        .map(|names| {
            self.names = names;
            self.header_line = Some(line);
        })
        .map_err(|fault| FileFault::Header { line, fault, resembles: self.resembles() })
    }

    /// The cells of the record that was read last, if it is text.
    fn cells(&self) -> Result<Cells<'_>, RecordFault> {
        let (bytes, _) = self.window.rest().split_at(self.end);
        let text = std::str::from_utf8(bytes).map_err(|_| RecordFault::NotText(self.encoding))?;
        Ok(Cells { text, spans: &self.found.spans, quote: self.splitter.quote, trim: self.trim })
    }

    /// Finds the next record's cells, of which there should be `width`; the number of its line and whether it is whole.
    #[allow(clippy::type_complexity)]
    fn advance(&mut self, width: Option<usize>) -> Result<Option<(u64, Result<(), RecordFault>)>, FileFault> {
        loop {
            self.window.consume(std::mem::take(&mut self.next));
            let line = self.line;
            let bound = self.quote_over_lines().map_or(RECORD_BYTES_MAX, |_| FOLLOWED_BYTES);
            let (end, next) = match self.window.line(0, bound)? {
                Line::None => return Ok(None),
                Line::TooLong => {
                    let lines = self.pass_over()?;
                    (self.end, self.line) = (0, line + lines);
                    return Ok(Some((line, Err(RecordFault::TooLong))));
                }
                Line::Ends { end, next } => (end, next),
            };
            let (text, _) = self.window.rest().split_at(end);
            if text.is_empty() || self.is_comment(text) {
                (self.next, self.line) = (next, line + 1);
                continue;
            }
            let nothing =
                |byte: &u8| *byte == self.splitter.separator || matches!(*byte, b' ' | b'\t' | END_OF_TEXT);
            let read =
                if text.iter().all(nothing) { Err(RecordFault::Empty) } else { self.split(end, next)? };
            // The text of a broken one is not needed any more, so that reading can go on at the line after its first. One that is
            // whole and too long ends where it ends: what stands in its cells is no record.
            let fault = match (&read, width) {
                (Err(fault), _) => Some(fault.clone()),
                (Ok(whole), _) if whole.is_passed => Some(RecordFault::TooLong),
                (Ok(_), Some(expected)) if self.found.count != expected => {
                    Some(RecordFault::Ragged { expected, actual: self.found.count })
                }
                (Ok(whole), _) => (whole.next > RECORD_BYTES_MAX).then_some(RecordFault::TooLong),
            };
            let (end, after, lines) = match (read, &fault) {
                (Ok(whole), None | Some(RecordFault::TooLong)) => (whole.end, whole.next, whole.lines),
                _ => (end, next, 1),
            };
            (self.end, self.next, self.line) = (end, after, line + lines);
            return Ok(Some((line, self.text_fault(fault))));
        }
    }

    /// What opens a cell that may go on over line breaks, where the dialect has such.
    fn quote_over_lines(&self) -> Option<u8> {
        self.splitter.quote.filter(|_| self.line_breaks)
    }

    fn is_comment(&self, text: &[u8]) -> bool {
        !self.comment.is_empty() && text.starts_with(&self.comment)
    }

    /// Passes over the record that begins at the window's start, and is longer than it is followed; says how many lines it has.
    fn pass_over(&mut self) -> Result<u64, FileFault> {
        match self.quote_over_lines().filter(|_| !self.is_comment(self.window.rest())) {
            Some(quote) => self.window.skip_record(self.splitter.separator, quote),
            None => self.window.skip_line().map(|()| 1),
        }
    }

    /// What is no text is said before anything else.
    fn text_fault(&self, fault: Option<RecordFault>) -> Result<(), RecordFault> {
        match fault {
            None => Ok(()),
            Some(fault) => self.cells().and(Err(fault)),
        }
    }

    /// Splits the record whose first line ends at `end`, over further lines where the dialect allows it.
    fn split(&mut self, mut end: usize, mut next: usize) -> Result<Result<Whole, RecordFault>, FileFault> {
        let (mut start, mut lines) = (0, 1);
        self.found.clear();
        loop {
            let (text, _) = self.window.rest().split_at(end);
            let split = self.splitter.split(text, start, &mut self.found);
            let (open, quote) = match (split, self.quote_over_lines()) {
                (Split::Whole, _) => return Ok(Ok(Whole { end, next, lines, is_passed: false })),
                (Split::Open { start }, Some(quote)) => (start, quote),
                _ => return Ok(Err(RecordFault::Quote)),
            };
            let Some((close, doubled)) = self.window.closing_quote(open, quote, FOLLOWED_BYTES)? else {
                // Where the file ends before, everything that was looked at is still there to be read.
                return match self.window.rest().len() < FOLLOWED_BYTES {
                    true => Ok(Err(RecordFault::Quote)),
                    false => self.passed(),
                };
            };
            let form = if doubled { Form::Doubled } else { Form::Quoted };
            self.found.push(self.splitter.kept, open, close, form);
            lines += line_ends(0, self.window.rest().split_at(close).0.split_at(open).1);
            (end, next) = match self.window.line(close + 1, FOLLOWED_BYTES)? {
                Line::Ends { end, next } => (end, next),
                Line::None => (close + 1, close + 1),
                Line::TooLong => return self.passed(),
            };
            match self.window.rest().get(close + 1..end).and_then(|after| after.first()) {
                None => return Ok(Ok(Whole { end, next, lines, is_passed: false })),
                Some(after) if *after == self.splitter.separator => start = close + 2,
                Some(_) => return Ok(Err(RecordFault::Quote)),
            }
        }
    }

    /// The record that begins at the window's start, passed over.
    fn passed(&mut self) -> Result<Result<Whole, RecordFault>, FileFault> {
        let lines = self.pass_over()?;
        Ok(Ok(Whole { end: 0, next: 0, lines, is_passed: true }))
    }
}

/// A record that ends as one.
struct Whole {
    end: usize,
    next: usize,
    lines: u64,
    /// It was longer than it is followed, and nothing of it is there any more.
    is_passed: bool,
}

fn encoding(label: &str) -> Result<&'static Encoding, FileFault> {
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding == ISO_2022_JP => Err(FileFault::Stateful(encoding.name())),
        Some(encoding) if encoding != REPLACEMENT => Ok(encoding),
        _ => Err(FileFault::UnknownEncoding(label.to_owned())),
    }
}
