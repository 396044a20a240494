//! The OpenSSF Model Signing bundle of a folder.

use std::collections::BTreeMap;

use params::Digest;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, Written};
use crate::evidence::EVIDENCE_FILE;
use crate::key::{ModelKey, ModelPublicKey};
use crate::statement::{self, StatementError, Subject, SubjectDigest};

/// Where a published folder keeps its bundle.
pub const BUNDLE_FILE: &str = "model.sig";
/// The predicate of a bundle.
pub const MODEL_PREDICATE: &str = "https://model_signing/signature/v1.0";
/// What a published folder holds and its bundle does not sign: the two signatures, and what version control
/// and hosting add at the top.
pub const IGNORED_PATHS: [&str; 6] =
    [".git", ".gitattributes", ".github", ".gitignore", EVIDENCE_FILE, BUNDLE_FILE];
/// Longer bundles are refused unread: the limit is some twenty thousand files.
pub const BUNDLE_BYTES_MAX: usize = 4 << 20;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SHA256: &str = "sha256";

/// A folder as its bundle states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatement {
    /// The folder's name when it was signed; a copy may have another.
    pub name: String,
    /// One digest for the whole folder: SHA-256 over the files' digests in the order of the statement.
    pub root: Digest,
    /// Every signed file with its SHA-256.
    pub resources: BTreeMap<String, Digest>,
    /// Paths that the bundle leaves out, each with all below it.
    pub ignore_paths: Vec<String>,
}

/// A bundle with the root that it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedModel {
    /// The content of [`BUNDLE_FILE`].
    pub bundle: Vec<u8>,
    pub root: Digest,
}

