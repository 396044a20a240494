//! The demonstration's folder: keys, roster, plan, configurations and the silos' data.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::plan::{AuthoredPlan, Plan, Policy};
use checkpoint::CHECKPOINTS_FOLDER;
use ed25519_dalek::VerifyingKey;
use identity::{IdentityKey, Member, Roster};
use rand::rand_core::{Rng, UnwrapErr};
use secagg::ClientId;
use vault::files::{self, FOLDER_OWNER_ONLY, OWNER_ONLY};
use zeroize::Zeroizing;

use crate::plan::{DELTA, FEDERATION, HONEST_MIN};

const COORDINATOR: &str = "coordinator";
const MODEL: &str = "model.safetensors";
/// As its author wrote it, and as its author signed it.
const PLAN: &str = "plan.toml";
const SIGNED_PLAN: &str = "plan.json";
const ROSTER: &str = "roster.json";
/// Of the first silo; the others count on.
const FIRST_ID: u32 = 1;

/// Why the demonstration has no folder to work in.
#[derive(Debug, thiserror::Error)]
pub enum DemoFolderError {
    /// None was chosen, and the system gives none.
    #[error("no temporary folder can be made: {0}")]
    NoTemporary(#[source] io::Error),
    /// The chosen one is none, or cannot be made.
    #[error("--data `{}` cannot be used: {why}", path.display())]
    Unusable {
        /// The chosen one.
        path: PathBuf,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// The chosen one holds something.
    #[error(
        "--data `{}` is not empty, and nothing in it is overwritten; name an empty or a new folder",
        path.display()
    )]
    NotEmpty {
        /// The chosen one.
        path: PathBuf,
    },
    /// What belongs into it cannot be put there.
    #[error("`{}` cannot be written: {why}", place.display())]
    Unwritable {
        /// The file, or the folder that it lies in.
        place: PathBuf,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// A signed document has no text.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A policy has no text.
    #[error(transparent)]
    Toml(#[from] toml::ser::Error),
}

/// Everything that the demonstration's processes need on disk.
pub struct DemoFolder {
    path: PathBuf,
    plan: AuthoredPlan,
    authority: String,
    coordinator_key: VerifyingKey,
}

impl DemoFolder {
    /// Fills a fresh folder, for as many silos as the plan's largest cohort: the chosen one, which must be empty or absent,
    /// or one under the system's for temporary files. The plan is signed under an id that no plan had before.
    ///
    /// # Errors
    /// [`DemoFolderError`]
    pub fn create(chosen: Option<&Path>, plan: Plan) -> Result<Self, DemoFolderError> {
        let path = match chosen {
            Some(path) => empty(path)?,
            None => {
                let folder = tempfile::Builder::new().prefix("folkmoot-demo-").tempdir();
                folder.map_err(DemoFolderError::NoTemporary)?.keep()
            }
        };
        let unwritable = |why| cannot_write(&path, why);
        let authority = new_key(&path.join("authority.key"))?;
        let coordinator = new_key(&path.join("coordinator.key"))?;
        let members = Roster {
            format: None,
            previous: None,
            federation: FEDERATION.into(),
            epoch: 1,
            coordinator_key: public_text(&coordinator),
            members: new_silos(&path, plan.cohort.maximum)?,
        };
        let roster = serde_json::to_string(&members.sign(&authority))?;
        fs::write(path.join(ROSTER), format!("{roster}\n")).map_err(unwritable)?;
        let author = new_key(&path.join("author.key"))?;
        let plan = newly_numbered(plan).sign(&author);
        fs::write(path.join(PLAN), plan.to_toml()).map_err(unwritable)?;
        let signed = serde_json::to_string(plan.signed())?;
        fs::write(path.join(SIGNED_PLAN), format!("{signed}\n")).map_err(unwritable)?;
        let authority = public_text(&authority);
        fs::write(path.join("coordinator.toml"), coordinator_config(&authority)).map_err(unwritable)?;
        Ok(Self { path, plan, authority, coordinator_key: coordinator.public() })
    }

    /// Writes the silos' configurations, once the coordinator's address is known.
    ///
    /// # Errors
    /// [`DemoFolderError::Unwritable`]
    pub fn configure_silos(&self, coordinator: &str) -> Result<(), DemoFolderError> {
        let policy = silo_policy(&self.plan, &self.plan.signed().author);
        let policy = toml::to_string(&policy)?;
        for (index, id) in (0..self.plan.cohort.maximum).zip(FIRST_ID..) {
            let file = self.client_config(index);
            fs::write(&file, client_config(id, coordinator, &self.authority, &policy))
                .map_err(|why| cannot_write(&file, why))?;
        }
        Ok(())
    }

    /// What is run, as its author signed it.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Absolute where it was chosen.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Signs the chain of checkpoints.
    pub fn coordinator_key(&self) -> VerifyingKey {
        self.coordinator_key
    }

    /// The coordinator's configuration; it listens at a port that the system chooses.
    pub fn coordinator_config(&self) -> PathBuf {
        self.path.join("coordinator.toml")
    }

    /// A silo's configuration, by its place counted from 0, once [`DemoFolder::configure_silos`] has written it.
    pub fn client_config(&self, index: usize) -> PathBuf {
        self.path.join(silo_name(index)).join("client.toml")
    }

    /// Where a process of this name logs.
    pub fn log(&self, daemon: &str) -> PathBuf {
        self.path.join(format!("{daemon}.log"))
    }

    /// The coordinator's data folder, which holds the checkpoints.
    pub fn coordinator_data(&self) -> PathBuf {
        self.path.join(COORDINATOR)
    }

    /// Puts the final model where it is easily found.
    ///
    /// # Errors
    /// What the system says.
    pub fn publish_model(&self, checkpoint: &Path) -> io::Result<PathBuf> {
        let target = self.path.join(MODEL);
        fs::copy(checkpoint, &target)?;
        target.canonicalize()
    }

    /// Removes all but what is public: model, checkpoints, plan and roster.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_private(&self) -> io::Result<()> {
        remove_all_but(&self.path, &[MODEL, PLAN, SIGNED_PLAN, ROSTER, COORDINATOR])?;
        remove_all_but(&self.coordinator_data(), &[CHECKPOINTS_FOLDER])
    }
}

/// A silo's name, by its place counted from 0; its folder and its log have the same.
pub(crate) fn silo_name(index: usize) -> String {
    format!("silo-{}", index + 1)
}

/// Makes the silos' folders, each with a key and its share of the rows; their entries in the roster.
fn new_silos(path: &Path, silos: usize) -> Result<BTreeMap<ClientId, Member>, DemoFolderError> {
    let mut members = BTreeMap::new();
    for (index, id) in (0..silos).zip(FIRST_ID..) {
        let name = silo_name(index);
        let silo = path.join(&name);
        files::make_folder(&silo, FOLDER_OWNER_ONLY).map_err(|why| cannot_write(&silo, why))?;
        let key = new_key(&silo.join("identity.key"))?;
        let table = silo.join("silo.csv");
        datasets::digits::write_silo(&table, index, silos).map_err(|why| cannot_write(&table, why))?;
        members.insert(ClientId(id), Member { name, identity_key: public_text(&key), admitted: 1 });
    }
    Ok(members)
}

/// Makes a key, and writes its secret half to a new file that its owner alone can read.
fn new_key(file: &Path) -> Result<IdentityKey, DemoFolderError> {
    let key = IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng));
    let text = Zeroizing::new(format!("{}\n", key.secret_hex().as_str()));
    files::write_new(file, text.as_bytes(), OWNER_ONLY).map_err(|why| cannot_write(file, why))?;
    Ok(key)
}

