//! A report in the making: every file goes to the disk as it comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use attest::{Envelope, ModelKey};
use identity::Authority;
use params::Digest;
use sha2::{Digest as _, Sha256};
use tlog::{Edge, leaf_hash};
use vault::NewFolder;
use vault::files::{NewFile, WORLD_READABLE};

use super::{ENTRIES, ENVELOPE, FILES_MAX, FORMAT, INDEX, Index, MakingError, PAYLOAD_TYPE, PUBLIC_KEY};

/// Of an archive: a header, and what the bytes behind it are filled up to a multiple of.
const BLOCK_BYTES: u64 = 512;

/// A report that is being written beside its place, as an archive or a folder. It appears in its place once it is sealed, whole;
/// dropped before that, it is gone.
pub struct NewReport {
    into: Target,
    out: PathBuf,
    files: BTreeMap<String, Digest>,
    /// The tree over the audit log's entries, once all are there.
    log: Option<Edge>,
}

enum Target {
    Archive { archive: tar::Builder<BufWriter<File>>, file: NewFile },
    Folder(NewFolder),
}

impl NewReport {
    /// For an archive where the place is called `….tar`, else for a folder.
    ///
    /// # Errors
    /// [`MakingError::Archive`] and [`MakingError::Folder`]: something is there already, or nothing can be.
    pub fn beside(out: &Path) -> Result<Self, MakingError> {
        let into = if out.extension().is_some_and(|extension| extension == "tar") {
            let begin = || {
                let file = NewFile::beside(out, WORLD_READABLE)?;
                let archive = tar::Builder::new(BufWriter::new(file.file().try_clone()?));
                Ok(Target::Archive { archive, file })
            };
            begin().map_err(|why| MakingError::Archive { out: out.to_owned(), why })?
        } else {
            Target::Folder(NewFolder::beside(out)?)
        };
        Ok(Self { into, out: out.to_owned(), files: BTreeMap::new(), log: None })
    }

    /// Adds a file under a name that no other one has.
    ///
    /// # Errors
    /// A disk that fails; [`MakingError::TooMany`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), MakingError> {
        self.note(name, Digest::sha256(bytes))?;
        let written = match &mut self.into {
            Target::Archive { archive, .. } => {
                archive.append_data(&mut plain_file(bytes.len() as u64), name, bytes)
            }
            Target::Folder(folder) => folder.create(name, WORLD_READABLE)?.write_all(bytes),
        };
        written.map_err(|why| self.refused(why))
    }

    /// Begins the file of the audit log's entries: there may be any number of them.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn entries(&mut self) -> Result<NewEntries<'_>, MakingError> {
        let (at, file) = match &mut self.into {
            Target::Archive { archive, .. } => {
                let begun = begin_entry(archive.get_mut());
                (begun.map_err(|why| self.refused(why))?, None)
            }
            Target::Folder(folder) => (0, Some(BufWriter::new(folder.create(ENTRIES, WORLD_READABLE)?))),
        };
        Ok(NewEntries { report: self, file, at, bytes: 0, sha256: Sha256::new(), log: Edge::new() })
    }

    /// Adds the index of all files and the signature over it, and puts the report in its place. `made_s` is in seconds since 1970.
    ///
    /// # Errors
    /// [`MakingError`].
    pub fn seal(
        mut self,
        incident: &str,
        authority: &Authority,
        made_s: u64,
        key: &ModelKey,
    ) -> Result<Index, MakingError> {
        self.add(PUBLIC_KEY, key.public().to_pem().as_bytes())?;
        let log = self.log.take().ok_or(MakingError::NoEntries)?;
        let index = Index {
            format: FORMAT.into(),
            federation: authority.federation.clone(),
            incident: incident.to_owned(),
            made_s,
            audit_size: log.size(),
            audit_root: hex::encode(log.root()),
            files: std::mem::take(&mut self.files),
        };
        let bytes = serde_json::to_vec_pretty(&index)?;
        self.add(INDEX, &bytes)?;
        self.add(ENVELOPE, &Envelope::sign(PAYLOAD_TYPE, bytes, key).to_json()?)?;
        self.put()?;
        Ok(index)
    }

    fn put(self) -> Result<(), MakingError> {
        match self.into {
            Target::Archive { archive, file } => {
                let written = archive.into_inner().and_then(|mut written| written.flush());
                let put = written.and_then(|()| file.put());
                put.map_err(|why| MakingError::Archive { out: self.out, why })
            }
            Target::Folder(folder) => {
                folder.sync()?;
                Ok(folder.put()?)
            }
        }
    }

    fn note(&mut self, name: &str, digest: Digest) -> Result<(), MakingError> {
        // Two more follow when it is sealed.
        if self.files.len() + 2 >= FILES_MAX {
            return Err(MakingError::TooMany);
        }
        match self.files.insert(name.to_owned(), digest) {
            None => Ok(()),
            Some(_) => Err(MakingError::Twice { name: name.to_owned() }),
        }
    }

    fn refused(&self, why: io::Error) -> MakingError {
        MakingError::Archive { out: self.out.clone(), why }
    }
}

/// The file of the audit log's entries, while they come.
pub struct NewEntries<'a> {
    report: &'a mut NewReport,
    /// Of a folder; in an archive they follow what is there.
    file: Option<BufWriter<File>>,
    /// Where in an archive the header goes, which names their length.
    at: u64,
    bytes: u64,
    sha256: Sha256,
    log: Edge,
}

impl NewEntries<'_> {
    /// Adds the next entry, which holds no line's end.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), MakingError> {
        self.log.push(leaf_hash(entry));
        for part in [entry, b"\n"] {
            self.sha256.update(part);
            self.bytes += part.len() as u64;
            self.writer(|writer| writer.write_all(part))?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A disk that fails; [`MakingError::Twice`].
    pub fn finish(mut self) -> Result<(), MakingError> {
        let (at, bytes) = (self.at, self.bytes);
        self.writer(|writer| writer.flush())?;
        if let Target::Archive { archive, .. } = &mut self.report.into {
            let ended = end_entry(archive.get_mut(), at, bytes);
            ended.map_err(|why| self.report.refused(why))?;
        }
        self.report.note(ENTRIES, Digest::from_bytes(self.sha256.finalize().into()))?;
        self.report.log = Some(self.log);
        Ok(())
    }

    fn writer(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), MakingError> {
        let written = match (&mut self.file, &mut self.report.into) {
            (Some(file), _) => write(file),
            (None, Target::Archive { archive, .. }) => write(archive.get_mut()),
            // A folder has its own file.
            (None, Target::Folder(_)) => Ok(()),
        };
        written.map_err(|why| self.report.refused(why))
    }
}

/// Leaves room for a header, and says where.
fn begin_entry(archive: &mut BufWriter<File>) -> io::Result<u64> {
    let at = archive.stream_position()?;
    archive.write_all(&[0; BLOCK_BYTES as usize])?;
    Ok(at)
}

/// Fills the last block, and writes the header of what is between.
fn end_entry(archive: &mut BufWriter<File>, at: u64, bytes: u64) -> io::Result<()> {
    let missing = bytes.next_multiple_of(BLOCK_BYTES) - bytes;
    io::copy(&mut io::Read::take(io::repeat(0), missing), archive)?;
    let mut header = plain_file(bytes);
    header.set_path(ENTRIES)?;
    header.set_cksum();
    archive.seek(SeekFrom::Start(at))?;
    archive.write_all(header.as_bytes())?;
    archive.seek(SeekFrom::End(0)).map(drop)
}

/// Without a clock or an owner: the same files give the same bytes.
fn plain_file(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o644);
    header
}
