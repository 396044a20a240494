//! Bytes of the journal: a header, then frames. Pure: no files here.
//!
//! ```text
//! header  "FMJL" | version u16 | kind u16
//! frame   body bytes u32 | first sequence u64 | count u32 | CRC-32 of these 16 bytes
//!         body: count times (length u32 | record)
//!         chain hash [32]: over the previous hash, the frame's head and its body
//! ```
//!
//! All little endian. The version is 1, or 2 where each record is sealed, in journals that release 1 began, and 3 or 4 in
//! those begun since: their records may be of kinds that release 1 does not know, and it refuses them by the version. A
//! journal keeps the version that it was begun with, which its chain of hashes starts from; one of release 1 that a later
//! release has continued is refused by release 1 at the first record that it does not know. One append is one frame, so it is there whole or not at all. The CRC is what tells a
//! damaged length in the middle from a last frame cut short: without it, one flipped bit could pass for a
//! torn tail and cost every record after it.

use params::Digest;

/// Most bytes of one append: its records, and four more for each.
pub const APPEND_BYTES_MAX: usize = 64 << 20;

pub(crate) const HEADER_BYTES: usize = 8;
pub(crate) const FRAME_HEAD_BYTES: usize = 20;
pub(crate) const HASH_BYTES: usize = 32;

const MAGIC: &[u8; 4] = b"FMJL";
/// The newest format. Each has two versions: in the clear, and sealed.
pub(crate) const FORMAT: u16 = 2;

/// Whose journal it is; one kind is never opened as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// Of one run, at the central site.
    Coordinator = 1,
    /// Of one silo.
    Client = 2,
    /// Of an audit log, at either.
    Audit = 3,
}

/// What a journal's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) kind: JournalKind,
    pub(crate) sealed: bool,
    pub(crate) format: u16,
}

impl Form {
    /// That of a journal that is begun now.
    pub(crate) fn new(kind: JournalKind, sealed: bool) -> Form {
        // The entries of audit logs are of the first format still.
        let format = if kind == JournalKind::Audit { 1 } else { FORMAT };
        Form { kind, sealed, format }
    }

    fn version(self) -> u16 {
        2 * self.format - u16::from(!self.sealed)
    }
}

impl From<JournalKind> for Form {
    fn from(kind: JournalKind) -> Form {
        Form::new(kind, false)
    }
}

/// The end of a journal: equal heads mean equal journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last record; 0 before the first.
    pub sequence: u64,
    /// Chain hash over everything up to it.
    pub hash: Digest,
}

impl Head {
    /// The head of a journal without records.
    pub(crate) fn start(form: impl Into<Form>) -> Head {
        Head { sequence: 0, hash: Digest::of("folkmoot/v1/journal", &[&header(form)]) }
    }

    /// The head after one more frame.
    fn after(&self, frame_head: &[u8], body: &[u8], count: u32) -> Head {
        let hash = Digest::of("folkmoot/v1/journal-frame", &[self.hash.as_bytes(), frame_head, body]);
        Head { sequence: self.sequence + u64::from(count), hash }
    }
}

/// The first bytes of a journal.
pub(crate) fn header(form: impl Into<Form>) -> [u8; HEADER_BYTES] {
    let form = form.into();
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&form.version().to_le_bytes());
    bytes[6..].copy_from_slice(&(form.kind as u16).to_le_bytes());
    bytes
}

/// The format of a version, and whether its records are sealed.
fn meaning(version: u16) -> (u16, bool) {
    (version.div_ceil(2), version.is_multiple_of(2))
}

/// Whether a header is a sealed journal's, of any kind.
pub(crate) fn is_sealed(header: &[u8; HEADER_BYTES]) -> bool {
    let (format, sealed) = meaning(u16::from_le_bytes([header[4], header[5]]));
    header.starts_with(MAGIC) && sealed && (1..=FORMAT).contains(&format)
}

/// Why a header is not this program's for this kind.
#[derive(Debug, PartialEq)]
pub(crate) enum HeaderProblem {
    Magic,
    /// The format of a later release.
    Format(u16),
    Kind,
    Sealed,
    NotSealed,
}

