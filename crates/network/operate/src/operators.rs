//! Certificates of people and programs: what is asked for, and the check of what comes back.

use identity::{Authority, Role, Subject, SubjectError, printable};
use pki::{ClientTls, LeafError, TlsError, TransportKey, TransportKeyError};

use crate::connect::ConnectError;

/// A person or a program that is to have a certificate.
#[derive(Debug, Clone)]
pub struct NewOperator {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) lifetime_s: u64,
    subject: Subject,
}

/// Why nobody got a certificate.
#[derive(Debug, thiserror::Error)]
pub enum NewOperatorError {
    /// The caller's key.
    #[error(transparent)]
    Key(#[from] TransportKeyError),
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// What came back is no certificate.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// What came back is somebody else's.
    #[error("asked for a certificate of {asked}, the coordinator sent one of {}", printable(got))]
    Another {
        /// Whom it was to name.
        asked: String,
        /// Whom it names.
        got: String,
    },
    /// What came back opens nothing: another key's, or not under the federation's authority.
    #[error(transparent)]
    Unfit(#[from] TlsError),
}

impl NewOperator {
    /// Of this name and role, for so many days.
    ///
    /// # Errors
    /// [`SubjectError`] for a text that is no name, and for a role that nobody can be given.
    pub fn new(name: &str, role: Role, days: u32) -> Result<Self, SubjectError> {
        let subject = Subject::operator(name, role)?;
        Ok(Self { name: name.to_owned(), role, lifetime_s: u64::from(days) * 86_400, subject })
    }

    pub(crate) fn check(
        &self,
        chain: &str,
        key: &TransportKey,
        authority: &Authority,
    ) -> Result<(), NewOperatorError> {
        let leaf = pki::inspect(chain)?;
        if leaf.subject != self.subject {
            let (asked, got) = (self.subject.to_string(), leaf.subject.to_string());
            return Err(NewOperatorError::Another { asked, got });
        }
        ClientTls::new(&authority.ca_certificate, Some((chain, key)))?;
        Ok(())
    }
}
