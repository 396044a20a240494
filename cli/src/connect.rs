//! A connection to a coordinator: whom it is trusted as, whom the caller is, and its errors for people.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::VerifyingKey;
use identity::{AccessToken, Authority, AuthorityError};
use pki::{ClientTls, Outgoing, PlainConnector, Proxy, ProxyError, TlsError, TransportKey};
use tonic::codegen::http::Uri;
use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::errors::InvalidMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::v1::admin_client::AdminClient;
use zeroize::Zeroizing;

use crate::files::{Unusable, read_text};
/// Text of another machine, safe to show on a terminal.
pub(crate) use identity::printable;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const AS: &str = "FOLKMOOT_AS";
const TOKEN: &str = "FOLKMOOT_TOKEN";

/// The files of an operator's folder.
pub(crate) const AUTHORITY_FILE: &str = "authority.json";
pub(crate) const CERTIFICATE_FILE: &str = "operator.crt";
pub(crate) const KEY_FILE: &str = "operator.key";
pub(crate) const COORDINATOR_FILE: &str = "coordinator";

/// How a coordinator's address is written.
const FORM: &str = "write it as https://HOST:PORT, or http://HOST:PORT on this machine";

/// Why a coordinator was not called, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A file of an operator's folder, or one that was named.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(
        "which coordinator? Give --as FOLDER, an operator's folder, or --coordinator URL; the variable {AS} names a \
         folder for every call"
    )]
    WhichCoordinator,
    #[error("which federation? Give --as FOLDER, an operator's folder, or --authority-file authority.json")]
    WhichFederation,
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "{TOKEN} holds no operator's token, or not all of one; `folkmoot tokens create --operator` prints one"
    )]
    Token,
    #[error(transparent)]
    Header(#[from] InvalidMetadataValue),
    #[error("`{url}` would show nobody who calls: with --as write the address as https://HOST:PORT")]
    ShowsNobody { url: String },
    #[error("`{url}`: this command works on this machine alone, over http://")]
    ThisMachineAlone { url: String },
    #[error(
        "`{url}` is another machine, and http:// hides nothing from who listens between: write https://HOST:PORT, with \
         --as FOLDER or --authority-file authority.json"
    )]
    AnotherMachine { url: String },
    #[error("`{url}` is no coordinator's address; {FORM}")]
    NoScheme { url: String },
    #[error("`{url}` is no address, {why}; {FORM}")]
    NoAddress {
        url: String,
        #[source]
        why: tonic::transport::Error,
    },
    #[error("this machine's clock is before 1970; set it")]
    Clock,
    /// Nobody who is trusted answers.
    #[error("cannot reach the coordinator at {url}: {}; {remedy}", printable(&pki::explain(why)))]
    Unreachable {
        url: String,
        #[source]
        why: tonic::transport::Error,
        remedy: &'static str,
    },
    /// It answered once, and is gone.
    #[error("{0}")]
    Lost(String),
    /// Its answer to a call.
    #[error("{0}")]
    Refused(String),
}

/// A connection whose calls carry the caller's token, if there is one.
pub(crate) type Link = InterceptedService<Channel, Bearer>;

/// Which coordinator, and as whom.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct Remote {
    /// The coordinator's address; an operator's folder names one already.
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: Option<String>,
    /// An operator's folder: whom to call as, and which coordinator. Else the variable FOLKMOOT_AS.
    #[arg(long = "as", value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// The federation's authority.json, for who calls with a token in FOLKMOOT_TOKEN and has no folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) authority_file: Option<PathBuf>,
    /// The HTTP proxy that leads to the coordinator: http://HOST:PORT, or none. Else as https_proxy and no_proxy say.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// The file with one line USER:PASSWORD for that proxy.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    pub(crate) proxy_auth_file: Option<PathBuf>,
}

/// A caller's certificate with its key.
pub(crate) struct Credentials {
    pub(crate) chain: String,
    pub(crate) key: TransportKey,
}

impl Remote {
    /// As the command line says, with what it leaves to the environment.
    fn folder(&self) -> Option<PathBuf> {
        let set = || std::env::var_os(AS).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        // Who names another authority, or calls in the clear, did not mean the folder of the environment.
        let elsewhere = self.authority_file.is_some()
            || self.coordinator.as_ref().is_some_and(|url| url.starts_with("http://"));
        self.folder.clone().or_else(|| if elsewhere { None } else { set() })
    }

