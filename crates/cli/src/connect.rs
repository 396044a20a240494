//! A connection to a coordinator: whom it is trusted as, whom the caller is, and its errors for people.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::VerifyingKey;
use identity::{AccessToken, Authority};
use pki::{ClientTls, Outgoing, PlainConnector, Proxy, TransportKey};
use tonic::codegen::http::Uri;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::v1::admin_client::AdminClient;
use zeroize::Zeroizing;

/// Text of another machine, safe to show on a terminal.
pub(crate) use identity::printable;

use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const AS: &str = "FOLKMOOT_AS";
const TOKEN: &str = "FOLKMOOT_TOKEN";

/// The files of an operator's folder.
pub(crate) const AUTHORITY_FILE: &str = "authority.json";
pub(crate) const CERTIFICATE_FILE: &str = "operator.crt";
pub(crate) const KEY_FILE: &str = "operator.key";
pub(crate) const COORDINATOR_FILE: &str = "coordinator";

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
    pub(crate) fn url(&self) -> Result<String, Failure> {
        match (&self.coordinator, self.folder()) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(folder)) => Ok(read_text(&folder.join(COORDINATOR_FILE))?.trim().to_owned()),
            (None, None) => Err(Failure::usage(format!(
                "which coordinator? Give --as FOLDER, an operator's folder, or --coordinator URL; the variable {AS} \
                 names a folder for every call"
            ))),
        }
    }

    /// The federation's authority, where a file names it.
    pub(crate) fn authority(&self) -> Result<Authority, Failure> {
        let file = match (&self.authority_file, self.folder()) {
            (Some(file), _) => file.clone(),
            (None, Some(folder)) => folder.join(AUTHORITY_FILE),
            (None, None) => {
                return Err(Failure::usage(
                    "which federation? Give --as FOLDER, an operator's folder, or --authority-file authority.json",
                ));
            }
        };
        read_authority(&file)
    }

    /// The caller's certificate, where it has one.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let Some(folder) = self.folder() else { return Ok(None) };
        let chain = read_text(&folder.join(CERTIFICATE_FILE))?;
        let file = folder.join(KEY_FILE);
        let pem = Zeroizing::new(read_text(&file)?);
        let key = TransportKey::from_pem(&pem).map_err(|why| unusable(&file, &why))?;
        Ok(Some(Credentials { chain, key }))
    }

    /// The way to the coordinator.
    pub(crate) fn outgoing(&self) -> Result<Outgoing, Failure> {
        let credentials = self.proxy_auth_file.as_deref().map(read_text).transpose()?.map(Zeroizing::new);
        let proxy = match &self.proxy {
            Some(text) => {
                Proxy::parse(text, credentials.as_deref().map(String::as_str)).map_err(Failure::usage)?
            }
            None => Proxy::from_environment(),
        };
        Ok(Outgoing::new(proxy).within(CONNECT_TIMEOUT))
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what cannot be meant, [`Failure::Unreachable`] where nobody who is trusted answers.
    pub(crate) async fn connect(&self) -> Result<Link, Failure> {
        let url = self.url()?;
        let bearer = Bearer::from_environment()?;
        if url.starts_with("http://") {
            if self.folder.is_some() {
                return Err(Failure::usage(format!(
                    "`{url}` would show nobody who calls: with --as write the address as https://HOST:PORT"
                )));
            }
            return Ok(InterceptedService::new(connect(&url).await?, bearer));
        }
        let endpoint = endpoint(&url)?;
        let authority = self.authority()?;
        let credentials = self.credentials()?;
        let identity = credentials.as_ref().map(|own| (own.chain.as_str(), &own.key));
        let tls = ClientTls::new(&authority.ca_certificate, identity).map_err(Failure::usage)?;
        let channel =
            endpoint.connect_with_connector(tls.connector(&self.outgoing()?)).await.map_err(|why| {
                Failure::Unreachable(format!(
                    "cannot reach the coordinator at {url}: {}; `folkmoot doctor` looks closer",
                    printable(&pki::explain(&why))
                ))
            })?;
        Ok(InterceptedService::new(channel, bearer))
    }

    /// Connects, to administer.
    pub(crate) async fn admin(&self) -> Result<AdminClient<Link>, Failure> {
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

    fn from_environment() -> Result<Self, Failure> {
        match std::env::var(TOKEN) {
            Ok(token) if !token.is_empty() => Self::with(&token),
            _ => Ok(Self::NONE),
        }
    }

    fn with(token: &str) -> Result<Self, Failure> {
        let token = AccessToken::from_text(token).map_err(|_| {
            Failure::usage(format!(
                "{TOKEN} holds no operator's token, or not all of one; `folkmoot tokens create --operator` prints one"
            ))
        })?;
        let text = Zeroizing::new(format!("Bearer {}", token.to_text().as_str()));
        let mut value = AsciiMetadataValue::try_from(text.as_str()).map_err(Failure::failed)?;
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
/// [`Failure::Usage`] for a text that is no such URL, [`Failure::Unreachable`] where nobody answers.
pub(crate) async fn connect(url: &str) -> Result<Channel, Failure> {
    let endpoint = endpoint(url)?;
    if url.starts_with("https://") {
        return Err(Failure::usage(format!(
            "`{url}`: this command works on this machine alone, over http://"
        )));
    }
    let uri = endpoint.uri();
    if !is_loopback(uri) {
        return Err(Failure::usage(format!(
            "`{url}` is another machine, and http:// hides nothing from who listens between: write https://HOST:PORT, \
             with --as FOLDER or --authority-file authority.json"
        )));
    }
    endpoint.connect_with_connector(PlainConnector::new(CONNECT_TIMEOUT)).await.map_err(|why| {
        Failure::Unreachable(format!(
            "cannot reach the coordinator at {url}: {}; check the address, and that the coordinator runs",
            printable(&pki::explain(&why))
        ))
    })
}

fn endpoint(url: &str) -> Result<Endpoint, Failure> {
    let form = "write it as https://HOST:PORT, or http://HOST:PORT on this machine";
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::usage(format!("`{url}` is no coordinator's address; {form}")));
    }
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|why| Failure::usage(format!("`{url}` is no address, {why}; {form}")))?;
    Ok(endpoint)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads what join tokens pin.
pub(crate) fn read_authority(file: &Path) -> Result<Authority, Failure> {
    Authority::from_canonical(read_text(file)?.trim_end_matches('\n')).map_err(|why| unusable(file, &why))
}

/// The key under which rosters are believed.
pub(crate) fn roster_key(authority: &Authority) -> Result<VerifyingKey, Failure> {
    authority.verifying_key().map_err(Failure::usage)
}

pub(crate) fn read_text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|why| unusable(file, &format!("cannot be read: {why}")))
}

