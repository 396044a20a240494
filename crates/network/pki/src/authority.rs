//! The federation's certificate authority.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use identity::Subject;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::crypto::ring;
use rustls::pki_types::DnsName;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::key::{TransportKey, TransportKeyError};
use crate::leaf::{LeafError, certificates, parse, seconds};

const DAY_S: u64 = 86_400;
const AUTHORITY_LIFE_S: u64 = 3_652 * DAY_S;
/// A machine whose clock is a little behind accepts a new certificate all the same.
const BACKDATED_S: u64 = 300;
/// The last second that a certificate can name.
const LAST_S: u64 = 253_402_300_799;
/// A request is a name and a key; more is an attack on the parser.
const REQUEST_MAX: usize = 8 * 1024;

/// Issues the federation's transport certificates.
pub struct CertificateAuthority {
    certificate_pem: String,
    not_after_s: u64,
    key: TransportKey,
}

/// A new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, then the authority's own.
    pub chain_pem: String,
    /// When it expires, in seconds since the Unix epoch.
    pub not_after_s: u64,
}

/// Why no certificate was issued, or why an authority cannot issue any.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The request is damaged, or signed by another key than it carries.
    #[error("the certificate request is damaged or not signed by its own key; make a new one")]
    Request,
    /// The request's key is not ECDSA P-256.
    #[error("the certificate request's key is not ECDSA P-256; make a P-256 key")]
    Algorithm,
    /// A name that is neither a DNS name nor an address.
    #[error("`{0}` is neither a DNS name nor an IP address; give the name that clients dial, without port")]
    Name(String),
    /// A coordinator without a name, or a name for anyone else.
    #[error(
        "a coordinator's certificate needs the names that clients dial, and no other certificate has any"
    )]
    Names,
    /// The clock, or the authority's own certificate, leaves no time.
    #[error(
        "the authority's certificate has expired or the clock is wrong; check the clock first: a new authority is a new \
         federation, in which every member enrols anew"
    )]
    Time,
    /// The certificate and the key are not of one authority.
    #[error("the authority's certificate and key do not belong together; restore both from one backup")]
    Mismatch,
    /// The authority's own certificate cannot be used.
    #[error("the authority's certificate cannot be used: {0}")]
    Certificate(#[from] LeafError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] TransportKeyError),
}

impl CertificateAuthority {
    /// Makes a new authority that lasts ten years from `now_s`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`IssueError::Time`], [`IssueError::Key`].
    pub fn create(federation: &str, now_s: u64) -> Result<Self, IssueError> {
        let key = TransportKey::generate()?;
        let not_after_s = now_s.checked_add(AUTHORITY_LIFE_S).ok_or(IssueError::Time)?;
        let mut params = params(now_s, not_after_s)?;
        params.distinguished_name.push(DnType::OrganizationName, federation);
        params.distinguished_name.push(DnType::CommonName, "Folkmoot transport authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(key.signer()?.pair()).map_err(|_| TransportKeyError::Random)?;
        Ok(Self { certificate_pem: certificate.pem(), not_after_s, key })
    }

    /// Reads an authority back.
    ///
    /// # Errors
    /// [`IssueError::Mismatch`], [`IssueError::Certificate`], [`IssueError::Key`].
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let key = TransportKey::from_pem(key_pem)?;
        let [der] = certificates(certificate_pem)?.try_into().map_err(|_| LeafError::Syntax)?;
        let certificate = parse(&der)?;
        if !certificate.is_ca() {
            return Err(LeafError::NoAuthority.into());
        }
        if certificate.public_key().raw != key.signer()?.pair().subject_public_key_info() {
            return Err(IssueError::Mismatch);
        }
        let not_after_s = seconds(certificate.validity().not_after);
        Ok(Self { certificate_pem: certificate_pem.to_owned(), not_after_s, key })
    }

    /// Its own certificate, which every party trusts for the transport.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key as PKCS#8 PEM, in the clear: whoever stores it seals it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.to_pem()
    }

    /// Issues a certificate for the key of `request_der` (a PKCS#10 request) to `subject`, from five minutes before
    /// `now_s` to `lifetime_s` after it, or to the authority's own end.
    ///
    /// The request proves that its sender holds the key; whatever names and extensions it asks for are ignored.
    /// `names` are the DNS names and IP addresses that clients dial: of the coordinator, and of nobody else.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(
        &self,
        request_der: &[u8],
        subject: &Subject,
        names: &[String],
        now_s: u64,
        lifetime_s: u64,
    ) -> Result<Issued, IssueError> {
        let key = requested_key(request_der)?;
        let not_after_s = now_s.saturating_add(lifetime_s).min(self.not_after_s);
        if not_after_s <= now_s {
            return Err(IssueError::Time);
        }
        let serves = *subject == Subject::Coordinator;
        if names.is_empty() == serves {
            return Err(IssueError::Names);
        }
        let mut params = params(now_s, not_after_s)?;
        params.distinguished_name.push(DnType::CommonName, common_name(subject));
        let uri = subject.to_string();
        let uri = uri.as_str().try_into().map_err(|_| IssueError::Name(uri.clone()))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        for name in names {
            params.subject_alt_names.push(alternative(name)?);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if serves {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        params.use_authority_key_identifier_extension = true;
        let signer = self.key.signer()?;
        let issuer =
            Issuer::from_ca_cert_pem(&self.certificate_pem, signer.pair()).map_err(|_| LeafError::Syntax)?;
        let leaf = params.signed_by(&key, &issuer).map_err(|_| TransportKeyError::Random)?;
        let mut chain_pem = leaf.pem();
        chain_pem.push_str(&self.certificate_pem);
        Ok(Issued { chain_pem, not_after_s })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("not_after_s", &self.not_after_s).finish_non_exhaustive()
    }
}

/// What every certificate of the federation has.
fn params(now_s: u64, not_after_s: u64) -> Result<CertificateParams, IssueError> {
    if not_after_s > LAST_S {
        return Err(IssueError::Time);
    }
    let mut serial = [0u8; 16];
    let random = ring::default_provider().secure_random;
    random.fill(&mut serial).map_err(|_| TransportKeyError::Random)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(BACKDATED_S));
    params.not_after = epoch + Duration::from_secs(not_after_s);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The key that a request is for, once its own signature shows that the sender holds it.
fn requested_key(request_der: &[u8]) -> Result<SubjectPublicKeyInfo, IssueError> {
    if request_der.len() > REQUEST_MAX {
        return Err(IssueError::Request);
    }
    let (rest, request) = X509CertificationRequest::from_der(request_der).map_err(|_| IssueError::Request)?;
    let key = &request.certification_request_info.subject_pki;
    let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err(IssueError::Algorithm);
    }
    if !rest.is_empty() || request.verify_signature().is_err() {
        return Err(IssueError::Request);
    }
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| IssueError::Algorithm)
}

fn alternative(name: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || IssueError::Name(name.to_owned());
    DnsName::try_from(name).map_err(|_| refused())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

/// For people who look at the certificate; nothing reads it.
fn common_name(subject: &Subject) -> String {
    match subject {
        Subject::Coordinator => "coordinator".to_owned(),
        Subject::Silo(id) => format!("silo {id}"),
        Subject::Operator { name, .. } => name.clone(),
    }
}
