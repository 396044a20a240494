//! What both configurations declare: who the daemon is, what it seals its disk with, and its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, IdentityKey};
use plan::Problems;
use serde::de::DeserializeOwned;
use vault::Vault;

use crate::{Encryption, read_identity, read_roster, resolve};

/// Declares a configuration: the keys that are written here, and those that both daemons have.
///
/// A macro, because serde flattens no struct into one that refuses unknown keys, nor keeps the lines of its errors. The crate
/// that uses it depends on serde, and declares the table `[tls]` as `Tls` where it uses this: [`tls_table!`](crate::tls_table).
///
/// ```
/// daemon::tls_table! {
///     pub struct Tls {}
/// }
///
/// daemon::configuration! {
///     /// The file as it is written.
///     pub struct Config {
///         /// Where clients connect, `ADDRESS:PORT`.
///         pub listen: String,
///     }
/// }
///
/// let text = "listen = 'localhost:1'\nroster = 'r'\nauthority_key = 'a'\nidentity_key_file = 'k'\n";
/// let config: Config = daemon::parse(text)?;
/// assert_eq!((config.log.as_str(), config.plaintext), ("info", false));
/// let why = daemon::parse::<Config>(&format!("{text}colour = 1")).unwrap_err().to_string();
/// assert!(why.contains("line 5") && why.contains("unknown field `colour`"), "{why}");
/// # Ok::<(), daemon::ConfigError>(())
/// ```
#[macro_export]
macro_rules! configuration {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $key:ident: $value:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$doc])* pub $key: $value,)*
            /// The signed roster, JSON.
            pub roster: ::std::path::PathBuf,
            /// The federation authority's public key, hexadecimal.
            pub authority_key: ::std::string::String,
            /// The daemon's secret key, hexadecimal; sealed where `encryption` is.
            pub identity_key_file: ::std::path::PathBuf,
            /// Plain text, on this machine alone. In place of the table `[tls]`.
            #[serde(default)]
            pub plaintext: bool,
            /// What connections are secured with, and whom this daemon trusts.
            #[serde(default)]
            pub tls: ::std::option::Option<Tls>,
            /// What lies on this machine's disk is sealed with, secret keys among it.
            #[serde(default)]
            pub encryption: ::std::option::Option<$crate::Encryption>,
            /// The log filter.
            #[serde(default = "daemon::default_log")]
            pub log: ::std::string::String,
            /// One JSON object a line instead of text.
            #[serde(default)]
            pub log_json: bool,
        }

        impl $crate::Configuration for $name {
            fn resolve_shared(&mut self, file: &::std::path::Path) {
                let paths = [&mut self.roster, &mut self.identity_key_file];
                $crate::Shared::resolve(file, paths, self.encryption.as_mut());
                if let Some(tls) = &mut self.tls {
                    tls.resolve(file);
                }
            }

            fn shared(&self) -> $crate::Shared<'_> {
                $crate::Shared {
                    roster: &self.roster,
                    authority_key: &self.authority_key,
                    identity_key_file: &self.identity_key_file,
                    encryption: self.encryption.as_ref(),
                    secrets: self.tls.iter().flat_map(Tls::secrets).collect(),
                }
            }
        }
    };
}

/// Declares the table `[tls]`: the files that both daemons have in it, and the secret keys that are written here.
///
/// ```
/// daemon::tls_table! {
///     /// What connections are secured with.
///     pub struct Tls {
///         /// The secret key that signs certificates.
///         pub ca_key_file: std::path::PathBuf,
///     }
/// }
///
/// let text = "authority = 'a'\ncertificate = 'c'\nkey_file = 'k'\nca_key_file = '/ca'\n";
/// let mut tls: Tls = daemon::parse(text)?;
/// tls.resolve(std::path::Path::new("/etc/daemon.toml"));
/// assert_eq!((tls.certificate.to_str(), tls.ca_key_file.to_str()), (Some("/etc/c"), Some("/ca")));
/// let secrets: Vec<&str> = tls.secrets().into_iter().map(|(field, _)| field).collect();
/// assert_eq!(secrets, ["tls.key_file", "tls.ca_key_file"]);
/// # Ok::<(), daemon::ConfigError>(())
/// ```
#[macro_export]
macro_rules! tls_table {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $key:ident: $path:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The federation's authority, as join tokens pin it.
            pub authority: ::std::path::PathBuf,
            /// The daemon's certificate with its issuer's, PEM; renewed by the daemon.
            pub certificate: ::std::path::PathBuf,
            /// The certificate's key, PEM; sealed where `[encryption]` is.
            pub key_file: ::std::path::PathBuf,
            $($(#[$doc])* pub $key: $path,)*
        }

        impl $name {
            pub(crate) fn resolve(&mut self, file: &::std::path::Path) {
                let paths = [&mut self.authority, &mut self.certificate, &mut self.key_file];
                $crate::resolve(file, paths.into_iter()$(.chain([&mut self.$key]))*);
            }

            /// The secret keys, each under its field's name.
            pub(crate) fn secrets(&self) -> ::std::vec::Vec<(&'static str, &::std::path::Path)> {
                let own = [$((concat!("tls.", stringify!($key)), self.$key.as_path())),*];
                [("tls.key_file", self.key_file.as_path())].into_iter().chain(own).collect()
            }
        }
    };
}

/// A configuration that [`configuration!`](crate::configuration) declared.
pub trait Configuration: DeserializeOwned {
    /// Makes the paths that both configurations have relative to the file that names them.
    fn resolve_shared(&mut self, file: &Path);

    /// What is opened alike for both daemons.
    fn shared(&self) -> Shared<'_>;
}

/// What a configuration says of the daemon's identity, in its keys of the same names.
pub struct Shared<'a> {
    /// The signed roster.
    pub roster: &'a Path,
    /// The federation authority's public key, hexadecimal.
    pub authority_key: &'a str,
    /// The daemon's secret key.
    pub identity_key_file: &'a Path,
    /// What seals it.
    pub encryption: Option<&'a Encryption>,
    /// Further files that are sealed with it, each under its field's name.
    pub secrets: Vec<(&'static str, &'a Path)>,
}

/// What [`Shared`] names; what is missing is among the problems.
pub struct Opened {
    /// What seals the daemon's disk.
    pub vault: Option<Arc<Vault>>,
    /// The roster and the authority's key, under which it was opened.
    pub roster: Option<(AuthorisedRoster, VerifyingKey)>,
    /// The daemon's own key.
    pub key: Option<IdentityKey>,
}

impl Shared<'_> {
    #[doc(hidden)]
    pub fn resolve(file: &Path, paths: [&mut PathBuf; 2], encryption: Option<&mut Encryption>) {
        resolve(file, paths);
        if let Some(encryption) = encryption {
            encryption.resolve(file);
        }
    }

    /// Opens the keyring and reads the roster and the key. None where the keyring does not open: each secret that is sealed
    /// with it is among the problems then.
    pub fn open(&self, problems: &mut Problems) -> Option<Opened> {
        let roster = read_roster(self.roster, self.authority_key, problems);
        let vault = match self.encryption.map(|sealed| sealed.open(problems)) {
            Some(None) => {
                let own = [("identity_key_file", self.identity_key_file)];
                for (field, path) in own.iter().chain(&self.secrets) {
                    let why = "it cannot be opened without the keyring";
                    problems.add(field, format!("`{}`: {why}", path.display()));
                }
                return None;
            }
            vault => vault.flatten(),
        };
        let key = read_identity(self.identity_key_file, vault.as_deref(), problems);
        Some(Opened { vault, roster, key })
    }
}
