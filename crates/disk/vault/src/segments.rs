//! Files, sealed segment by segment: they can grow, be resumed after a crash, and be read as a stream.
//!
//! ```text
//! file     "FMSV" | form u8 = 2 | data key's id u32 | file's id [32] | segments | trailer
//! segment  length u32 | nonce [24] | ciphertext of `length` bytes | tag [16]
//! trailer  a segment whose length has its highest bit set; it holds the plaintext's length, u64
//! ```
//!
//! Little endian. Each file has its own key, derived from the data key, the file's id and the context. Each segment
//! authenticates the header or, from the second on, the tag before it, and its own length: none can be left out,
//! repeated, moved or taken from another file, and only the trailer ends a file.

use std::io::{self, Read, Seek, SeekFrom};

use zeroize::Zeroizing;

use crate::key::{Key, NONCE_BYTES, TAG_BYTES, random};
use crate::seal::{FILE, HEADER_BYTES, header, parse_header};
use crate::{Vault, VaultError};

/// Most plaintext in one segment.
pub const SEGMENT_BYTES_MAX: usize = 64 << 10;

/// Length of a finished file's last segment.
const TRAILER_BYTES: u64 = (LENGTH_BYTES + NONCE_BYTES + TOTAL_BYTES + TAG_BYTES) as u64;

const FILE_ID_BYTES: usize = 32;
const FILE_HEADER_BYTES: usize = HEADER_BYTES + FILE_ID_BYTES;
const LENGTH_BYTES: usize = 4;
const TOTAL_BYTES: usize = 8;
const TRAILER_BIT: u32 = 1 << 31;
const TRAILER_LENGTH: u32 = TRAILER_BIT | TOTAL_BYTES as u32;

/// Seals one file's segments, in order. Whoever holds it writes what it gives.
#[derive(Debug)]
pub struct FileSealer {
    key: Key,
    /// What the next segment authenticates: the header, or the tag of the segment before.
    previous: Vec<u8>,
    plain_bytes: u64,
}

/// What became of a file that was cut short.
#[derive(Debug)]
pub struct Resumed {
    /// Seals what comes next; none when not even the header is genuine, and the file must begin anew.
    pub sealer: Option<FileSealer>,
    /// How many bytes of the file hold; what follows them is to be cut off.
    pub sealed_bytes: u64,
    /// How many bytes of plaintext they are.
    pub plain_bytes: u64,
}

impl Vault {
    /// Begins a file under the active data key: gives its sealer, and its first bytes.
    ///
    /// # Errors
    ///
    /// A changed keyring that does not open; no randomness.
    pub fn begin_file(&self, context: &[u8]) -> Result<(FileSealer, Vec<u8>), VaultError> {
        self.with_active(|id, key| {
            let file_id: [u8; FILE_ID_BYTES] = random()?;
            let header = [&header(FILE, id)[..], &file_id].concat();
            let sealer = FileSealer {
                key: file_key(key, &file_id, context),
                previous: header.clone(),
                plain_bytes: 0,
            };
            Ok((sealer, header))
        })
    }

    /// Takes up a file that a crash cut short, after its last genuine segment; a trailer is cut off too.
    ///
    /// What a power cut left behind that segment may be anything, and so may the whole file: then it begins anew.
    ///
    /// # Errors
    ///
    /// A changed keyring that does not open; a reader that fails.
    pub fn resume_file(&self, context: &[u8], sealed: impl Read) -> Result<Resumed, VaultError> {
        let mut reader = match self.read_file(context, sealed) {
            Ok(reader) => reader,
            Err(why) if why.is_of_content() => {
                return Ok(Resumed { sealer: None, sealed_bytes: 0, plain_bytes: 0 });
            }
            Err(why) => return Err(why),
        };
        let mut sealed_bytes = FILE_HEADER_BYTES as u64;
        let previous = loop {
            let previous = reader.state.previous.clone();
            match reader.next_segment() {
                Ok(Some(segment)) => {
                    sealed_bytes += (LENGTH_BYTES + NONCE_BYTES + segment.len() + TAG_BYTES) as u64;
                }
                Ok(None) => break previous,
                Err(why) if why.is_of_content() => break previous,
                Err(why) => return Err(why),
            }
        };
        let sealer = FileSealer { previous, ..reader.state };
        let plain_bytes = sealer.plain_bytes;
        Ok(Resumed { sealer: Some(sealer), sealed_bytes, plain_bytes })
    }

