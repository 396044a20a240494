//! in-toto Statement v1: what a signature says, about which folder.

use params::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError};
use crate::key::{ModelKey, ModelPublicKey};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A statement that is refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The envelope around it is refused.
    #[error("the signature does not hold")]
    Envelope(#[from] EnvelopeError),
    /// Validly signed, and not the JSON of such a statement.
    #[error("the signed statement cannot be read; it was written by another or a newer tool")]
    Json(#[source] serde_json::Error),
    /// Validly signed, and a statement of something else.
    #[error("the signed statement's `{field}` is {actual:?}, not {expected:?}: it states something else")]
    Constant { field: &'static str, expected: &'static str, actual: String },
    /// About none, or more than one.
    #[error("the signed statement is about {count} subjects; it must be about one folder")]
    Subjects { count: usize },
}

/// The folder that a statement is about.
///
/// Unknown fields are let through, here and in resources: the specifications demand it, and they are signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) digest: SubjectDigest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubjectDigest {
    pub(crate) sha256: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

/// The constants alone, so that a statement of something else is named as such and not as unreadable.
#[derive(Deserialize)]
struct Constants {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

pub(crate) fn sign<P: Serialize>(
    subject: Subject,
    predicate_type: &str,
    predicate: &P,
    key: &ModelKey,
) -> Result<Envelope, StatementError> {
    let statement = Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![subject],
        predicate_type: predicate_type.to_owned(),
        predicate,
    };
    let payload = serde_json::to_vec(&statement).map_err(StatementError::Json)?;
    Ok(Envelope::sign(PAYLOAD_TYPE, payload, key))
}

/// Nothing of the payload is read before the signature holds.
pub(crate) fn open<P: DeserializeOwned>(
    envelope: &Envelope,
    predicate_type: &'static str,
    key: &ModelPublicKey,
) -> Result<(Subject, P), StatementError> {
    let payload = envelope.verify(PAYLOAD_TYPE, key)?;
    let constants: Constants = serde_json::from_slice(payload).map_err(StatementError::Json)?;
    for (field, expected, actual) in [
        ("_type", STATEMENT_TYPE, constants.statement_type),
        ("predicateType", predicate_type, constants.predicate_type),
    ] {
        if actual != expected {
            return Err(StatementError::Constant { field, expected, actual });
        }
    }
    let statement: Statement<P> = serde_json::from_slice(payload).map_err(StatementError::Json)?;
    match <[Subject; 1]>::try_from(statement.subject) {
        Ok([subject]) => Ok((subject, statement.predicate)),
        Err(subjects) => Err(StatementError::Subjects { count: subjects.len() }),
    }
}

#[cfg(test)]
pub(crate) fn sign_text(text: &str, key: &ModelKey) -> Envelope {
    Envelope::sign(PAYLOAD_TYPE, text.as_bytes().to_vec(), key)
}
