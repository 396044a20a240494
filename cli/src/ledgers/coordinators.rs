//! A coordinator's account of its run, sealed or not.

use std::path::Path;
use std::sync::Arc;

use accounting::rounded_up;
use checkpoint::PrivacySpent;
use identity::with_causes;
use published::{verify_folder, verify_records};
use store::Published;
use vault::{KEYRING_FILE, MasterSource, Vault};

use crate::Failure;
use crate::files::Unusable;

/// The coordinator's own account is its chain: each record says what its run had spent.
pub(super) fn show(folder: &Path, master: Option<&MasterSource>, json: bool) -> Result<(), Failure> {
    let (spent, rounds) = match master {
        Some(master) => sealed_run(folder, master)?,
        None => {
            let verified = verify_folder(folder, None).map_err(|why| match keyring_of(folder) {
                None => Failure::from(why),
                Some(_) => Failure::from(why)
                    .before("a keyring lies here: name the master key with --master; without it"),
            })?;
            (verified.privacy, verified.rounds)
        }
    };
    if json {
        println!("{}", serde_json::to_string(&spent).map_err(Failure::failed)?);
        return Ok(());
    }
    match (spent.epsilon, spent.delta) {
        (Some(epsilon), Some(delta)) => println!(
            "run           epsilon {} at delta {delta} for one {}, by {}; {} releases, {}, noise by {}",
            rounded_up(epsilon, 4),
            spent.unit,
            spent.accountant,
            spent.steps,
            spent.relation,
            spent.noise_by
        ),
        _ => println!("run           no differential privacy; {} exact sums", spent.steps),
    }
    println!("rounds        {rounds} committed, chain verified");
    Ok(())
}

/// The folder with the keyring of a run's folder: the federation's data folder, or the one above, where the configuration lies.
pub(crate) fn keyring_of(run: &Path) -> Option<&Path> {
    // The first run's folder is the data folder itself; a later one's lies two below.
    let later = run.parent().filter(|above| above.ends_with(runs::RUNS_FOLDER));
    let data = later.and_then(Path::parent).unwrap_or(run);
    [Some(data), data.parent()].into_iter().flatten().find(|folder| folder.join(KEYRING_FILE).exists())
}

/// What a sealed folder's run has spent, and how many rounds it committed, by its signed records alone: no model is opened.
fn sealed_run(folder: &Path, master: &MasterSource) -> Result<(PrivacySpent, u64), Failure> {
    let keyring = keyring_of(folder).ok_or_else(|| {
        Unusable::new(folder, "no keyring lies in the coordinator's data folder, nor above it")
    })?;
    let vault =
        Vault::open_folder(keyring, master.clone()).map_err(|why| Failure::usage(with_causes(&why)))?;
    let published = Published::new(folder.join(checkpoint::CHECKPOINTS_FOLDER), Some(Arc::new(vault)));
    let manifests = verify_records(&published, None)?;
    let rounds = manifests.iter().filter(|manifest| manifest.round > 0 && manifest.action.is_none()).count();
    let newest = manifests.into_iter().last();
    let newest = newest.ok_or_else(|| Unusable::new(folder, "holds no checkpoint"))?;
    Ok((newest.privacy, rounds as u64))
}
