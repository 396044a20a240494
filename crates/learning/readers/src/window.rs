//! The part of a file that is being read, as UTF-8, and where its lines end.

use std::io::{Chain, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use memchr::{memchr, memchr2, memchr2_iter, memchr3};

use crate::fault::FileFault;
use crate::source::Source;

/// Read at once.
const CHUNK_BYTES: usize = 32 << 10;

/// Read at once where it becomes up to three times as long.
const ENCODED_BYTES: usize = 8 << 10;

/// Kept of the beginning, to say what a file looks like.
const HEAD_BYTES: usize = 4 << 10;

/// Stands for bytes that are no character in the file's encoding: no UTF-8 holds it.
const NO_CHARACTER: u8 = 0xff;

/// The bytes from `start` on are still to be read; all positions are counted from there.
pub(crate) struct Window<R> {
    source: Chain<Cursor<Vec<u8>>, Source<R>>,
    /// None where the file is UTF-8.
    decoder: Option<Decoder>,
    encoded: Vec<u8>,
    bytes: Vec<u8>,
    start: usize,
    at_end: bool,
    head: Vec<u8>,
}

/// Where a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// What belongs to it, and where the next begins.
    Ends { end: usize, next: usize },
    /// It is longer than it may be.
    TooLong,
    /// There is none: the file has ended.
    None,
}

impl<R: Read> Window<R> {
    /// `is_headed`: whether the file begins with something else than a record.
    pub(crate) fn new(
        mut source: Source<R>,
        encoding: &'static Encoding,
        is_headed: bool,
    ) -> Result<Self, FileFault> {
        let mut head = Vec::new();
        let read = source.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.map_err(|why| source.fault(why))?;
        let mut marked = Encoding::for_bom(&head);
        if let Some((found, _)) = marked.filter(|(found, _)| *found != encoding) {
            if is_headed {
                return Err(FileFault::ByteOrderMark { found: found.name(), registered: encoding.name() });
            }
            // The bytes of a record: whatever stands in the first one keeps the others from being read no more than elsewhere.
            marked = None;
        }
        let mut first = Cursor::new(head.clone());
        first.set_position(marked.map_or(0, |(_, length)| length as u64));
        Ok(Self {
            source: first.chain(source),
            decoder: (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling()),
            encoded: Vec::new(),
            bytes: Vec::new(),
            start: 0,
            at_end: false,
            head,
        })
    }

