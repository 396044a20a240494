//! The coordinator's configuration: read whole, checked whole, every problem at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest::ModelKey;
use daemon::{ConfigError, Configuration, Opened};
use ed25519_dalek::VerifyingKey;
use identity::{AuthorisedRoster, Authority, IdentityKey};
use pki::{CertificateAuthority, TransportKey};
use plan::{AuthoredPlan, Problems, SignedPlan};
use vault::Vault;

daemon::configuration! {
    /// The file as it is written, with its paths resolved.
    pub struct Config {
        /// Where clients and operators connect, `ADDRESS:PORT`.
        pub listen: String,
        /// Journals, staged vectors and checkpoints of all runs; one federation a folder.
        pub data_dir: PathBuf,
        /// The first run's plan, as `folkmoot plan sign` wrote it. Where the first run has another, it is submitted as a further one.
        pub plan: PathBuf,
        /// Runs that open rounds at one time; those behind them wait in the queue.
        #[serde(default = "three_runs")]
        pub runs_active_max: u32,
        /// The key that signs published models for public tools, PKCS#8 PEM; none, and they carry no such signature.
        #[serde(default)]
        pub model_key_file: Option<PathBuf>,
        /// Where Prometheus may read metrics, if anywhere.
        #[serde(default)]
        pub metrics_listen: Option<String>,
    }
}

/// More would wait for each other's silos.
const RUNS_ACTIVE_MAX: u32 = 100;

/// Of a federation whose configuration does not say.
fn three_runs() -> u32 {
    3
}

daemon::tls_table! {
    /// The table `[tls]`, all of it made by `folkmoot-coordinator init`.
    pub struct Tls {
        /// The secret key that signs certificates, PKCS#8 PEM.
        pub ca_key_file: PathBuf,
    }
}

/// What the table `[tls]` names.
pub struct LoadedTls {
    /// What join tokens pin.
    pub authority: Authority,
    /// Signs certificates.
    pub issuer: Arc<CertificateAuthority>,
    /// This server's, with its issuer's.
    pub chain: String,
    pub key: TransportKey,
}

/// The configuration and what it names.
pub struct Loaded {
    pub config: Config,
    /// The plan, verified and validated.
    pub plan: AuthoredPlan,
    /// The roster, opened under the authority's key.
    pub roster: AuthorisedRoster,
    /// The authority's key.
    pub authority: VerifyingKey,
    /// The coordinator's key.
    pub key: IdentityKey,
    /// What seals the data folder.
    pub vault: Option<Arc<Vault>>,
    /// What secures connections; none in plain text.
    pub tls: Option<LoadedTls>,
    /// Signs published models.
    pub model_key: Option<ModelKey>,
}

impl Config {
    /// Reads the configuration and everything that it names. Relative paths are relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem at once.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let (config, text) = Self::read(path)?;
        config.open().map_err(|problems| ConfigError::Meaning(problems.with_lines_of(&text)))
    }

    fn read(path: &Path) -> Result<(Self, String), ConfigError> {
        let (mut config, text) = daemon::load::<Self>(path)?;
        daemon::resolve(path, [&mut config.data_dir, &mut config.plan]);
        daemon::resolve(path, &mut config.model_key_file);
        Ok((config, text))
    }

    fn open(self) -> Result<Loaded, Problems> {
        let mut problems = Problems::default();
        self.check_addresses(&mut problems);
        problems.require((1..=RUNS_ACTIVE_MAX).contains(&self.runs_active_max), "runs_active_max", || {
            format!("is from 1 to {RUNS_ACTIVE_MAX}")
        });
        let plan = daemon::read(&self.plan, "plan", &mut problems, |text| {
            SignedPlan::from_json(text).and_then(SignedPlan::open).map_err(|e| e.to_string())
        });
        let mut shared = self.shared();
        shared.secrets.extend(self.model_key_file.as_deref().map(|path| ("model_key_file", path)));
        let Some(Opened { vault, roster, key }) = shared.open(&mut problems) else {
            return Err(problems);
        };
        if let (Some((roster, _)), Some(key)) = (&roster, &key) {
            problems.require(roster.coordinator() == key.public(), "identity_key_file", || {
                format!(
                    "the roster names another coordinator key than this one, {}: put the key back that it names, as no silo takes what \
                     another one signs",
                    checkpoint::public_key_text(&key.public())
                )
            });
        }
        if let (Some((roster, _)), Some(plan)) = (&roster, &plan)
            && let Err(why) = plan.check_federation(&roster.federation)
        {
            problems.add("plan", why.to_string());
        }
        let tls =
            self.tls.as_ref().and_then(|tls| tls.load(&self.authority_key, vault.as_deref(), &mut problems));
        let model_key = self.model_key_file.as_ref().and_then(|path| {
            let pem = daemon::read_secret_text(path, "model_key_file", vault.as_deref(), &mut problems)?;
            daemon::parsed(ModelKey::from_pem(&pem), path, "model_key_file", &mut problems)
        });
        match (plan, roster, key) {
            (Some(plan), Some((roster, authority)), Some(key)) if problems.0.is_empty() => {
                Ok(Loaded { config: self, plan, roster, authority, key, vault, tls, model_key })
            }
            _ => Err(problems),
        }
    }

    fn check_addresses(&self, problems: &mut Problems) {
        daemon::check_listen("listen", &self.listen, self.plaintext, problems);
        if let Some(listen) = &self.metrics_listen {
            daemon::check_metrics_listen(listen, problems);
        }
        problems.require(self.plaintext != self.tls.is_some(), "tls", || {
            "name the table [tls], which `folkmoot-coordinator init` writes, or, on one machine, plaintext = true"
                .into()
        });
    }
}

