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
    /// Whether the rest of a line that is too long is still to be read.
    in_long_line: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0, in_long_line: false }
    }

    /// The next line that is not blank, with its number from 1; `None` at the end of the file. An error comes with
    /// the number of its line; after one that is of its line alone, the next is what follows that line.
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
        if std::mem::take(&mut self.in_long_line) {
            self.reader.skip_until(b'\n').map_err(LineError::Io)?;
        }
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer);
        match read.map_err(LineError::Io)? {
            bytes if bytes > LINE_BYTES_MAX => {
                self.in_long_line = self.buffer.last() != Some(&b'\n');
                Err(LineError::TooLong)
            }
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
    #[test]
    fn what_follows_a_line_that_is_too_long_or_not_utf8_is_read() {
        for last in [b'x', b'\n'] {
            let mut bytes = vec![b'x'; LINE_BYTES_MAX];
            bytes.push(last);
            bytes.extend(b"yy\n\xff\nb\n");
            let mut lines = Lines::new(&bytes[..]);
            assert!(matches!(lines.next_line(), Err((1, LineError::TooLong))));
            if last == b'\n' {
                assert_eq!(lines.next_line().unwrap(), Some((2, "yy")));
            }
            let number = if last == b'\n' { 3 } else { 2 };
            assert!(matches!(lines.next_line(), Err((at, LineError::NotUtf8)) if at == number));
            assert_eq!(lines.next_line().unwrap(), Some((number + 1, "b")));
            assert_eq!(lines.next_line().unwrap(), None);
        }
    }
}
