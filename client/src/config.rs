//! The silo's configuration: read whole, checked whole, every problem at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::{ConfigError, Configuration, Opened, Secret};
use ledger::Ledger;
use pki::Proxy;
use plan::{Policy, Problems};
use protocol::{ParticipantError, Profile};
use sandbox::Demand;
use secagg::ClientId;
use tonic::codegen::http::Uri;
use vault::Vault;
use workshop::{RegistrationFile, TrainerConfig};

use crate::trainer_program::Trains;
use crate::transport::{Tls, Transport};

mod beside;
mod ledger_table;

pub use beside::{BesideDaemon, BesideError};
pub use ledger_table::LedgerConfig;

daemon::configuration! {
    /// The file as it is written, with its paths resolved.
    pub struct Config {
        /// Where the coordinator listens: `https://HOST:PORT`.
        pub coordinator: String,
        /// The HTTP proxy that leads there, `http://HOST:PORT`, or `none`. Without it, as `https_proxy` and `no_proxy` say.
        #[serde(default)]
        pub proxy: Option<Secret>,
        /// One line `USER:PASSWORD` for the proxy.
        #[serde(default)]
        pub proxy_auth_file: Option<PathBuf>,
        /// This silo's number on the roster.
        pub client_id: u32,
        /// The silo's table: a CSV file, or a folder of them.
        pub data: PathBuf,
        /// How its files are written and what their columns mean, as a person has confirmed it; read when the daemon starts. Without it,
        /// they are plain CSV under the plans' own names.
        #[serde(default)]
        pub registration: Option<RegistrationFile>,
        /// The name of the data, whatever its version: one ledger counts all that it spends. Without it, that of the file
        /// or folder.
        #[serde(default)]
        pub dataset: Option<String>,
        /// The journal of what this silo has seen, said and spent.
        pub state_dir: PathBuf,
        /// Whether a salted commitment to the data's version is declared at check-in and stands in model cards.
        #[serde(default = "yes")]
        pub tells_data_version: bool,
        /// How what reads the data is sealed off; without it, as far as this machine allows.
        #[serde(default)]
        pub sandbox: Option<Demand>,
        /// What reads the data and trains.
        #[serde(default)]
        pub trainer: TrainerConfig,
        /// The ledger of what the data has spent.
        #[serde(default)]
        pub ledger: LedgerConfig,
        /// What this silo allows, whoever asks.
        pub policy: Policy,
    }
}

/// The configuration and what it names, opened.
pub struct Loaded {
    pub config: Config,
    pub(crate) profile: Profile,
    pub(crate) vault: Option<Arc<Vault>>,
    pub(crate) ledger: Ledger,
    pub(crate) transport: Option<Transport>,
    pub(crate) proxy: Proxy,
    /// The file that it was read from, where it was: a later policy in it is taken up.
    pub(crate) file: Option<PathBuf>,
    /// What the file said.
    pub(crate) text: String,
    /// Whether the daemon ends with the first run that is over, or that it refuses.
    pub one_run: bool,
    pub(crate) trains: Trains,
}

