//! The ledger's bytes: a header, then chained lines. Pure: no files here, and nothing is opened that is sealed.

use params::Digest;

use crate::entry::LedgerHead;

const MAGIC: &str = "folkmoot-ledger";
const VERSION: &str = "1";

/// Longest line: an entry is below two KiB, sealed it is twice that.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A ledger's lines, whose hashes hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    pub dataset: String,
    /// Whether the entries are sealed.
    pub sealed: bool,
    /// The entries, from number 1 on.
    pub lines: Vec<Line>,
    /// Of the header alone.
    start: Digest,
    /// How many bytes hold; what follows is a line that a crash left unfinished.
    pub(crate) end: usize,
    /// Whether the last line that holds has its line break.
    pub(crate) ended: bool,
    /// Whether a line follows that is no entry: a write that a crash cut short, before anything of it could leave the
    /// silo. Damage inside of the last line looks the same; then the silo's journal or an anchor knows of the debit.
    pub torn: bool,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub hash: Digest,
    /// The entry's text, or the sealed entry in hexadecimal.
    pub body: String,
}

/// Bytes that are no ledger, or not the ledger that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerChainError {
    /// Another kind of file.
    #[error("is no ledger")]
    NotALedger,
    /// Written by a newer program.
    #[error(
        "has format {0}, this release reads up to {VERSION}: install a newer release; nothing was changed"
    )]
    Version(String),
    /// An entry was changed, moved or removed.
    #[error("entry {sequence} {why}: it, or one before it, was changed after it was written")]
    Entry {
        sequence: u64,
        /// What is wrong.
        why: &'static str,
    },
}

impl Chain {
    /// A ledger without entries.
    pub fn empty(dataset: &str, sealed: bool) -> Self {
        let form = if sealed { "sealed" } else { "plain" };
        let header = format!("{MAGIC} {VERSION} {form} {dataset}");
        let start = Digest::of("folkmoot/v1/ledger", &[header.as_bytes()]);
        let end = header.len() + 1;
        Self { dataset: dataset.into(), sealed, lines: Vec::new(), start, end, ended: true, torn: false }
    }

    /// The first line, with its line break.
    pub fn header(&self) -> String {
        let form = if self.sealed { "sealed" } else { "plain" };
        format!("{MAGIC} {VERSION} {form} {}\n", self.dataset)
    }

    /// Reads a ledger and checks every hash. A last line that a crash left unfinished is not an entry; any other line
    /// that does not hold is an error. A last line that lacks nothing but its line break holds: it may have been used.
    /// One that has another byte in its line break's place was written whole, and is damaged.
    ///
    /// # Errors
    /// [`LedgerChainError`]
    pub fn read(bytes: &[u8]) -> Result<Self, LedgerChainError> {
        let (header, mut rest) = split_line(bytes).ok_or(LedgerChainError::NotALedger)?;
        let header = std::str::from_utf8(header).map_err(|_| LedgerChainError::NotALedger)?;
        let mut chain = Self::of_header(header)?;
        while !rest.is_empty() {
            let (line, after, ended) = match split_line(rest) {
                Some((line, after)) => (line, after, true),
                None => (rest, Default::default(), false),
            };
            match chain.follow(line) {
                Ok(next) => {
                    chain.lines.push(next);
                    chain.ended = ended;
                    chain.end += line.len() + usize::from(ended);
                }
                Err(LedgerChainError::Entry { sequence, .. })
                    if after.is_empty() && chain.begins_whole(line) =>
                {
                    return Err(LedgerChainError::Entry {
                        sequence,
                        why: "is whole, and lacks its line break",
                    });
                }
                // A power cut may leave blocks of zeros in what was not yet durable; no whole line holds a zero byte.
                Err(_)
                    if after.is_empty() && line.len() <= LINE_BYTES_MAX && (!ended || line.contains(&0)) =>
                {
                    chain.torn = true;
                }
                Err(why) => return Err(why),
            }
            rest = after;
        }
        Ok(chain)
    }

    /// Number and hash of the last entry.
    pub fn head(&self) -> LedgerHead {
        let hash = self.lines.last().map_or(self.start, |line| line.hash);
        LedgerHead { sequence: self.lines.len() as u64, hash }
    }

