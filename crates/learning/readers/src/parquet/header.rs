//! What stands before each page: read before anything is set aside for the page.
//!
//! # Format
//! Apache Parquet, `parquet.thrift`: `PageHeader`, in Thrift's compact protocol.

/// Structures within structures; a page's statistics are two deep.
const DEPTH_MAX: u8 = 8;

/// What a page says of itself, as far as it is needed. What is not there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub(crate) kind: Option<i64>,
    pub(crate) unpacked_bytes: Option<i64>,
    pub(crate) bytes: Option<i64>,
    pub(crate) crc: Option<i64>,
    pub(crate) values: Option<i64>,
    pub(crate) encoding: Option<i64>,
    pub(crate) level_encoding: Option<i64>,
    /// Of pages of version 2.
    pub(crate) nulls: Option<i64>,
    pub(crate) rows: Option<i64>,
    pub(crate) definition_bytes: Option<i64>,
    pub(crate) repetition_bytes: Option<i64>,
    pub(crate) is_packed: Option<i64>,
}

impl PageHeader {
    /// A header and its length; none where the bytes are none, or end before it does.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut header = Self::default();
        let mut compact = Compact { rest: bytes };
        compact.structure(DEPTH_MAX, &mut |outer, field, value| {
            let place = match (outer, field) {
                (0, 1) => &mut header.kind,
                (0, 2) => &mut header.unpacked_bytes,
                (0, 3) => &mut header.bytes,
                (0, 4) => &mut header.crc,
                // The headers of data, of a dictionary and of data of version 2.
                (5 | 7 | 8, 1) => &mut header.values,
                (5 | 7, 2) | (8, 4) => &mut header.encoding,
                (5, 3) => &mut header.level_encoding,
                (8, 2) => &mut header.nulls,
                (8, 3) => &mut header.rows,
                (8, 5) => &mut header.definition_bytes,
                (8, 6) => &mut header.repetition_bytes,
                (8, 7) => &mut header.is_packed,
                _ => return,
            };
            *place = Some(value);
        })?;
        Some((header, bytes.len() - compact.rest.len()))
    }
}

/// Bytes in the compact protocol. Nothing of it is set aside: what is not asked for is passed over.
struct Compact<'a> {
    rest: &'a [u8],
}

/// What is done with a whole number or a truth: of the field that its structure is, or 0 of the outermost; of its own; its value.
type Take<'t> = &'t mut dyn FnMut(i64, i64, i64);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn structure(&mut self, depth: u8, take: Take<'_>) -> Option<()> {
        self.fields(depth, 0, take)
    }

    fn fields(&mut self, depth: u8, outer: i64, take: Take<'_>) -> Option<()> {
        let mut field = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.zigzag()?,
                step => field.checked_add(i64::from(step))?,
            };
            match head & 0xf {
                kind @ (1 | 2) => take(outer, field, i64::from(kind == 1)),
                4..=6 => {
                    let value = self.zigzag()?;
                    take(outer, field, value);
                }
                // One deeper; of what stands further down nothing is asked for.
                12 if outer == 0 => self.fields(depth.checked_sub(1)?, field, take)?,
                kind => self.pass(depth.checked_sub(1)?, kind)?,
            }
        }
    }

    /// Passes over a value.
    fn pass(&mut self, depth: u8, kind: u8) -> Option<()> {
        let inner = depth.checked_sub(1)?;
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 0xf { self.varint()? } else { u64::from(head >> 4) };
                (0..count).try_for_each(|_| self.pass(inner, head & 0xf))
            }
            11 => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.pass(inner, kinds >> 4)?;
                    self.pass(inner, kinds & 0xf)
                })
            }
            12 => self.fields(inner, i64::MIN, &mut |_, _, _| {}),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Data of 3 values in 40 bytes of 100, dictionary-encoded, with statistics in which a structure, a list and a map stand.
    const HEADER: &[u8] = &[
        0x15, 0, 0x15, 200, 1, 0x15, 80, 0x2c, 0x15, 6, 0x15, 16, 0x15, 6, 0x15, 6, 0x1c, 0x18, 2, 9, 9,
        0x19, 0x25, 2, 4, 0x1b, 1, 0x55, 2, 2, 0x1c, 0x11, 0, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_header_is_read_past_what_is_not_asked_for_and_its_length_is_known() {
        let (header, length) = PageHeader::read(&[HEADER, b"the page"].concat()).unwrap();
        assert_eq!(length, HEADER.len());
        let expected = PageHeader {
            kind: Some(0),
            unpacked_bytes: Some(100),
            bytes: Some(40),
            values: Some(3),
            encoding: Some(8),
            level_encoding: Some(3),
            ..PageHeader::default()
        };
        assert_eq!(header, expected);
        for end in 0..HEADER.len() {
            assert_eq!(PageHeader::read(&HEADER[..end]), None, "{end}");
        }
    }

    #[test]
    fn structures_within_structures_and_lists_without_end_are_no_header() {
        assert_eq!(PageHeader::read(&[0x1c; 99]), None);
        assert_eq!(PageHeader::read(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]), None);
        assert_eq!(
            PageHeader::read(&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some((_, length)) = PageHeader::read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