impl Config {
    /// Reads the configuration and everything that it names. Relative paths are relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem at once.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let (config, text) = Self::read(path)?;
        let opened = config.open().map_err(|problems| ConfigError::Meaning(problems.with_lines_of(&text)))?;
        Ok(Loaded { file: Some(path.to_owned()), text, ..opened })
    }

    /// Reads the file alone, and gives its text too.
    pub(crate) fn read(path: &Path) -> Result<(Self, String), ConfigError> {
        let (config, text) = daemon::load::<Self>(path)?;
        Ok((config.resolved(path), text))
    }

    /// Of the file's text alone.
    pub(crate) fn of_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        daemon::parse_at::<Self>(path, text).map(|config| config.resolved(path))
    }

    fn resolved(self, path: &Path) -> Self {
        let mut config = self;
        daemon::resolve(path, [&mut config.data, &mut config.state_dir]);
        let optional = [
            &mut config.ledger.dir,
            &mut config.ledger.anchor,
            &mut config.proxy_auth_file,
            &mut config.trainer.program,
        ];
        let registration = config.registration.as_mut().map(RegistrationFile::path_mut);
        daemon::resolve(path, optional.into_iter().flatten().chain(registration));
        config
    }

    /// Opens the vault, the ledger and the keys; reads what the participant pins and allows, and checks the rest.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn open(mut self) -> Result<Loaded, Problems> {
        let mut problems = Problems::default();
        self.register(&mut problems);
        self.check_coordinator(&mut problems);
        self.check_policy(&mut problems);
        self.ledger.check(&self, &mut problems);
        self.trainer.check(&mut problems);
        let Some(Opened { vault, roster, key }) = self.shared().open(&mut problems) else {
            return Err(problems);
        };
        let open = |tls| Transport::open(tls, &self.authority_key, vault.clone(), &mut problems);
        let transport = self.tls.as_ref().and_then(open);
        let ledger = self.ledger.open(&self, vault.clone(), &mut problems);
        let proxy = self.proxy(&mut problems);
        match (roster, key, ledger, proxy) {
            (Some((roster, authority)), Some(identity), Some(ledger), Some(proxy))
                if problems.0.is_empty() =>
            {
                let profile = Profile {
                    id: ClientId(self.client_id),
                    identity,
                    authority,
                    roster,
                    policy: self.policy.clone(),
                    declares_data: self.tells_data_version,
                    sandbox: None,
                };
                check_membership(&profile)?;
                let (config, file, text) = (self, None, String::new());
                let (one_run, trains) = (false, Trains::default());
                Ok(Loaded { config, profile, vault, ledger, transport, proxy, file, text, one_run, trains })
            }
            _ => Err(problems),
        }
    }

    /// Reads the registration, where there is one.
    pub(crate) fn register(&mut self, problems: &mut Problems) {
        if let Some(file) = &mut self.registration {
            file.pin(&mut self.policy, problems);
        }
    }

    pub(crate) fn open_vault(&self, problems: &mut Problems) -> Option<Arc<Vault>> {
        self.encryption.as_ref().and_then(|sealed| sealed.open(problems))
    }

    pub(crate) fn check_coordinator(&self, problems: &mut Problems) {
        let uri: Option<Uri> = self.coordinator.parse().ok();
        let Some((scheme, host)) = uri
            .as_ref()
            .filter(|uri| uri.port_u16().is_some() && matches!(uri.path(), "" | "/"))
            .and_then(|uri| Some((uri.scheme_str()?, uri.host()?)))
        else {
            problems.add(
                "coordinator",
                format!("{:?} is no address; write it as \"https://HOST:PORT\"", self.coordinator),
            );
            return;
        };
        match (scheme, &self.tls, self.plaintext) {
            ("https", Some(_), false) => {}
            (_, Some(_), true) => {
                problems.add("plaintext", "contradicts the table [tls]: remove one of the two");
            }
            ("http", Some(_), false) => problems.add(
                "coordinator",
                "http is not encrypted, and the table [tls] asks for TLS; write \"https://HOST:PORT\"",
            ),
            ("http", None, true) => {
                problems.require(pki::is_loopback(host), "coordinator", || daemon::PLAINTEXT.into());
            }
            ("http", None, false) => problems.add(
                "coordinator",
                "http is not encrypted: enrol this silo (`folkmoot-client enroll` writes the table [tls]), or, for a \
                 coordinator on this machine alone, set plaintext = true",
            ),
            ("https", None, _) => problems.add(
                "coordinator",
                "https needs the table [tls] with authority, certificate and key_file, which `folkmoot-client enroll` \
                 writes",
            ),
            (other, ..) => problems.add(
                "coordinator",
                format!("the daemon does not speak {other}; write \"https://HOST:PORT\""),
            ),
        }
    }

    pub(crate) fn check_policy(&self, problems: &mut Problems) {
        if let Err(found) = self.policy.validate() {
            for problem in found.0 {
                problems.add(&format!("policy.{}", problem.field), problem.text);
            }
        }
    }
}

/// A participant without a journal accepts the profile or says what is wrong with it.
fn check_membership(profile: &Profile) -> Result<(), Problems> {
    let Err(why) = profile.check() else { return Ok(()) };
    let field = match why {
        ParticipantError::NotAMember(_) => "client_id",
        ParticipantError::OtherKey(_) => "identity_key_file",
        ParticipantError::OlderRoster { .. }
        | ParticipantError::ForkedRoster { .. }
        | ParticipantError::Roster(_)
        | ParticipantError::Journal { .. } => "roster",
    };
    let mut problems = Problems::default();
    problems.add(field, why.to_string());
    Err(problems)
}

fn yes() -> bool {
    true
}