    /// The hash of an entry by its number; of the header for 0.
    pub fn hash(&self, sequence: u64) -> Option<Digest> {
        match sequence.checked_sub(1) {
            None => Some(self.start),
            Some(index) => Some(self.lines.get(usize::try_from(index).ok()?)?.hash),
        }
    }

    /// Adds an entry; gives its head and its line, with its line break, as it is to be appended at the end.
    pub(crate) fn push(&mut self, body: String) -> (LedgerHead, String) {
        let hash = self.next_hash(body.as_bytes());
        self.lines.push(Line { hash, body });
        let head = self.head();
        let body = self.lines.last().map_or("", |line| line.body.as_str());
        let missing = if self.ended { "" } else { "\n" };
        let line = format!("{missing}{} {} {body}\n", head.sequence, head.hash);
        self.end += line.len();
        self.ended = true;
        (head, line)
    }

    fn of_header(header: &str) -> Result<Self, LedgerChainError> {
        let mut words = header.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(LedgerChainError::NotALedger);
        }
        match words.next() {
            Some(VERSION) => {}
            version => {
                return Err(LedgerChainError::Version(
                    version.unwrap_or_default().escape_debug().to_string(),
                ));
            }
        }
        let sealed = match words.next() {
            Some("plain") => false,
            Some("sealed") => true,
            _ => return Err(LedgerChainError::NotALedger),
        };
        match (words.next(), words.next()) {
            (Some(dataset), None) if crate::file::is_name(dataset) => Ok(Self::empty(dataset, sealed)),
            _ => Err(LedgerChainError::NotALedger),
        }
    }

    /// The line, if it is the next one.
    fn follow(&self, line: &[u8]) -> Result<Line, LedgerChainError> {
        let sequence = self.head().sequence + 1;
        let bad = |why| LedgerChainError::Entry { sequence, why };
        if line.len() > LINE_BYTES_MAX {
            return Err(bad("is too long"));
        }
        let line = std::str::from_utf8(line).map_err(|_| bad("is no text"))?;
        let mut words = line.splitn(3, ' ');
        let (number, hash, body) = match (words.next(), words.next(), words.next()) {
            (Some(number), Some(hash), Some(body)) => (number, hash, body),
            _ => return Err(bad("is no line of a ledger")),
        };
        if number != sequence.to_string() {
            return Err(bad("is missing or out of its place"));
        }
        let hash: Digest = hash.parse().map_err(|_| bad("has no hash"))?;
        if hash != self.next_hash(body.as_bytes()) {
            return Err(bad("does not have the hash that its line says"));
        }
        Ok(Line { hash, body: body.into() })
    }

    /// Whether a last line is a whole entry but for its end: without its last byte, or up to its first zero.
    fn begins_whole(&self, line: &[u8]) -> bool {
        let shorter = line.split_last().map(|(_, shorter)| shorter);
        let before_zeros = line.split(|byte| *byte == 0).next();
        [shorter, before_zeros].into_iter().flatten().any(|part| self.follow(part).is_ok())
    }

    fn next_hash(&self, body: &[u8]) -> Digest {
        let LedgerHead { sequence, hash } = self.head();
        let number = (sequence + 1).to_le_bytes();
        Digest::of("folkmoot/v1/ledger-entry", &[hash.as_bytes(), &number, body])
    }
}

