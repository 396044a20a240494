//! A coordinator's published models: fetched in chunks, and believed only as far as the signed chain goes.

use checkpoint::{Action, ChainError, ChainVerifier, Manifest, SignedManifest};
use ed25519_dalek::VerifyingKey;
use identity::{printable, with_causes};
use params::Digest;
use plan::{AuthorError, PLAN_FILE, SignedPlan};
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use wire::v1::evidence_part::Part;
use wire::v1::models_client::ModelsClient;
use wire::v1::{CheckpointRecord, ListCheckpointsRequest, ListEvidenceRequest, ModelPart, PublishedFile};
use wire::{Assembly, ConversionError, FileError, file_request, limits, run_bytes};

use crate::connect::{Bearer, ConnectError, Link, refused};
use crate::patient::Patient;

/// Why a coordinator's models are not there, or not believed.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// A record of the chain is empty.
    #[error("a record holds no manifest")]
    NoManifest,
    /// A record of the chain is not one.
    #[error("{}", with_causes(.0))]
    Record(#[source] ConversionError),
    /// A record does not follow the one before it, or is not signed as it must be.
    #[error("the coordinator's chain does not verify: {}", with_causes(.0))]
    Chain(#[source] ChainError),
    /// The sum is another than the signed one.
    #[error("the sum that arrived is not that of round {round}")]
    AnotherSum {
        /// The round that was asked for.
        round: u64,
    },
    /// A stream that is broken, or not whole.
    #[error(transparent)]
    Stream(FileError),
    /// A file of no record, of a kind that was not asked for, or a record's of more than any has.
    #[error("the coordinator sends files that are none of a record's")]
    NotARecords,
    /// The file is another than the signed one.
    #[error("the model that arrived has sha256 {actual}, signed was {signed}")]
    AnotherModel {
        actual: Digest,
        /// What the record names.
        signed: Digest,
    },
    /// What should be the author's signed plan is none.
    #[error("the plan that arrived with round {round} is not one: {}", with_causes(.why))]
    Plan {
        /// The round whose version it belongs to.
        round: u64,
        #[source]
        why: AuthorError,
    },
    /// The plan is another than the record names.
    #[error("the plan that arrived is not the one that the record of round {round} names")]
    AnotherPlan {
        /// The round whose version it belongs to.
        round: u64,
    },
    /// The chain takes it out of use.
    #[error("the model of round {round} is not for use: {}", printable(.why))]
    Quarantined {
        /// The round whose model it is.
        round: u64,
        /// By whom and why.
        why: String,
    },
}

impl From<FileError> for ModelsError {
    fn from(why: FileError) -> Self {
        match why {
            FileError::Status(why) => Self::Call(refused(&why)),
            why => Self::Stream(why),
        }
    }
}

/// What was published beside a model, for those who check it.
const BESIDE: [(&str, ModelPart); 4] = [
    (card::CARD_FILE, ModelPart::Card),
    (card::README_FILE, ModelPart::Readme),
    (attest::BUNDLE_FILE, ModelPart::Signature),
    (attest::EVIDENCE_FILE, ModelPart::Evidence),
];
/// Bytes of all those together at most.
const BESIDE_BYTES_MAX: usize =
    2 * card::CARD_BYTES_MAX + attest::BUNDLE_BYTES_MAX + attest::EVIDENCE_BYTES_MAX;

/// A record, verified, with the files that were published beside its model, which nobody has checked.
#[derive(Debug)]
pub struct PublishedRecord {
    pub signed: SignedManifest,
    /// What the signed bytes say.
    pub manifest: Manifest,
    /// By their names in a checkpoint's folder.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

/// A coordinator's models, believed only as far as its signed chain goes.
pub struct Models {
    client: ModelsClient<Link>,
    /// Whose models. Where nobody says, it is the run of the first record: another one may be shown later.
    run: Option<Digest>,
    chain: ChainVerifier,
    /// What was taken out of use, by whom and why.
    quarantined: Vec<(Digest, String)>,
}

impl Models {
    /// Over a connection in the clear, whose caller is nobody. `key` is the coordinator's where it is known.
    pub fn new(channel: Channel, key: Option<VerifyingKey>) -> Self {
        Self::over(InterceptedService::new(Patient::over(channel), Bearer::NONE), key)
    }

    /// Over a connection with the caller's token. `key` is the coordinator's where it is known.
    pub fn over(link: Link, key: Option<VerifyingKey>) -> Self {
        let client = ModelsClient::new(link).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        Self { client, run: None, chain: ChainVerifier::new(key), quarantined: Vec::new() }
    }

    /// Those of the run of this name; without it of the one that is shown then.
    #[must_use]
    pub fn of_run(self, run: Option<Digest>) -> Self {
        Self { run, ..self }
    }

    /// Records that were not seen before, verified, oldest first.
    ///
    /// # Errors
    /// [`ModelsError::Call`] and [`ModelsError::Chain`].
    pub async fn new_records(&mut self) -> Result<Vec<Manifest>, ModelsError> {
        Ok(self.new_signed().await?.into_iter().map(|(_, manifest)| manifest).collect())
    }

    /// [`Models::new_records`], each with its signed bytes.
    ///
    /// # Errors
    /// As of [`Models::new_records`].
    pub async fn new_signed(&mut self) -> Result<Vec<(SignedManifest, Manifest)>, ModelsError> {
        let request = ListCheckpointsRequest { from_round: self.next_round(), run: run_bytes(self.run) };
        let records = self.client.list_checkpoints(request).await;
        let mut records = records.map_err(|why| refused(&why))?.into_inner();
        let mut manifests = Vec::new();
        while let Some(record) = records.message().await.map_err(|why| refused(&why))? {
            manifests.push(self.believe(record)?);
        }
        Ok(manifests)
    }

    /// Records that were not seen before, verified, oldest first, each with what was published beside its model. One is in memory
    /// at a time. A coordinator of the release before is asked for each file by itself.
    ///
    /// # Errors
    /// As of [`Models::new_records`], a stream that is not whole, and what `each` says.
    pub async fn evidence<E: From<ModelsError>>(
        &mut self,
        mut each: impl FnMut(PublishedRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = ListEvidenceRequest { from_round: self.next_round(), run: run_bytes(self.run) };
        let mut parts = match self.client.list_evidence(request).await {
            Ok(parts) => parts.into_inner(),
            Err(why) if why.code() == Code::Unimplemented => {
                for (signed, manifest) in self.new_signed().await? {
                    let files = self.attestation(manifest.round).await?;
                    each(PublishedRecord { signed, manifest, files })?;
                }
                return Ok(());
            }
            Err(why) => return Err(ModelsError::from(refused(&why)).into()),
        };
        let mut current: Option<PublishedRecord> = None;
        while let Some(part) = parts.message().await.map_err(|why| ModelsError::from(refused(&why)))? {
            match part.part {
                Some(Part::Record(record)) => {
                    let (signed, manifest) = self.believe(record)?;
                    let next = PublishedRecord { signed, manifest, files: Vec::new() };
                    current.replace(next).map_or(Ok(()), &mut each)?;
                }
                Some(Part::File(file)) => {
                    current.as_mut().ok_or(ModelsError::NotARecords)?.take(&file)?;
                }
                // A kind of part of a later release.
                None => {}
            }
        }
        current.map_or(Ok(()), each)
    }

    /// The round from which on nothing was seen yet.
    fn next_round(&self) -> u64 {
        self.chain.head().map_or(0, |head| head.round + 1)
    }

    /// A record that follows from those before.
    fn believe(&mut self, record: CheckpointRecord) -> Result<(SignedManifest, Manifest), ModelsError> {
        let signed = record.signed.ok_or(ModelsError::NoManifest)?;
        let signed = SignedManifest::try_from(signed).map_err(ModelsError::Record)?;
        let manifest = self.chain.push(&signed).map_err(ModelsError::Chain)?;
        self.run.get_or_insert(manifest.run_id);
        if let Some(action @ Action::Quarantine { model, .. }) = &manifest.action {
            self.quarantined.push((*model, action.to_string()));
        }
        Ok((signed, manifest))
    }

    /// Refuses a model that the chain, as far as it was read, takes out of use.
    ///
    /// # Errors
    /// [`ModelsError::Quarantined`].
    pub fn check_use(&self, manifest: &Manifest) -> Result<(), ModelsError> {
        let taken = |(model, _): &&(Digest, String)| *model == manifest.model.params_digest;
        match self.quarantined.iter().find(taken) {
            None => Ok(()),
            Some((_, why)) => Err(ModelsError::Quarantined { round: manifest.round, why: why.clone() }),
        }
    }

    /// The file of a record's model.
    ///
    /// # Errors
    /// [`ModelsError::AnotherModel`], and a stream that is not whole.
    pub async fn fetch(&mut self, manifest: &Manifest) -> Result<Vec<u8>, ModelsError> {
        let file = self.file(manifest.round, ModelPart::Parameters).await?;
        signed_as(file, manifest.model.sha256)
    }

    /// All files of a checkpoint by name, each held against the signed record, or against what of them was signed. The signed plan is
    /// among them where the coordinator has published it with the model.
    ///
    /// # Errors
    /// As of [`Models::fetch`], [`ModelsError::AnotherSum`], [`ModelsError::Plan`] and [`ModelsError::AnotherPlan`].
    pub async fn bundle(
        &mut self,
        signed: &SignedManifest,
        manifest: &Manifest,
        model: Vec<u8>,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, ModelsError> {
        let mut files = vec![
            (checkpoint::MANIFEST_FILE, signed.manifest_bytes.clone()),
            (checkpoint::SIGNATURE_FILE, signed.signature.to_vec()),
            (checkpoint::MODEL_FILE, model),
        ];
        let round = manifest.round;
        if let Some(artifact) = &manifest.optimizer {
            let state = self.file(round, ModelPart::Optimizer).await?;
            files.push((checkpoint::OPTIMIZER_FILE, signed_as(state, artifact.sha256)?));
        }
        if let Some(named) = manifest.aggregate_digest {
            let sum = self.file(round, ModelPart::Aggregate).await?;
            if protocol::aggregate_digest(&sum) != named {
                return Err(ModelsError::AnotherSum { round });
            }
            files.push((checkpoint::AGGREGATE_FILE, sum));
        }
        files.extend(self.attestation(round).await?);
        files.extend(self.plan(manifest).await?.map(|plan| (PLAN_FILE, plan)));
        Ok(files)
    }

    /// The signed plan that was published with a record, held against what the record names; none of a version that an earlier
    /// release has published, or where one answers.
    async fn plan(&mut self, manifest: &Manifest) -> Result<Option<Vec<u8>>, ModelsError> {
        let round = manifest.round;
        let file = match self.file(round, ModelPart::Plan).await {
            Err(FileError::Status(why)) if matches!(why.code(), Code::NotFound | Code::InvalidArgument) => {
                return Ok(None);
            }
            file => file?,
        };
        let opened = SignedPlan::from_json(&String::from_utf8_lossy(&file)).and_then(SignedPlan::open);
        let plan = opened.map_err(|why| ModelsError::Plan { round, why })?;
        if plan.digest() != manifest.plan_digest {
            return Err(ModelsError::AnotherPlan { round });
        }
        Ok(Some(file))
    }

    /// A checkpoint's model card, and its signatures for outsiders where the coordinator has a model key.
    ///
    /// # Errors
    /// A stream that is not whole.
    pub async fn attestation(&mut self, round: u64) -> Result<Vec<(&'static str, Vec<u8>)>, ModelsError> {
        let mut files = Vec::new();
        for (name, part) in BESIDE {
            match self.file(round, part).await {
                Ok(file) => files.push((name, file)),
                // A coordinator without a model key has no signatures.
                Err(FileError::Status(why)) if why.code() == Code::NotFound => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(files)
    }

    /// One file of a checkpoint.
    async fn file(&mut self, round: u64, part: ModelPart) -> Result<Vec<u8>, FileError> {
        let request = file_request(self.run, round, part);
        let mut chunks = self.client.fetch_model(request).await?.into_inner();
        let mut file = Assembly::new(limits::MODEL_BYTES_MAX);
        while let Some(chunk) = chunks.message().await? {
            file.take(chunk)?;
        }
        file.finish()
    }
}

impl PublishedRecord {
    /// Adds a file, or more of the last one.
    fn take(&mut self, file: &PublishedFile) -> Result<(), ModelsError> {
        let known = BESIDE.iter().find(|(_, part)| *part == file.part());
        let (name, _) = known.ok_or(ModelsError::NotARecords)?;
        let held: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        if held + file.data.len() > BESIDE_BYTES_MAX {
            return Err(ModelsError::NotARecords);
        }
        match self.files.last_mut() {
            Some((last, bytes)) if last == name => bytes.extend_from_slice(&file.data),
            _ => self.files.push((name, file.data.to_vec())),
        }
        Ok(())
    }
}

/// The file, where it is the one that was signed.
fn signed_as(file: Vec<u8>, signed: Digest) -> Result<Vec<u8>, ModelsError> {
    let actual = Digest::sha256(&file);
    if actual != signed {
        return Err(ModelsError::AnotherModel { actual, signed });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_than_the_signed_one_is_refused() {
        let signed = Digest::sha256(b"signed");
        assert_eq!(signed_as(b"signed".to_vec(), signed).unwrap(), b"signed");
        let why = signed_as(b"other".to_vec(), signed).unwrap_err();
        assert!(matches!(why, ModelsError::AnotherModel { .. }), "{why}");
    }
}
