//! Lines of a file: bounded, numbered, without byte-order mark and line ends.

use std::io::{self, BufRead, Read};

/// Longest line, its end included.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

/// Why there is no next line.
#[derive(Debug)]
pub(crate) enum LineError {
    Io(io::Error),
    NotUtf8,
    TooLong,
}

/// Reads one line at a time into one buffer.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// The next line that is not blank, with its number from 1; `None` at the end of the file. An error comes with
    /// the number of its line.
    pub(crate) fn next_line(&mut self) -> Result<Option<(u64, &str)>, (u64, LineError)> {
        loop {
            self.number += 1;
            match self.fill().and_then(|more| Ok(more && self.text()?.is_empty())) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => return Err((self.number, why)),
            }
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.text().map(|line| Some((self.number, line))).map_err(|why| (self.number, why))
    }

    /// Reads one line into the buffer; `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, LineError> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        match read.map_err(LineError::Io)? {
            bytes if bytes > LINE_BYTES_MAX => Err(LineError::TooLong),
            bytes => Ok(bytes > 0),
        }
    }

    fn text(&self) -> Result<&str, LineError> {
        let line = std::str::from_utf8(&self.buffer).map_err(|_| LineError::NotUtf8)?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Lines::new(bytes);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            found.push((number, line.to_owned()));
        }
        found
    }

    #[test]
    fn blank_lines_are_skipped_and_still_counted() {
        assert_eq!(all(b"a\n\n\r\nb\n\n"), [(1, "a".into()), (4, "b".into())]);
    }

    #[test]
    fn byte_order_mark_crlf_and_a_missing_last_line_end_do_not_reach_the_text() {
        assert_eq!(all(b"\xef\xbb\xbfa\r\nb\r\nc"), [(1, "a".into()), (2, "b".into()), (3, "c".into())]);
    }

    #[test]
    fn a_line_of_the_longest_length_is_read_and_one_byte_more_is_refused() {
        let mut line = vec![b'x'; LINE_BYTES_MAX - 1];
        line.push(b'\n');
        assert_eq!(all(&line).len(), 1);
        line.insert(0, b'x');
        assert!(matches!(Lines::new(&line[..]).next_line(), Err((1, LineError::TooLong))));
    }
}