/// The first line without its line break, and what follows it.
pub(crate) fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(at)?;
    Some((line, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bodies: &[&str]) -> (Chain, String) {
        let mut chain = Chain::empty("d", false);
        let mut text = chain.header();
        for body in bodies {
            text += &chain.push((*body).into()).1;
        }
        (chain, text)
    }

    #[test]
    fn the_text_is_as_documented_and_reads_back() {
        let (chain, text) = written(&["{}", "{\"a\":1}"]);
        let start = Digest::of("folkmoot/v1/ledger", &[b"folkmoot-ledger 1 plain d"]);
        let first = Digest::of("folkmoot/v1/ledger-entry", &[start.as_bytes(), &1u64.to_le_bytes(), b"{}"]);
        let second =
            Digest::of("folkmoot/v1/ledger-entry", &[first.as_bytes(), &2u64.to_le_bytes(), b"{\"a\":1}"]);
        assert_eq!(text, format!("folkmoot-ledger 1 plain d\n1 {first} {{}}\n2 {second} {{\"a\":1}}\n"));
        assert_eq!(Chain::read(text.as_bytes()), Ok(chain));
    }

    #[test]
    fn a_changed_byte_of_any_entry_is_refused_by_the_number_of_that_entry() {
        let (chain, text) = written(&["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let first = chain.header().len();
        let line = (text.len() - first) / 3;
        for at in first..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let LedgerChainError::Entry { sequence, .. } = Chain::read(&bytes).unwrap_err() else {
                panic!("byte {at}")
            };
            assert_eq!(sequence as usize, (at - first) / line + 1, "byte {at}");
        }
    }

    #[test]
    fn entries_left_out_repeated_moved_or_taken_from_another_ledger_are_refused() {
        let (_, text) = written(&["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for order in [vec![0, 2, 3], vec![0, 1, 3], vec![0, 2, 1, 3], vec![0, 1, 1, 2], vec![0, 1, 2, 2]] {
            let edited: String = order.iter().map(|at| lines[*at]).collect();
            assert!(
                matches!(Chain::read(edited.as_bytes()), Err(LedgerChainError::Entry { .. })),
                "{order:?}"
            );
        }
        let other = text.replace("plain d", "plain e");
        assert_eq!(
            Chain::read(other.as_bytes()).unwrap_err(),
            LedgerChainError::Entry { sequence: 1, why: "does not have the hash that its line says" }
        );
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_every_whole_entry_and_is_never_refused() {
        let (chain, text) = written(&["{\"a\":1}", "{\"b\":2}"]);
        let ends: Vec<usize> =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        for cut in chain.header().len()..=text.len() {
            let found = Chain::read(&text.as_bytes()[..cut]).unwrap();
            let whole = ends[1..].iter().filter(|end| cut >= **end).count();
            assert_eq!(found.lines, chain.lines[..whole], "cut at {cut}");
            assert_eq!(found.torn, found.end != cut, "cut at {cut}");
        }
    }

    #[test]
    fn zeros_that_a_power_cut_left_in_the_last_line_are_unfinished_and_anywhere_else_damage() {
        let (chain, text) = written(&["{\"a\":1}", "{\"b\":2}"]);
        let mut bytes = text.clone().into_bytes();
        let last = bytes.len() - 3;
        bytes[last] = 0;
        let found = Chain::read(&bytes).unwrap();
        assert!(found.torn && found.lines == chain.lines[..1]);
        let mut bytes = text.into_bytes();
        bytes[chain.header().len() + 3] = 0;
        assert!(matches!(Chain::read(&bytes), Err(LedgerChainError::Entry { sequence: 1, .. })));
    }

    #[test]
    fn an_entry_that_has_another_byte_for_its_line_break_was_written_and_is_refused() {
        let (chain, text) = written(&["{\"a\":1}", "{\"b\":2}"]);
        let last = text.len() - 1;
        let first = text[..last].rfind('\n').unwrap();
        for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
            for (at, damaged) in [(first, 1), (last, 2)] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = byte;
                let refused = Chain::read(&bytes).unwrap_err();
                assert!(
                    matches!(refused, LedgerChainError::Entry { sequence, .. } if sequence == damaged),
                    "{byte} at {at}: {refused}"
                );
            }
        }
        // What a crash leaves of the next line has a line break before it.
        let found = Chain::read(&[text.as_bytes(), &[0; 9]].concat()).unwrap();
        assert!(found.torn && found.lines == chain.lines);
    }

    #[test]
    fn other_files_and_newer_versions_are_told_apart() {
        assert_eq!(Chain::read(b""), Err(LedgerChainError::NotALedger));
        assert_eq!(Chain::read(b"label,a\n0,1\n"), Err(LedgerChainError::NotALedger));
        assert_eq!(Chain::read(b"folkmoot-ledger 1 plain ../d\n"), Err(LedgerChainError::NotALedger));
        let newer = Chain::read(b"folkmoot-ledger 2 plain d\n").unwrap_err();
        assert!(newer.to_string().starts_with("has format 2, this release reads up to 1"), "{newer}");
    }
}
