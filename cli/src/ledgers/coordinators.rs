//! A coordinator's account of its runs, sealed or not.

use std::path::Path;
use std::sync::Arc;

use accounting::{Unit, rounded_up};
use checkpoint::{CHECKPOINTS_FOLDER, PrivacySpent};
use identity::with_causes;
use published::{verify_folder, verify_records};
use runs::{RUNS_FOLDER, run_folders_in};
use serde_json::json;
use store::Published;
use vault::{KEYRING_FILE, MasterSource, Vault};

use crate::Failure;
use crate::files::Unusable;

/// What one run has spent, as its newest record says, and how many rounds it committed.
type Spent = (PrivacySpent, u64);

/// The coordinator's own account is its chains: each record says what its run had spent. Of a federation's folder those of all runs, of
/// one run's folder that one's.
pub(super) fn show(folder: &Path, master: Option<&MasterSource>, json: bool) -> Result<(), Failure> {
    let mut runs = run_folders_in(folder).map_err(|why| Unusable::new(&folder.join(RUNS_FOLDER), why))?;
    // A later one without a version is being submitted, or a crash has cut that short.
    let has_version = |run: &Path| {
        let versions = std::fs::read_dir(run.join(CHECKPOINTS_FOLDER));
        versions.is_ok_and(|mut versions| versions.next().is_some())
    };
    runs.retain(|(_, run)| run == folder || has_version(run));
    let mut spent = Vec::new();
    for (number, run) in &runs {
        let of_run = of_run(run, master);
        spent.push((number, of_run.map_err(|why| why.before(&format!("run {number}")))?));
    }
    if json {
        let object = match spent.as_slice() {
            [(_, (spent, _))] => serde_json::to_string(spent).map_err(Failure::failed)?,
            all => {
                let one = |(number, (spent, rounds)): &(&u32, Spent)| json!({ "number": number, "rounds": rounds, "privacy": spent });
                json!({ "runs": all.iter().map(one).collect::<Vec<_>>() }).to_string()
            }
        };
        println!("{object}");
        return Ok(());
    }
    let several = spent.len() > 1;
    for (number, (spent, rounds)) in &spent {
        let name = if several { format!("run {number}") } else { "run".to_owned() };
        println!("{name:<13} {}", line(spent));
        println!("rounds        {rounds} committed, chain verified");
    }
    Ok(())
}

fn of_run(folder: &Path, master: Option<&MasterSource>) -> Result<Spent, Failure> {
    if let Some(master) = master {
        return sealed_run(folder, master);
    }
    let verified = verify_folder(folder, None).map_err(|why| match keyring_of(folder) {
        None => Failure::from(why),
        Some(_) => {
            Failure::from(why).before("a keyring lies here: name the master key with --master; without it")
        }
    })?;
    Ok((verified.privacy, verified.rounds))
}

fn line(spent: &PrivacySpent) -> String {
    match (spent.epsilon, spent.delta) {
        (Some(epsilon), Some(delta)) => format!(
            "epsilon {} at delta {delta} for {}, by {}; {} releases, {}, noise by {}",
            rounded_up(epsilon, 4),
            Unit::hidden_by_name(&spent.unit),
            spent.accountant,
            spent.steps,
            spent.relation,
            spent.noise_by
        ),
        _ => format!("no differential privacy; {} exact sums", spent.steps),
    }
}

/// The folder with the keyring of a run's folder: the federation's data folder, or the one above, where the configuration lies.
pub(crate) fn keyring_of(run: &Path) -> Option<&Path> {
    // The first run's folder is the data folder itself; a later one's lies two below.
    let later = run.parent().filter(|above| above.ends_with(runs::RUNS_FOLDER));
    let data = later.and_then(Path::parent).unwrap_or(run);
    [Some(data), data.parent()].into_iter().flatten().find(|folder| folder.join(KEYRING_FILE).exists())
}

/// What a sealed folder's run has spent, and how many rounds it committed, by its signed records alone: no model is opened.
fn sealed_run(folder: &Path, master: &MasterSource) -> Result<Spent, Failure> {
    let keyring = keyring_of(folder).ok_or_else(|| {
        Unusable::new(folder, "no keyring lies in the coordinator's data folder, nor above it")
    })?;
    let vault =
        Vault::open_folder(keyring, master.clone()).map_err(|why| Failure::usage(with_causes(&why)))?;
    let published = Published::new(folder.join(CHECKPOINTS_FOLDER), Some(Arc::new(vault)));
    let manifests = verify_records(&published, None)?;
    let rounds = manifests.iter().filter(|manifest| manifest.round > 0 && manifest.action.is_none()).count();
    let newest = manifests.into_iter().last();
    let newest = newest.ok_or_else(|| Unusable::new(folder, "holds no checkpoint"))?;
    Ok((newest.privacy, rounds as u64))
}
