//! The pages of a column: checked, bounded and unpacked here, decoded by the library.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;

use crate::parquet::header::PageHeader;
use crate::parquet::runs::{deltas, hybrid};

/// Longest page, packed or unpacked.
const PAGE_BYTES_MAX: u64 = 128 << 20;

/// Longest page of texts that each go on from the one before: every one of them may be as long as the page.
const CHAINED_BYTES_MAX: u64 = 4 << 20;

/// Longest header of a page, with the least and the greatest of its texts; and what most are shorter than.
const HEADER_BYTES_MAX: usize = 1 << 20;
const HEADER_BYTES: usize = 512;

/// How a page is packed, where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Snappy,
    Gzip,
    Zstd,
}

impl Packing {
    /// # Errors
    /// The name of one that is not read here.
    pub(crate) fn of(compression: Compression) -> std::result::Result<Option<Self>, &'static str> {
        match compression {
            Compression::UNCOMPRESSED => Ok(None),
            Compression::SNAPPY => Ok(Some(Self::Snappy)),
            Compression::GZIP(_) => Ok(Some(Self::Gzip)),
            Compression::ZSTD(_) => Ok(Some(Self::Zstd)),
            Compression::LZO => Err("LZO"),
            Compression::BROTLI(_) => Err("Brotli"),
            Compression::LZ4 | Compression::LZ4_RAW => Err("LZ4"),
        }
    }

    /// Adds what was packed to `unpacked`, and no more than `most` bytes.
    fn unpack(self, packed: &[u8], unpacked: &mut Vec<u8>, most: u64) -> io::Result<()> {
        match self {
            Self::Gzip => MultiGzDecoder::new(packed).take(most + 1).read_to_end(unpacked).map(|_| ()),
            Self::Zstd => {
                let frame = ruzstd::decoding::StreamingDecoder::new(packed).map_err(io::Error::other)?;
                frame.take(most + 1).read_to_end(unpacked).map(|_| ())
            }
            Self::Snappy => {
                let length = snap::raw::decompress_len(packed).map_err(io::Error::other)?;
                if length as u64 > most {
                    return Err(io::Error::other("it is longer than it says"));
                }
                let start = unpacked.len();
                unpacked.resize(start + length, 0);
                let room = unpacked.split_at_mut(start).1;
                snap::raw::Decoder::new().decompress(packed, room).map(|_| ()).map_err(io::Error::other)
            }
        }
    }
}

/// The pages of a column in one group of rows.
pub(crate) struct Pages {
    file: Arc<File>,
    packing: Option<Packing>,
    /// Where the next one begins, and where the last one ends.
    at: u64,
    end: u64,
    /// What a value takes at least in a dictionary.
    value_bytes: u64,
    has_levels: bool,
    has_dictionary: bool,
}

impl Pages {
    /// None where the column lies nowhere.
    pub(crate) fn new(
        file: Arc<File>,
        packing: Option<Packing>,
        chunk: &ColumnChunkMetaData,
    ) -> Option<Self> {
        // As older writers have it, a dictionary that is not there is at 0.
        let first = chunk.dictionary_page_offset().filter(|at| *at > 0).unwrap_or(chunk.data_page_offset());
        let at = u64::try_from(first).ok()?;
        let end = at.checked_add(u64::try_from(chunk.compressed_size()).ok()?)?;
        let value_bytes = match chunk.column_type() {
            Type::BOOLEAN => u64::MAX,
            Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
            Type::INT64 | Type::DOUBLE => 8,
            Type::INT96 => 12,
            Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(chunk.column_descr().type_length()).ok()?.max(1),
        };
        let has_levels = chunk.column_descr().max_def_level() > 0;
        Some(Self { file, packing, at, end, value_bytes, has_levels, has_dictionary: false })
    }

