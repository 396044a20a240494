//! The table `[ledger]`: where the ledger of the silo's data lies, and what tells that it was rolled back.

use std::path::PathBuf;
use std::sync::Arc;

use ledger::Ledger;
use plan::Problems;
use serde::Deserialize;
use vault::Vault;

use crate::Config;

/// The table `[ledger]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// Where the ledgers lie: `ledger` in `state_dir`, or a folder that all daemons share which use the data. Of these, the first
    /// alone takes part in a run with noise.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// A file where no snapshot of this machine reaches, to which the ledger's heads are appended; the same for all
    /// daemons that share the ledger.
    #[serde(default)]
    pub anchor: Option<PathBuf>,
}

/// What is said of a ledger without an anchor.
const UNANCHORED: &str = "the ledger has no anchor: what was spent since a snapshot that is restored would be forgotten unseen, which the \
     policy accepts";

/// What is said of a ledger that lies in one daemon's folder.
const UNSHARED: &str = "the ledger lies in state_dir: what another daemon, or this silo enrolled anew in another folder, spends of the \
     same data is not in it; name one folder for all of them as dir in the table [ledger]. Of those that share it, one alone is in \
     a run with noise: in one sum the data would count twice, at the cost of once";

impl LedgerConfig {
    /// What an operator has to know of how the ledger is kept.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &'static str> {
        let unanchored = self.anchor.is_none().then_some(UNANCHORED);
        unanchored.into_iter().chain(self.dir.is_none().then_some(UNSHARED))
    }

    /// A rollback is noticed, or the policy says that it would not be.
    pub(crate) fn check(&self, config: &Config, problems: &mut Problems) {
        let Some(anchor) = &self.anchor else {
            problems.require(config.policy.accepts_undetected_rollback, "policy.accepts_undetected_rollback", || {
                "without an anchor, a restored snapshot would forget spent budget unseen; name a file outside of this \
                 machine as anchor in the table [ledger], or set it to true to accept that"
                    .into()
            });
            return;
        };
        let folder = vault::files::parent(anchor);
        problems.require(folder.is_dir(), "ledger.anchor", || {
            format!("`{}`: is no folder; mount it, or name an anchor elsewhere", folder.display())
        });
        let beside = [Some(&config.state_dir), self.dir.as_ref()];
        problems.require(!beside.into_iter().flatten().any(|here| anchor.starts_with(here)), "ledger.anchor", || {
            "lies beside what it is to watch, and would be rolled back with it; name a file on another machine".into()
        });
    }

    /// The folder, which the daemon makes.
    pub(crate) fn folder(&self, config: &Config) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| config.state_dir.join("ledger"))
    }

    pub(crate) fn open(
        &self,
        config: &Config,
        vault: Option<Arc<Vault>>,
        problems: &mut Problems,
    ) -> Option<Ledger> {
        let folder = self.folder(config);
        let name = config.dataset.clone().unwrap_or_else(|| ledger::dataset_name(&config.data));
        match Ledger::new(&folder, &name, self.anchor.clone(), vault) {
            Ok(ledger) => Some(ledger),
            Err(why) => {
                problems.add("dataset", why.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_named_by_the_configuration_or_else_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let named = |dataset: &str, table: &str| {
            let text = format!(
                "coordinator = \"\"\nclient_id = 1\ndata = \"silo.csv\"\nstate_dir = {:?}\nroster = \"\"\n\
                 authority_key = \"\"\nidentity_key_file = \"\"\n{dataset}\n{table}\n[policy]\ncohort_min = 3\n\
                 honest_min = 2\ncorrupt_min = 1\nepsilon_max = 5.0\ndelta_max = 1e-5\nprivacy_modes = [\"fedavg\"]\n\
                 authors = []\naccepts_undetected_rollback = true\n",
                folder.path().join("s")
            );
            let config: Config = daemon::parse(&text).unwrap();
            let mut problems = Problems::default();
            config.ledger.check(&config, &mut problems);
            let opened = config.ledger.open(&config, None, &mut problems);
            opened
                .filter(|_| problems.0.is_empty())
                .map(|ledger| ledger.path().to_owned())
                .ok_or(problems.to_string())
        };
        assert_eq!(named("", ""), Ok(folder.path().join("s/ledger/silo.ledger")));
        let shared = format!("[ledger]\ndir = {:?}", folder.path().join("shared"));
        // As a file in the working directory names one beside itself.
        let anchored = format!("{shared}\nanchor = \"anchor\"");
        assert_eq!(named("", &anchored), Ok(folder.path().join("shared/silo.ledger")));
        let dataset = "dataset = \"admissions-2025\"";
        assert_eq!(named(dataset, &shared), Ok(folder.path().join("shared/admissions-2025.ledger")));
        let why = named("dataset = \"../other\"", "").unwrap_err();
        assert!(why.contains("dataset: \"../other\" is no name of a data set"), "{why}");
    }
}