    /// The file's first bytes, unpacked and as they are encoded.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What is there to be read without reading more of the file.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.split_at(self.start).1
    }

    /// Everything before `position` was read.
    pub(crate) fn consume(&mut self, position: usize) {
        self.start += position;
    }

    /// Reads more of the file; `false` at its end.
    pub(crate) fn more(&mut self) -> Result<bool, FileFault> {
        if self.at_end {
            return Ok(false);
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        let read = match &mut self.decoder {
            None => self.source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut self.bytes),
            Some(decoder) => {
                self.encoded.clear();
                let read = self.source.by_ref().take(ENCODED_BYTES as u64).read_to_end(&mut self.encoded);
                if let Ok(length) = read {
                    decode(decoder, &self.encoded, &mut self.bytes, length == 0);
                }
                read
            }
        };
        let read = read.map_err(|why| self.source.get_ref().1.fault(why))?;
        self.at_end = read == 0;
        Ok(read > 0)
    }

    /// The line that begins at `from`, of which nothing may lie `bound` bytes or more behind the start.
    pub(crate) fn line(&mut self, from: usize, bound: usize) -> Result<Line, FileFault> {
        let mut scanned = from;
        loop {
            let rest = self.rest();
            let found = rest.get(scanned..).and_then(|new| memchr2(b'\n', b'\r', new)).map(|at| scanned + at);
            let length = rest.len();
            match found {
                // Whether a line feed follows the carriage return is not known yet.
                Some(at) if at + 1 == length && rest.get(at) == Some(&b'\r') && self.more()? => scanned = at,
                Some(end) => {
                    let pair = self.rest().get(end..end + 2) == Some(b"\r\n");
                    let next = end + 1 + usize::from(pair);
                    return Ok(if next > bound { Line::TooLong } else { Line::Ends { end, next } });
                }
                None if length > bound => return Ok(Line::TooLong),
                None if self.more()? => scanned = length,
                // What an encoding held back until the end came with the last reading.
                None if self.rest().len() > length => scanned = length,
                None if length > from => return Ok(Line::Ends { end: length, next: length }),
                None => return Ok(Line::None),
            }
        }
    }

    /// Where the quote stands, from `from` on, that ends a cell: each one before it is doubled. And whether there are such. None
    /// where the file ends before, or `bound` bytes after the start.
    pub(crate) fn closing_quote(
        &mut self,
        mut from: usize,
        quote: u8,
        bound: usize,
    ) -> Result<Option<(usize, bool)>, FileFault> {
        let mut doubled = false;
        loop {
            let rest = self.rest();
            let length = rest.len();
            let found = rest.get(from..).and_then(|new| memchr(quote, new)).map(|at| from + at);
            match found {
                Some(at) if at >= bound => return Ok(None),
                Some(at) if at + 1 == length && self.more()? => from = at,
                Some(at) if self.rest().get(at + 1) == Some(&quote) => {
                    doubled = true;
                    from = at + 2;
                }
                Some(at) => return Ok(Some((at, doubled))),
                None if length >= bound => return Ok(None),
                None if self.more()? => from = length,
                None => return Ok(None),
            }
        }
    }

    /// Passes over the line that begins at the start, however long it is.
    pub(crate) fn skip_line(&mut self) -> Result<(), FileFault> {
        loop {
            match self.line(0, CHUNK_BYTES)? {
                Line::Ends { next, .. } => {
                    self.consume(next);
                    return Ok(());
                }
                Line::None => return Ok(()),
                // A last carriage return stays, in case a line feed follows.
                Line::TooLong => {
                    let rest = self.rest();
                    let passed = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    self.consume(passed);
                }
            }
        }
    }
}

impl<R: Read> Window<R> {
    /// Passes over the record that begins at the start, over the line breaks in its quoted cells, however long it is. How many lines it
    /// has. Where a cell does not end as one, it ends with that line; where a quote is never closed, with the file.
    pub(crate) fn skip_record(&mut self, separator: u8, quote: u8) -> Result<u64, FileFault> {
        let mut ends = 0;
        loop {
            // A cell begins here.
            if self.first()? == Some(quote) {
                self.consume(1);
                ends += self.skip_quoted(quote)?;
            } else {
                self.skip_bare(separator)?;
            }
            match self.first()? {
                Some(next) if next == separator => self.consume(1),
                _ => {
                    self.skip_line()?;
                    return Ok(ends + 1);
                }
            }
        }
    }

    /// The byte at the start; none at the end of the file.
    fn first(&mut self) -> Result<Option<u8>, FileFault> {
        while self.rest().is_empty() && self.more()? {}
        Ok(self.rest().first().copied())
    }

    /// Passes over a cell, of which the first quote was read, and the one that ends it. How many lines end in it.
    fn skip_quoted(&mut self, quote: u8) -> Result<u64, FileFault> {
        let (mut ends, mut before) = (0, 0);
        while self.first()?.is_some() {
            let rest = self.rest();
            let closing = memchr(quote, rest);
            let (cell, _) = rest.split_at(closing.unwrap_or(rest.len()));
            ends += line_ends(before, cell);
            before = cell.last().copied().unwrap_or(before);
            let passed = cell.len();
            self.consume(passed);
            if closing.is_some() {
                self.consume(1);
                if self.first()? != Some(quote) {
                    return Ok(ends);
                }
                self.consume(1);
                before = quote;
            }
        }
        Ok(ends)
    }

    /// Passes over a cell without quotes.
    fn skip_bare(&mut self, separator: u8) -> Result<(), FileFault> {
        while self.first()?.is_some() {
            let rest = self.rest();
            let end = memchr3(separator, b'\n', b'\r', rest);
            let passed = end.unwrap_or(rest.len());
            self.consume(passed);
            if end.is_some() {
                break;
            }
        }
        Ok(())
    }
}

