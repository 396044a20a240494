//! A connection to a coordinator: whom it is trusted as, whom the caller is, and what its refusals mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use identity::{AccessToken, Authority, AuthorityError, printable};
use pki::{ClientTls, Outgoing, PlainConnector, Proxy, ProxyError, TlsError, TransportKey};
use tonic::codegen::http::Uri;
use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use vault::layout::Operator;
use wire::ConversionError;
use zeroize::Zeroizing;

use crate::admin::Admin;
use crate::files::{Unusable, read_secret_argument, read_secret_text, read_text};
use crate::patient::Patient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a coordinator's address is written.
const FORM: &str = "write it as https://HOST:PORT, or http://HOST:PORT on this machine";

/// Why a coordinator was not called, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file of an operator's folder, or one that was named.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Nothing names one.
    #[error("which coordinator? Name its address, or an operator's folder")]
    WhichCoordinator,
    /// Nothing names one.
    #[error("which federation? Name an operator's folder, or the federation's authority.json")]
    WhichFederation,
    /// The federation's authority has no key that could be one.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What names the proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The authority's certificate, or the caller's.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The caller's token.
    #[error("no operator's token, or not all of one; `folkmoot tokens create --operator` prints one")]
    Token,
    /// Two callers are named, and neither is meant more than the other.
    #[error("a token names one caller, and the folder `{}` another: name one of them", folder.display())]
    TwoCallers { folder: PathBuf },
    /// A token that no header can hold.
    #[error(transparent)]
    Header(#[from] InvalidMetadataValue),
    /// What came cannot be an answer.
    #[error(
        "the coordinator's answer cannot be read: {0}; install the same release of folkmoot on both sides"
    )]
    Answer(#[from] ConversionError),
    /// What was to be sent has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A folder was named for a call in the clear.
    #[error("`{url}` would show nobody who calls: write the address as https://HOST:PORT")]
    ShowsNobody { url: String },
    /// TLS where there is none.
    #[error("`{url}`: this command works on this machine alone, over http://")]
    ThisMachineAlone { url: String },
    /// Plaintext to elsewhere.
    #[error(
        "`{url}` is another machine, and http:// hides nothing from who listens between: write https://HOST:PORT, with \
         an operator's folder or the federation's authority.json"
    )]
    AnotherMachine { url: String },
    /// Neither `http://` nor `https://`.
    #[error("`{url}` is no coordinator's address; {FORM}")]
    NoScheme {
        /// What was given.
        url: String,
    },
    /// A scheme, and nothing that can be called behind it.
    #[error("`{url}` is no address, {why}; {FORM}")]
    NoAddress {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        why: tonic::transport::Error,
    },
    /// The clock says nothing that certificates or tokens could be judged by.
    #[error("this machine's clock is before 1970; set it")]
    Clock,
    /// Nobody who is trusted answers.
    #[error("cannot reach the coordinator at {url}: {}; {remedy}", printable(&pki::explain(why)))]
    Unreachable {
        url: String,
        /// What the transport says.
        #[source]
        why: tonic::transport::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It answered once, and is gone.
    #[error("{0}")]
    Lost(String),
    /// Its answer to a call.
    #[error("{0}")]
    Refused(String),
}

/// A connection whose calls carry the caller's token, if there is one, and wait where the coordinator says that they come too often.
pub type Link = InterceptedService<Patient, Bearer>;

/// Which coordinator, and as whom it is called.
#[derive(Clone, Default)]
pub struct Target {
    /// The coordinator's address; an operator's folder names one already.
    pub coordinator: Option<String>,
    /// An operator's folder: whom to call as, and which coordinator.
    pub folder: Option<PathBuf>,
    /// The folder for every call that names none, unless its other words leave no use for one.
    pub usual_folder: Option<PathBuf>,
    /// The federation's authority.json, for callers with a token and no folder.
    pub authority_file: Option<PathBuf>,
    /// The HTTP proxy that leads to the coordinator: `http://HOST:PORT`, or `none`. Else as `https_proxy` and `no_proxy` say.
    pub proxy: Option<String>,
    /// The file with one line USER:PASSWORD for that proxy.
    pub proxy_auth_file: Option<PathBuf>,
    /// An operator's token, as it was made.
    pub token: Option<Zeroizing<String>>,
    /// The file with that token, `-` for standard input, in its place.
    pub token_file: Option<PathBuf>,
}