/// The form of a journal that is to be of this one's kind, and sealed or not as it is; its format is its own.
pub(crate) fn check_header(bytes: &[u8; HEADER_BYTES], form: impl Into<Form>) -> Result<Form, HeaderProblem> {
    let form = form.into();
    let (format, sealed) = meaning(u16::from_le_bytes([bytes[4], bytes[5]]));
    match bytes {
        _ if !bytes.starts_with(MAGIC) => Err(HeaderProblem::Magic),
        _ if !(1..=FORMAT).contains(&format) => Err(HeaderProblem::Format(format)),
        _ if bytes[6..] != header(form)[6..] => Err(HeaderProblem::Kind),
        _ if sealed != form.sealed && form.sealed => Err(HeaderProblem::NotSealed),
        _ if sealed != form.sealed => Err(HeaderProblem::Sealed),
        _ => Ok(Form { format, ..form }),
    }
}

/// The frame that appends `records` after `head`, and the head after it; none when they are too long.
pub(crate) fn encode(head: &Head, records: &[Vec<u8>]) -> Option<(Vec<u8>, Head)> {
    let body_bytes: usize = records.iter().map(|record| 4 + record.len()).sum();
    if body_bytes > APPEND_BYTES_MAX {
        return None;
    }
    let frame_head = FrameHead { body_bytes, sequence: head.sequence + 1, count: records.len() as u32 };
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + body_bytes + HASH_BYTES);
    frame.extend(frame_head.encode());
    for record in records {
        frame.extend((record.len() as u32).to_le_bytes());
        frame.extend(record);
    }
    let (encoded_head, body) = frame.split_at(FRAME_HEAD_BYTES);
    let next = head.after(encoded_head, body, frame_head.count);
    frame.extend(next.hash.as_bytes());
    Some((frame, next))
}

/// The head after a frame read back, if its stored hash continues the chain.
pub(crate) fn verify(
    head: &Head,
    frame_head: &FrameHead,
    body: &[u8],
    hash: &[u8; HASH_BYTES],
) -> Option<Head> {
    let next = head.after(&frame_head.encode(), body, frame_head.count);
    (next.hash.as_bytes() == hash).then_some(next)
}

/// The records of a body; none when they do not fill it exactly.
pub(crate) fn records(mut body: &[u8], count: u32) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        records.push(record);
        body = rest;
    }
    body.is_empty().then_some(records)
}

/// The fixed part before a frame's body.
#[derive(Debug, PartialEq)]
pub(crate) struct FrameHead {
    pub(crate) body_bytes: usize,
    pub(crate) sequence: u64,
    pub(crate) count: u32,
}

impl FrameHead {
    /// The frame's whole length.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (FRAME_HEAD_BYTES + self.body_bytes + HASH_BYTES) as u64
    }

    /// None when the CRC or the limit says that these bytes are no frame's head.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Option<FrameHead> {
        let (body_bytes, rest) = bytes.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (count, crc) = rest.split_first_chunk::<4>()?;
        let body_bytes = u32::from_le_bytes(*body_bytes) as usize;
        // The limit first: it is cheap, and a search asks at every offset.
        if body_bytes > APPEND_BYTES_MAX || crc != crc32fast::hash(&bytes[..16]).to_le_bytes() {
            return None;
        }
        let (sequence, count) = (u64::from_le_bytes(*sequence), u32::from_le_bytes(*count));
        (sequence > 0 && count > 0).then_some(FrameHead { body_bytes, sequence, count })
    }

    fn encode(&self) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[..4].copy_from_slice(&(self.body_bytes as u32).to_le_bytes());
        bytes[4..12].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Whether a frame that comes after `sequence` begins somewhere in `bytes`: then what lies before it was once