    /// Reads the next page's header, and passes over it.
    fn header(&mut self) -> Result<PageHeader> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        for length in [HEADER_BYTES.min(left), HEADER_BYTES_MAX.min(left)] {
            let bytes = self.bytes(length)?;
            if let Some((header, length)) = PageHeader::read(&bytes) {
                self.at += length as u64;
                return Ok(header);
            }
        }
        Err(broken("a page has no header"))
    }

    fn bytes(&self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, self.at)
            .map_err(|_| broken("the file ends before its pages do"))?;
        Ok(bytes)
    }

    /// A page's bytes as they were before they were packed.
    fn unpacked(&self, page: Vec<u8>, length: usize, plain: usize, is_packed: bool) -> Result<Bytes> {
        let Some(packing) = self.packing.filter(|_| is_packed) else {
            return if page.len() == length {
                Ok(page.into())
            } else {
                Err(broken("a page has not its length"))
            };
        };
        let (levels, packed) =
            page.split_at_checked(plain).ok_or_else(|| broken("a page ends in its levels"))?;
        let mut unpacked = Vec::with_capacity(length);
        unpacked.extend_from_slice(levels);
        let most = length.checked_sub(plain).ok_or_else(|| broken("a page ends in its levels"))?;
        // A page without a value need not hold what packing makes of nothing.
        if most > 0 {
            let done = packing.unpack(packed, &mut unpacked, most as u64);
            done.map_err(|why| broken(format!("a page cannot be unpacked: {why}")))?;
        }
        match unpacked.len() == length {
            true => Ok(unpacked.into()),
            false => Err(broken("what a page unpacks to is not as long as it says")),
        }
    }

    fn dictionary(&mut self, header: &PageHeader, buf: Bytes) -> Result<Page> {
        let num_values = count(header.values)?;
        // What is set aside for a dictionary's values goes by their number.
        if u64::from(num_values).checked_mul(self.value_bytes).is_none_or(|bytes| bytes > buf.len() as u64) {
            return Err(broken("a dictionary is shorter than its values"));
        }
        let encoding = match encoding(header.encoding)? {
            encoding @ (Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) => encoding,
            other => return Err(broken(format!("a dictionary is encoded as {other}"))),
        };
        self.has_dictionary = true;
        Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false })
    }

    fn data(&self, header: &PageHeader, buf: Bytes) -> Result<Page> {
        let num_values = count(header.values)?;
        let encoding = encoding(header.encoding)?;
        if matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) && !self.has_dictionary {
            return Err(broken("a page has no dictionary before it"));
        }
        if encoding == Encoding::DELTA_BYTE_ARRAY && buf.len() as u64 > CHAINED_BYTES_MAX {
            return Err(broken(format!(
                "a page of DELTA_BYTE_ARRAY is longer than {CHAINED_BYTES_MAX} bytes, and is not read; write smaller pages"
            )));
        }
        if header.kind == Some(DATA) {
            let levels = self::encoding(header.level_encoding)?;
            if self.has_levels && levels != Encoding::RLE {
                return Err(broken(format!(
                    "the levels of a page are encoded as {levels}, which is not read"
                )));
            }
            let (own_levels, values) = match self.has_levels {
                true => counted(&buf).ok_or_else(runs_broken)?,
                false => (&[][..], &buf[..]),
            };
            self.check_runs(own_levels, values, encoding, num_values).ok_or_else(runs_broken)?;
            let (def_level_encoding, rep_level_encoding) = (levels, Encoding::RLE);
            let statistics = None;
            return Ok(Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            });
        }
        let def_levels_byte_len = count(header.definition_bytes)?;
        let (levels, values) = buf.split_at_checked(def_levels_byte_len as usize).ok_or_else(runs_broken)?;
        self.check_runs(levels, values, encoding, num_values).ok_or_else(runs_broken)?;
        Ok(Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            num_nulls: count(header.nulls)?,
            num_rows: count(header.rows)?,
            def_levels_byte_len,
            rep_levels_byte_len: 0,
            is_compressed: false,
            statistics: None,
        })
    }
}

impl Pages {
    /// Whether the library finds in a page what it takes for granted there.
    fn check_runs(&self, levels: &[u8], values: &[u8], encoding: Encoding, count: u32) -> Option<()> {
        let count = u64::from(count);
        if self.has_levels {
            hybrid(levels, 1, count)?;
        }
        match encoding {
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => match values.split_first() {
                Some((bits, runs)) => hybrid(runs, *bits, count),
                None => None,
            },
            Encoding::RLE => hybrid(counted(values)?.0, 1, count),
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => deltas(values).map(|_| ()),
            Encoding::DELTA_BYTE_ARRAY => deltas(values.split_at_checked(deltas(values)?)?.1).map(|_| ()),
            _ => Some(()),
        }
    }
}

