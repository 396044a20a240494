//! A person's key, certificate and folder.

use std::fs;
use std::path::Path;

use identity::Subject;
use pki::{CertificateAuthority, TransportKey};
use vault::files::{OWNER_ONLY, WORLD_READABLE};
use vault::layout;

use crate::error::{CertificateError, FoundingError};
use crate::{DAY_S, write};

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
/// HOST:PORT of its coordinator.
///
/// # Privacy
/// It holds the person's key in the clear, for its owner's eyes: it is theirs to protect.
///
/// # Errors
/// [`FoundingError`]: a folder that is there, a disk that fails.
pub fn operator_folder(
    folder: &Path,
    (key, chain): &(TransportKey, String),
    authority: &str,
    address: &str,
) -> Result<(), FoundingError> {
    fs::create_dir(folder).map_err(|why| FoundingError::NotMade { folder: folder.to_owned(), why })?;
    let files = layout::Operator::of(folder);
    write(&files.key, &key.to_pem(), OWNER_ONLY)?;
    write(&files.certificate, chain, WORLD_READABLE)?;
    write(&files.authority, authority, WORLD_READABLE)?;
    write(&files.coordinator, &format!("https://{address}\n"), WORLD_READABLE)
}
