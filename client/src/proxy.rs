//! The proxy that leads to the coordinator, as the configuration and the command line name it.

use std::path::Path;

use daemon::Secret;
use pki::Proxy;
use plan::Problems;

use crate::Config;

impl Config {
    /// The proxy on the way to the coordinator: the configured one, or the environment's.
    pub(crate) fn proxy(&self, problems: &mut Problems) -> Option<Proxy> {
        named(self.proxy.as_ref(), self.proxy_auth_file.as_deref(), problems)
    }
}

/// The same, of an address and a file with credentials, each where there is one.
pub(crate) fn named(address: Option<&Secret>, file: Option<&Path>, problems: &mut Problems) -> Option<Proxy> {
    let credentials = match file {
        Some(path) => Some(daemon::read_secret_text(path, "proxy_auth_file", None, problems)?),
        None => None,
    };
    let Some(address) = address else {
        problems.require(credentials.is_none(), "proxy_auth_file", || {
            "has a meaning only with proxy; write a proxy of the environment as http://USER:PASSWORD@HOST:PORT".into()
        });
        return Some(Proxy::from_environment());
    };
    match Proxy::parse(&address.0, credentials.as_deref().map(String::as_str)) {
        Ok(proxy) => Some(proxy),
        Err(why) => {
            problems.add("proxy", why.to_string());
            None
        }
    }
}
