//! The file in which a silo's data is registered: what trainers read by, and what plans are held against.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use params::Digest;
use plan::{Policy, Problems};
use registration::Registration;
use serde::Deserialize;

/// The key of a silo's configuration that names it.
const KEY: &str = "registration";
const SCHEMA: &str = "policy.schema";
const BESIDE: &str = "contradicts `registration`, which says what the columns hold; take the table out";

/// Where a silo's registration is, and once it was [read](RegistrationFile::pin) the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub struct RegistrationFile {
    path: PathBuf,
    digest: Option<Digest>,
}

impl From<PathBuf> for RegistrationFile {
    fn from(path: PathBuf) -> Self {
        Self { path, digest: None }
    }
}

impl RegistrationFile {
    /// As the configuration names it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For whoever resolves it.
    pub fn path_mut(&mut self) -> &mut PathBuf {
        &mut self.path
    }

    /// Reads it as it is now: its columns become those that plans are held against, and no trainer reads by any other text of it until
    /// it is read anew. What is wrong is added.
    pub fn pin(&mut self, policy: &mut Policy, problems: &mut Problems) {
        if policy.schema.is_some() {
            problems.add(SCHEMA, BESIDE);
        }
        let read = std::fs::read_to_string(&self.path).map_err(|why| format!("cannot be read: {why}"));
        let schema = read.and_then(|text| {
            let registration =
                Registration::from_toml(&text).map_err(|why| format!("cannot be used:\n{why}"))?;
            self.digest = Some(Digest::sha256(text.as_bytes()));
            registration.schema().map(Some).map_err(|why| why.to_string())
        });
        match schema {
            Ok(schema) => policy.schema = schema,
            Err(why) => problems.add(KEY, format!("`{}`: {why}", self.path.display())),
        }
    }

    /// For a trainer's command line, which is fixed before the daemon has met the network. Without a digest, no trainer starts.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = vec!["--registration".into(), self.path.clone().into_os_string()];
        if let Some(digest) = &self.digest {
            words.extend(["--registration-digest".into(), digest.to_string().into()]);
        }
        words
    }
}
