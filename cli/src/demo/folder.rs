//! The demonstration's folder: keys, roster, plan, configurations and the silos' data.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use checkpoint::CHECKPOINTS_FOLDER;
use ed25519_dalek::VerifyingKey;
use identity::{Member, Roster};
use plan::{Plan, Policy};
use secagg::ClientId;

use crate::demo::plan::{DELTA, FEDERATION, HONEST_MIN};
use crate::files::{WriteError, cannot_write};
use crate::{keys, roster};

const COORDINATOR: &str = "coordinator";
const MODEL: &str = "model.safetensors";
/// As its author wrote it, and as its author signed it.
const PLAN: &str = "plan.toml";
const SIGNED_PLAN: &str = "plan.json";
const ROSTER: &str = "roster.json";

/// Why the demonstration has no folder to work in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoFolderError {
    #[error("no temporary folder can be made: {0}")]
    NoTemporary(#[source] io::Error),
    #[error("--data `{}` cannot be used: {why}", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        why: io::Error,
    },
    #[error(
        "--data `{}` is not empty, and nothing in it is overwritten; name an empty or a new folder",
        path.display()
    )]
    NotEmpty { path: PathBuf },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Toml(#[from] toml::ser::Error),
}

/// Everything that the demonstration's processes need on disk.
pub(crate) struct Folder {
    path: PathBuf,
    clients: usize,
    authority: String,
    author: String,
    coordinator_key: VerifyingKey,
}

impl Folder {
    /// Fills a fresh folder: the chosen one, which must be empty or absent, or one under the system's for temporary
    /// files.
    pub(crate) fn create(
        chosen: Option<&Path>,
        plan: &Plan,
        clients: usize,
    ) -> Result<Self, DemoFolderError> {
        let path = match chosen {
            Some(path) => empty(path)?,
            None => {
                let folder = tempfile::Builder::new().prefix("folkmoot-demo-").tempdir();
                folder.map_err(DemoFolderError::NoTemporary)?.keep()
            }
        };
        let unwritable = |why| cannot_write(&path, why);
        let authority = keys::create(&path.join("authority.key"))?;
        let coordinator = keys::create(&path.join("coordinator.key"))?;
        let mut members = BTreeMap::new();
        for index in 0..clients {
            let name = silo_name(index);
            let silo = path.join(&name);
            fs::create_dir(&silo).map_err(unwritable)?;
            let key = keys::create(&silo.join("identity.key"))?;
            datasets::digits::write_silo(&silo.join("silo.csv"), index, clients).map_err(unwritable)?;
            let member = Member { name, identity_key: keys::public_text(&key), admitted: 1 };
            members.insert(ClientId(client_id(index)), member);
        }
        let members = Roster {
            format: None,
            previous: None,
            federation: FEDERATION.into(),
            epoch: 1,
            coordinator_key: keys::public_text(&coordinator),
            members,
        };
        roster::write_new(&path.join(ROSTER), &members.sign(&authority))?;
        fs::write(path.join(PLAN), plan.to_toml()).map_err(unwritable)?;
        let author = keys::create(&path.join("author.key"))?;
        let signed = plan.clone().sign(&author);
        roster::write_new_text(&path.join(SIGNED_PLAN), &serde_json::to_string(signed.signed())?)?;
        let author = keys::public_text(&author);
        let authority = keys::public_text(&authority);
        fs::write(path.join("coordinator.toml"), coordinator_config(&authority)).map_err(unwritable)?;
        Ok(Self { path, clients, authority, author, coordinator_key: coordinator.public() })
    }

