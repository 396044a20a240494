//! A report, checked file by file as it is read: twice, as the files that say what the others must be may come last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use attest::{Envelope, ModelPublicKey};
use checkpoint::{ChainVerifier, MANIFEST_BYTES_MAX, MANIFEST_FILE, SIGNATURE_FILE, SignedManifest};
use identity::{Authority, SignedRoster, printable, with_causes};
use params::Digest;
use serde::Deserialize;
use tlog::{ENTRY_BYTES_MAX, Edge, leaf_hash};

use super::{
    AUTHORITY, BYTES_MAX, CHECKPOINTS, ENTRIES, ENVELOPE, FILES_MAX, FORMAT, Hashed, INDEX, Index,
    PAYLOAD_TYPE, PUBLIC_KEY, ROSTER, ReportFault,
};
use crate::listing::list_paths;

/// Of a file that is held in memory whole: the index of the largest report, in its envelope.
const HEAD_BYTES_MAX: u64 = 512 << 20;

/// What is read of an index first.
#[derive(Deserialize)]
struct Numbered {
    format: String,
}

/// What says what the other files must be.
type Heads = BTreeMap<String, Vec<u8>>;

/// Holds every file against the index, the index against its signature, the roster against the authority, the records against
/// each other, and the entries against the log's root. Without a `pinned` key the report's own is taken, which shows only that
/// nothing was changed since.
///
/// # Errors
/// A report that cannot be read; the first file that does not hold.
pub fn check(report: &Path, pinned: Option<&ModelPublicKey>) -> Result<Index, ReportFault> {
    let mut heads = Heads::new();
    walk(report, &mut |name, content| {
        if ![INDEX, ENVELOPE, PUBLIC_KEY, AUTHORITY, ROSTER].contains(&name) {
            return Ok(());
        }
        let bytes = bounded(name, content, HEAD_BYTES_MAX)?;
        match heads.insert(name.to_owned(), bytes) {
            None => Ok(()),
            Some(_) => Err(bad(name, "is in it twice")),
        }
    })?;
    let index = signed_index(&heads, pinned)?;
    for name in [PUBLIC_KEY, AUTHORITY, ROSTER] {
        let listed = index.files.get(name).ok_or_else(|| bad(name, "is not in the index"))?;
        unchanged(name, listed, &Digest::sha256(get(&heads, name)?))?;
    }
    let authority = Authority::from_canonical(text(&heads, AUTHORITY)?).map_err(|why| bad(AUTHORITY, why))?;
    let signed: SignedRoster = serde_json::from_str(text(&heads, ROSTER)?).map_err(|why| bad(ROSTER, why))?;
    let roster = signed.open(&authority.verifying_key()?).map_err(|why| bad(ROSTER, why))?;
    let coordinator = roster.coordinator_key().map_err(|why| bad(ROSTER, why))?;
    let mut rest = Rest {
        index: &index,
        left: index.files.iter().map(|(name, digest)| (name.as_str(), digest)).collect(),
        chain: ChainVerifier::new(Some(coordinator)),
        record: None,
    };
    walk(report, &mut |name, content| rest.take(name, content))?;
    rest.finish()?;
    Ok(index)
}

/// The index, as it was signed.
fn signed_index(heads: &Heads, pinned: Option<&ModelPublicKey>) -> Result<Index, ReportFault> {
    let own = ModelPublicKey::from_pem(text(heads, PUBLIC_KEY)?).map_err(|why| bad(PUBLIC_KEY, why))?;
    let envelope = Envelope::from_json(get(heads, ENVELOPE)?).map_err(|why| bad(ENVELOPE, why))?;
    let signed = envelope.verify(PAYLOAD_TYPE, pinned.unwrap_or(&own)).map_err(|why| bad(ENVELOPE, why))?;
    if signed != get(heads, INDEX)?.as_slice() {
        return Err(bad(INDEX, "is not what was signed"));
    }
    // Before the rest, which a later format may say in its own way.
    let Numbered { format } = serde_json::from_slice(signed).map_err(|why| bad(INDEX, why))?;
    if format != FORMAT {
        let format = printable(&format);
        let why = format!("has format {format:?}, this release reads {FORMAT:?}: install a newer release");
        return Err(bad(INDEX, why));
    }
    serde_json::from_slice(signed).map_err(|why| bad(INDEX, why))
}

/// The files that the index names, as they come.
struct Rest<'a> {
    index: &'a Index,
    /// Those that did not come yet.
    left: BTreeMap<&'a str, &'a Digest>,
    chain: ChainVerifier,
    /// The newest record, until its signature comes: the next file in every order that a report is in.
    record: Option<(String, Vec<u8>)>,
}