/// A caller's certificate with its key.
pub struct Credentials {
    /// The certificate and those above it, PEM.
    pub chain: String,
    pub key: TransportKey,
}

impl Target {
    fn folder(&self) -> Option<&Path> {
        // Who names another authority, or calls in the clear, did not mean the usual folder.
        let elsewhere = self.authority_file.is_some()
            || self.coordinator.as_ref().is_some_and(|url| url.starts_with("http://"));
        let usual = self.usual_folder.as_deref().filter(|_| !elsewhere);
        self.folder.as_deref().or(usual)
    }

    /// The coordinator's address.
    ///
    /// # Errors
    /// [`ConnectError::WhichCoordinator`], and a folder that does not say.
    pub fn url(&self) -> Result<String, ConnectError> {
        match (&self.coordinator, self.folder()) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(folder)) => Ok(read_text(&Operator::of(folder).coordinator)?.trim().to_owned()),
            (None, None) => Err(ConnectError::WhichCoordinator),
        }
    }

    /// The federation's authority, where a file names it.
    ///
    /// # Errors
    /// [`ConnectError::WhichFederation`], and a file that holds none.
    pub fn authority(&self) -> Result<Authority, ConnectError> {
        let file = match (&self.authority_file, self.folder()) {
            (Some(file), _) => file.clone(),
            (None, Some(folder)) => Operator::of(folder).authority,
            (None, None) => return Err(ConnectError::WhichFederation),
        };
        Ok(read_authority(&file)?)
    }

    /// The caller's certificate, where it has one.
    ///
    /// # Errors
    /// A folder without one.
    pub fn credentials(&self) -> Result<Option<Credentials>, ConnectError> {
        let Some(folder) = self.folder() else { return Ok(None) };
        let files = Operator::of(folder);
        let chain = read_text(&files.certificate)?;
        let pem = read_secret_text(&files.key)?;
        let key = TransportKey::from_pem(&pem).map_err(|why| Unusable::new(&files.key, why))?;
        Ok(Some(Credentials { chain, key }))
    }

    /// The way to the coordinator.
    ///
    /// # Errors
    /// A proxy that cannot be meant, and a file for it that cannot be read.
    pub fn outgoing(&self) -> Result<Outgoing, ConnectError> {
        let credentials = self.proxy_auth_file.as_deref().map(read_secret_text).transpose()?;
        let proxy = match &self.proxy {
            Some(text) => Proxy::parse(text, credentials.as_deref().map(String::as_str))?,
            None => Proxy::from_environment(),
        };
        Ok(Outgoing::new(proxy).within(CONNECT_TIMEOUT))
    }

    /// Connects.
    ///
    /// # Errors
    /// What cannot be meant, and [`ConnectError::Unreachable`] where nobody who is trusted answers.
    pub async fn connect(&self) -> Result<Link, ConnectError> {
        let url = self.url()?;
        let given = self.token_file.is_some() || self.token.is_some();
        if let Some(folder) = self.folder().filter(|_| given) {
            return Err(ConnectError::TwoCallers { folder: folder.to_owned() });
        }
        let read = self.token_file.as_deref().map(read_secret_argument).transpose()?;
        let token = read.as_deref().or(self.token.as_deref());
        let bearer = token.map_or(Ok(Bearer::NONE), |token| Bearer::with(token.trim()))?;
        if url.starts_with("http://") {
            if self.folder.is_some() {
                return Err(ConnectError::ShowsNobody { url });
            }
            return Ok(InterceptedService::new(Patient::over(connect(&url).await?), bearer));
        }
        let endpoint = endpoint(&url)?;
        let authority = self.authority()?;
        let credentials = self.credentials()?;
        let identity = credentials.as_ref().map(|own| (own.chain.as_str(), &own.key));
        let tls = ClientTls::new(&authority.ca_certificate, identity)?;
        let reached = endpoint.connect_with_connector(tls.connector(&self.outgoing()?)).await;
        let remedy = "`folkmoot doctor` looks closer";
        let channel = reached.map_err(|why| ConnectError::Unreachable { url, why, remedy })?;
        Ok(InterceptedService::new(Patient::over(channel), bearer))
    }

    /// Connects, to administer.
    ///
    /// # Errors
    /// As of [`Target::connect`].
    pub async fn administer(&self) -> Result<Admin, ConnectError> {
        Ok(Admin::over(self.connect().await?))
    }
}

