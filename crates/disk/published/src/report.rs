//! An incident's evidence as a document: files, an index that names each by its digest, and a signature over the index.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use attest::{Envelope, EnvelopeError, ModelKey, ModelPublicKey};
use checkpoint::{ChainVerifier, MANIFEST_FILE, SIGNATURE_FILE, SignedManifest};
use identity::{Authority, AuthorityError, SignedRoster, printable, with_causes};
use params::Digest;
use serde::{Deserialize, Serialize};
use tlog::{Edge, Hash, leaf_hash};

use crate::listing::{ListingError, read_listed};

const PAYLOAD_TYPE: &str = "application/vnd.folkmoot.incident+json";
const FORMAT: &str = "folkmoot incident 1";
const INDEX: &str = "index.json";
const ENVELOPE: &str = "index.dsse.json";
const PUBLIC_KEY: &str = "operator.pub.pem";
/// In a report: the audit log's entries, one a line.
pub const ENTRIES: &str = "audit/entries.jsonl";
/// In a report: the signed roster in force.
pub const ROSTER: &str = "roster.json";
/// In a report: the federation's authority.
pub const AUTHORITY: &str = "authority.json";
/// In a report: before the name of each checkpoint's folder.
pub const CHECKPOINTS: &str = "checkpoints/";
/// Limits of what is read back.
const FILES_MAX: usize = 100_000;
const BYTES_MAX: u64 = 1 << 30;

/// A report's files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What is signed: every other file by its SHA-256.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    format: String,
    pub federation: String,
    /// The incident's id.
    pub incident: String,
    made_s: u64,
    /// Entries of the audit log.
    pub audit_size: u64,
    /// Root of the log's tree over them, hexadecimal.
    pub audit_root: String,
    files: BTreeMap<String, Digest>,
}

/// What is read of an index first.
#[derive(Deserialize)]
struct Numbered {
    format: String,
}

/// Why a report does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ReportFault {
    /// The disk refuses.
    #[error("`{}`: cannot be read: {why}", file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        why: io::Error,
    },
    /// A folder that is none.
    #[error(transparent)]
    Folder(#[from] ListingError),
    /// An archive that nobody packed as a report.
    #[error("`{}`: `{}` {why}", file.display(), printable(entry))]
    Entry {
        file: PathBuf,
        /// What in it.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key of the federation's that is none.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file in it is not what was signed.
    #[error("{}: {why}", printable(name))]
    Bad {
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a report was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The audit log is not among the files.
    #[error("a report holds the audit log's entries, in {ENTRIES}")]
    NoEntries,
    /// An index that is no JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An envelope that cannot be written.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// Adds the index of all files, and the signature over it. `made_s` is in seconds since 1970.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    files: &mut Files,
    incident: &str,
    authority: &Authority,
    made_s: u64,
    key: &ModelKey,
) -> Result<(), SealError> {
    files.insert(PUBLIC_KEY.into(), key.public().to_pem().as_bytes().to_vec());
    let (audit_size, root) = audit_root(files.get(ENTRIES).ok_or(SealError::NoEntries)?);
    let index = Index {
        format: FORMAT.into(),
        federation: authority.federation.clone(),
        incident: incident.to_owned(),
        made_s,
        audit_size,
        audit_root: hex::encode(root),
        files: files.iter().map(|(name, bytes)| (name.clone(), Digest::sha256(bytes))).collect(),
    };
    let bytes = serde_json::to_vec_pretty(&index)?;
    let envelope = Envelope::sign(PAYLOAD_TYPE, bytes.clone(), key).to_json()?;
    files.insert(INDEX.into(), bytes);
    files.insert(ENVELOPE.into(), envelope);
    Ok(())
}

/// How many entries these lines are, and the root of their log's tree.
fn audit_root(lines: &[u8]) -> (u64, Hash) {
    let mut tree = Edge::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        tree.push(leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)));
    }
    (tree.size(), tree.root())
}