/// How many lines end in a text that stands behind this byte.
pub(crate) fn line_ends(before: u8, text: &[u8]) -> u64 {
    let ends = memchr2_iter(b'\n', b'\r', text);
    let byte = |at: Option<usize>| at.map_or(Some(&before), |at| text.get(at));
    // The second of a pair.
    let is_second = |at: &usize| text.get(*at) == Some(&b'\n') && byte(at.checked_sub(1)) == Some(&b'\r');
    ends.filter(|at| !is_second(at)).count() as u64
}

/// Adds what the bytes say to `text`; what is no character among them leaves its mark.
fn decode(decoder: &mut Decoder, mut bytes: &[u8], text: &mut Vec<u8>, last: bool) {
    loop {
        let length = text.len();
        // The longest that so many bytes can become, and room for the mark.
        let most =
            decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(3 * ENCODED_BYTES + 16);
        text.resize(length + most, 0);
        let (_, room) = text.split_at_mut(length);
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(bytes, room, last);
        text.truncate(length + written);
        bytes = bytes.split_at(read).1;
        match result {
            DecoderResult::InputEmpty => return,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => text.push(NO_CHARACTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use registration::Compression;

    use super::*;

    /// Gives one byte at a time, so that everything lies across the edge of what was read.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(buffer.len()).min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn window(bytes: &[u8]) -> Window<Dripping<'_>> {
        Window::new(Source::new(Dripping(bytes), Compression::None).unwrap(), UTF_8, true).unwrap()
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let (mut window, mut found) = (window(bytes), Vec::new());
        while let Line::Ends { end, next } = window.line(0, 64).unwrap() {
            found.push(String::from_utf8(window.rest()[..end].to_vec()).unwrap());
            window.consume(next);
        }
        found
    }

    #[test]
    fn lines_end_with_either_character_or_both_or_the_file() {
        assert_eq!(lines(b"a\nb\r\nc\rd\n\re"), ["a", "b", "c", "d", "", "e"]);
        assert_eq!(lines(b"a\r\r\nb\r"), ["a", "", "b"]);
        assert_eq!(lines(b"\xef\xbb\xbfa\r\n"), ["a"]);
        assert!(lines(b"").is_empty() && lines(b"\xef\xbb\xbf").is_empty());
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be_with_its_end_and_a_longer_one_is_passed_over() {
        for end in ["\n", "\r", "\r\n"] {
            let mut text = "x".repeat(64 - end.len()) + end;
            let mut fitting = window(text.as_bytes());
            assert!(matches!(fitting.line(0, 64).unwrap(), Line::Ends { next: 64, .. }), "{end:?}");
            text.insert(0, 'x');
            text += "next";
            let mut long = window(text.as_bytes());
            assert_eq!(long.line(0, 64).unwrap(), Line::TooLong, "{end:?}");
            long.skip_line().unwrap();
            assert_eq!(long.line(0, 64).unwrap(), Line::Ends { end: 4, next: 4 }, "{end:?}");
        }
        let far = "x".repeat(3 * CHUNK_BYTES) + "\r\nnext\n";
        let mut window = window(far.as_bytes());
        window.skip_line().unwrap();
        assert_eq!(window.line(0, 64).unwrap(), Line::Ends { end: 4, next: 5 });
    }

    #[test]
    fn a_closing_quote_is_no_doubled_one_and_not_beyond_the_bound() {
        for (text, bound, found) in [
            ("ab\"c", 64, Some((2, false))),
            ("a\"\"b\"", 64, Some((4, true))),
            ("a\"", 64, Some((1, false))),
            ("a\"\"", 64, None),
            ("abc", 64, None),
            ("abcdef\"", 4, None),
        ] {
            assert_eq!(window(text.as_bytes()).closing_quote(0, b'"', bound).unwrap(), found, "{text}");
        }
    }
}