pub(crate) fn unusable(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("`{}`: {why}", file.display()))
}

/// This machine's clock.
pub(crate) fn now_s() -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.map_err(|_| Failure::failed("this machine's clock is before 1970; set it"))?.as_secs())
}

/// A failed call, as a failure of the command.
pub(crate) fn refused(status: &Status) -> Failure {
    if wire::reason(status).is_some() {
        return Failure::Failed(wire::describe(status));
    }
    // TLS 1.3 lets a client speak before its certificate is judged: a refusal shows at the first call.
    match (std::error::Error::source(status), status.code()) {
        (Some(source), _) => Failure::Unreachable(format!(
            "the connection to the coordinator failed: {}; `folkmoot doctor` looks closer",
            printable(&pki::explain(source))
        )),
        (None, Code::Unavailable) => Failure::Unreachable(wire::describe(status)),
        (None, _) => Failure::Failed(wire::describe(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_without_a_scheme_is_a_usage_error_with_its_mend() {
        let why = connect("127.0.0.1:7440").await.unwrap_err();
        assert!(matches!(&why, Failure::Usage(text) if text.contains("http://HOST:PORT")), "{why}");
    }

    #[tokio::test]
    async fn another_machine_is_never_called_in_the_clear() {
        for url in ["http://192.0.2.1:7440", "http://fl.example.org", "http://localhost.example.org:1"] {
            let why = connect(url).await.unwrap_err();
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
        assert!(matches!(refused(&Status::unavailable("tcp")), Failure::Unreachable(_)));
        assert!(matches!(refused(&Status::not_found("m")), Failure::Failed(_)));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(matches!(refused(&broken), Failure::Unreachable(text) if text.contains("doctor")));
    }

    #[test]
    fn a_token_goes_with_each_call_and_half_a_token_with_none() {
        let token = AccessToken::generate(&mut rand::rand_core::UnwrapErr(rand::rngs::SysRng));
        let sent = Bearer::with(&token.to_text()).unwrap().call(Request::new(())).unwrap();
        let value = sent.metadata().get("authorization").unwrap();
        assert_eq!(value.to_str().unwrap(), format!("Bearer {}", token.to_text().as_str()));
        assert!(!format!("{value:?}").contains("fmtoken1"), "a token is not for logs");
        let half = token.to_text().chars().take(30).collect::<String>();
        assert!(matches!(Bearer::with(&half), Err(Failure::Usage(_))));
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