/// Holds every file against the index, the index against its signature, the roster against the authority, the records against
/// each other, and the entries against the log's root. Without a `pinned` key the report's own is taken, which shows only that
/// nothing was changed since.
///
/// # Errors
/// The first that does not hold.
pub fn check(files: &Files, pinned: Option<&ModelPublicKey>) -> Result<Index, ReportFault> {
    let bad = |name: &str, why: &dyn std::fmt::Display| ReportFault::Bad {
        name: name.to_owned(),
        why: why.to_string(),
    };
    let get = |name: &str| files.get(name).ok_or_else(|| bad(name, &"is missing"));
    let text = |name: &str| std::str::from_utf8(get(name)?).map_err(|why| bad(name, &why));
    let own = ModelPublicKey::from_pem(text(PUBLIC_KEY)?).map_err(|why| bad(PUBLIC_KEY, &why))?;
    let envelope = Envelope::from_json(get(ENVELOPE)?).map_err(|why| bad(ENVELOPE, &why))?;
    let signed = envelope.verify(PAYLOAD_TYPE, pinned.unwrap_or(&own)).map_err(|why| bad(ENVELOPE, &why))?;
    if signed != get(INDEX)?.as_slice() {
        return Err(bad(INDEX, &"is not what was signed"));
    }
    // Before the rest, which a later format may say in its own way.
    let Numbered { format } = serde_json::from_slice(signed).map_err(|why| bad(INDEX, &why))?;
    if format != FORMAT {
        let format = printable(&format);
        let why = format!("has format {format:?}, this release reads {FORMAT:?}: install a newer release");
        return Err(bad(INDEX, &why));
    }
    let index: Index = serde_json::from_slice(signed).map_err(|why| bad(INDEX, &why))?;
    for (name, digest) in &index.files {
        if Digest::sha256(get(name)?) != *digest {
            return Err(bad(name, &"was changed"));
        }
    }
    let listed = |name: &str| name == INDEX || name == ENVELOPE || index.files.contains_key(name);
    if let Some(extra) = files.keys().find(|name| !listed(name)) {
        return Err(bad(extra, &"is not in the index"));
    }
    let (size, root) = audit_root(get(ENTRIES)?);
    if size != index.audit_size || hex::encode(root) != index.audit_root {
        return Err(bad(ENTRIES, &"does not give the root that the index names"));
    }
    let authority = Authority::from_canonical(text(AUTHORITY)?).map_err(|why| bad(AUTHORITY, &why))?;
    let signed: SignedRoster = serde_json::from_str(text(ROSTER)?).map_err(|why| bad(ROSTER, &why))?;
    let roster = signed.open(&authority.verifying_key()?).map_err(|why| bad(ROSTER, &why))?;
    let coordinator = roster.coordinator_key().map_err(|why| bad(ROSTER, &why))?;
    let mut chain = ChainVerifier::new(Some(coordinator));
    let manifests =
        files.keys().filter(|name| name.starts_with(CHECKPOINTS) && name.ends_with(MANIFEST_FILE));
    for name in manifests {
        let signature = name.replace(MANIFEST_FILE, SIGNATURE_FILE);
        let bytes = get(&signature)?.as_slice().try_into();
        let signature = bytes.map_err(|_| bad(&signature, &"is no signature"))?;
        let signed = SignedManifest { manifest_bytes: get(name)?.clone(), signature };
        chain.push(&signed).map_err(|why| bad(name, &with_causes(&why)))?;
    }
    Ok(index)
}

/// The files as one archive. The same files give the same bytes: no clock, no owner.
///
/// # Errors
/// A name that an archive cannot hold.
pub fn pack(files: &Files) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice())?;
    }
    archive.into_inner()
}

/// Reads a report: a folder, or an archive.
///
/// # Errors
/// One that cannot be read, or is no report.
pub fn read(report: &Path) -> Result<Files, ReportFault> {
    if report.is_dir() { read_folder(report) } else { unpack(report) }
}

/// Nothing is unpacked to the disk: names in an archive are only names here.
fn unpack(file: &Path) -> Result<Files, ReportFault> {
    let unreadable = |why| ReportFault::Unreadable { file: file.to_owned(), why };
    let bad = |entry: &str, why| ReportFault::Entry { file: file.to_owned(), entry: entry.to_owned(), why };
    let mut archive = tar::Archive::new(fs::File::open(file).map_err(unreadable)?.take(BYTES_MAX));
    let mut files = Files::new();
    let mut left = BYTES_MAX;
    // Raw: as it was packed, without extensions that hold a name or holes that hold nothing.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(bad(&name, "is no plain file as `folkmoot incident report` packs them"));
        }
        let mut bytes = Vec::new();
        let read = entry.take(left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        left = left.checked_sub(read as u64).ok_or_else(|| bad(&name, "makes it too large"))?;
        if files.insert(name.clone(), bytes).is_some() || files.len() > FILES_MAX {
            return Err(bad(&name, "is in it twice, or it has too many files"));
        }
    }
    Ok(files)
}

fn read_folder(folder: &Path) -> Result<Files, ReportFault> {
    Ok(read_listed(folder, &[])?.into_iter().collect())
}

#[cfg(test)]
mod tests;