/// A bundle that is refused, or a folder that is not the signed one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// More than [`BUNDLE_BYTES_MAX`].
    #[error("the bundle has {bytes} bytes, more than {BUNDLE_BYTES_MAX}; a signed model has far fewer files")]
    TooLong { bytes: usize },
    /// Not the JSON of a bundle made with a key, or one with fields that are not known here.
    #[error("the bundle cannot be read; it must be signed by `key`, not by certificate or sigstore")]
    Json(#[source] serde_json::Error),
    #[error("the bundle's `mediaType` is {actual:?}, not {MEDIA_TYPE:?}")]
    MediaType { actual: String },
    /// An entry of a public log, which a bundle made with a key has not.
    #[error("the bundle has {count} log entries; one signed by `key` has none")]
    LogEntries { count: usize },
    /// Made with another key.
    #[error(
        "the bundle names the key {actual}; the one given is {expected}: use the federation's public key"
    )]
    Key {
        /// The given key's.
        expected: Digest,
        /// In the bundle.
        actual: String,
    },
    /// The signature, or the statement under it, is refused.
    #[error("the bundle's statement is refused")]
    Statement(#[from] StatementError),
    /// Shards, another hash, or symbolic links.
    #[error("the bundle's `{field}` is {actual:?}; only files, sha256 and no symbolic links are supported")]
    Serialization { field: &'static str, actual: String },
    /// Absolute, climbing, or in a second spelling.
    #[error("`{path}` is no relative path in plain form")]
    Path { path: String },
    /// Twice in one list.
    #[error("`{path}` is listed twice")]
    Repeated { path: String },
    /// No file, or none that is not ignored.
    #[error("there is no file to sign or verify; name the folder of the model itself")]
    Empty,
    /// The statement contradicts itself.
    #[error("the bundle states the root {stated}, and its files give {computed}")]
    Root {
        /// In the statement.
        stated: Digest,
        /// From its resources.
        computed: Digest,
    },
    /// A signed file that is not there.
    #[error("`{path}` is signed and not there; copy the whole folder again")]
    Missing { path: String },
    /// A file that nobody signed.
    #[error("`{path}` is there and not signed; remove it, or copy the folder again")]
    Extra { path: String },
    /// Other bytes than were signed.
    #[error("`{path}` has sha256 {actual}; signed was {expected}: copy it again")]
    Changed { path: String, expected: Digest, actual: Digest },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Written,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Material {
    public_key: KeyName,
    #[serde(default)]
    tlog_entries: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyName {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: Digest,
}

/// Signs a folder: every regular file in it by path and SHA-256, in any order, but for `ignore_paths` and
/// what is below them.
///
/// The same files, name and key give the same bytes, so that a crash and a second signing change nothing.
///
/// # Errors
///
/// No file at all, a path that is not plain, or one listed twice.
pub fn sign_model(
    name: &str,
    files: &[(String, Digest)],
    ignore_paths: &[&str],
    key: &ModelKey,
) -> Result<SignedModel, BundleError> {
    let mut ignore_paths: Vec<String> = ignore_paths.iter().map(|&path| path.to_owned()).collect();
    ignore_paths.sort();
    // The order of UTF-8 bytes is the order of code points, which the specification demands.
    let resources = signed_files(files, &ignore_paths)?;
    if resources.is_empty() {
        return Err(BundleError::Empty);
    }
    let root = root_of(resources.values());
    let predicate = Predicate {
        serialization: Serialization {
            method: "files".to_owned(),
            hash_type: SHA256.to_owned(),
            allow_symlinks: false,
            ignore_paths,
        },
        resources: resources
            .into_iter()
            .map(|(name, digest)| Resource { name, algorithm: SHA256.to_owned(), digest })
            .collect(),
    };
    let subject = Subject { name: name.to_owned(), digest: SubjectDigest { sha256: root } };
    let envelope = statement::sign(subject, MODEL_PREDICATE, &predicate, key)?;
    Ok(SignedModel { bundle: bundle_bytes(&envelope, key.public())?, root })
}

/// Checks a folder against its bundle: every regular file in it by path and SHA-256, in any order, those that
/// the bundle ignores included or not.
///
/// # Errors
///
/// The first thing that is not as signed.
///
/// # Security
///
/// What the bundle ignores may hold anything. Require of [`ModelStatement::resources`] the file that is used.
pub fn verify_model(
    bundle: &[u8],
    files: &[(String, Digest)],
    key: &ModelPublicKey,
) -> Result<ModelStatement, BundleError> {
    let statement = ModelStatement::open(bundle, key)?;
    statement.check(files)?;
    Ok(statement)
}

impl ModelStatement {
    /// Reads a bundle that this key signed, without the folder.
    ///
    /// # Errors
    ///
    /// Anything but a bundle by `key` over files with SHA-256 that is consistent in itself.
    pub fn open(bundle: &[u8], key: &ModelPublicKey) -> Result<ModelStatement, BundleError> {
        let envelope = envelope_of(bundle, key)?;
        let (subject, predicate): (Subject, Predicate) = statement::open(&envelope, MODEL_PREDICATE, key)?;
        let Predicate { serialization, resources } = predicate;
        serialization.check()?;
        if resources.is_empty() {
            return Err(BundleError::Empty);
        }
        // The order is the signer's: the Python tool orders by folders, and the root follows the list.
        let (stated, computed) = (subject.digest.sha256, root_of(resources.iter().map(|r| &r.digest)));
        if stated != computed {
            return Err(BundleError::Root { stated, computed });
        }
        let mut by_path = BTreeMap::new();
        for Resource { name, algorithm, digest } in resources {
            if algorithm != SHA256 {
                return Err(BundleError::Serialization { field: "algorithm", actual: algorithm });
            }
            insert(&mut by_path, name, digest)?;
        }
        Ok(ModelStatement {
            name: subject.name,
            root: stated,
            resources: by_path,
            ignore_paths: serialization.ignore_paths,
        })
    }

    /// Checks a folder against this statement, as [`verify_model`] does.
    ///
    /// # Errors
    ///
    /// The first file that is not as signed.
    pub fn check(&self, files: &[(String, Digest)]) -> Result<(), BundleError> {
        let found = signed_files(files, &self.ignore_paths)?;
        for (path, &expected) in &self.resources {
            match found.get(path) {
                Some(&actual) if actual == expected => {}
                Some(&actual) => return Err(BundleError::Changed { path: path.clone(), expected, actual }),
                None => return Err(BundleError::Missing { path: path.clone() }),
            }
        }
        match found.into_keys().find(|path| !self.resources.contains_key(path)) {
            Some(path) => Err(BundleError::Extra { path }),
            None => Ok(()),
        }
    }
}

impl Serialization {
    fn check(&self) -> Result<(), BundleError> {
        for (field, expected, actual) in [
            ("method", "files", self.method.as_str()),
            ("hash_type", SHA256, self.hash_type.as_str()),
            ("allow_symlinks", "false", if self.allow_symlinks { "true" } else { "false" }),
        ] {
            if actual != expected {
                return Err(BundleError::Serialization { field, actual: actual.to_owned() });
            }
        }
        Ok(())
    }
}

fn bundle_bytes(envelope: &Envelope, key: &ModelPublicKey) -> Result<Vec<u8>, BundleError> {
    let bundle = Bundle {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: KeyName { hint: key.hint().to_string() },
            tlog_entries: Vec::new(),
        },
        dsse_envelope: Written::from(envelope),
    };
    let bytes = serde_json::to_vec(&bundle).map_err(BundleError::Json)?;
    // What could never be verified must not be published.
    if bytes.len() > BUNDLE_BYTES_MAX { Err(BundleError::TooLong { bytes: bytes.len() }) } else { Ok(bytes) }
}

fn envelope_of(bundle: &[u8], key: &ModelPublicKey) -> Result<Envelope, BundleError> {
    if bundle.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLong { bytes: bundle.len() });
    }
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(BundleError::Json)?;
    if bundle.media_type != MEDIA_TYPE {
        return Err(BundleError::MediaType { actual: bundle.media_type });
    }
    let Material { public_key, tlog_entries } = bundle.verification_material;
    if !tlog_entries.is_empty() {
        return Err(BundleError::LogEntries { count: tlog_entries.len() });
    }
    let expected = key.hint();
    if public_key.hint != expected.to_string() {
        return Err(BundleError::Key { expected, actual: public_key.hint });
    }
    Envelope::try_from(bundle.dsse_envelope).map_err(|error| StatementError::from(error).into())
}

/// The files that are not ignored, in code-point order.
fn signed_files(
    files: &[(String, Digest)],
    ignore_paths: &[String],
) -> Result<BTreeMap<String, Digest>, BundleError> {
    let mut by_path = BTreeMap::new();
    for (path, digest) in files {
        if !ignore_paths.iter().any(|ignored| is_at_or_below(path, ignored)) {
            insert(&mut by_path, path.clone(), *digest)?;
        }
    }
    Ok(by_path)
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn insert(by_path: &mut BTreeMap<String, Digest>, path: String, digest: Digest) -> Result<(), BundleError> {
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
    if !plain {
        return Err(BundleError::Path { path });
    }
    match by_path.insert(path.clone(), digest) {
        None => Ok(()),
        Some(_) => Err(BundleError::Repeated { path }),
    }
}

fn root_of<'a>(digests: impl Iterator<Item = &'a Digest>) -> Digest {
    Digest::sha256(&digests.flat_map(|digest| *digest.as_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests;
