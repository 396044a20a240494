//! `folkmoot model fetch`: a published model, checked against the signed chain, on disk whole or not at all.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::{Action, ChainError, ChainVerifier, Manifest, SignedManifest};
use clap::Subcommand;
use ed25519_dalek::VerifyingKey;
use identity::with_causes;
use params::Digest;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::v1::models_client::ModelsClient;
use wire::v1::{FetchModelRequest, ListCheckpointsRequest, ModelPart, model_chunk};
use wire::{ChunkError, ChunkVerifier, ConversionError, ModelHeader, limits};

use crate::connect::{Bearer, ConnectError, Link, Remote, printable, refused};
use crate::files::{NewFolder, WriteError, cannot_write};
use crate::run::{self, RoundArgs};
use crate::{Failure, export, model_card};

/// How often one file is asked for where the coordinator is busy, and how long is waited at most before the next time.
const TRIES_MAX: u32 = 30;
const RETRY_LONGEST: Duration = Duration::from_secs(10);

#[derive(Subcommand, Debug)]
pub(crate) enum Model {
    /// Fetch the newest model, or another, with the signed record that vouches for it.
    #[command(
        after_help = "The file is replaced in one step, once every chunk and the signed chain have been checked.\n\n\
                      Examples:\n  \
                      folkmoot model fetch --coordinator http://127.0.0.1:7440 --out model.safetensors --key HEX\n  \
                      folkmoot model fetch --coordinator http://127.0.0.1:7440 --out round-12.safetensors --round 12\n  \
                      folkmoot model fetch --as admin --bundle round-12 --round 12"
    )]
    Fetch(FetchArgs),
    /// Stop the use of a round's model: the run goes on from the one before, and silos are told.
    #[command(
        after_help = "Example:\n  folkmoot model quarantine 12 --reason 'poisoned by north' --as admin"
    )]
    Quarantine(RoundArgs),
    /// Go on from an earlier round's model. Privacy that was spent stays spent.
    #[command(
        after_help = "Example:\n  folkmoot model rollback 11 --reason 'rounds 12 and 13 are poisoned' --as admin"
    )]
    Rollback(RoundArgs),
    /// Write the models of a sealed data folder in the clear, for whoever checks them offline.
    Export(export::Args),
    /// Copy a published version with measurements in its model card, signed anew.
    Card(model_card::Args),
}

#[derive(clap::Args, Debug)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    remote: Remote,
    /// Where the model goes.
    #[arg(long, value_name = "FILE", required_unless_present = "bundle", conflicts_with = "bundle")]
    out: Option<PathBuf>,
    /// A folder to make instead, with everything that was published with the model: records, signatures, evidence.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The model of this round instead of the newest.
    #[arg(long, value_name = "N", conflicts_with = "digest")]
    round: Option<u64>,
    /// The model with these parameters instead of the newest.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Fetch it though it is quarantined: to find out what is wrong with it.
    #[arg(long)]
    quarantined: bool,
    /// The coordinator's public key, as the roster names it.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
}

pub(crate) async fn run(model: Model) -> Result<(), Failure> {
    let args = match model {
        Model::Fetch(args) => args,
        Model::Quarantine(args) => return run::quarantine(args).await,
        Model::Rollback(args) => return run::rollback(args).await,
        Model::Export(args) => return export::run(&args),
        Model::Card(args) => return model_card::run(&args),
    };
    let key = args.key.as_deref().map(identity::parse_verifying_key).transpose();
    let key = key.map_err(|why| Failure::usage(format!("--key: {why}")))?;
    let mut models = Models::over(args.remote.connect().await?, key);
    let chain = models.new_signed().await?;
    let wanted = |(_, manifest): &(SignedManifest, Manifest)| {
        args.round.is_none_or(|round| manifest.round == round)
            && args.digest.as_ref().is_none_or(|hex| manifest.model.params_digest.to_string() == *hex)
    };
    let newest = chain.last().map_or(0, |(_, manifest)| manifest.round);
    let (signed, manifest) = chain.into_iter().rev().find(wanted).ok_or_else(|| {
        Failure::usage(format!("no checkpoint of this run has that model; the newest is of round {newest}"))
    })?;
    match models.check_use(&manifest) {
        Err(why @ ModelsError::Quarantined { .. }) if args.quarantined => eprintln!("warning: {why}"),
        checked => checked?,
    }
    let bytes = models.fetch(&manifest).await?;
    if let Some(out) = &args.out {
        write_whole(out, &bytes).map_err(|why| cannot_write(out, why))?;
        let (out, sha256) = (out.display(), manifest.model.sha256);
        println!("{out}: round {}, {} bytes, sha256 {sha256}", manifest.round, bytes.len());
    }
    if let Some(folder) = &args.bundle {
        let files = models.bundle(&signed, &manifest, bytes).await?;
        write_folder(folder, &files)?;
        println!("{}: round {}, {} files", folder.display(), manifest.round, files.len());
        if files.iter().any(|(name, _)| *name == attest::BUNDLE_FILE) {
            println!(
                "model_signing verify key {0} --signature {0}/{1} --public_key model.pub.pem",
                folder.display(),
                attest::BUNDLE_FILE
            );
        } else {
            eprintln!(
                "warning: this coordinator signs no models for public tools: its configuration has no model_key_file"
            );
        }
    }
    if key.is_none() {
        eprintln!(
            "warning: no key is pinned, so this shows that one key signed the whole chain, not whose it is: {}",
            manifest.public_key
        );
    }
    Ok(())
}