/// The public half as rosters and configurations write it.
fn public_text(key: &IdentityKey) -> String {
    hex::encode(key.public().as_bytes())
}

fn newly_numbered(plan: Plan) -> Plan {
    let mut random = [0u8; Plan::ID_BYTES];
    UnwrapErr(rand::rngs::SysRng).fill_bytes(&mut random);
    plan.numbered(random)
}

fn cannot_write(place: &Path, why: io::Error) -> DemoFolderError {
    DemoFolderError::Unwritable { place: place.to_owned(), why }
}

fn empty(path: &Path) -> Result<PathBuf, DemoFolderError> {
    files::make_folders(path)
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
         # A demonstration runs on any machine. Silos have \"required\", and start on none that cannot hold it.\n\
         sandbox = \"best_effort\"\n\
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
    use crate::demo_plan;
    use ::plan::PrivacyMode;

    fn plan() -> Plan {
        demo_plan(PrivacyMode::DistributedDpSgd, 3, None, None).unwrap()
    }

    #[test]
    fn each_folder_has_a_plan_of_its_own_whatever_it_says() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let digest = |folder: &tempfile::TempDir| {
            DemoFolder::create(Some(folder.path()), plan()).unwrap().plan().digest()
        };
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn a_silos_policy_reads_back_and_accepts_the_plan() {
        for mode in [PrivacyMode::DistributedDpSgd, PrivacyMode::Fedavg, PrivacyMode::DistributedDpFedavg] {
            let plan = demo_plan(mode, 5, None, None).unwrap();
            let author = IdentityKey::from_secret_hex(&hex::encode([1; 32])).unwrap();
            let text = toml::to_string(&silo_policy(&plan, &public_text(&author))).unwrap();
            Policy::from_toml(&text).unwrap().check(&plan.sign(&author)).unwrap();
        }
    }

    #[test]
    fn a_folder_that_holds_anything_is_refused_and_left_as_it_is() {
        let chosen = tempfile::tempdir().unwrap();
        fs::write(chosen.path().join("thesis.tex"), "x").unwrap();
        let why = DemoFolder::create(Some(chosen.path()), plan()).map(|_| ()).unwrap_err();
        assert!(matches!(why, DemoFolderError::NotEmpty { .. }), "{why}");
        assert_eq!(fs::read_dir(chosen.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_what_is_public_is_left_without_keep() {
        let chosen = tempfile::tempdir().unwrap();
        let folder = DemoFolder::create(Some(chosen.path()), plan()).unwrap();
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
