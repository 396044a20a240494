//! The coordinator's configuration: read whole, checked whole, every problem at once.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use daemon::ConfigError;
use ed25519_dalek::VerifyingKey;
use identity::{AuthoredPlan, AuthorisedRoster, IdentityKey, Problems, SignedPlan};
use serde::Deserialize;

/// The file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients and operators connect, `ADDRESS:PORT`.
    pub listen: String,
    /// Journal, staged vectors and checkpoints; one run a folder.
    pub data_dir: PathBuf,
    /// The run's plan, as `folkmoot plan sign` wrote it.
    pub plan: PathBuf,
    /// The signed roster, JSON.
    pub roster: PathBuf,
    /// The federation authority's public key, hexadecimal.
    pub authority_key: String,
    /// The secret key that signs checkpoints, hexadecimal.
    pub identity_key_file: PathBuf,
    /// This version has no TLS: to listen beyond loopback must be asked for.
    #[serde(default)]
    pub plaintext_outside_loopback: bool,
    /// Where Prometheus may read metrics, if anywhere.
    #[serde(default)]
    pub metrics_listen: Option<String>,
    /// The log filter.
    #[serde(default = "daemon::default_log")]
    pub log: String,
    /// One JSON object a line instead of text.
    #[serde(default)]
    pub log_json: bool,
}

/// The configuration and what it names.
pub struct Loaded {
    /// The file.
    pub config: Config,
    /// The plan, verified and validated.
    pub plan: AuthoredPlan,
    /// The roster, opened under the authority's key.
    pub roster: AuthorisedRoster,
    /// The authority's key.
    pub authority: VerifyingKey,
    /// The coordinator's key.
    pub key: IdentityKey,
}

impl Config {
    /// Reads the configuration and everything that it names. Relative paths are relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem at once.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        let (mut config, text) = daemon::load::<Self>(path)?;
        daemon::resolve(
            path,
            [&mut config.data_dir, &mut config.plan, &mut config.roster, &mut config.identity_key_file],
        );
        let mut problems = Problems::default();
        config.check_address("listen", &config.listen, &mut problems);
        if let Some(listen) = &config.metrics_listen {
            config.check_address("metrics_listen", listen, &mut problems);
        }
        let plan = daemon::read(&config.plan, "plan", &mut problems, |text| {
            SignedPlan::from_json(text).and_then(SignedPlan::open).map_err(|e| e.to_string())
        });
        let roster = daemon::read_roster(&config.roster, &config.authority_key, &mut problems);
        let key = daemon::read_identity(&config.identity_key_file, None, &mut problems);
        if let (Some((roster, _)), Some(key)) = (&roster, &key) {
            problems.require(roster.coordinator() == key.public(), "identity_key_file", || {
                format!(
                    "the roster names another coordinator key than this one; ask the authority for a roster with {}",
                    checkpoint::public_key_text(&key.public())
                )
            });
        }
        match (plan, roster, key) {
            (Some(plan), Some((roster, authority)), Some(key)) if problems.0.is_empty() => {
                Ok(Loaded { config, plan, roster, authority, key })
            }
            _ => Err(ConfigError::Meaning(problems.with_lines_of(&text))),
        }
    }

    fn check_address(&self, field: &str, listen: &str, problems: &mut Problems) {
        match listen.to_socket_addrs() {
            Err(why) => problems.add(field, format!("{listen:?} is no ADDRESS:PORT: {why}")),
            Ok(mut addresses) => {
                let outside = addresses.any(|address| !address.ip().is_loopback());
                let accepted = !outside || self.plaintext_outside_loopback;
                problems.require(accepted, field, || daemon::PLAINTEXT.into());
            }
        }
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
    fn the_sample_configuration_is_usable_once_its_files_and_keys_are() {
        let folder = tempfile::tempdir().unwrap();
        let key = |byte: u8| IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap();
        let public = |byte: u8| hex::encode(key(byte).public().as_bytes());
        let member = identity::Member { name: "silo".into(), identity_key: public(1), admitted: 1 };
        let roster = identity::Roster {
            federation: "test".into(),
            epoch: 1,
            coordinator_key: public(7),
            members: [(secagg::ClientId(1), member)].into(),
        };
        let sample = include_str!("../../deploy/config/coordinator.toml");
        let config = sample.replace("REPLACE-WITH-THE-AUTHORITY-KEY", &public(9));
        write(folder.path(), "coordinator.toml", &config);
        write(folder.path(), "coordinator.key", &key(7).secret_hex());
        let plan = identity::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        let plan = serde_json::to_string(plan.sign(&key(5)).signed()).unwrap();
        write(folder.path(), "plan.json", &plan);
        write(folder.path(), "roster.json", &serde_json::to_string(&roster.sign(&key(9))).unwrap());
        let loaded = Config::load(&folder.path().join("coordinator.toml")).map_err(|e| e.to_string());
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(loaded.plan.name, "example");
        // A key that the roster does not name, and metrics for the whole world.
        write(folder.path(), "coordinator.key", &key(8).secret_hex());
        let config =
            config.replace("# metrics_listen = \"127.0.0.1:9440\"", "metrics_listen = \"0.0.0.0:9440\"");
        write(folder.path(), "coordinator.toml", &config);
        let why = match Config::load(&folder.path().join("coordinator.toml")) {
            Err(why) => why.to_string(),
            Ok(_) => panic!("it was accepted"),
        };
        assert!(why.contains("identity_key_file: the roster names another coordinator key"), "{why}");
        assert!(why.contains("metrics_listen: is not a loopback address"), "{why}");
        assert_eq!(loaded.config.listen, "127.0.0.1:7440");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let why = problems_of("listen = \"127.0.0.1:0\"\ncolour = 1\n");
        assert!(why.contains("line 2") && why.contains("colour"), "{why}");
    }

    #[test]
    fn all_problems_are_reported_at_once_each_with_its_line_and_mend() {
        let why = problems_of(
            "listen = \"0.0.0.0:7440\"\ndata_dir = \"d\"\nplan = \"none.toml\"\nroster = \"none.json\"\n\
             authority_key = \"zz\"\nidentity_key_file = \"coordinator.key\"\n",
        );
        for part in [
            "line 1: listen: is not a loopback address",
            "plaintext_outside_loopback = true",
            "line 3: plan: `FOLDER/none.toml`: cannot be read",
            "line 5: authority_key: a key is 64 hexadecimal digits",
        ] {
            assert!(why.contains(part), "no {part:?} in:\n{why}");
        }
    }
}
