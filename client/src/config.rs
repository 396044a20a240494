//! The silo's configuration: read whole, checked whole, every problem at once.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use daemon::ConfigError;
use identity::{Policy, Problems};
use protocol::{Participant, ParticipantError, Profile};
use secagg::ClientId;
use serde::Deserialize;
use tonic::codegen::http::Uri;

/// The file as it is written, with its paths resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the coordinator listens: `http://HOST:PORT`.
    pub coordinator: String,
    /// This silo's number on the roster.
    pub client_id: u32,
    /// The silo's table: a CSV file, or a folder of them.
    pub data: PathBuf,
    /// The journal of what this silo's data has spent. Losing it loses that count.
    pub state_dir: PathBuf,
    /// The signed roster, JSON.
    pub roster: PathBuf,
    /// The federation authority's public key, hexadecimal.
    pub authority_key: String,
    /// This silo's secret key, hexadecimal.
    pub identity_key_file: PathBuf,
    /// This version has no TLS: a coordinator beyond loopback must be asked for.
    #[serde(default)]
    pub plaintext_outside_loopback: bool,
    /// The log filter.
    #[serde(default = "daemon::default_log")]
    pub log: String,
    /// One JSON object a line instead of text.
    #[serde(default)]
    pub log_json: bool,
    /// What this silo allows, whoever asks.
    pub policy: Policy,
}

impl Config {
    /// Reads the configuration and everything that it names. Relative paths are relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (mut config, text) = daemon::load::<Self>(path)?;
        daemon::resolve(
            path,
            [&mut config.data, &mut config.state_dir, &mut config.roster, &mut config.identity_key_file],
        );
        config
            .profile()
            .and_then(Config::check_membership)
            .map_err(|problems| ConfigError::Meaning(problems.with_lines_of(&text)))?;
        Ok(config)
    }

    /// Reads what the participant pins and allows, and checks the rest.
    ///
    /// # Errors
    /// Every problem at once.
    pub(crate) fn profile(&self) -> Result<Profile, Problems> {
        let mut problems = Problems::default();
        self.check_coordinator(&mut problems);
        self.check_data(&mut problems);
        self.check_policy(&mut problems);
        let roster = daemon::read_roster(&self.roster, &self.authority_key, &mut problems);
        let key = daemon::read_identity(&self.identity_key_file, None, &mut problems);
        match (roster, key) {
            (Some((roster, authority)), Some(identity)) if problems.0.is_empty() => Ok(Profile {
                id: ClientId(self.client_id),
                identity,
                authority,
                roster,
                policy: self.policy.clone(),
            }),
            _ => Err(problems),
        }
    }

    /// A participant without a journal accepts the profile or says what is wrong with it.
    fn check_membership(profile: Profile) -> Result<(), Problems> {
        let Err(why) = Participant::recover(profile, &[]) else { return Ok(()) };
        let field = match why {
            ParticipantError::NotAMember(_) => "client_id",
            ParticipantError::OtherKey(_) => "identity_key_file",
            _ => "roster",
        };
        let mut problems = Problems::default();
        problems.add(field, why.to_string());
        Err(problems)
    }

    fn check_coordinator(&self, problems: &mut Problems) {
        let uri: Option<Uri> = self.coordinator.parse().ok();
        let Some((scheme, host)) = uri
            .as_ref()
            .filter(|uri| uri.port_u16().is_some() && matches!(uri.path(), "" | "/"))
            .and_then(|uri| Some((uri.scheme_str()?, uri.host()?)))
        else {
            problems.add(
                "coordinator",
                format!("{:?} is no address; write it as \"http://HOST:PORT\"", self.coordinator),
            );
            return;
        };
        problems.require(scheme == "http", "coordinator", || {
            format!("this version has no TLS and speaks http only, not {scheme}; write \"http://HOST:PORT\"")
        });
        let accepted = is_loopback(host) || self.plaintext_outside_loopback;
        problems.require(accepted, "coordinator", || daemon::PLAINTEXT.into());
    }

    /// Only whether it can be opened: what must be in it is known when the coordinator sends its plan.
    fn check_data(&self, problems: &mut Problems) {
        let opened = match std::fs::metadata(&self.data) {
            Ok(found) if found.is_dir() => std::fs::read_dir(&self.data).map(|_| ()),
            Ok(_) => std::fs::File::open(&self.data).map(|_| ()),
            Err(why) => Err(why),
        };
        if let Err(why) = opened {
            let path = self.data.display();
            problems.add(
                "data",
                format!("`{path}`: cannot be read: {why}; name a CSV file, or a folder that holds CSV files"),
            );
        }
    }

    fn check_policy(&self, problems: &mut Problems) {
        if let Err(found) = self.policy.validate() {
            for problem in found.0 {
                problems.add(&format!("policy.{}", problem.field), problem.text);
            }
        }
    }
}

