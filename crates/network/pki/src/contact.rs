//! A silo's first contact with a coordinator whose certificate authority it does not know yet.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tonic::transport::{Channel, Endpoint};

use crate::client::ClientTls;
use crate::explain::explain;
use crate::leaf::{LeafError, certificates};
use crate::outgoing::Outgoing;
use crate::server::TlsError;
use crate::verify::FirstContact;

/// A connection to a server that nobody vouches for yet. It can ask for what is public, and nothing else: **say no
/// secret on it**. The join token's fingerprint says which authority is the right one:
///
/// ```no_run
/// # async fn fetch_authority(_: tonic::transport::Channel) -> String { String::new() }
/// # async fn enrol(expected: params::Digest) -> Result<(), Box<dyn std::error::Error>> {
/// let outgoing = pki::Outgoing::new(pki::Proxy::from_environment());
/// let contact = pki::UnpinnedConnection::open("https://coordinator.example:8443", &outgoing).await?;
/// let text = fetch_authority(contact.public_questions_only()).await;
/// let authority = identity::Authority::from_canonical(&text)?;
/// assert_eq!(authority.fingerprint(), expected); // over `ca_certificate` too
/// let tls = contact.pin(&authority.ca_certificate)?; // from here on, speak over `tls`
/// # Ok(()) }
/// ```
pub struct UnpinnedConnection {
    channel: Channel,
    authority: CertificateDer<'static>,
}

/// Why a first contact failed.
#[derive(Debug, thiserror::Error)]
pub enum ContactError {
    /// The address cannot be dialled.
    #[error("`{0}` is no address of a coordinator; give one such as https://coordinator.example:8443")]
    Address(String),
    /// No connection came about.
    #[error("no connection to the coordinator: {0}")]
    Connect(String),
    /// The server sent another authority than the one that is pinned.
    #[error(
        "the server's certificate is not of this federation's authority: something between here and the coordinator \
         answers in its place; stop, and ask the coordinator's operator"
    )]
    Impostor,
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<LeafError> for ContactError {
    fn from(error: LeafError) -> Self {
        Self::Tls(error.into())
    }
}

impl UnpinnedConnection {
    /// Dials `address` by way of `outgoing`. The server must show a certificate for the address's name, and the authority that issued it;
    /// whether that is the right authority, [`UnpinnedConnection::pin`] decides.
    ///
    /// # Errors
    /// [`ContactError`].
    pub async fn open(address: &str, outgoing: &Outgoing) -> Result<Self, ContactError> {
        let verifier = Arc::new(FirstContact::default());
        let tls = ClientTls::with_verifier(Arc::clone(&verifier) as _)?;
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| ContactError::Address(address.to_owned()))?;
        let channel = endpoint.connect_with_connector(tls.connector(outgoing)).await;
        let channel = channel.map_err(|error| ContactError::Connect(explain(&error)))?;
        let authority = verifier.authority.get().cloned().ok_or(ContactError::Impostor)?;
        Ok(Self { channel, authority })
    }

    /// To fetch the authority's document, which is public. Whoever answers may be anyone.
    pub fn public_questions_only(&self) -> Channel {
        self.channel.clone()
    }

    /// Ends the first contact: settings that believe `ca_pem` alone, if it is what the server showed. Call it with
    /// the certificate of a document whose fingerprint was checked.
    ///
    /// # Errors
    /// [`ContactError::Impostor`] if the server showed another authority.
    pub fn pin(self, ca_pem: &str) -> Result<ClientTls, ContactError> {
        let expected = certificates(ca_pem)?;
        if expected != [self.authority] {
            return Err(ContactError::Impostor);
        }
        Ok(ClientTls::new(ca_pem, None)?)
    }
}

impl fmt::Debug for UnpinnedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnpinnedConnection")
    }
}
