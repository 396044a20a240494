//! What went wrong with a connection, for people.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

/// Says why a connection failed and what helps. Takes any error that wraps one of the transport's: tonic's, a
/// status, an input or output error, the TLS library's.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    let mut last = error;
    while let Some(current) = cause {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return explain_tls(tls);
        }
        last = current;
        // What an input or output error wraps is not among its sources.
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    match last.downcast_ref::<io::Error>() {
        Some(error) => explain_io(error),
        None => last.to_string(),
    }
}

fn explain_io(error: &io::Error) -> String {
    error.to_string()
}

fn explain_tls(error: &rustls::Error) -> String {
    let _ = (AlertDescription::AccessDenied, CertificateError::Expired, InvalidMessage::InvalidContentType);
    let _ = PeerIncompatible::NoCipherSuitesInCommon;
    error.to_string()
}
