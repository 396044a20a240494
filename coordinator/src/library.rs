//! The published chains for those who fetch: read beside the driver, in chunks, by so many at once.
//!
//! What is published never changes, so that nothing here waits for the driver or it for anything here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use access::{Caller, Proof};
use anyhow::Context;
use bytes::Bytes;
use params::Digest;
use published::Records;
use runs::RunFolders;
use sha2::{Digest as _, Sha256};
use store::{Published, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tonic::Status;
use wire::v1::ModelPart;
use wire::v1::evidence_part::Part;
use wire::{ModelHeader, ServiceError, ToStatus, limits, v1};

use crate::service::RETRY_AFTER;
use crate::streaming::{BoxStream, Limits, stream};

/// Responses at once to one caller. Each has a file open, and two chunks in memory.
const EACH: usize = 16;
/// Responses at once, beside the first of each who proved who it is: a few of those must not keep the others out.
const ALL: usize = 64;
/// Bytes in a second that whoever has a place takes at the least, over the whole response.
const SLOWEST: u64 = 32 << 10;
/// What was published beside a model, for those who check it.
const BESIDE: [(ModelPart, &str); 4] = [
    (ModelPart::Card, card::CARD_FILE),
    (ModelPart::Readme, card::README_FILE),
    (ModelPart::Signature, attest::BUNDLE_FILE),
    (ModelPart::Evidence, attest::EVIDENCE_FILE),
];
/// Files whose digests are remembered.
const MEASURED: usize = 4096;

/// See the module; cheap to clone.
#[derive(Clone)]
pub(crate) struct Library(Arc<Shelves>);

struct Shelves {
    folders: RunFolders,
    patience: Duration,
    metrics: Arc<telemetry::Metrics>,
    all: Arc<Semaphore>,
    each: Mutex<HashMap<String, Readings>>,
    /// One file at a time is measured: it is read whole for it.
    measuring: Mutex<()>,
    measured: Mutex<BTreeMap<File, Measure>>,
}

/// A published file: the run's number, the round, its name.
type File = (u32, u64, &'static str);

/// What the header of a file says of it.
#[derive(Clone, Copy)]
struct Measure {
    model: Digest,
    sha256: Digest,
    bytes: u64,
}

/// Of one caller.
#[derive(Default)]
struct Readings {
    count: usize,
    /// Whether one of them has the caller's own place.
    own: bool,
}

/// A caller's place, until its response was sent or given up.
pub(crate) struct Reading {
    library: Library,
    caller: String,
    /// In the place that nobody else can take.
    own: bool,
    /// One of everybody's; none while it is waited for.
    common: Option<OwnedSemaphorePermit>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut each = self.library.each();
        if let Some(readings) = each.get_mut(&self.caller) {
            readings.count = readings.count.saturating_sub(1);
            readings.own &= !self.own;
            if readings.count == 0 {
                each.remove(&self.caller);
            }
        }
    }
}

impl Library {
    pub(crate) fn new(folders: RunFolders, patience: Duration, metrics: Arc<telemetry::Metrics>) -> Self {
        Self(Arc::new(Shelves {
            folders,
            patience,
            metrics,
            all: Arc::new(Semaphore::new(ALL)),
            each: Mutex::default(),
            measuring: Mutex::default(),
            measured: Mutex::default(),
        }))
    }

    /// A place for a response to this caller: its own, or one of everybody's, for which it waits where all are taken.
    /// Where the caller has its share already it is asked to come again.
    ///
    /// # Errors
    /// [`ServiceError::Busy`].
    pub(crate) async fn reading(&self, caller: Option<&Caller>) -> Result<Reading, Status> {
        let busy = || ServiceError::Busy { retry_after: RETRY_AFTER }.to_status();
        let mut reading = self.counted(caller).ok_or_else(busy)?;
        if !reading.own {
            let place = Arc::clone(&self.0.all).acquire_owned();
            let Ok(Ok(place)) = tokio::time::timeout(self.0.patience, place).await else {
                return Err(busy());
            };
            reading.common = Some(place);
        }
        Ok(reading)
    }

    /// One more of this caller's, where it may have one.
    fn counted(&self, caller: Option<&Caller>) -> Option<Reading> {
        let proven = caller.is_some_and(|caller| caller.proof != Proof::Nothing);
        // In plain text, where nobody proves anything, a caller's name is its connection.
        let caller = caller.map_or_else(String::new, |caller| caller.name.clone());
        let mut each = self.each();
        let readings = each.entry(caller.clone()).or_default();
        if readings.count >= EACH {
            return None;
        }
        readings.count += 1;
        let own = proven && !readings.own;
        readings.own |= own;
        Some(Reading { library: self.clone(), caller, own, common: None })
    }

    /// What a response of so many bytes may take.
    fn limits(&self, bytes: u64) -> Limits {
        let part = self.0.patience;
        Limits { part, whole: part + Duration::from_secs(bytes / SLOWEST) }
    }

    /// What the records of these rounds may take. One is held against the one before it while it is sent: it has the time of a chunk.
    fn limits_of(&self, from: u64, newest: u64) -> Limits {
        let records = newest.saturating_sub(from).saturating_add(1);
        self.limits(records.saturating_mul(limits::CHUNK_BYTES as u64))
    }

    /// A published file in chunks, or none where that record has no such file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not the one that its record names.
    pub(crate) async fn file(
        &self,
        reading: Reading,
        wanted: File,
    ) -> Result<Option<BoxStream<v1::ModelChunk>>, Status> {
        let library = self.clone();
        let opened = spawn_blocking(move || library.open(wanted)).await.map_err(failed)?.map_err(failed)?;
        let Some((measure, mut content)) = opened else { return Ok(None) };
        let (_, round, _) = wanted;
        let header = ModelHeader {
            round,
            model: measure.model,
            sha256: measure.sha256,
            total_bytes: measure.bytes,
            chunk_bytes: limits::CHUNK_BYTES as u32,
        };
        let mut first = Some(wire::model_header(header));
        let (mut index, mut left) = (0, measure.bytes);
        let metrics = Arc::clone(&self.0.metrics);
        Ok(Some(stream(self.limits(measure.bytes), reading, move || {
            if let Some(header) = first.take() {
                return Some(Ok(header));
            }
            let due = left.min(limits::CHUNK_BYTES as u64);
            if due == 0 {
                return None;
            }
            let mut data = vec![0; due as usize];
            if let Err(why) = content.read_exact(&mut data) {
                return Some(Err(failed(why)));
            }
            let chunk = wire::model_data(index, Bytes::from(data));
            index += 1;
            left -= due;
            metrics.bytes_sent.inc_by(due);
            Some(Ok(chunk))
        })))
    }

    /// The records of a run from this round on, each held against the one before it.
    pub(crate) fn chain(
        &self,
        reading: Reading,
        run: u32,
        from: u64,
        newest: u64,
    ) -> BoxStream<v1::CheckpointRecord> {
        let published = self.0.folders.published(run);
        let mut chain = Records::new(from, newest);
        let limits = self.limits_of(from, newest);
        stream(limits, reading, move || match runs::next_record(&mut chain, &published) {
            Ok(record) => record.map(|(round, signed)| Ok(wire::CheckpointRecord { round, signed }.into())),
            Err(why) => Some(Err(failed(identity::with_causes(&why)))),
        })
    }

    /// The records from this round on as [`Library::chain`], each with the files that were published beside its model. One record's
    /// are in memory at a time.
    pub(crate) fn evidence(
        &self,
        reading: Reading,
        run: u32,
        from: u64,
        newest: u64,
    ) -> BoxStream<v1::EvidencePart> {
        let (library, published) = (self.clone(), self.0.folders.published(run));
        let mut chain = Records::new(from, newest);
        let mut due = VecDeque::new();
        let limits = self.limits_of(from, newest);
        stream(limits, reading, move || {
            if due.is_empty() {
                match library.next_evidence(&published, &mut chain) {
                    Ok(parts) => due = parts,
                    Err(why) => return Some(Err(failed(format!("{why:#}")))),
                }
            }
            due.pop_front().map(Ok)
        })
    }

    /// The next record and its files, in parts; nothing at the end.
    fn next_evidence(
        &self,
        published: &Published,
        chain: &mut Records,
    ) -> anyhow::Result<VecDeque<v1::EvidencePart>> {
        let Some((round, signed)) = runs::next_record(chain, published)? else {
            return Ok(VecDeque::new());
        };
        let folder = checkpoint::folder_name(round);
        let mut parts = vec![Part::Record(wire::CheckpointRecord { round, signed }.into())];
        for (part, file) in BESIDE {
            let bytes = match published.read(&folder, file) {
                Ok(bytes) => bytes,
                // Without a model key there are no signatures.
                Err(StoreError::NotPublished { .. }) => continue,
                Err(why) => return Err(why.into()),
            };
            self.0.metrics.bytes_sent.inc_by(bytes.len() as u64);
            // What one copy of the bytes costs is little beside reading them.
            let pieces = bytes.chunks(limits::CHUNK_BYTES).map(Bytes::copy_from_slice);
            parts.extend(pieces.map(|data| Part::File(v1::PublishedFile { part: part.into(), data })));
        }
        Ok(parts.into_iter().map(|part| v1::EvidencePart { part: Some(part) }).collect())
    }

    fn each(&self) -> MutexGuard<'_, HashMap<String, Readings>> {
        self.0.each.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file from its beginning, and what it measures.
    fn open(&self, wanted: File) -> anyhow::Result<Option<(Measure, Box<dyn Read + Send>)>> {
        let (run, round, file) = wanted;
        let folder = checkpoint::folder_name(round);
        let opened = match self.0.folders.published(run).open(&folder, file) {
            Ok(opened) => opened,
            Err(StoreError::NotPublished { .. }) => return Ok(None),
            Err(why) => return Err(why.into()),
        };
        let (bytes, content) = opened;
        let known = self.measured().get(&wanted).copied();
        let measure = match known {
            Some(measure) => measure,
            None => self.measure(wanted, bytes)?,
        };
        Ok(Some((measure, content)))
    }

    /// Reads the file whole, once.
    fn measure(&self, wanted: File, bytes: u64) -> anyhow::Result<Measure> {
        let _one_at_a_time = self.0.measuring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(measure) = self.measured().get(&wanted) {
            return Ok(*measure);
        }
        let (run, round, file) = wanted;
        let (folder, published) = (checkpoint::folder_name(round), self.0.folders.published(run));
        let record = published::read_record(&published, &folder)?;
        let manifest =
            record.with_context(|| format!("checkpoint {folder} has no record"))?.verify_strict()?;
        let (_, content) = published.open(&folder, file)?;
        let sha256 = digest(content)?;
        let named = match file {
            checkpoint::MODEL_FILE => Some(manifest.model.sha256),
            checkpoint::OPTIMIZER_FILE => manifest.optimizer.as_ref().map(|artifact| artifact.sha256),
            _ => None,
        };
        anyhow::ensure!(
            named.is_none_or(|named| named == sha256),
            "checkpoint {folder} is damaged; restore that folder, which never changes, from a copy, and nothing else"
        );
        let measure = Measure { model: manifest.model.params_digest, sha256, bytes };
        let mut measured = self.measured();
        if measured.len() >= MEASURED {
            measured.clear();
        }
        measured.insert(wanted, measure);
        Ok(measure)
    }

    fn measured(&self) -> MutexGuard<'_, BTreeMap<File, Measure>> {
        self.0.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(mut content: impl Read) -> std::io::Result<Digest> {
    let (mut hash, mut block) = (Sha256::new(), vec![0; limits::CHUNK_BYTES]);
    loop {
        match content.read(&mut block)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            read => hash.update(block.get(..read).unwrap_or_default()),
        }
    }
}

fn failed(why: impl std::fmt::Display) -> Status {
    tracing::error!("a published file cannot be read: {why:#}");
    ServiceError::Internal.to_status()
}