    /// The coordinator's address.
    pub(crate) fn url(&self) -> Result<String, ConnectError> {
        match (&self.coordinator, self.folder()) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(folder)) => Ok(read_text(&folder.join(COORDINATOR_FILE))?.trim().to_owned()),
            (None, None) => Err(ConnectError::WhichCoordinator),
        }
    }

    /// The federation's authority, where a file names it.
    pub(crate) fn authority(&self) -> Result<Authority, ConnectError> {
        let file = match (&self.authority_file, self.folder()) {
            (Some(file), _) => file.clone(),
            (None, Some(folder)) => folder.join(AUTHORITY_FILE),
            (None, None) => return Err(ConnectError::WhichFederation),
        };
        Ok(read_authority(&file)?)
    }

    /// The caller's certificate, where it has one.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, ConnectError> {
        let Some(folder) = self.folder() else { return Ok(None) };
        let chain = read_text(&folder.join(CERTIFICATE_FILE))?;
        let file = folder.join(KEY_FILE);
        let pem = Zeroizing::new(read_text(&file)?);
        let key = TransportKey::from_pem(&pem).map_err(|why| Unusable::new(&file, why))?;
        Ok(Some(Credentials { chain, key }))
    }

    /// The way to the coordinator.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, ConnectError> {
        let credentials = self.proxy_auth_file.as_deref().map(read_text).transpose()?.map(Zeroizing::new);
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
    pub(crate) async fn connect(&self) -> Result<Link, ConnectError> {
        let url = self.url()?;
        let bearer = Bearer::from_environment()?;
        if url.starts_with("http://") {
            if self.folder.is_some() {
                return Err(ConnectError::ShowsNobody { url });
            }
            return Ok(InterceptedService::new(connect(&url).await?, bearer));
        }
        let endpoint = endpoint(&url)?;
        let authority = self.authority()?;
        let credentials = self.credentials()?;
        let identity = credentials.as_ref().map(|own| (own.chain.as_str(), &own.key));
        let tls = ClientTls::new(&authority.ca_certificate, identity)?;
        let reached = endpoint.connect_with_connector(tls.connector(&self.outgoing()?)).await;
        let remedy = "`folkmoot doctor` looks closer";
        let channel = reached.map_err(|why| ConnectError::Unreachable { url, why, remedy })?;
        Ok(InterceptedService::new(channel, bearer))
    }

    /// Connects, to administer.
    pub(crate) async fn admin(&self) -> Result<AdminClient<Link>, ConnectError> {
        let link = self.connect().await?;
        Ok(AdminClient::new(link).max_decoding_message_size(wire::limits::LISTING_BYTES_MAX))
    }
}

/// Adds the caller's token to each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<AsciiMetadataValue>);

impl Bearer {
    /// No token.
    pub(crate) const NONE: Self = Self(None);

    fn from_environment() -> Result<Self, ConnectError> {
        match std::env::var(TOKEN) {
            Ok(token) if !token.is_empty() => Self::with(&token),
            _ => Ok(Self::NONE),
        }
    }

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
pub(crate) async fn connect(url: &str) -> Result<Channel, ConnectError> {
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
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads what join tokens pin.
pub(crate) fn read_authority(file: &Path) -> Result<Authority, Unusable> {
    let text = read_text(file)?;
    Authority::from_canonical(text.trim_end_matches('\n')).map_err(|why| Unusable::new(file, why))
}

/// The key under which rosters are believed.
pub(crate) fn roster_key(authority: &Authority) -> Result<VerifyingKey, ConnectError> {
    Ok(authority.verifying_key()?)
}

/// This machine's clock.
pub(crate) fn now_s() -> Result<u64, ConnectError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.map_err(|_| ConnectError::Clock)?.as_secs())
}

/// A failed call.
pub(crate) fn refused(status: &Status) -> ConnectError {
    if wire::reason(status).is_some() {
        return ConnectError::Refused(wire::describe(status));
    }
    // TLS 1.3 lets a client speak before its certificate is judged: a refusal shows at the first call.
    match (std::error::Error::source(status), status.code()) {
        (Some(source), _) => ConnectError::Lost(format!(
            "the connection to the coordinator failed: {}; `folkmoot doctor` looks closer",
            printable(&pki::explain(source))
        )),
        (None, Code::Unavailable) => ConnectError::Lost(wire::describe(status)),
        (None, _) => ConnectError::Refused(wire::describe(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Failure;

    #[tokio::test]
    async fn an_address_without_a_scheme_is_a_usage_error_with_its_mend() {
        let why = Failure::from(connect("127.0.0.1:7440").await.unwrap_err());
        assert!(matches!(&why, Failure::Usage(text) if text.contains("http://HOST:PORT")), "{why}");
    }

    #[tokio::test]
    async fn another_machine_is_never_called_in_the_clear() {
        for url in ["http://192.0.2.1:7440", "http://fl.example.org", "http://localhost.example.org:1"] {
            let why = Failure::from(connect(url).await.unwrap_err());
            assert!(
                matches!(&why, Failure::Usage(text) if text.contains("write https://HOST:PORT")),
                "{why}"
            );
        }
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(is_loopback(endpoint(url).unwrap().uri()), "{url}");
        }
    }

    #[test]
    fn a_lost_connection_is_unreachable_and_an_answer_is_not() {
        assert!(matches!(refused(&Status::unavailable("tcp")).into(), Failure::Unreachable(_)));
        assert!(matches!(refused(&Status::not_found("m")).into(), Failure::Failed(_)));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(matches!(refused(&broken).into(), Failure::Unreachable(text) if text.contains("doctor")));
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
    fn a_folder_names_its_coordinator_and_the_command_line_overrules_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(COORDINATOR_FILE), "https://fl.example.org:7440\n").unwrap();
        let mut remote = Remote { folder: Some(folder.path().to_owned()), ..Remote::default() };
        assert_eq!(remote.url().unwrap(), "https://fl.example.org:7440");
        remote.coordinator = Some("https://localhost:1".into());
        assert_eq!(remote.url().unwrap(), "https://localhost:1");
        let why = remote.authority().unwrap_err();
        assert!(why.to_string().contains("authority.json"), "{why}");
    }

    #[test]
    fn escape_sequences_of_another_machine_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