impl Rest<'_> {
    fn take(&mut self, name: &str, content: &mut dyn Read) -> Result<(), ReportFault> {
        if name == INDEX || name == ENVELOPE {
            return Ok(());
        }
        let listed = self.left.remove(name).ok_or_else(|| match self.index.files.contains_key(name) {
            true => bad(name, "is in it twice"),
            false => bad(name, "is not in the index"),
        })?;
        let mut content = Hashed::new(content);
        let folder = name.strip_prefix(CHECKPOINTS).and_then(|name| name.rsplit_once('/'));
        let kept = match (name, folder) {
            (ENTRIES, _) => {
                self.entries(&mut content)?;
                None
            }
            (_, Some((_, file @ (MANIFEST_FILE | SIGNATURE_FILE)))) => {
                Some((file, bounded(name, &mut content, MANIFEST_BYTES_MAX as u64)?))
            }
            _ => {
                io::copy(&mut content, &mut io::sink()).map_err(|why| bad(name, why))?;
                None
            }
        };
        unchanged(name, listed, &content.finish())?;
        match kept {
            Some((MANIFEST_FILE, bytes)) => match self.record.replace((name.to_owned(), bytes)) {
                None => Ok(()),
                Some((before, _)) => Err(unsigned(&before)),
            },
            Some((_, signature)) => self.signature(name, &signature),
            None => Ok(()),
        }
    }

    /// The record that came before, with this signature.
    fn signature(&mut self, name: &str, signature: &[u8]) -> Result<(), ReportFault> {
        let of = |(record, _): &(String, Vec<u8>)| record.replace(MANIFEST_FILE, SIGNATURE_FILE) == name;
        let (record, manifest_bytes) = (self.record.take().filter(of))
            .ok_or_else(|| bad(&name.replace(SIGNATURE_FILE, MANIFEST_FILE), "is missing"))?;
        let signature = signature.try_into().map_err(|_| bad(name, "is no signature"))?;
        let signed = SignedManifest { manifest_bytes, signature };
        self.chain.push(&signed).map_err(|why| bad(&record, with_causes(&why)))?;
        Ok(())
    }

    /// Holds the audit log's entries against the root that the index names.
    fn entries(&self, content: &mut dyn Read) -> Result<(), ReportFault> {
        let mut log = Edge::new();
        let mut content = BufReader::new(content);
        let mut line = Vec::new();
        loop {
            line.clear();
            // An entry has a length, which a line of garbage has not.
            let mut next = (&mut content).take(ENTRY_BYTES_MAX as u64 + 2);
            if next.read_until(b'\n', &mut line).map_err(|why| bad(ENTRIES, why))? == 0 {
                break;
            }
            log.push(leaf_hash(line.strip_suffix(b"\n").unwrap_or(&line)));
        }
        if log.size() != self.index.audit_size || hex::encode(log.root()) != self.index.audit_root {
            return Err(bad(ENTRIES, "does not give the root that the index names"));
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), ReportFault> {
        if let Some(name) = self.left.keys().next() {
            return Err(bad(name, "is missing"));
        }
        self.record.as_ref().map_or(Ok(()), |(name, _)| Err(unsigned(name)))
    }
}

fn unchanged(name: &str, listed: &Digest, actual: &Digest) -> Result<(), ReportFault> {
    if listed == actual { Ok(()) } else { Err(bad(name, "was changed")) }
}

fn unsigned(record: &str) -> ReportFault {
    bad(&record.replace(MANIFEST_FILE, SIGNATURE_FILE), "is missing")
}

fn bad(name: &str, why: impl ToString) -> ReportFault {
    ReportFault::Bad { name: name.to_owned(), why: why.to_string() }
}

fn get<'a>(heads: &'a Heads, name: &str) -> Result<&'a Vec<u8>, ReportFault> {
    heads.get(name).ok_or_else(|| bad(name, "is missing"))
}

fn text<'a>(heads: &'a Heads, name: &str) -> Result<&'a str, ReportFault> {
    std::str::from_utf8(get(heads, name)?).map_err(|why| bad(name, why))
}

/// All of a file that has no more than so many bytes.
fn bounded(name: &str, content: &mut dyn Read, most: u64) -> Result<Vec<u8>, ReportFault> {
    let mut bytes = Vec::new();
    content.take(most + 1).read_to_end(&mut bytes).map_err(|why| bad(name, why))?;
    if bytes.len() as u64 > most {
        return Err(bad(name, format!("has more than {most} bytes")));
    }
    Ok(bytes)
}

type Each<'a> = dyn FnMut(&str, &mut dyn Read) -> Result<(), ReportFault> + 'a;

/// Every file of a report, a folder or an archive, in the order in which they lie there.
fn walk(report: &Path, each: &mut Each<'_>) -> Result<(), ReportFault> {
    if !report.is_dir() {
        return unpack(report, each);
    }
    for (name, path) in list_paths(report, &[], FILES_MAX)? {
        let opened = File::open(&path);
        let mut file = opened.map_err(|why| ReportFault::Unreadable { file: path.clone(), why })?;
        each(&name, &mut file)?;
    }
    Ok(())
}

/// Nothing is unpacked to the disk: names in an archive are only names here.
fn unpack(file: &Path, each: &mut Each<'_>) -> Result<(), ReportFault> {
    let unreadable = |why| ReportFault::Unreadable { file: file.to_owned(), why };
    let fault = |entry: &str, why| ReportFault::Entry { file: file.to_owned(), entry: entry.to_owned(), why };
    let opened = File::open(file).map_err(unreadable)?;
    let mut archive = tar::Archive::new(BufReader::new(opened.take(BYTES_MAX)));
    let mut count = 0_usize;
    // Raw: as it was packed, without extensions that hold a name or holes that hold nothing.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(fault(&name, "is no plain file as `folkmoot incident report` packs them"));
        }
        count += 1;
        if count > FILES_MAX {
            return Err(fault(&name, "makes it too many files"));
        }
        each(&name, &mut entry)?;
    }
    Ok(())
}