    /// Writes the silos' configurations, once the coordinator's address is known.
    pub(crate) fn configure_silos(&self, coordinator: &str, plan: &Plan) -> Result<(), DemoFolderError> {
        let policy = silo_policy(plan, &self.author);
        let policy = toml::to_string(&policy)?;
        for index in 0..self.clients {
            let file = self.client_config(index);
            fs::write(&file, client_config(client_id(index), coordinator, &self.authority, &policy))
                .map_err(|why| cannot_write(&file, why))?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn coordinator_key(&self) -> VerifyingKey {
        self.coordinator_key
    }

    pub(crate) fn coordinator_config(&self) -> PathBuf {
        self.path.join("coordinator.toml")
    }

    pub(crate) fn client_config(&self, index: usize) -> PathBuf {
        self.path.join(silo_name(index)).join("client.toml")
    }

    pub(crate) fn log(&self, daemon: &str) -> PathBuf {
        self.path.join(format!("{daemon}.log"))
    }

    /// The coordinator's data folder, which holds the checkpoints.
    pub(crate) fn coordinator_data(&self) -> PathBuf {
        self.path.join(COORDINATOR)
    }

    /// Puts the final model where it is easily found.
    pub(crate) fn publish_model(&self, checkpoint: &Path) -> io::Result<PathBuf> {
        let target = self.path.join(MODEL);
        fs::copy(checkpoint, &target)?;
        target.canonicalize()
    }

    /// Removes all but what is public: model, checkpoints, plan and roster.
    pub(crate) fn remove_private(&self) -> io::Result<()> {
        remove_all_but(&self.path, &[MODEL, PLAN, SIGNED_PLAN, ROSTER, COORDINATOR])?;
        remove_all_but(&self.coordinator_data(), &[CHECKPOINTS_FOLDER])
    }
}

/// A silo's name; its folder and its log have the same.
pub(crate) fn silo_name(index: usize) -> String {
    format!("silo-{}", index + 1)
}

fn client_id(index: usize) -> u32 {
    // There are at most a few dozen.
    u32::try_from(index).map_or(u32::MAX, |index| index + 1)
}

fn empty(path: &Path) -> Result<PathBuf, DemoFolderError> {
    fs::create_dir_all(path)
        .and_then(|()| path.canonicalize())
        .and_then(|path| Ok((fs::read_dir(&path)?.next().is_none(), path)))
        .map_err(|why| DemoFolderError::Unusable { path: path.to_owned(), why })
        .and_then(|(is_empty, path)| {
            if is_empty {
                return Ok(path);
            }
            Err(DemoFolderError::NotEmpty { path })
        })
}

fn remove_all_but(folder: &Path, kept: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if kept.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn silo_policy(plan: &Plan, author: &str) -> Policy {
    Policy {
        cohort_min: plan.cohort.minimum,
        honest_min: HONEST_MIN,
        corrupt_min: plan.cohort.corrupt,
        // Without noise no epsilon is spent, and the field still wants a number.
        epsilon_max: plan.budget().map_or(1.0, |(epsilon, _)| epsilon),
        delta_max: DELTA,
        ready_after_ms_min: Some(plan.timing.ready_after_ms),
        privacy_modes: [plan.mode()].into(),
        ..Policy::for_authors([author.to_owned()])
    }
}

fn coordinator_config(authority: &str) -> String {
    format!(
        "# Written by `folkmoot demo`. Paths are relative to this file.\n\
         plaintext = true\n\
         listen = \"127.0.0.1:0\"\n\
         data_dir = \"{COORDINATOR}\"\n\
         plan = \"{SIGNED_PLAN}\"\n\
         roster = \"{ROSTER}\"\n\
         authority_key = \"{authority}\"\n\
         identity_key_file = \"coordinator.key\"\n"
    )
}

fn client_config(id: u32, coordinator: &str, authority: &str, policy: &str) -> String {
    format!(
        "# Written by `folkmoot demo`. Paths are relative to this file.\n\
         coordinator = \"{coordinator}\"\n\
         plaintext = true\n\
         client_id = {id}\n\
         data = \"silo.csv\"\n\
         state_dir = \"state\"\n\
         roster = \"../{ROSTER}\"\n\
         authority_key = \"{authority}\"\n\
         identity_key_file = \"identity.key\"\n\
         \n\
         # What this silo allows, whoever asks. `accepts_undetected_rollback` is set because the demonstration has no\n\
         # anchor outside this machine: budget spent since a restored snapshot would be forgotten.\n\
         [policy]\n\
         {policy}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Mode, demo_plan};

    fn plan() -> Plan {
        demo_plan(Mode::DistributedDpSgd, 3, None, None).unwrap().numbered([3; Plan::ID_BYTES])
    }

    #[test]
    fn the_coordinator_can_load_what_is_written() {
        let chosen = tempfile::tempdir().unwrap();
        let folder = Folder::create(Some(&chosen.path().join("new")), &plan(), 3).unwrap();
        let loaded = coordinator::Config::load(&folder.coordinator_config()).map_err(|e| e.to_string());
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(*loaded.plan, plan());
        assert_eq!(loaded.roster.members.len(), 3);
        assert_eq!(loaded.roster.coordinator_key().unwrap(), folder.coordinator_key());
    }

    #[test]
    fn every_silo_can_load_what_is_written() {
        let chosen = tempfile::tempdir().unwrap();
        let folder = Folder::create(Some(&chosen.path().join("new")), &plan(), 3).unwrap();
        folder.configure_silos("http://127.0.0.1:7440", &plan()).unwrap();
        for index in 0..3 {
            let loaded = client::Config::load(&folder.client_config(index)).map_err(|e| e.to_string());
            loaded.map(|_| ()).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn a_silos_policy_reads_back_and_accepts_the_plan() {
        for mode in [Mode::DistributedDpSgd, Mode::None, Mode::DistributedDpFedavg] {
            let plan = demo_plan(mode, 5, None, None).unwrap();
            let author = identity::IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap();
            let text = toml::to_string(&silo_policy(&plan, &keys::public_text(&author))).unwrap();
            Policy::from_toml(&text).unwrap().check(&plan.sign(&author)).unwrap();
        }
    }

    #[test]
    fn a_folder_that_holds_anything_is_refused_and_left_as_it_is() {
        let chosen = tempfile::tempdir().unwrap();
        fs::write(chosen.path().join("thesis.tex"), "x").unwrap();
        let why = Folder::create(Some(chosen.path()), &plan(), 3).map(|_| ()).unwrap_err();
        assert!(matches!(why, DemoFolderError::NotEmpty { .. }), "{why}");
        assert_eq!(fs::read_dir(chosen.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_what_is_public_is_left_without_keep() {
        let chosen = tempfile::tempdir().unwrap();
        let folder = Folder::create(Some(chosen.path()), &plan(), 3).unwrap();
        let checkpoints = folder.coordinator_data().join(CHECKPOINTS_FOLDER);
        fs::create_dir_all(&checkpoints).unwrap();
        fs::write(folder.coordinator_data().join("journal"), "x").unwrap();
        fs::write(checkpoints.join("m"), "model").unwrap();
        folder.publish_model(&checkpoints.join("m")).unwrap();
        folder.remove_private().unwrap();
        let names = |folder: &Path| {
            let mut names: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(chosen.path()), [COORDINATOR, MODEL, SIGNED_PLAN, PLAN, ROSTER]);
        assert_eq!(names(&folder.coordinator_data()), [CHECKPOINTS_FOLDER]);
    }
}
