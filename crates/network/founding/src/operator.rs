//! A person's key, certificate and folder.

use std::path::Path;

use identity::Subject;
use pki::{CertificateAuthority, TransportKey};
use vault::files::{OWNER_ONLY, WORLD_READABLE};
use vault::{NewFolder, layout};

use crate::DAY_S;
use crate::error::{CertificateError, FoundingError};

/// A person's certificate that is made on the coordinator's machine.
const DAYS: u64 = 90;

/// A person's new key with its certificate, good for 90 days, and that one's issuer's.
///
/// # Errors
/// [`CertificateError`].
pub fn issued(
    issuer: &CertificateAuthority,
    subject: &Subject,
    now_s: u64,
) -> Result<(TransportKey, String), CertificateError> {
    certified(issuer, subject, &[], now_s, DAYS * DAY_S)
}

pub(crate) fn certified(
    issuer: &CertificateAuthority,
    subject: &Subject,
    names: &[String],
    now_s: u64,
    lifetime_s: u64,
) -> Result<(TransportKey, String), CertificateError> {
    let key = TransportKey::generate()?;
    let issued = issuer.issue(&key.request_der()?, subject, names, now_s, lifetime_s)?;
    Ok((key, issued.chain_pem))
}

/// Makes the folder that a person's commands are given, of a key with its certificate, the federation's authority and the
/// HOST:PORT of its coordinator: all of it or nothing.
///
/// # Privacy
/// It holds the person's key in the clear, for its owner's eyes: it is theirs to protect. So may what a process leaves that is
/// killed: a folder beside it, as [`NewFolder`] names it.
///
/// # Errors
/// [`FoundingError`]: a folder that is there, a disk that fails.
pub fn operator_folder(
    folder: &Path,
    (key, chain): &(TransportKey, String),
    authority: &str,
    address: &str,
) -> Result<(), FoundingError> {
    let made = NewFolder::beside(folder)?;
    let files = layout::Operator::of(Path::new(""));
    made.add(&files.key, key.to_pem().as_bytes(), OWNER_ONLY)?;
    made.add(&files.certificate, chain.as_bytes(), WORLD_READABLE)?;
    made.add(&files.authority, authority.as_bytes(), WORLD_READABLE)?;
    made.add(&files.coordinator, format!("https://{address}\n").as_bytes(), WORLD_READABLE)?;
    Ok(made.put()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_persons_folder_is_made_whole_and_one_that_is_there_is_left_as_it_is() {
        let here = tempfile::tempdir().unwrap();
        let folder = here.path().join("ada");
        let own = (TransportKey::generate().unwrap(), "a chain".to_owned());
        operator_folder(&folder, &own, "an authority", "fl.example:7440").unwrap();
        let files = layout::Operator::of(&folder);
        assert_eq!(fs::read_to_string(&files.key).unwrap(), *own.0.to_pem());
        assert_eq!(fs::read_to_string(&files.coordinator).unwrap(), "https://fl.example:7440\n");
        let why = operator_folder(&folder, &own, "another", "fl.example:1").unwrap_err().to_string();
        assert!(why.contains("ada` exists and is not overwritten"), "{why}");
        assert_eq!(fs::read_to_string(&files.authority).unwrap(), "an authority");
        assert!(
            operator_folder(&here.path().join("no/where"), &own, "an authority", "fl.example:1").is_err()
        );
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }
}