/// Why a coordinator's models are not there, or not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelsError {
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    #[error("a record holds no manifest")]
    NoManifest,
    #[error("{}", with_causes(.0))]
    Record(#[source] ConversionError),
    #[error("the coordinator's chain does not verify: {}", with_causes(.0))]
    Chain(#[source] ChainError),
    #[error("the sum that arrived is not that of round {round}")]
    AnotherSum { round: u64 },
    #[error("the model's stream was empty")]
    Empty,
    #[error("the model's stream does not begin with its header")]
    NoHeader,
    #[error(transparent)]
    Header(#[from] ConversionError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("the model that arrived has sha256 {actual}, signed was {signed}")]
    AnotherModel { actual: Digest, signed: Digest },
    #[error("the model of round {round} is not for use: {}", printable(.why))]
    Quarantined { round: u64, why: String },
}

/// A coordinator's models, believed only as far as its signed chain goes.
pub(crate) struct Models {
    client: ModelsClient<Link>,
    chain: ChainVerifier,
    /// What was taken out of use, by whom and why.
    quarantined: Vec<(Digest, String)>,
}

impl Models {
    pub(crate) fn new(channel: Channel, key: Option<VerifyingKey>) -> Self {
        Self::over(InterceptedService::new(channel, Bearer::NONE), key)
    }

    pub(crate) fn over(link: Link, key: Option<VerifyingKey>) -> Self {
        let client = ModelsClient::new(link).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        Self { client, chain: ChainVerifier::new(key), quarantined: Vec::new() }
    }

    /// Records that were not seen before, verified, oldest first.
    pub(crate) async fn new_records(&mut self) -> Result<Vec<Manifest>, ModelsError> {
        Ok(self.new_signed().await?.into_iter().map(|(_, manifest)| manifest).collect())
    }

    /// [`Models::new_records`], each with its signed bytes.
    pub(crate) async fn new_signed(&mut self) -> Result<Vec<(SignedManifest, Manifest)>, ModelsError> {
        let from_round = self.chain.head().map_or(0, |head| head.round + 1);
        let request = ListCheckpointsRequest { from_round };
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
    fn check_use(&self, manifest: &Manifest) -> Result<(), ModelsError> {
        let taken = |(model, _): &&(Digest, String)| *model == manifest.model.params_digest;
        match self.quarantined.iter().find(taken) {
            None => Ok(()),
            Some((_, why)) => Err(ModelsError::Quarantined { round: manifest.round, why: why.clone() }),
        }
    }

    /// The file of a record's model.
    pub(crate) async fn fetch(&mut self, manifest: &Manifest) -> Result<Vec<u8>, ModelsError> {
        let file = self.part(manifest.round, ModelPart::Parameters).await.map_err(|why| refused(&why))??;
        file.finish(manifest.model.sha256)
    }

    /// All files of a checkpoint by name, each held against the signed record, or against what of them was signed.
    async fn bundle(
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
            let part = self.part(round, ModelPart::Optimizer).await.map_err(|why| refused(&why))??;
            files.push((checkpoint::OPTIMIZER_FILE, part.finish(artifact.sha256)?));
        }
        if let Some(named) = manifest.aggregate_digest {
            let part = self.part(round, ModelPart::Aggregate).await.map_err(|why| refused(&why))??;
            let sum = part.whole()?;
            if protocol::aggregate_digest(&sum) != named {
                return Err(ModelsError::AnotherSum { round });
            }
            files.push((checkpoint::AGGREGATE_FILE, sum));
        }
        files.extend(self.attestation(round).await?);
        Ok(files)
    }

    /// A checkpoint's model card, and its signatures for outsiders where the coordinator has a model key.
    pub(crate) async fn attestation(
        &mut self,
        round: u64,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, ModelsError> {
        let mut files = Vec::new();
        for (name, part) in [
            (card::CARD_FILE, ModelPart::Card),
            (card::README_FILE, ModelPart::Readme),
            (attest::BUNDLE_FILE, ModelPart::Signature),
            (attest::EVIDENCE_FILE, ModelPart::Evidence),
        ] {
            match self.part(round, part).await {
                Ok(part) => files.push((name, part?.whole()?)),
                // A coordinator without a model key has no signatures.
                Err(why) if why.code() == Code::NotFound => {}
                Err(why) => return Err(refused(&why).into()),
            }
        }
        Ok(files)
    }

    /// One file of a checkpoint: the outer failure is the coordinator's answer, the inner one a broken stream.
    async fn part(&mut self, round: u64, part: ModelPart) -> Result<Result<Assembly, ModelsError>, Status> {
        let request = FetchModelRequest { digest: Vec::new(), round: Some(round), part: part.into() };
        // A long run's files are more calls than a caller may make at once: each is made again when it may be.
        let mut tries = 1;
        let answer = loop {
            match self.client.fetch_model(request.clone()).await {
                Ok(answer) => break answer,
                Err(why) => match wire::retry_after(&why).filter(|_| tries < TRIES_MAX) {
                    Some(delay) => tokio::time::sleep(delay.min(RETRY_LONGEST)).await,
                    None => return Err(why),
                },
            }
            tries += 1;
        };
        let mut chunks = answer.into_inner();
        let mut assembly: Option<Assembly> = None;
        while let Some(chunk) = chunks.message().await? {
            let taken = match &mut assembly {
                None => Assembly::begin(chunk).map(|begun| assembly = Some(begun)),
                Some(assembly) => assembly.add(chunk),
            };
            if let Err(why) = taken {
                return Ok(Err(why));
            }
        }
        Ok(assembly.ok_or(ModelsError::Empty))
    }
}

/// A model's bytes as its chunks arrive, each checked.
struct Assembly {
    verifier: ChunkVerifier,
    bytes: Vec<u8>,
}

impl Assembly {
    fn begin(first: wire::v1::ModelChunk) -> Result<Self, ModelsError> {
        let Some(model_chunk::Part::Header(header)) = first.part else {
            return Err(ModelsError::NoHeader);
        };
        let header = ModelHeader::try_from(header)?;
        Ok(Self { verifier: ChunkVerifier::new(header), bytes: Vec::new() })
    }

    fn add(&mut self, chunk: wire::v1::ModelChunk) -> Result<(), ModelsError> {
        let data = self.verifier.accept(chunk)?;
        self.bytes.extend_from_slice(&data);
        Ok(())
    }

    fn whole(self) -> Result<Vec<u8>, ModelsError> {
        self.verifier.finish()?;
        Ok(self.bytes)
    }

    fn finish(self, signed: Digest) -> Result<Vec<u8>, ModelsError> {
        let bytes = self.whole()?;
        let actual = Digest::sha256(&bytes);
        if actual != signed {
            return Err(ModelsError::AnotherModel { actual, signed });
        }
        Ok(bytes)
    }
}

/// Makes a folder of files in one step, so that a reader sees none or all of it.
pub(crate) fn write_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), WriteError> {
    let made = NewFolder::beside(folder)?;
    files.iter().try_for_each(|(name, bytes)| made.add(name, bytes, 0o644))?;
    made.put()
}

/// Writes beside the target, then renames: a reader sees the old file or the whole new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o644)).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|why| why.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(
        file: &[u8],
        damage: impl Fn(usize, &mut wire::v1::ModelChunk),
    ) -> Result<Vec<u8>, ModelsError> {
        let chunks = wire::model_chunks(3, Digest::sha256(b"params"), file.to_vec().into());
        let mut assembly: Option<Assembly> = None;
        for (index, mut chunk) in chunks.enumerate() {
            damage(index, &mut chunk);
            match &mut assembly {
                None => assembly = Some(Assembly::begin(chunk)?),
                Some(assembly) => assembly.add(chunk)?,
            }
        }
        assembly.unwrap().finish(Digest::sha256(file))
    }

    fn file() -> Vec<u8> {
        (0..limits::CHUNK_BYTES * 2 + 9).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn whole_chunks_make_the_signed_file() {
        assert_eq!(assemble(&file(), |_, _| {}).unwrap(), file());
    }

    #[test]
    fn a_flipped_bit_is_an_error_that_names_the_chunk() {
        let why = assemble(&file(), |index, chunk| {
            if let (2, Some(model_chunk::Part::Data(data))) = (index, &mut chunk.part) {
                let mut bytes = data.data.to_vec();
                bytes[5] ^= 1;
                data.data = bytes.into();
            }
        })
        .unwrap_err();
        assert!(matches!(Failure::from(why), Failure::Verification(text) if text.contains("chunk 2 of 3")));
    }

    #[test]
    fn another_file_than_the_signed_one_is_refused_though_its_chunks_agree() {
        let chunks = wire::model_chunks(3, Digest::sha256(b"params"), b"other".to_vec().into());
        let mut chunks = chunks.collect::<Vec<_>>().into_iter();
        let mut assembly = Assembly::begin(chunks.next().unwrap()).unwrap();
        assembly.add(chunks.next().unwrap()).unwrap();
        let why = assembly.finish(Digest::sha256(b"signed")).unwrap_err();
        assert!(matches!(Failure::from(why), Failure::Verification(_)));
    }

    #[test]
    fn a_folder_is_made_whole_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("round-1");
        let files = [("manifest.json", b"{}".to_vec()), ("model.sig", b"sig".to_vec())];
        write_folder(&out, &files).unwrap();
        assert_eq!(std::fs::read(out.join("model.sig")).unwrap(), b"sig");
        let again = write_folder(&out, &files).unwrap_err();
        assert!(
            matches!(&again, WriteError::Taken { .. }) && again.to_string().contains("not overwritten"),
            "{again}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_model_replaces_the_file_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, "old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