/// A name that must be looked up is taken for another machine's: what it resolves to can change.
fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use identity::{IdentityKey, Member, Roster};

    use super::*;

    const POLICY: &str = "[policy]\ncohort_min = 3\nhonest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\n\
                          privacy_modes = [\"fedavg\"]\naccepts_undetected_rollback = true\n\
                          authors = [\"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"]\n";

    fn key(byte: u8) -> IdentityKey {
        IdentityKey::from_secret_hex(&hex::encode([byte; 32])).unwrap()
    }

    fn public(byte: u8) -> String {
        hex::encode(key(byte).public().as_bytes())
    }

    fn write(folder: &Path, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A folder in which everything is right: this is silo 1, its key is made of ones.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let member = |byte: u8| Member { name: format!("s{byte}"), identity_key: public(byte), admitted: 1 };
        let members: BTreeMap<_, _> = (1..=3).map(|id| (ClientId(u32::from(id)), member(id))).collect();
        let roster = Roster { federation: "f".into(), epoch: 1, coordinator_key: public(9), members };
        let signed = serde_json::to_string(&roster.sign(&key(100))).unwrap();
        write(folder.path(), "roster.json", &signed, 0o644);
        write(folder.path(), "silo.key", &hex::encode([1; 32]), 0o600);
        write(folder.path(), "silo.csv", "label,a\n0,1\n", 0o644);
        folder
    }

    fn text() -> String {
        format!(
            "coordinator = \"http://127.0.0.1:7440\"\nclient_id = 1\ndata = \"silo.csv\"\nstate_dir = \"s\"\n\
             roster = \"roster.json\"\nauthority_key = \"{}\"\nidentity_key_file = \"silo.key\"\n{POLICY}",
            public(100)
        )
    }

    fn load(folder: &Path, text: &str) -> Result<Config, String> {
        write(folder, "client.toml", text, 0o644);
        Config::load(&folder.join("client.toml"))
            .map_err(|why| why.to_string().replace(&folder.display().to_string(), "FOLDER"))
    }

    /// What is said when one piece of a right configuration is replaced.
    fn refused(wrong: &[(&str, &str)]) -> String {
        let mut text = text();
        for (from, to) in wrong {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        load(folder().path(), &text).unwrap_err()
    }

    #[test]
    fn a_right_configuration_loads_with_its_paths_beside_the_file() {
        let folder = folder();
        let config = load(folder.path(), &text()).unwrap();
        assert_eq!(config.data, folder.path().join("silo.csv"));
        assert_eq!((config.log.as_str(), config.log_json), ("info", false));
        assert!(!config.plaintext_outside_loopback);
    }

    #[test]
    fn the_sample_configuration_is_usable_once_its_files_and_keys_are() {
        let folder = folder();
        let sample = include_str!("../../deploy/config/client.toml")
            .replace("REPLACE-WITH-THE-AUTHORITY-KEY", &public(100))
            .replace("REPLACE-WITH-THE-AUTHORS-KEY", &public(101))
            .replace("/srv/silo/data.csv", "silo.csv")
            .replace("client.key", "silo.key");
        let config = load(folder.path(), &sample).unwrap();
        let plan = identity::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        assert_eq!(config.policy.check_unsigned(&plan), Ok(()), "the samples are made for each other");
    }

    #[test]
    fn neither_the_configuration_nor_an_error_shows_the_secret_key() {
        let folder = folder();
        let secret = hex::encode([1; 32]);
        assert!(!format!("{:?}", load(folder.path(), &text()).unwrap()).contains(&secret));
        write(folder.path(), "silo.key", &format!("{secret}0"), 0o600);
        assert!(!load(folder.path(), &text()).unwrap_err().contains(&secret));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let why = refused(&[("client_id = 1", "client_id = 1\ncolour = 1")]);
        assert!(why.contains("line 3") && why.contains("unknown field `colour`"), "{why}");
    }

    #[test]
    fn each_unusable_value_is_refused_with_its_line_and_its_mend() {
        let cases: [(&str, &str, &str); 10] = [
            (
                "http://127.0.0.1:7440",
                "127.0.0.1",
                "line 1: coordinator: \"127.0.0.1\" is no address; write it as \"http://HOST:PORT\"",
            ),
            (
                "http://127.0.0.1:7440",
                "https://127.0.0.1:7440",
                "line 1: coordinator: this version has no TLS and speaks http only, not https; write \
                 \"http://HOST:PORT\"",
            ),
            (
                "http://127.0.0.1:7440",
                "http://192.0.2.1:7440",
                "line 1: coordinator: is not a loopback address, and this version has no TLS: masked updates \
                 stay secret and messages stay signed, but models, plans and who takes part are readable on the \
                 way; use a private network and set plaintext_outside_loopback = true to accept that",
            ),
            (
                "client_id = 1",
                "client_id = 8",
                "line 2: client_id: the pinned roster has no member 8; ask the federation's authority for a \
                 roster that names this silo",
            ),
            (
                "client_id = 1",
                "client_id = 2",
                "line 7: identity_key_file: the pinned roster names another identity key for member 2 than this \
                 machine holds",
            ),
            (
                "silo.csv",
                "none.csv",
                "line 3: data: `FOLDER/none.csv`: cannot be read: No such file or directory (os error 2); name a \
                 CSV file, or a folder that holds CSV files",
            ),
            (
                "roster.json",
                "silo.csv",
                "line 5: roster: `FOLDER/silo.csv`: it does not parse: expected value at line 1 column 1",
            ),
            (
                "silo.key",
                "none.key",
                "line 7: identity_key_file: `FOLDER/none.key`: cannot be read: No such file or directory (os \
                 error 2)",
            ),
            (
                "cohort_min = 3",
                "cohort_min = 2",
                "line 9: policy.cohort_min: must be at least 3: with two silos each can subtract its own update \
                 from the sum",
            ),
            (
                "authority_key = \"",
                "authority_key = \"0",
                "line 6: authority_key: a key is 64 hexadecimal digits, this text is not; copy it again from \
                 where it was printed",
            ),
        ];
        for (from, to, expected) in cases {
            assert_eq!(refused(&[(from, to)]), format!("it cannot be used:\n{expected}"));
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let why = refused(&[("silo.csv", "none"), ("7440", "x"), ("honest_min = 2", "honest_min = 0")]);
        for line in ["line 1: coordinator", "line 3: data", "line 10: policy.honest_min"] {
            assert!(why.contains(line), "no {line:?} in:\n{why}");
        }
    }

    #[test]
    fn a_coordinator_elsewhere_is_accepted_where_plaintext_is() {
        let folder = folder();
        let far = text().replace("http://127.0.0.1", "http://coordinator.example");
        assert!(load(folder.path(), &far).is_err());
        load(folder.path(), &format!("plaintext_outside_loopback = true\n{far}")).unwrap();
        load(folder.path(), &text().replace("127.0.0.1", "[::1]")).unwrap();
    }

    #[test]
    fn a_roster_of_another_authority_is_refused() {
        let why = refused(&[(&public(100), &public(101))]);
        assert!(why.contains("line 5: roster:") && why.contains("not signed by the authority"), "{why}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let folder = folder();
        for mode in [0o640, 0o604] {
            write(folder.path(), "silo.key", &hex::encode([1; 32]), mode);
            assert_eq!(
                load(folder.path(), &text()).unwrap_err(),
                "it cannot be used:\nline 7: identity_key_file: others can read `FOLDER/silo.key`; run: chmod \
                 600 'FOLDER/silo.key'"
            );
        }
    }
}