impl Tls {
    fn load(&self, authority_key: &str, vault: Option<&Vault>, problems: &mut Problems) -> Option<LoadedTls> {
        let authority = daemon::read_tls_authority(&self.authority, authority_key, problems)?;
        let key = daemon::read_secret_text(&self.key_file, "tls.key_file", vault, problems)?;
        let key = daemon::parsed(TransportKey::from_pem(&key), &self.key_file, "tls.key_file", problems)?;
        let ca_key = daemon::read_secret_text(&self.ca_key_file, "tls.ca_key_file", vault, problems)?;
        let issuer = CertificateAuthority::load(&authority.ca_certificate, &ca_key);
        let issuer = Arc::new(daemon::parsed(issuer, &self.ca_key_file, "tls.ca_key_file", problems)?);
        let chain = daemon::read(&self.certificate, "tls.certificate", problems, |text| {
            pki::inspect(text).map(|_| text.to_owned()).map_err(|why| why.to_string())
        })?;
        Some(LoadedTls { authority, issuer, chain, key })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn problems_of(config: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "coordinator.toml", config);
        write(folder.path(), "coordinator.key", &hex::encode([7; 32]));
        match Config::load(&folder.path().join("coordinator.toml")) {
            Err(why) => why.to_string().replace(&folder.path().display().to_string(), "FOLDER"),
            Ok(_) => panic!("it was accepted"),
        }
    }

    #[test]
    fn the_sample_configuration_is_usable_once_init_has_made_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let init = crate::init::Init {
            dir: dir.clone(),
            federation: "test".into(),
            address: "localhost:7440".into(),
            listen: None,
            names: Vec::new(),
            admin: "admin".into(),
        };
        let made = init.run().unwrap();
        let key = |byte: u8| IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap();
        let plan = plan::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        write(&dir, "plan.json", &serde_json::to_string(plan.clone().sign(&key(5)).signed()).unwrap());
        let sample = include_str!("../../deploy/config/coordinator.toml")
            .replace("REPLACE-WITH-THE-AUTHORITY-KEY", &made.authority.key);
        write(&dir, "coordinator.toml", &sample);
        let loaded = Config::load(&dir.join("coordinator.toml")).map_err(|e| e.to_string());
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(loaded.plan.name, "example");
        assert_eq!(loaded.config.listen, "127.0.0.1:7440");
        let meant_for = |federation: &str| {
            let plan = plan::Plan { federation: Some(federation.into()), ..plan.clone().numbered([1; 16]) };
            write(&dir, "plan.json", &serde_json::to_string(plan.sign(&key(5)).signed()).unwrap());
            Config::load(&dir.join("coordinator.toml"))
        };
        let why = meant_for("clinics").map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("plan: the plan is meant for the federation \"clinics\""), "{why}");
        assert!(meant_for("test").is_ok());
        // Metrics for the whole world, and an authority of somebody else's.
        let config =
            sample.replace("# metrics_listen = \"127.0.0.1:9440\"", "metrics_listen = \"0.0.0.0:9440\"");
        let other = hex::encode(key(9).public().as_bytes());
        write(&dir, "coordinator.toml", &config.replace(&made.authority.key, &other));
        let why = match Config::load(&dir.join("coordinator.toml")) {
            Err(why) => why.to_string(),
            Ok(_) => panic!("it was accepted"),
        };
        assert!(why.contains("metrics_listen: is not a loopback address"), "{why}");
        assert!(why.contains("authority_key: `") && why.contains("names another authority"), "{why}");
        assert!(why.contains("roster: ") && why.contains("not signed by the authority"), "{why}");
    }

    #[test]
    fn plain_text_and_tls_exclude_each_other_and_one_of_them_is_needed() {
        let rest = "data_dir = \"d\"\nplan = \"p\"\nroster = \"r\"\nauthority_key = \"zz\"\n\
                    identity_key_file = \"coordinator.key\"\n";
        let neither = problems_of(&format!("listen = \"127.0.0.1:0\"\n{rest}"));
        assert!(neither.contains("tls: name the table [tls]"), "{neither}");
        let both = problems_of(&format!(
            "plaintext = true\nlisten = \"127.0.0.1:0\"\n{rest}[tls]\ncertificate = \"c\"\nkey_file = \"k\"\n\
             authority = \"a\"\nca_key_file = \"ca\"\n"
        ));
        assert!(both.contains("tls: name the table [tls]"), "{both}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let why = problems_of("listen = \"127.0.0.1:0\"\ncolour = 1\n");
        assert!(why.contains("line 2") && why.contains("colour"), "{why}");
    }

    #[test]
    fn all_problems_are_reported_at_once_each_with_its_line_and_remedy() {
        let why = problems_of(
            "listen = \"0.0.0.0:7440\"\nplaintext = true\ndata_dir = \"d\"\nplan = \"none.toml\"\nroster = \"none.json\"\n\
             authority_key = \"zz\"\nidentity_key_file = \"coordinator.key\"\n",
        );
        for part in [
            "line 1: listen: is not a loopback address",
            "use the table [tls]",
            "line 4: plan: `FOLDER/none.toml`: cannot be read",
            "line 6: authority_key: a key is 64 hexadecimal digits",
        ] {
            assert!(why.contains(part), "no {part:?} in:\n{why}");
        }
    }
}
