//! A copy of a published version with measurements in its card, signed anew.

use std::path::{Path, PathBuf};

use attest::{BUNDLE_FILE, BundleError, EVIDENCE_FILE, EvidenceError, IGNORED_PATHS, ModelKey};
use card::{CARD_BYTES_MAX, CARD_FILE, Card, CardError, Evaluation, README_FILE};
use checkpoint::SignedManifest;
use params::Digest;

use crate::evidence::signed;
use crate::folder::{Plain, read_bounded};
use crate::listing::{ListingError, list_files, read_listed};
use crate::verify::{CheckpointFault, verify_version};

/// Longer than any record of a measurement.
const EVALUATION_BYTES_MAX: u64 = 1 << 16;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum MeasuredError {
    /// The version, its signature or its evidence does not hold.
    #[error(transparent)]
    Version(#[from] CheckpointFault),
    /// Its card or a measurement cannot be read.
    #[error(transparent)]
    Unread(CheckpointFault),
    /// Its card or a measurement is none, or not this version's.
    #[error("`{}`: {why}", file.display())]
    Card {
        file: PathBuf,
        #[source]
        why: CardError,
    },
    /// A measurement is of another model.
    #[error("`{}`: measures another model than {}'s", file.display(), folder.display())]
    AnotherModel {
        file: PathBuf,
        /// The version's folder.
        folder: PathBuf,
    },
    /// The version's folder holds what no signature covers.
    #[error(transparent)]
    Folder(#[from] ListingError),
    /// The new card holds numbers that no text can.
    #[error(transparent)]
    Unwritten(CardError),
    /// The copy cannot be signed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Nor can its evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

/// A published version, whose card takes up measurements: what was published stays as it is, so that this is of a copy.
#[derive(Debug)]
pub struct Measured {
    folder: PathBuf,
    record: SignedManifest,
    card: Card,
}

/// The copy's files, each by its path in it.
pub type CopiedFiles = Vec<(String, Vec<u8>)>;

impl Measured {
    /// The version in this folder, with the card that was published with it.
    ///
    /// # Errors
    /// A version that does not hold by itself; a card that cannot be read, or does not say what the record says.
    pub fn of(folder: &Path) -> Result<Self, MeasuredError> {
        let (record, manifest) = verify_version(&Plain::new(folder), "")?;
        let file = folder.join(CARD_FILE);
        let text = read_bounded(&file, CARD_BYTES_MAX as u64).map_err(MeasuredError::Unread)?;
        let card = Card::from_yaml(&String::from_utf8_lossy(&text)).and_then(|card| {
            // One version does not tell whom those before it learned from.
            let learned = card.training_data.silos.iter().map(|silo| silo.id).collect();
            card.check(&manifest, &learned, None).map(|()| card)
        });
        let card = card.map_err(|why| MeasuredError::Card { file, why })?;
        Ok(Self { folder: folder.to_owned(), record, card })
    }

    /// Takes up the measurement in a file.
    ///
    /// # Errors
    /// A file that cannot be read, is no measurement, or one of another model.
    pub fn take_up(&mut self, file: &Path) -> Result<(), MeasuredError> {
        let bytes = read_bounded(file, EVALUATION_BYTES_MAX).map_err(MeasuredError::Unread)?;
        let evaluation = Evaluation::from_json(&bytes)
            .map_err(|why| MeasuredError::Card { file: file.to_owned(), why })?;
        if !self.card.take_up(&evaluation) {
            let (file, folder) = (file.to_owned(), self.folder.clone());
            return Err(MeasuredError::AnotherModel { file, folder });
        }
        Ok(())
    }

    /// The card with what it took up.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Whether the version was signed for public tools.
    pub fn is_signed(&self) -> bool {
        self.folder.join(BUNDLE_FILE).exists()
    }

    /// The copy's files, without a signature: the version's, and the new card.
    ///
    /// # Errors
    /// A folder that no signature could be of; a disk that fails.
    pub fn files(&self) -> Result<CopiedFiles, MeasuredError> {
        let made = [CARD_FILE, README_FILE, BUNDLE_FILE, EVIDENCE_FILE];
        let mut files = read_listed(&self.folder, &made)?;
        let yaml = self.card.to_yaml().map_err(MeasuredError::Unwritten)?;
        let readme = self.card.readme().map_err(MeasuredError::Unwritten)?;
        files.extend([(CARD_FILE.into(), yaml.into_bytes()), (README_FILE.into(), readme.into_bytes())]);
        Ok(files)
    }

    /// Adds the copy's signature and its evidence, by the key whose signature the version has.
    ///
    /// # Errors
    /// A signature or an evidence that is not that key's of this version.
    pub fn sign(&self, files: &mut CopiedFiles, key: &ModelKey) -> Result<(), MeasuredError> {
        let listed = list_files(&self.folder, &[])?;
        let before = signed(&Plain::new(&self.folder), "", &self.record, &listed, key.public())?;
        let digests: Vec<(String, Digest)> =
            files.iter().map(|(name, bytes)| (name.clone(), Digest::sha256(bytes))).collect();
        let model = attest::sign_model(&before.statement.name, &digests, &IGNORED_PATHS, key)?;
        let evidence = attest::sign_round(&before.statement.name, &model.root, &before.round, key)?;
        files.extend([(BUNDLE_FILE.into(), model.bundle), (EVIDENCE_FILE.into(), evidence)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use attest::RoundEvidence;
    use rand::rand_core::UnwrapErr;
    use vault::NewFolder;
    use vault::files::WORLD_READABLE;

    use super::*;

    /// A version with a card, as the first release published it.
    const VERSION: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/fixtures/release-1/coordinator/checkpoints/000003"
    );

    fn new_key() -> ModelKey {
        ModelKey::generate(&mut UnwrapErr(rand::rngs::SysRng)).unwrap()
    }

    fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        file
    }

    fn evaluation(params_digest: Digest) -> String {
        let data = "held out".to_owned();
        let evaluation =
            Evaluation { params_digest, data, rows: 10, correct: 7, loss: 0.5, loss_deviation: 0.1 };
        serde_json::to_string(&evaluation).unwrap()
    }

    /// A copy of the version that a model key has signed.
    fn signed_copy(here: &Path, key: &ModelKey) -> PathBuf {
        let folder = here.join("000003");
        let measured = Measured::of(Path::new(VERSION)).unwrap();
        NewFolder::whole(&folder, &measured.files().unwrap(), WORLD_READABLE).unwrap();
        let listed = list_files(&folder, &[]).unwrap();
        let model = attest::sign_model("000003", &listed, &IGNORED_PATHS, key).unwrap();
        let evidence = RoundEvidence::of(&measured.record, "1.0.0").unwrap();
        write(&folder, BUNDLE_FILE, model.bundle);
        write(&folder, EVIDENCE_FILE, attest::sign_round("000003", &model.root, &evidence, key).unwrap());
        folder
    }

    #[test]
    fn a_measured_copy_differs_in_its_card_alone_and_is_signed_by_the_key_that_signed_the_version() {
        let here = tempfile::tempdir().unwrap();
        let key = new_key();
        let folder = signed_copy(here.path(), &key);
        let mut measured = Measured::of(&folder).unwrap();
        let figures = measured.card().metrics.len();
        let own = measured.card().model.params_digest;
        measured.take_up(&write(here.path(), "own.json", evaluation(own))).unwrap();
        assert!(measured.card().metrics.len() > figures && measured.is_signed());
        let mut files = measured.files().unwrap();
        for (name, bytes) in &files {
            let same = fs::read(folder.join(name)).unwrap() == *bytes;
            assert_eq!(same, ![CARD_FILE, README_FILE].contains(&name.as_str()), "{name}");
        }
        measured.sign(&mut files, &key).unwrap();
        let copy = here.path().join("copy");
        NewFolder::whole(&copy, &files, WORLD_READABLE).unwrap();
        let bundle = fs::read(copy.join(BUNDLE_FILE)).unwrap();
        let statement =
            attest::verify_model(&bundle, &list_files(&copy, &[]).unwrap(), key.public()).unwrap();
        let evidence = fs::read(copy.join(EVIDENCE_FILE)).unwrap();
        let evidence = attest::verify_round(&evidence, &statement, key.public()).unwrap();
        evidence.check(&measured.record, &statement).unwrap();
        let of_another = measured.sign(&mut files, &new_key()).unwrap_err();
        assert!(of_another.to_string().contains(BUNDLE_FILE), "{of_another}");
    }

    #[test]
    fn a_measurement_of_another_model_and_a_card_that_was_changed_are_refused() {
        let here = tempfile::tempdir().unwrap();
        let mut measured = Measured::of(Path::new(VERSION)).unwrap();
        let other = write(here.path(), "other.json", evaluation(Digest::sha256(b"another")));
        let why = measured.take_up(&other).unwrap_err();
        assert!(matches!(why, MeasuredError::AnotherModel { .. }), "{why}");
        let none = measured.take_up(&write(here.path(), "none.json", "{}")).unwrap_err();
        assert!(matches!(none, MeasuredError::Card { .. }), "{none}");
        let folder = signed_copy(here.path(), &new_key());
        let card = fs::read_to_string(folder.join(CARD_FILE)).unwrap();
        let own = measured.card().model.params_digest.to_string();
        write(&folder, CARD_FILE, card.replace(&own, &Digest::sha256(b"another").to_string()));
        let changed = Measured::of(&folder).unwrap_err();
        assert!(matches!(changed, MeasuredError::Card { .. }), "{changed}");
    }
}
