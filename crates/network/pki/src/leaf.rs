//! What a certificate says.

use std::time::{SystemTime, SystemTimeError, UNIX_EPOCH};

use identity::Subject;
use params::Digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// A certificate of the federation, as read: nothing here says that it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Whom it was issued to.
    pub subject: Subject,
    /// The DNS names and IP addresses that it serves under; empty but for the coordinator.
    pub names: Vec<String>,
    /// From when it is valid, in seconds since the Unix epoch.
    pub not_before_s: u64,
    /// Until when it is valid, in seconds since the Unix epoch.
    pub not_after_s: u64,
    /// SHA-256 over its DER bytes.
    pub fingerprint: Digest,
}

/// A certificate that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not PEM certificates.
    #[error("this is no PEM certificate; restore the file, or enrol again")]
    Syntax,
    /// Not exactly one subject of a federation.
    #[error(
        "the certificate names no silo, operator or coordinator; it was not issued by a federation's authority"
    )]
    Subject,
    /// The certificate of no authority.
    #[error(
        "it is the certificate of no authority; take the authority's certificate, not one that it issued"
    )]
    NoAuthority,
}

/// Reads the first certificate of a PEM chain.
///
/// # Errors
/// [`LeafError`].
pub fn inspect(chain_pem: &str) -> Result<Leaf, LeafError> {
    inspect_der(certificates(chain_pem)?.first().ok_or(LeafError::Syntax)?)
}

pub(crate) fn inspect_der(der: &CertificateDer<'_>) -> Result<Leaf, LeafError> {
    let certificate = parse(der)?;
    let alternatives = certificate.subject_alternative_name().map_err(|_| LeafError::Subject)?;
    let alternatives =
        alternatives.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = Vec::new();
    let mut names = Vec::new();
    for alternative in alternatives {
        match alternative {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => names.extend(address(octets)),
            _ => {}
        }
    }
    let [uri] = uris.as_slice() else { return Err(LeafError::Subject) };
    Ok(Leaf {
        subject: uri.parse().map_err(|_| LeafError::Subject)?,
        names,
        not_before_s: seconds(certificate.validity().not_before),
        not_after_s: seconds(certificate.validity().not_after),
        fingerprint: Digest::sha256(der),
    })
}

/// This machine's clock in seconds since 1970, as certificates and tokens count, for whoever issues or calls with them.
///
/// # Errors
/// A clock that stands before 1970: nothing that it dates would be believed.
pub fn now_s() -> Result<u64, SystemTimeError> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// When to renew a certificate: at two thirds of its life, or up to a twentieth of it earlier by `random`, so that
/// silos that enrolled together do not all come back together.
pub fn renew_at(not_before_s: u64, not_after_s: u64, random: u64) -> u64 {
    let life = not_after_s.saturating_sub(not_before_s);
    let spread = life / 20 + 1;
    not_before_s.saturating_add(life / 3 * 2).saturating_sub(random % spread)
}

pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, LeafError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(LeafError::Syntax)
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, LeafError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(LeafError::Syntax),
    }
}

pub(crate) fn seconds(time: ASN1Time) -> u64 {
    time.timestamp().try_into().unwrap_or(0)
}

fn address(octets: &[u8]) -> Option<String> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).to_string())
}