/// acknowledged.
pub(crate) fn has_frame_after(sequence: u64, bytes: &[u8]) -> bool {
    bytes.windows(FRAME_HEAD_BYTES).any(|window| {
        let head = window.first_chunk().and_then(FrameHead::decode);
        head.is_some_and(|head| head.sequence > sequence && head.sequence - sequence <= u64::from(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes_are_as_documented() {
        assert_eq!(&header(JournalKind::Client), b"FMJL\x03\x00\x02\x00");
        assert_eq!(&header(Form::new(JournalKind::Coordinator, true)), b"FMJL\x04\x00\x01\x00");
        assert_eq!(&header(JournalKind::Audit), b"FMJL\x01\x00\x03\x00");
    }

    #[test]
    fn headers_of_other_files_versions_and_kinds_are_told_apart() {
        let header = header(JournalKind::Client);
        let form = |sealed, format| Form { kind: JournalKind::Client, sealed, format };
        assert_eq!(check_header(&header, JournalKind::Client), Ok(form(false, 2)));
        assert_eq!(check_header(&header, JournalKind::Coordinator), Err(HeaderProblem::Kind));
        assert_eq!(check_header(b"FMJX\x01\0\x02\0", JournalKind::Client), Err(HeaderProblem::Magic));
        for version in [0, 5, 6] {
            let later = [b"FMJL", &[version, 0, 2, 0][..]].concat().try_into().unwrap();
            let format = u16::from(version).div_ceil(2);
            assert_eq!(check_header(&later, JournalKind::Client), Err(HeaderProblem::Format(format)));
        }
        let sealed = Form::new(JournalKind::Client, true);
        for (version, format) in [(1, 1), (3, 2)] {
            let plain = [b"FMJL", &[version, 0, 2, 0][..]].concat().try_into().unwrap();
            assert_eq!(check_header(&plain, JournalKind::Client), Ok(form(false, format)));
            assert_eq!(check_header(&plain, sealed), Err(HeaderProblem::NotSealed));
            let shut = [b"FMJL", &[version + 1, 0, 2, 0][..]].concat().try_into().unwrap();
            assert_eq!(check_header(&shut, sealed), Ok(form(true, format)));
            assert_eq!(check_header(&shut, JournalKind::Client), Err(HeaderProblem::Sealed));
            assert!(is_sealed(&shut) && !is_sealed(&plain));
        }
    }

    #[test]
    fn frame_bytes_are_as_documented() {
        let start = Head::start(JournalKind::Client);
        let (frame, next) = encode(&start, &[b"ab".to_vec(), vec![]]).unwrap();
        let mut expected = b"\x0a\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0".to_vec();
        expected.extend(crc32fast::hash(&expected).to_le_bytes());
        let body = b"\x02\0\0\0ab\0\0\0\0";
        let parts: [&[u8]; 3] = [start.hash.as_bytes(), &expected, body];
        let hash = Digest::of("folkmoot/v1/journal-frame", &parts);
        expected.extend(body);
        expected.extend(hash.as_bytes());
        assert_eq!(frame, expected);
        assert_eq!(next, Head { sequence: 2, hash });
        assert_eq!(records(body, 2).unwrap(), [&b"ab"[..], b""]);
    }

    #[test]
    fn the_crc_sees_any_changed_byte_of_a_frame_head() {
        let (frame, _) = encode(&Head::start(JournalKind::Client), &[b"ab".to_vec()]).unwrap();
        let head: [u8; FRAME_HEAD_BYTES] = *frame.first_chunk().unwrap();
        assert!(FrameHead::decode(&head).is_some());
        for at in 0..FRAME_HEAD_BYTES {
            for flip in 1..=255 {
                let mut head = head;
                head[at] ^= flip;
                assert_eq!(FrameHead::decode(&head), None);
            }
        }
    }

    #[test]
    fn bodies_that_records_do_not_fill_exactly_are_refused() {
        for (body, count) in
            [(&b"\x03\0\0\0ab"[..], 1), (b"\x01\0\0\0ab", 1), (b"\x02\0\0", 1), (b"\x02\0\0\0ab", 2)]
        {
            assert_eq!(records(body, count), None);
        }
    }

    #[test]
    fn an_append_above_the_limit_is_refused() {
        let start = Head::start(JournalKind::Client);
        assert!(encode(&start, &[vec![0; APPEND_BYTES_MAX - 4]]).is_some());
        assert!(encode(&start, &[vec![0; APPEND_BYTES_MAX - 3]]).is_none());
    }
}