/// Bytes with their number in front, and what is behind them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*count) as usize)
}

fn runs_broken() -> ParquetError {
    broken("the runs of a page are damaged")
}

/// The kinds of pages.
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        while self.at < self.end {
            let header = self.header()?;
            let (packed, length) = (bytes(header.bytes)?, bytes(header.unpacked_bytes)?);
            if self.end - self.at < packed as u64 {
                return Err(broken("a page is longer than its column"));
            }
            let is_of_no_row = matches!(header.kind, Some(DATA | DATA_2)) && header.values == Some(0);
            if header.kind == Some(INDEX) || is_of_no_row {
                self.at += packed as u64;
                continue;
            }
            let page = self.bytes(packed)?;
            self.at += packed as u64;
            if header.crc.is_some_and(|crc| crc as u32 != crc32fast::hash(&page)) {
                return Err(broken("a page is damaged: it has not its checksum"));
            }
            let plain = match header.kind {
                Some(DATA_2) if header.repetition_bytes.is_none_or(|bytes| bytes == 0) => {
                    count(header.definition_bytes)? as usize
                }
                Some(DATA | DICTIONARY) => 0,
                _ => return Err(broken("a page is of no kind that a plain column has")),
            };
            let is_packed = header.is_packed.is_none_or(|packed| packed == 1);
            let buffer = self.unpacked(page, length, plain, is_packed)?;
            return match header.kind {
                Some(DICTIONARY) => self.dictionary(&header, buffer),
                _ => self.data(&header, buffer),
            }
            .map(Some);
        }
        Ok(None)
    }

    /// Only who passes over rows asks for it, which nobody does.
    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Err(ParquetError::NYI("pages are read in their order".into()))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        Err(ParquetError::NYI("pages are read in their order".into()))
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// A length, before that much is set aside.
fn bytes(said: Option<i64>) -> Result<usize> {
    let length = said.and_then(|length| u64::try_from(length).ok());
    match length {
        Some(length) if length <= PAGE_BYTES_MAX => Ok(length as usize),
        Some(_) => Err(broken(format!(
            "a page is longer than {PAGE_BYTES_MAX} bytes, and is not read; write smaller pages, or fewer rows to a group"
        ))),
        None => Err(broken("a page does not say how long it is")),
    }
}

fn count(said: Option<i64>) -> Result<u32> {
    let count = said.and_then(|count| i32::try_from(count).ok()).and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| broken("a page does not say how much is in it"))
}

fn encoding(said: Option<i64>) -> Result<Encoding> {
    Ok(match said {
        Some(0) => Encoding::PLAIN,
        Some(2) => Encoding::PLAIN_DICTIONARY,
        Some(3) => Encoding::RLE,
        Some(5) => Encoding::DELTA_BINARY_PACKED,
        Some(6) => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        Some(7) => Encoding::DELTA_BYTE_ARRAY,
        Some(8) => Encoding::RLE_DICTIONARY,
        Some(9) => Encoding::BYTE_STREAM_SPLIT,
        other => {
            return Err(broken(format!(
                "a page has the encoding {}, which is not read",
                other.unwrap_or(-1)
            )));
        }
    })
}

