//! Signed notes: a text, and lines of signatures below it.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Most bytes of a note.
const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signatures of a note.
const SIGNATURES_MAX: usize = 100;

/// What precedes a signer's name; an em dash.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Signature types of the signed-note specification.
const ED25519: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;

/// Why a note, or what it says, is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the format.
    #[error("{0}: this is no signed note of a log; look for a file cut short or edited")]
    Malformed(&'static str),
    /// No line of this signer under this key.
    #[error("no signature by `{0}` under the key given: check the key's text, and whose log this is")]
    NotSigned(String),
    /// A line of this signer that does not verify.
    #[error("the signature by `{0}` does not verify: the note was changed after it was signed")]
    BadSignature(String),
    /// Of another log than the one that was asked for.
    #[error("the checkpoint is of `{found}`, not of `{expected}`: name the right log")]
    Origin {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A text that is no verifier key.
    #[error("`{0}` is no verifier key: it has the form NAME+HEX+BASE64 and an Ed25519 key")]
    Key(String),
    /// A name that a note cannot carry.
    #[error("`{0}` cannot sign notes: a name is not empty and has no space and no `+`")]
    Name(String),
    /// A receipt for another entry.
    #[error("the receipt is not for this entry: compare the entry byte by byte with what was sent")]
    NotIncluded,
}

/// A signer's name and public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A signer; a log's name is its origin.
    ///
    /// # Errors
    ///
    /// A name that a note cannot carry.
    pub fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        let bad = |c: char| c == '+' || c.is_whitespace() || c.is_control();
        match name.is_empty() || name.contains(bad) {
            true => Err(NoteError::Name(name.to_owned())),
            false => Ok(Self { name: name.to_owned(), key }),
        }
    }

    /// From its text, `NAME+HEX+BASE64`.
    ///
    /// # Errors
    ///
    /// Another form, another algorithm, or a key id that is not the key's.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let fails = || NoteError::Key(text.to_owned());
        let mut parts = text.splitn(3, '+');
        let (name, _, encoded) = (parts.next(), parts.next(), parts.next().ok_or_else(fails)?);
        let bytes = Base64::decode_vec(encoded).map_err(|_| fails())?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(fails()) };
        let key = VerifyingKey::try_from(key).map_err(|_| fails())?;
        let parsed = Self::new(name.unwrap_or_default(), key)?;
        // The id in the middle follows from the rest, so one comparison checks all.
        if parsed.to_string() == text { Ok(parsed) } else { Err(fails()) }
    }

    /// The signer's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    fn id(&self, kind: u8) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', kind]).chain_update(self.key);
        let hash: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }
}

/// Its text, `NAME+HEX+BASE64`.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id(ED25519));
        let bytes = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{id:08x}+{}", self.name, Base64::encode_string(&bytes))
    }
}

