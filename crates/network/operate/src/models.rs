//! A coordinator's published models: fetched in chunks, and believed only as far as the signed chain goes.

use std::time::Duration;

use checkpoint::{Action, ChainError, ChainVerifier, Manifest, SignedManifest};
use ed25519_dalek::VerifyingKey;
use identity::{printable, with_causes};
use params::Digest;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use wire::v1::models_client::ModelsClient;
use wire::v1::{ListCheckpointsRequest, ModelPart};
use wire::{Assembly, ConversionError, FileError, file_request, limits};

use crate::connect::{Bearer, ConnectError, Link, refused};

/// How often one file is asked for where the coordinator is busy, and how long is waited at most before the next time.
const TRIES_MAX: u32 = 30;
const RETRY_LONGEST: Duration = Duration::from_secs(10);

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
    /// The file is another than the signed one.
    #[error("the model that arrived has sha256 {actual}, signed was {signed}")]
    AnotherModel {
        actual: Digest,
        /// What the record names.
        signed: Digest,
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

/// A coordinator's models, believed only as far as its signed chain goes.
pub struct Models {
    client: ModelsClient<Link>,
    chain: ChainVerifier,
    /// What was taken out of use, by whom and why.
    quarantined: Vec<(Digest, String)>,
}

impl Models {
    /// Over a connection in the clear, whose caller is nobody. `key` is the coordinator's where it is known.
    pub fn new(channel: Channel, key: Option<VerifyingKey>) -> Self {
        Self::over(InterceptedService::new(channel, Bearer::NONE), key)
    }

    /// Over a connection with the caller's token. `key` is the coordinator's where it is known.
    pub fn over(link: Link, key: Option<VerifyingKey>) -> Self {
        let client = ModelsClient::new(link).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        Self { client, chain: ChainVerifier::new(key), quarantined: Vec::new() }
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
        let from_round = self.chain.head().map_or(0, |head| head.round + 1);
        let request = ListCheckpointsRequest { from_round, run: Vec::new() };
        let answer = self.client.list_checkpoints(request).await.map_err(|why| refused(&why))?;
        let mut records = answer.into_inner();
        let mut manifests = Vec::new();
        while let Some(record) = records.message().await.map_err(|why| refused(&why))? {
            let signed = record.signed.ok_or(ModelsError::NoManifest)?;
            let signed = SignedManifest::try_from(signed).map_err(ModelsError::Record)?;
            let manifest = self.chain.push(&signed).map_err(ModelsError::Chain)?;
            if let Some(action @ Action::Quarantine { model, .. }) = &manifest.action {
                self.quarantined.push((*model, action.to_string()));
            }
            manifests.push((signed, manifest));
        }
        Ok(manifests)
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

    /// All files of a checkpoint by name, each held against the signed record, or against what of them was signed.
    ///
    /// # Errors
    /// As of [`Models::fetch`], and [`ModelsError::AnotherSum`].
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
        Ok(files)
    }

    /// A checkpoint's model card, and its signatures for outsiders where the coordinator has a model key.
    ///
    /// # Errors
    /// A stream that is not whole.
    pub async fn attestation(&mut self, round: u64) -> Result<Vec<(&'static str, Vec<u8>)>, ModelsError> {
        let mut files = Vec::new();
        for (name, part) in [
            (card::CARD_FILE, ModelPart::Card),
            (card::README_FILE, ModelPart::Readme),
            (attest::BUNDLE_FILE, ModelPart::Signature),
            (attest::EVIDENCE_FILE, ModelPart::Evidence),
        ] {
            match self.file(round, part).await {
                Ok(file) => files.push((name, file)),
                // A coordinator without a model key has no signatures.
                Err(FileError::Status(why)) if why.code() == Code::NotFound => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(files)
    }

    /// One file of a checkpoint. A long run's files are more calls than a caller may make at once: each is made again when it
    /// may be.
    async fn file(&mut self, round: u64, part: ModelPart) -> Result<Vec<u8>, FileError> {
        let mut tries = 1;
        let answer = loop {
            match self.client.fetch_model(file_request(None, round, part)).await {
                Ok(answer) => break answer,
                Err(why) => match wire::retry_after(&why).filter(|_| tries < TRIES_MAX) {
                    Some(delay) => tokio::time::sleep(delay.min(RETRY_LONGEST)).await,
                    None => return Err(why.into()),
                },
            }
            tries += 1;
        };
        let mut chunks = answer.into_inner();
        let mut file = Assembly::new(limits::MODEL_BYTES_MAX);
        while let Some(chunk) = chunks.message().await? {
            file.take(chunk)?;
        }
        file.finish()
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