fn broken(what: impl Into<String>) -> ParquetError {
    ParquetError::General(what.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use flate2::write::GzEncoder;
    use parquet::basic::GzipLevel;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// A field of the compact protocol, one behind the one before it.
    fn field(value: i64) -> Vec<u8> {
        let mut bytes = vec![0x15];
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left > 0x7f {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    /// A page: what it says of its kind, its length unpacked, its values and their encoding; and what is in it.
    fn page(kind: i64, unpacked: i64, values: i64, encoding: i64, bytes: &[u8]) -> Vec<u8> {
        let inner = if kind == DICTIONARY { 0x4c } else { 0x2c };
        let said = [field(kind), field(unpacked), field(bytes.len() as i64), vec![inner]].concat();
        let levels = [field(3), field(3)].concat();
        let of_values =
            [field(values), field(encoding), if kind == DICTIONARY { vec![] } else { levels }].concat();
        [&said[..], &of_values, &[0, 0], bytes].concat()
    }

    /// What is said of a column of texts with these pages.
    fn refused(compression: Compression, pages: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(pages).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let schema = parse_message_type("message m { required binary t; }").unwrap();
        let chunk = ColumnChunkMetaData::builder(SchemaDescriptor::new(Arc::new(schema)).column(0))
            .set_compression(compression)
            .set_data_page_offset(0)
            .set_total_compressed_size(pages.len() as i64)
            .build()
            .unwrap();
        let packing = Packing::of(compression).unwrap();
        let mut pages = Pages::new(Arc::new(file), packing, &chunk).unwrap();
        loop {
            match pages.get_next_page() {
                Ok(Some(_)) => {}
                Ok(None) => return "nothing".into(),
                Err(why) => return why.to_string().replace("Parquet error: ", ""),
            }
        }
    }

    #[test]
    fn a_page_that_unpacks_to_more_than_it_says_is_refused_after_no_more_than_that() {
        let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(&vec![0; 64 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        let gzip = Compression::GZIP(GzipLevel::default());
        let longer = "what a page unpacks to is not as long as it says";
        assert_eq!(refused(gzip, &page(DATA, 100, 1, 0, &packed)), longer);
        let mut unpacked = Vec::new();
        Packing::Gzip.unpack(&packed, &mut unpacked, 100).unwrap();
        assert_eq!(unpacked.len(), 101);
        // Snappy and Zstandard say how long it is.
        let snappy = snap::raw::Encoder::new().compress_vec(&[0; 200]).unwrap();
        let said = refused(Compression::SNAPPY, &page(DATA, 100, 1, 0, &snappy));
        assert_eq!(said, "a page cannot be unpacked: it is longer than it says");
        let mut unpacked = Vec::new();
        let zeros =
            ruzstd::encoding::compress_to_vec(&[0; 9000][..], ruzstd::encoding::CompressionLevel::Fastest);
        Packing::Zstd.unpack(&zeros, &mut unpacked, 100).unwrap();
        assert_eq!(unpacked.len(), 101);
    }

    #[test]
    fn nothing_is_set_aside_for_what_a_page_claims() {
        let plain = Compression::UNCOMPRESSED;
        for (pages, said) in [
            (
                page(DATA, (128 << 20) + 1, 1, 0, b"x"),
                "a page is longer than 134217728 bytes, and is not read",
            ),
            (page(DATA, -1, 1, 0, b"x"), "a page does not say how long it is"),
            (page(DATA, 1, -1, 0, b"x"), "a page does not say how much is in it"),
            (page(DICTIONARY, 4, 2, 0, &[0; 4]), "a dictionary is shorter than its values"),
            (page(DICTIONARY, 4, i64::from(i32::MAX), 0, &[0; 4]), "a dictionary is shorter than its values"),
            (page(DICTIONARY, 4, 1, 8, &[0; 4]), "a dictionary is encoded as RLE_DICTIONARY"),
            (page(DATA, 2, 1, 8, &[1, 2]), "a page has no dictionary before it"),
            (page(DATA, 2, 1, 4, &[1, 2]), "a page has the encoding 4, which is not read"),
            (
                page(DATA, 5 << 20, 1, 7, &vec![0; 5 << 20]),
                "a page of DELTA_BYTE_ARRAY is longer than 4194304",
            ),
            (page(DATA_2, 2, 1, 0, &[1, 2]), "a page does not say how much is in it"),
            (page(9, 2, 1, 0, &[1, 2]), "a page is of no kind that a plain column has"),
            (page(DATA, 3, 1, 0, &[1, 2]), "a page has not its length"),
        ] {
            let found = refused(plain, &pages);
            assert!(found.starts_with(said), "{found} for {said}");
        }
        let cut = page(DATA, 2, 1, 0, &[1, 2]);
        assert_eq!(refused(plain, &cut[..cut.len() - 1]), "a page is longer than its column");
        assert_eq!(refused(plain, &page(INDEX, 2, 1, 0, &[1, 2])), "nothing");
    }
}
