//! The HTTP proxy that a connection goes through: which one, and what it is asked and says.

use std::env;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use zeroize::Zeroizing;

/// Where a proxy is taken from that nobody configured, the first that is set; no other program reads `HTTP_PROXY` for
/// an `https` address either.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// An answer with its headers. More than squid's longest.
const ANSWER_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 100;

/// Which proxy connections go through.
#[derive(Clone)]
pub struct Proxy(Rule);

#[derive(Clone)]
enum Rule {
    None,
    Given(Through),
    Environment { variable: &'static str, matcher: Arc<Matcher> },
}

/// A proxy that cannot be used as it is written. Never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProxyError(String);

impl Proxy {
    /// Connections are direct, whatever the environment says.
    pub fn none() -> Self {
        Self(Rule::None)
    }

    /// As `https_proxy`, `all_proxy` and `no_proxy` say, in small letters or capitals, with the meaning they have to curl.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&'static str| Some((*name, variable(name).filter(|value| !value.is_empty())?));
        let Some((name, value)) = VARIABLES.iter().find_map(set) else { return Self::none() };
        let not = EXCEPTIONS.iter().find_map(set).map(|(_, value)| value).unwrap_or_default();
        let matcher = Matcher::builder().https(value).no(not).build();
        Self(Rule::Environment { variable: name, matcher: Arc::new(matcher) })
    }

    /// As a person configured it: `http://HOST:PORT`, with `USER:PASSWORD@` before the host or beside it in
    /// `credentials`; or `none`.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn parse(text: &str, credentials: Option<&str>) -> Result<Self, ProxyError> {
        if text == "none" {
            return Ok(Self::none());
        }
        // Nothing before the last @ is for other eyes.
        let shown = text.rsplit('@').next().unwrap_or_default();
        let refused = || {
            ProxyError(format!(
                "`{shown}` is no proxy; write it as http://HOST:PORT, or none for no proxy at all"
            ))
        };
        let uri: Uri = text.parse().map_err(|_| refused())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() || !matches!(uri.path(), "" | "/") {
            return Err(refused());
        }
        let intercept = Matcher::builder().https(text).build().intercept(&Uri::from_static("https://any"));
        let mut through =
            Through::of(&intercept.ok_or_else(refused)?, "the configuration").map_err(ProxyError)?;
        if let Some(credentials) = credentials {
            let credentials = credentials.trim_end_matches(['\r', '\n']);
            if !credentials.contains(':') || credentials.chars().any(char::is_control) {
                return Err(ProxyError("the proxy's credentials are not one line USER:PASSWORD".into()));
            }
            through.authorization =
                Some(Arc::new(Zeroizing::new(format!("Basic {}", STANDARD.encode(credentials)))));
        }
        Ok(Self(Rule::Given(through)))
    }

    pub(crate) fn on_the_way_to(&self, host: &str, port: u16) -> Result<Option<Through>, ProxyFault> {
        match &self.0 {
            Rule::None => Ok(None),
            Rule::Given(through) => Ok(Some(through.clone())),
            Rule::Environment { variable, matcher } => {
                let Ok(uri) = format!("https://{}:{port}", bracketed(host)).parse::<Uri>() else {
                    return Ok(None);
                };
                let Some(found) = matcher.intercept(&uri) else { return Ok(None) };
                match Through::of(&found, variable) {
                    Ok(through) => Ok(Some(through)),
                    // Set for other programs as often as not, and was never read before.
                    Err(_) if variable.eq_ignore_ascii_case("all_proxy") => Ok(None),
                    Err(why) => Err(ProxyFault(format!("{why}; or add {host} to no_proxy"))),
                }
            }
        }
    }

    /// The variable of the environment that named it.
    pub(crate) fn variable(&self) -> Option<&'static str> {
        match self.0 {
            Rule::Environment { variable, .. } => Some(variable),
            _ => None,
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::None => f.write_str("none"),
            Rule::Given(through) => write!(f, "{through}"),
            Rule::Environment { variable, .. } => write!(f, "as {variable} says"),
        }
    }
}

/// A proxy, and where it was named. `Display` is its host and port, never its credentials.
#[derive(Clone)]
pub(crate) struct Through {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) named_by: String,
    authorization: Option<Arc<Zeroizing<String>>>,
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

impl Through {
    fn of(found: &Intercept, named_by: &str) -> Result<Self, String> {
        let uri = found.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        if scheme != "http" {
            return Err(format!(
                "{named_by} names a proxy that is spoken to over {scheme}://, and only http:// proxies are supported: \
                 name one such as http://proxy.example:3128"
            ));
        }
        let authorization = found.basic_auth().and_then(|value| value.to_str().ok());
        Ok(Self {
            host: uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            named_by: named_by.to_owned(),
            authorization: authorization.map(|value| Arc::new(Zeroizing::new(value.to_owned()))),
        })
    }

