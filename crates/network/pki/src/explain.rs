//! What went wrong with a connection, for people.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use x509_parser::time::ASN1Time;

use crate::outgoing::{Unreached, Unresolved};
use crate::proxy::ProxyFault;

/// What a server can hold against a client's certificate, and two more that are explained.
const ALERTS: [AlertDescription; 10] = [
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::UnknownCA,
    AlertDescription::DecryptError,
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::ProtocolVersion,
    AlertDescription::NoApplicationProtocol,
];

/// Says why a connection failed and what helps. Takes any error that wraps one of the transport's: tonic's, a
/// status, an input or output error, the TLS library's.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    if let Some(text) = explained(error) {
        return text;
    }
    let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    match io {
        Some(error) => explain_io(error),
        None => chain(error).last().unwrap_or(error).to_string(),
    }
}

/// [`explain`] for a call that failed because no connection came about, or was refused; nothing where the other end
/// answered, or a connection that stood broke off.
pub fn explain_call(status: &tonic::Status) -> Option<String> {
    status.source().and_then(explained)
}

/// Whether the other end refused the call's connection because this end was barred, or its certificate was.
pub fn is_barred(status: &tonic::Status) -> bool {
    status.source().and_then(alert) == Some(AlertDescription::CertificateRevoked)
}

/// Whether the other end is there, and refused the call's connection for what is wrong with this end's certificate.
pub fn refuses_certificate(status: &tonic::Status) -> bool {
    let others = [AlertDescription::ProtocolVersion, AlertDescription::NoApplicationProtocol];
    status.source().and_then(alert).is_some_and(|alert| ALERTS.contains(&alert) && !others.contains(&alert))
}

/// An error and what caused it. What an input or output error wraps is not among its sources.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&current| {
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => current.source(),
        }
    })
}

/// Where it is certain what happened.
fn explained(error: &(dyn Error + 'static)) -> Option<String> {
    for cause in chain(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(explain_tls(tls));
        }
        if cause.is::<Unreached>() || cause.is::<Unresolved>() || cause.is::<ProxyFault>() {
            return Some(cause.to_string());
        }
    }
    if let Some(alert) = alert(error) {
        return Some(explain_alert(alert));
    }
    let text = chain(error).last()?.to_string();
    // So does a TLS alert look to a client that expects HTTP/2.
    text.contains("frame with invalid size").then(|| {
        "the other end does not speak HTTP/2 in plain text: it may expect TLS, which an address with https:// asks for"
            .to_owned()
    })
}

/// What the other end's TLS refused this one for.
fn alert(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    for cause in chain(error) {
        if let Some(rustls::Error::AlertReceived(alert)) = cause.downcast_ref() {
            return Some(*alert);
        }
    }
    // HTTP/2 passes on what the TLS library said, but only as text.
    let text = chain(error).last()?.to_string();
    ALERTS.into_iter().find(|alert| text.contains(&rustls::Error::AlertReceived(*alert).to_string()))
}

fn explain_io(error: &io::Error) -> String {
    let text = match error.kind() {
        ErrorKind::ConnectionRefused => {
            "nothing listens there: the server is down, or the port is wrong, or a firewall refuses"
        }
        ErrorKind::TimedOut => {
            "no answer in time: the host is down, a firewall drops the packets, or the other end does not speak TLS"
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            // The libraries' own words name what a user cannot act on.
            return "the other end closed the connection in the middle: it may have stopped, or not speak TLS, or a proxy or firewall \
                    between cut it off"
                .to_owned();
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            "there is no way to that host from here: check the network and its routes"
        }
        _ => return error.to_string(),
    };
    format!("{text} ({error})")
}