/// Adds the caller's token to each call.
#[derive(Clone)]
pub struct Bearer(Option<AsciiMetadataValue>);

impl Bearer {
    /// Stands for no token.
    pub const NONE: Self = Self(None);

    fn with(token: &str) -> Result<Self, ConnectError> {
        let token = AccessToken::from_text(token).map_err(|_| ConnectError::Token)?;
        let text = Zeroizing::new(format!("Bearer {}", token.to_text().as_str()));
        let mut value = AsciiMetadataValue::try_from(text.as_str())?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Connects in the clear to the coordinator at `url`, on this machine.
///
/// # Errors
/// For a text that is no such URL, and [`ConnectError::Unreachable`] where nobody answers.
pub async fn connect(url: &str) -> Result<Channel, ConnectError> {
    let endpoint = endpoint(url)?;
    if url.starts_with("https://") {
        return Err(ConnectError::ThisMachineAlone { url: url.to_owned() });
    }
    if !is_loopback(endpoint.uri()) {
        return Err(ConnectError::AnotherMachine { url: url.to_owned() });
    }
    let reached = endpoint.connect_with_connector(PlainConnector::new(CONNECT_TIMEOUT)).await;
    reached.map_err(|why| ConnectError::Unreachable {
        url: url.to_owned(),
        why,
        remedy: "check the address, and that the coordinator runs",
    })
}

fn endpoint(url: &str) -> Result<Endpoint, ConnectError> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(ConnectError::NoScheme { url: url.to_owned() });
    }
    Endpoint::from_shared(url.to_owned()).map_err(|why| ConnectError::NoAddress { url: url.to_owned(), why })
}

fn is_loopback(uri: &Uri) -> bool {
    uri.host().is_some_and(pki::is_loopback)
}

/// Reads what join tokens pin.
///
/// # Errors
/// A file that cannot be read, or holds something else.
pub fn read_authority(file: &Path) -> Result<Authority, Unusable> {
    let text = read_text(file)?;
    Authority::from_canonical(text.trim_end_matches('\n')).map_err(|why| Unusable::new(file, why))
}

/// The key under which rosters are believed.
///
/// # Errors
/// [`ConnectError::Authority`] where it is none.
pub fn roster_key(authority: &Authority) -> Result<VerifyingKey, ConnectError> {
    Ok(authority.verifying_key()?)
}

/// This machine's clock, in seconds since the Unix epoch.
///
/// # Errors
/// [`ConnectError::Clock`].
pub fn now_s() -> Result<u64, ConnectError> {
    pki::now_s().map_err(|_| ConnectError::Clock)
}