    /// Asks the proxy at the other end of `stream` to pass everything on to `host:port`, and reads its answer.
    ///
    /// The proxy sees names and sizes, and nothing else: what follows is TLS between the two ends.
    pub(crate) async fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let to = format!("{}:{port}", bracketed(host));
        let mut request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(value) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {}\r\n", value.as_str()));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).await?;
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
            match head(&answer) {
                Ok(Some((200..=299, _, length))) if length == answer.len() => return Ok(()),
                // The other end speaks second: whatever this is, it is not from there.
                Ok(Some((200..=299, ..))) | Err(()) => {
                    return Err(self.fault(&to, "its answer is not HTTP's"));
                }
                Ok(Some((status, reason, _))) => return Err(self.refusal(&to, status, &reason)),
                Ok(None) if read == 0 => {
                    return Err(self.fault(&to, "it closed the connection without an answer"));
                }
                Ok(None) if answer.len() > ANSWER_BYTES_MAX => {
                    return Err(self.fault(&to, "its answer is longer than any proxy's"));
                }
                Ok(None) => {}
            }
        }
    }

    fn fault(&self, to: &str, what: &str) -> io::Error {
        io::Error::other(ProxyFault(format!(
            "the proxy {self} (from {}) does not connect to {to}: {what}; check that an HTTP proxy listens there",
            self.named_by
        )))
    }

    fn refusal(&self, to: &str, status: u16, reason: &str) -> io::Error {
        let remedy = match status {
            // Some say 401 of a wrong password, and 407 of none.
            401 | 407 if self.authorization.is_some() => {
                "it does not take this user and password; ask its operator for others"
            }
            407 => {
                "it wants a user and a password; name them in the file of `proxy_auth_file` or --proxy-auth-file, or in \
                 the proxy's address as USER:PASSWORD@HOST"
            }
            403 => "it does not let this machine there; have its operator allow that address and port",
            502..=504 => {
                "it cannot reach the coordinator; check the coordinator's address, and that it runs and is reachable \
                 from the proxy"
            }
            400 | 404 | 405 | 501 => "it may be no proxy, or one that does not do CONNECT; check its address",
            _ => "ask its operator",
        };
        let reason = if reason.is_empty() { String::new() } else { format!(" {reason}") };
        io::Error::other(ProxyFault(format!(
            "the proxy {self} (from {}) does not connect to {to}: it answers {status}{reason}; {remedy}",
            self.named_by
        )))
    }
}

/// Status, reason and length of an answer's head, once it is whole.
fn head(answer: &[u8]) -> Result<Option<(u16, String, usize)>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(answer) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let reason = response.reason.unwrap_or_default().chars().filter(|c| !c.is_control()).take(60);
            Ok(Some((response.code.ok_or(())?, reason.collect(), length)))
        }
        Err(_) => Err(()),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// What a proxy said, or how it is set wrongly. It reads as its explanation.
#[derive(Debug)]
pub(crate) struct ProxyFault(pub(crate) String);

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ProxyFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_environment(set: &[(&str, &str)], host: &str) -> Result<Option<String>, String> {
        let proxy = Proxy::from_variables(|name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        let through = proxy.on_the_way_to(host, 8443).map_err(|fault| fault.to_string())?;
        Ok(through.map(|through| format!("{through} from {}", through.named_by)))
    }

    #[test]
    fn the_environment_names_a_proxy_and_who_is_reached_without() {
        let set = [("https_proxy", "http://p.example:3128"), ("no_proxy", "inside.example,10.0.0.0/8,::1")];
        let found = of_environment(&set, "fl.example").unwrap();
        assert_eq!(found.as_deref(), Some("p.example:3128 from https_proxy"));
        for inside in ["inside.example", "fl.inside.example", "10.1.2.3", "::1"] {
            assert_eq!(of_environment(&set, inside), Ok(None), "{inside}");
        }
        let capitals = [("HTTPS_PROXY", "p.example"), ("NO_PROXY", "*")];
        assert_eq!(of_environment(&capitals, "fl.example"), Ok(None));
        assert_eq!(
            of_environment(&capitals[..1], "fl.example").unwrap().as_deref(),
            Some("p.example:80 from HTTPS_PROXY")
        );
        assert_eq!(of_environment(&[("http_proxy", "http://p.example:1")], "fl.example"), Ok(None));
        assert_eq!(of_environment(&[("https_proxy", "")], "fl.example"), Ok(None));
    }

    #[test]
    fn a_proxy_of_another_kind_is_named_where_it_was_meant_for_this() {
        let socks = of_environment(&[("https_proxy", "socks5://p.example:1080")], "fl.example").unwrap_err();
        assert!(socks.contains("https_proxy") && socks.contains("no_proxy"), "{socks}");
        assert_eq!(of_environment(&[("ALL_PROXY", "socks5://p.example:1080")], "fl.example"), Ok(None));
    }

    #[test]
    fn a_configured_proxy_keeps_its_password_to_itself() {
        let proxy = Proxy::parse("http://ann:se%20cret@p.example:3128", None).unwrap();
        let through = proxy.on_the_way_to("::1", 8443).unwrap().unwrap();
        assert_eq!(through.authorization.as_ref().unwrap().as_str(), "Basic YW5uOnNlIGNyZXQ=");
        assert_eq!(format!("{proxy:?} {through}"), "p.example:3128 p.example:3128");
        let beside = Proxy::parse("http://p.example:3128", Some("ann:se cret\n")).unwrap();
        let beside = beside.on_the_way_to("fl.example", 1).unwrap().unwrap();
        assert_eq!(beside.authorization, through.authorization);
        for wrong in
            ["https://ann:secret@p:1", "socks5://ann:secret@p", "ann:secret@p:1", "http://ann:secret@p/x", ""]
        {
            let why = Proxy::parse(wrong, None).unwrap_err().to_string();
            assert!(why.contains("http://HOST:PORT") && !why.contains("secret"), "{why}");
        }
        assert!(Proxy::parse("http://p:1", Some("ann")).is_err());
        assert!(Proxy::parse("none", None).unwrap().on_the_way_to("fl.example", 1).unwrap().is_none());
    }
}