fn explain_tls(error: &rustls::Error) -> String {
    let text = match error {
        rustls::Error::InvalidCertificate(error) => return explain_certificate(error),
        rustls::Error::AlertReceived(alert) => return explain_alert(*alert),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => {
            "the other end does not speak TLS, or a proxy answers in its place: check the port, and that both ends \
             agree on https or http"
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "the other end offers no TLS 1.3: update it, or the proxy between that opens the encryption",
        rustls::Error::NoApplicationProtocol => {
            "the other end does not speak HTTP/2: it is no client or coordinator of a federation"
        }
        _ => return format!("the encrypted connection failed: {error}"),
    };
    text.to_owned()
}

fn explain_certificate(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let (clock, until) = (date(time.as_secs()), date(not_after.as_secs()));
            return format!(
                "the other end's certificate has expired: it was valid until {until}, and this machine's clock says \
                 {clock}; if the clock is right, the other end must renew it or enrol again"
            );
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (clock, from) = (date(time.as_secs()), date(not_before.as_secs()));
            return format!(
                "the other end's certificate is not valid yet: it is valid from {from}, and this machine's clock says \
                 {clock}; set the clocks of both machines"
            );
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            return format!(
                "the server's certificate is for {names}, not for {}: dial one of its names, or have the \
                 coordinator's certificate issued for this one",
                expected.to_str()
            );
        }
        CertificateError::Expired => {
            "the other end's certificate has expired: it must renew it or enrol again"
        }
        CertificateError::NotValidYet => {
            "the other end's certificate is not valid yet: set the clocks of both machines"
        }
        CertificateError::NotValidForName => {
            "the server's certificate is for another name than the one dialled"
        }
        // A foreign authority of the same name is told apart only by its signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the other end's certificate was issued by another authority than this federation's: check the address, \
             and whether a proxy opens the encryption"
        }
        CertificateError::Revoked => "the client's certificate, or its subject, was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the other end's certificate is for the other side of a connection: a coordinator's serves, and a silo's \
             or operator's dials"
        }
        CertificateError::ApplicationVerificationFailure => {
            "the client's certificate names no silo or operator: it was not issued for this federation"
        }
        _ => return format!("the other end's certificate cannot be used: {error}"),
    };
    text.to_owned()
}

const REVOKED: &str =
    "the other end says that our certificate or its subject was revoked: ask the coordinator's operator";

fn explain_alert(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CertificateExpired => {
            "the other end says that our certificate has expired, or is not valid yet: check both clocks; a silo whose certificate was \
             not renewed in time enrols again, an operator is issued another folder by an administrator or by \
             `folkmoot-coordinator admin`"
        }
        AlertDescription::CertificateRevoked => REVOKED,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the other end does not know the authority of our certificate: it is of another federation, or the \
             authority was made anew; ask the administrator, who then gives a new token to enrol with"
        }
        AlertDescription::AccessDenied => {
            "the other end says that our certificate names no silo or operator: a silo enrols to get one that does, an operator is issued one"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "the other end does not accept our certificate: it is for another name, or for the other side of a \
             connection"
        }
        AlertDescription::ProtocolVersion => {
            "the other end has no TLS version in common with us: we speak TLS 1.3"
        }
        AlertDescription::NoApplicationProtocol => {
            "the other end does not speak HTTP/2: it is no coordinator of a federation"
        }
        _ => return format!("the other end refused the encrypted connection: {alert:?}"),
    };
    text.to_owned()
}

/// A moment as people write it, `2026-11-23 05:45:00 UTC`.
pub(crate) fn date(seconds: u64) -> String {
    let Ok(time) =
        i64::try_from(seconds).map_err(drop).and_then(|s| ASN1Time::from_timestamp(s).map_err(drop))
    else {
        return format!("{seconds} s after 1970");
    };
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_a_date() {
        assert_eq!(date(1_795_412_700), "2026-11-23 05:45:00 UTC");
        assert_eq!(date(u64::MAX), "18446744073709551615 s after 1970");
    }

    #[test]
    fn a_connection_that_was_refused_to_somebody_barred_is_told_from_every_other() {
        let status = |tls: rustls::Error| {
            tonic::Status::from_error(Box::new(io::Error::other(io::Error::new(ErrorKind::InvalidData, tls))))
        };
        let alert = |alert| status(rustls::Error::AlertReceived(alert));
        assert!(is_barred(&alert(AlertDescription::CertificateRevoked)));
        assert!(!is_barred(&alert(AlertDescription::CertificateExpired)));
        assert!(refuses_certificate(&alert(AlertDescription::CertificateExpired)));
        assert!(!refuses_certificate(&alert(AlertDescription::ProtocolVersion)));
        assert!(!is_barred(&tonic::Status::unavailable("it was revoked")));
    }

    #[test]
    fn the_cause_is_found_under_an_error_that_wraps_it() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::Revoked);
        let inner = io::Error::new(ErrorKind::InvalidData, tls);
        let status = tonic::Status::from_error(Box::new(io::Error::other(inner)));
        assert!(explain(&status).contains("was revoked"), "{}", explain(&status));
    }
}