/// What a failed call means: whether the coordinator refused it, or is not there.
pub fn refused(status: &Status) -> ConnectError {
    if wire::reason(status).is_some() {
        return ConnectError::Refused(wire::describe(status));
    }
    let is_of_the_connection = std::error::Error::source(status).is_some();
    match (pki::explain_call(status), status.code()) {
        // TLS 1.3 lets a client speak before its certificate is judged: a refusal shows at the first call.
        (Some(why), _) if pki::refuses_certificate(status) => ConnectError::Refused(printable(&why)),
        (Some(why), _) => ConnectError::Lost(format!(
            "the connection to the coordinator failed: {}; `folkmoot doctor` looks closer",
            printable(&why)
        )),
        (None, _) if is_of_the_connection => ConnectError::Lost(
            "the connection to the coordinator was lost: it may have stopped, or the way to it was cut; `folkmoot doctor` looks closer"
                .into(),
        ),
        (None, Code::Unavailable) => ConnectError::Lost(wire::describe(status)),
        (None, _) => ConnectError::Refused(wire::describe(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn an_address_without_a_scheme_is_refused_with_its_form() {
        let why = connect("127.0.0.1:7440").await.unwrap_err();
        assert!(matches!(why, ConnectError::NoScheme { .. }), "{why}");
        assert!(why.to_string().contains("http://HOST:PORT"), "{why}");
    }

    #[tokio::test]
    async fn another_machine_is_never_called_in_the_clear() {
        for url in ["http://192.0.2.1:7440", "http://fl.example.org", "http://localhost.example.org:1"] {
            let why = connect(url).await.unwrap_err();
            assert!(matches!(why, ConnectError::AnotherMachine { .. }), "{why}");
            assert!(why.to_string().contains("write https://HOST:PORT"), "{why}");
        }
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(is_loopback(endpoint(url).unwrap().uri()), "{url}");
        }
    }

    #[test]
    fn a_lost_connection_and_a_refusal_are_two_errors() {
        assert!(matches!(refused(&Status::unavailable("tcp")), ConnectError::Lost(_)));
        assert!(matches!(refused(&Status::not_found("m")), ConnectError::Refused(_)));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(matches!(refused(&broken), ConnectError::Lost(text) if text.contains("was lost: it may")));
        let barred = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
        let barred = Status::from_error(Box::new(std::io::Error::other(barred)));
        assert!(matches!(refused(&barred), ConnectError::Refused(text) if text.contains("was revoked")));
    }

    #[test]
    fn a_token_goes_with_each_call_and_half_a_token_with_none() {
        let token = AccessToken::generate(&mut rand::rand_core::UnwrapErr(rand::rngs::SysRng));
        let sent = Bearer::with(&token.to_text()).unwrap().call(Request::new(())).unwrap();
        let value = sent.metadata().get("authorization").unwrap();
        assert_eq!(value.to_str().unwrap(), format!("Bearer {}", token.to_text().as_str()));
        assert!(!format!("{value:?}").contains("fmtoken1"), "a token is not for logs");
        let half = token.to_text().chars().take(30).collect::<String>();
        assert!(matches!(Bearer::with(&half), Err(ConnectError::Token)));
    }

    #[test]
    fn a_folder_names_its_coordinator_and_an_address_overrules_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(Operator::of(folder.path()).coordinator, "https://fl.example.org:7440\n").unwrap();
        let mut target = Target { folder: Some(folder.path().to_owned()), ..Target::default() };
        assert_eq!(target.url().unwrap(), "https://fl.example.org:7440");
        target.coordinator = Some("https://localhost:1".into());
        assert_eq!(target.url().unwrap(), "https://localhost:1");
        let why = target.authority().unwrap_err();
        assert!(why.to_string().contains("authority.json"), "{why}");
    }

    #[tokio::test]
    async fn a_token_beside_a_folder_is_no_silent_choice_between_two_callers() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(Operator::of(folder.path()).coordinator, "https://localhost:1\n").unwrap();
        let own = Some(folder.path().to_owned());
        let token = || Some(Zeroizing::new("t".to_owned()));
        for target in [
            Target { folder: own.clone(), token: token(), ..Target::default() },
            Target { usual_folder: own.clone(), token: token(), ..Target::default() },
            Target { usual_folder: own.clone(), token_file: Some("t".into()), ..Target::default() },
        ] {
            let why = target.connect().await.err().unwrap();
            assert!(matches!(why, ConnectError::TwoCallers { .. }), "{why}");
        }
        let url = Some("http://127.0.0.1:1".to_owned());
        let in_the_clear =
            Target { coordinator: url, usual_folder: own, token: token(), ..Target::default() };
        assert!(matches!(in_the_clear.connect().await.err().unwrap(), ConnectError::Token));
    }

    #[test]
    fn the_usual_folder_is_meant_unless_another_is_named_or_none_can_be() {
        let usual = Target { usual_folder: Some("usual".into()), ..Target::default() };
        assert_eq!(usual.folder(), Some(Path::new("usual")));
        let named = Target { folder: Some("named".into()), ..usual.clone() };
        assert_eq!(named.folder(), Some(Path::new("named")));
        let in_the_clear = Target { coordinator: Some("http://127.0.0.1:1".into()), ..usual.clone() };
        assert_eq!(in_the_clear.folder(), None);
        let elsewhere = Target { authority_file: Some("authority.json".into()), ..usual };
        assert_eq!(elsewhere.folder(), None);
    }
}
