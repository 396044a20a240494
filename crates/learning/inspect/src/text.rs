//! From a file's first bytes to lines of text.

use std::io::Read;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The bytes unpacked, and whether they were packed. Of what is cut, as much as there is.
pub(crate) fn unpacked(head: &[u8], most: usize) -> (Vec<u8>, bool) {
    if !head.starts_with(&GZIP) {
        return (head.to_vec(), false);
    }
    let mut bytes = Vec::new();
    let mut decoder = MultiGzDecoder::new(head).take(most as u64);
    // It ends in an error where the head was cut: what came before is there.
    let _: std::io::Result<usize> = decoder.read_to_end(&mut bytes);
    (bytes, true)
}

/// The text and its encoding. UTF-8 where it is; else what a mark or the zeros of UTF-16 say; else one byte for each character.
pub(crate) fn decoded(bytes: &[u8]) -> (String, &'static Encoding) {
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let encoding = marked.or_else(|| utf16(bytes)).unwrap_or_else(|| match std::str::from_utf8(bytes) {
        Ok(_) => UTF_8,
        // A character that is cut at the end.
        Err(why) if why.error_len().is_none() => UTF_8,
        Err(_) => WINDOWS_1252,
    });
    let (text, _) = encoding.decode_with_bom_removal(bytes);
    (text.into_owned(), encoding)
}

fn utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let half = bytes.len() / 2;
    match (zeros(0), zeros(1)) {
        (0, high) if high * 2 > half => Some(UTF_16LE),
        (high, 0) if high * 2 > half => Some(UTF_16BE),
        _ => None,
    }
}

/// A line, or several that a quoted cell joins.
pub(crate) struct Line {
    /// How many lines of the file stand before it.
    pub(crate) above: u64,
    pub(crate) text: String,
    pub(crate) joined: bool,
}

/// The first lines, without blank ones. Where quotes do not close, a line goes on over the next few.
pub(crate) fn lines(text: &str, is_whole: bool, most: usize) -> Vec<Line> {
    const JOINED_MAX: usize = 20;
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut physical: Vec<&str> = unified.split('\n').collect();
    if !is_whole {
        physical.pop();
    }
    let is_open = |line: &str| line.matches('"').count() % 2 == 1;
    let (mut lines, mut at) = (Vec::new(), 0);
    while let Some(first) = physical.get(at).filter(|_| lines.len() < most) {
        let mut text = (*first).to_owned();
        let mut taken = 1;
        let more = physical.iter().skip(at + 1).take(JOINED_MAX);
        let closes = is_open(first).then(|| more.clone().position(|line| is_open(line))).flatten();
        for line in more.take(closes.map_or(0, |closes| closes + 1)) {
            text = text + "\n" + line;
            taken += 1;
        }
        if !text.trim_matches(['\u{1a}', ' ', '\t']).is_empty() {
            lines.push(Line { above: at as u64, text, joined: taken > 1 });
        }
        at += taken;
    }
    lines
}

/// A line's cells, without quotes and the spaces around them.
pub(crate) fn split(line: &str, separator: char) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        if character == '"' && (quoted || cell.trim().is_empty()) {
            quoted = !quoted;
        } else if character == separator && !quoted {
            cells.push(std::mem::take(&mut cell).trim().to_owned());
        } else {
            cell.push(character);
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_in_quotes_holds_separators_and_line_breaks() {
        assert_eq!(split("a, \"b,c\" ,\"\"", ','), ["a", "b,c", ""]);
        let found = lines("a,b\n1,\"x\ny\"\n\n2,z", true, 9);
        assert_eq!(
            found.iter().map(|line| (line.above, line.joined)).collect::<Vec<_>>(),
            [(0, false), (1, true), (4, false)]
        );
        let stray = lines("a,b\n1,5\"\n2,z\n", true, 9);
        assert!(stray.iter().all(|line| !line.joined), "a quote that closes nowhere joins nothing");
    }

    #[test]
    fn a_line_that_is_cut_is_left_out() {
        assert_eq!(lines("a\r\nb\rc", false, 9).len(), 2);
    }

    #[test]
    fn an_encoding_is_known_by_its_mark_its_zeros_or_its_bytes() {
        let utf16: Vec<u8> = "age;bp\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, label, text) in [
            (&b"\xef\xbb\xbfage"[..], "UTF-8", "age"),
            (&utf16, "UTF-16LE", "age;bp\n"),
            (b"\xe2ge", "windows-1252", "âge"),
            (&"aé".as_bytes()[..2], "UTF-8", "a\u{fffd}"),
        ] {
            let (found, encoding) = decoded(bytes);
            assert_eq!((found.as_str(), encoding.name()), (text, label));
        }
    }
}