/// A text with signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Line>,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Note {
    /// Signs a text, whose last line must end.
    ///
    /// # Errors
    ///
    /// A text or a name that a note cannot carry.
    pub fn sign(text: String, name: &str, key: &SigningKey) -> Result<Self, NoteError> {
        check_text(&text)?;
        let signer = VerifierKey::new(name, key.verifying_key())?;
        let bytes = key.sign(text.as_bytes()).to_bytes().to_vec();
        let line = Line { id: signer.id(ED25519), name: signer.name, bytes };
        Ok(Self { text, signatures: vec![line] })
    }

    /// Reads a note; no signature is verified yet.
    ///
    /// # Errors
    ///
    /// Another format.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed("above 1 MiB"));
        }
        let split = note.rfind("\n\n").and_then(|at| note.split_at_checked(at + 1));
        let (text, rest) = split.ok_or(NoteError::Malformed("no signatures"))?;
        check_text(text)?;
        let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::Malformed("no signature line that ends"))?.split('\n');
        let signatures = lines.map(Line::parse).collect::<Result<Vec<_>, _>>()?;
        match signatures.len() <= SIGNATURES_MAX {
            true => Ok(Self { text: text.to_owned(), signatures }),
            false => Err(NoteError::Malformed("more than 100 signatures")),
        }
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Verifies this signer's signature.
    ///
    /// # Errors
    ///
    /// None under this name and key, or one that does not verify.
    ///
    /// # Security
    ///
    /// Strict: no small-order keys, no second encodings.
    pub fn verify(&self, signer: &VerifierKey) -> Result<(), NoteError> {
        let line = self.line(signer, ED25519)?;
        verify_strictly(signer, self.text.as_bytes(), &line.bytes)
    }

    /// Verifies this witness's cosignature; gives its time in seconds since 1970.
    ///
    /// # Errors
    ///
    /// As [`Note::verify`].
    pub fn verify_cosignature(&self, witness: &VerifierKey) -> Result<u64, NoteError> {
        let line = self.line(witness, COSIGNATURE)?;
        let split = line.bytes.split_first_chunk::<8>();
        let (time, signature) = split.ok_or_else(|| NoteError::BadSignature(witness.name.clone()))?;
        let time_s = u64::from_be_bytes(*time);
        verify_strictly(witness, &cosigned(time_s, &self.text), signature)?;
        Ok(time_s)
    }

    /// A witness's cosignature of this note, as a line of it.
    ///
    /// # Errors
    ///
    /// A name that a note cannot carry.
    pub fn cosign(&self, name: &str, key: &SigningKey, time_s: u64) -> Result<String, NoteError> {
        let witness = VerifierKey::new(name, key.verifying_key())?;
        let signature = key.sign(&cosigned(time_s, &self.text));
        let bytes = [time_s.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        Ok(Line { id: witness.id(COSIGNATURE), name: witness.name, bytes }.to_string())
    }

    /// Takes up a witness's cosignature, in the place of an earlier one.
    ///
    /// # Errors
    ///
    /// A line that is not this witness's, or does not verify; more signatures than a note may have.
    pub fn add_cosignature(&mut self, line: &str, witness: &VerifierKey) -> Result<(), NoteError> {
        let line = Line::parse(line.strip_suffix('\n').unwrap_or(line))?;
        let mut longer = self.clone();
        longer.signatures.retain(|old| old.name != line.name || old.id != line.id);
        longer.signatures.push(line);
        longer.verify_cosignature(witness)?;
        if longer.signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::Malformed("more than 100 signatures"));
        }
        *self = longer;
        Ok(())
    }

    fn line(&self, signer: &VerifierKey, kind: u8) -> Result<&Line, NoteError> {
        let id = signer.id(kind);
        let found = self.signatures.iter().find(|line| line.name == signer.name && line.id == id);
        found.ok_or_else(|| NoteError::NotSigned(signer.name.clone()))
    }
}

/// The whole note.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Line {
    fn parse(line: &str) -> Result<Self, NoteError> {
        let fails = || NoteError::Malformed("a line below the text is no signature");
        let (name, encoded) =
            line.strip_prefix(SIGNATURE_MARK).and_then(|l| l.split_once(' ')).ok_or_else(fails)?;
        let bytes = Base64::decode_vec(encoded).map_err(|_| fails())?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(fails)?;
        match name.is_empty() || name.contains('+') || signature.is_empty() {
            true => Err(fails()),
            false => Ok(Self { name: name.to_owned(), id: *id, bytes: signature.to_vec() }),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.as_slice(), &self.bytes].concat();
        write!(f, "{SIGNATURE_MARK}{} {}", self.name, Base64::encode_string(&bytes))
    }
}

/// What a witness signs of a note's text.
fn cosigned(time_s: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes()
}

fn verify_strictly(signer: &VerifierKey, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
    let signature = Signature::from_slice(signature);
    let verified = signature.and_then(|signature| signer.key.verify_strict(message, &signature));
    verified.map_err(|_| NoteError::BadSignature(signer.name.clone()))
}

fn check_text(text: &str) -> Result<(), NoteError> {
    match text.ends_with('\n') && !text.contains(|c: char| c.is_ascii_control() && c != '\n') {
        true => Ok(()),
        false => Err(NoteError::Malformed("a text with control characters or an open last line")),
    }
}

#[cfg(test)]
mod tests;