    /// Reads a finished file as a stream. What it gives is genuine; that it is whole is known only at its end, which
    /// fails when the trailer is missing.
    ///
    /// # Errors
    ///
    /// A file that was not sealed; a reader that fails.
    pub fn read_file<R: Read>(&self, context: &[u8], mut sealed: R) -> Result<SealedReader<R>, VaultError> {
        let mut start = [0; FILE_HEADER_BYTES];
        let filled = read_up_to(&mut sealed, &mut start)?;
        let start = start.get(..filled).unwrap_or_default();
        let (id, file_id) = parse_header(FILE, start).map_err(|why| match why {
            // A magic cut short is nothing else than a header cut short.
            VaultError::NotSealed if b"FMSV".starts_with(start) => VaultError::CutShort,
            why => why,
        })?;
        if file_id.len() < FILE_ID_BYTES {
            return Err(VaultError::CutShort);
        }
        let key = self.with_key(id, |key| Ok(file_key(key, file_id, context)))?;
        let state = FileSealer { key, previous: start.to_vec(), plain_bytes: 0 };
        Ok(SealedReader { sealed, state, open: Zeroizing::new(Vec::new()), at: 0, ended: false })
    }

    /// Seals a whole file.
    ///
    /// # Errors
    ///
    /// As [`Vault::begin_file`].
    pub fn seal_file(&self, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (mut sealer, header) = self.begin_file(context)?;
        let mut sealed =
            Vec::with_capacity(header.len() + segments_bytes(plaintext.len()) + TRAILER_BYTES as usize);
        sealed.extend(header);
        sealer.append_onto(plaintext, &mut sealed)?;
        sealed.extend(sealer.finish()?);
        Ok(sealed)
    }

    /// Opens a whole file.
    ///
    /// # Errors
    ///
    /// A file that was not sealed, is cut short, changed, or sealed for another context.
    pub fn open_file(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut reader = self.read_file(context, sealed)?;
        // At once in full: a vector that grows leaves copies behind.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.len()));
        while let Some(segment) = reader.next_segment()? {
            plaintext.extend_from_slice(&segment);
        }
        Ok(plaintext)
    }

    /// Length of a finished file's plaintext, from its first and last bytes alone.
    ///
    /// # Errors
    ///
    /// As [`Vault::open_file`], as far as those bytes tell.
    pub fn file_plain_bytes(&self, context: &[u8], mut sealed: impl Read + Seek) -> Result<u64, VaultError> {
        let mut state = self.read_file(context, &mut sealed)?.state;
        let length = sealed.seek(SeekFrom::End(0)).map_err(VaultError::Read)?;
        let trailer_at = length.checked_sub(TRAILER_BYTES).ok_or(VaultError::CutShort)?;
        // What the trailer authenticates lies before it: a tag or, in an empty file, the header.
        if trailer_at != FILE_HEADER_BYTES as u64 {
            state.previous = vec![0; TAG_BYTES];
        }
        let before = state.previous.len() as u64;
        let at = trailer_at.checked_sub(before).ok_or(VaultError::CutShort)?;
        sealed.seek(SeekFrom::Start(at)).map_err(VaultError::Read)?;
        read_whole(&mut sealed, &mut state.previous)?;
        let mut length = [0; LENGTH_BYTES];
        read_whole(&mut sealed, &mut length)?;
        let length = u32::from_le_bytes(length);
        if length != TRAILER_LENGTH {
            return Err(VaultError::CutShort);
        }
        let mut trailer = [0; NONCE_BYTES + TOTAL_BYTES + TAG_BYTES];
        read_whole(&mut sealed, &mut trailer)?;
        let total = state.open(length, &trailer)?;
        total.first_chunk().map(|total| u64::from_le_bytes(*total)).ok_or(VaultError::Refused)
    }
}

impl FileSealer {
    /// How many bytes were sealed so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Seals what comes next: gives the bytes to write. After a failed write the file must be resumed, not continued.
    ///
    /// # Errors
    ///
    /// No randomness.
    pub fn append(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut sealed = Vec::with_capacity(segments_bytes(plaintext.len()));
        self.append_onto(plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Ends the file: gives its last bytes.
    ///
    /// # Errors
    ///
    /// No randomness.
    pub fn finish(mut self) -> Result<Vec<u8>, VaultError> {
        let total = self.plain_bytes.to_le_bytes();
        let mut sealed = Vec::with_capacity(TRAILER_BYTES as usize);
        self.segment(TRAILER_LENGTH, &total, &mut sealed)?;
        Ok(sealed)
    }

    fn append_onto(&mut self, plaintext: &[u8], sealed: &mut Vec<u8>) -> Result<(), VaultError> {
        for segment in plaintext.chunks(SEGMENT_BYTES_MAX) {
            self.segment(segment.len() as u32, segment, sealed)?;
            self.plain_bytes += segment.len() as u64;
        }
        Ok(())
    }

    fn segment(&mut self, length: u32, plaintext: &[u8], sealed: &mut Vec<u8>) -> Result<(), VaultError> {
        sealed.extend_from_slice(&length.to_le_bytes());
        self.key.seal_onto(&self.context(length), plaintext, sealed)?;
        self.remember(sealed)
    }

    fn open(&mut self, length: u32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let plaintext = self.key.open(&self.context(length), sealed).ok_or(VaultError::Refused)?;
        self.remember(sealed)?;
        Ok(plaintext)
    }

    fn context(&self, length: u32) -> Vec<u8> {
        [&length.to_le_bytes()[..], &self.previous].concat()
    }

    fn remember(&mut self, sealed: &[u8]) -> Result<(), VaultError> {
        self.previous = sealed.last_chunk::<TAG_BYTES>().ok_or(VaultError::Refused)?.to_vec();
        Ok(())
    }
}

/// Reads a sealed file's plaintext.
#[derive(Debug)]
pub struct SealedReader<R> {
    sealed: R,
    state: FileSealer,
    open: Zeroizing<Vec<u8>>,
    at: usize,
    ended: bool,
}

impl<R: Read> SealedReader<R> {
    /// The next segment's plaintext; none at the file's proper end.
    fn next_segment(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let mut length = [0; LENGTH_BYTES];
        read_whole(&mut self.sealed, &mut length)?;
        let length = u32::from_le_bytes(length);
        let is_trailer = length & TRAILER_BIT != 0;
        let plain_bytes = (length & !TRAILER_BIT) as usize;
        let fits = match is_trailer {
            true => plain_bytes == TOTAL_BYTES,
            false => (1..=SEGMENT_BYTES_MAX).contains(&plain_bytes),
        };
        if !fits {
            return Err(VaultError::Refused);
        }
        let mut sealed = vec![0; NONCE_BYTES + plain_bytes + TAG_BYTES];
        read_whole(&mut self.sealed, &mut sealed)?;
        let segment = self.state.open(length, &sealed)?;
        if !is_trailer {
            self.state.plain_bytes += plain_bytes as u64;
            return Ok(Some(segment));
        }
        let nothing_follows = read_up_to(&mut self.sealed, &mut [0])? == 0;
        match nothing_follows && **segment == self.state.plain_bytes.to_le_bytes() {
            true => Ok(None),
            false => Err(VaultError::Refused),
        }
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.at == self.open.len() && !self.ended && !bytes.is_empty() {
            match self.next_segment()? {
                Some(segment) => (self.open, self.at) = (segment, 0),
                None => self.ended = true,
            }
        }
        let mut left = self.open.get(self.at..).unwrap_or_default();
        let count = left.read(bytes)?;
        self.at += count;
        Ok(count)
    }
}

/// How long the segments of that much plaintext are.
fn segments_bytes(plain_bytes: usize) -> usize {
    plain_bytes + plain_bytes.div_ceil(SEGMENT_BYTES_MAX) * (LENGTH_BYTES + NONCE_BYTES + TAG_BYTES)
}

fn file_key(data_key: &Key, file_id: &[u8], context: &[u8]) -> Key {
    data_key.derive(file_id, "folkmoot/v1/vault-file", context)
}

fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> Result<(), VaultError> {
    match read_up_to(reader, bytes)? == bytes.len() {
        true => Ok(()),
        false => Err(VaultError::CutShort),
    }
}

/// Fills `bytes` as far as there is something.
fn read_up_to(reader: &mut impl Read, mut bytes: &mut [u8]) -> Result<usize, VaultError> {
    let wanted = bytes.len();
    while !bytes.is_empty() {
        match reader.read(bytes) {
            Ok(0) => break,
            Ok(count) => bytes = bytes.get_mut(count..).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(VaultError::Read(source)),
        }
    }
    Ok(wanted - bytes.len())
}
