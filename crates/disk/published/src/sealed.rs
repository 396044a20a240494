//! A sealed folder, distinguished from a damaged one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use checkpoint::{CHECKPOINTS_FOLDER, SIGNATURE_FILE, folder_name};

use crate::CheckpointFault;
use crate::folder::{Plain, checkpoints_in};
use crate::verify::rounds;

/// Refuses a folder that is sealed as a whole: a version by itself, or the oldest version of every run in it. Where one run can
/// be read, a sealed file of another is what somebody put there, and the check of that run says so.
///
/// # Errors
/// [`CheckpointFault::Sealed`], with what is done instead.
pub fn refuse_sealed(folder: &Path, runs: &[(u32, PathBuf)]) -> Result<(), CheckpointFault> {
    let mut looked_at = runs.iter().filter_map(|(_, run)| oldest_signature(run)).peekable();
    if looked_at.peek().is_some() && looked_at.all(|file| is_sealed(&file).unwrap_or(false)) {
        return Err(CheckpointFault::Sealed {
            folder: folder.to_owned(),
            data_folder: data_folder_of(folder),
        });
    }
    Ok(())
}

/// Whether a file begins as a sealed one does.
pub(crate) fn is_sealed(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(vault::MAGIC_BYTES).read_to_end(&mut start)?;
    Ok(vault::is_sealed(&start))
}

/// The file that a check reads first; none where there is no version, which the check says itself.
fn oldest_signature(run: &Path) -> Option<PathBuf> {
    let alone = run.join(SIGNATURE_FILE);
    if alone.is_file() {
        return Some(alone);
    }
    let checkpoints = checkpoints_in(run);
    let oldest = rounds(&Plain::new(&checkpoints)).ok()?.first().copied()?;
    Some(checkpoints.join(folder_name(oldest)).join(SIGNATURE_FILE))
}

/// What `model export --data` takes for a data folder, a run's folder, its folder of checkpoints, or a version in that.
fn data_folder_of(folder: &Path) -> PathBuf {
    let data_folder = folder.ancestors().find(|above| above.join(CHECKPOINTS_FOLDER).is_dir());
    let data_folder = data_folder.unwrap_or(folder);
    if data_folder.as_os_str().is_empty() { PathBuf::from(".") } else { data_folder.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use store::{FileStore, JournalKind, Store};
    use tempfile::TempDir;
    use vault::{MasterSource, Vault, make_master};

    use super::*;
    use crate::samples::chain;

    /// A data folder with two versions and a later run, all sealed.
    fn sealed() -> TempDir {
        let here = tempfile::tempdir().unwrap();
        let master = here.path().join("master.key");
        make_master(&master).unwrap();
        let data = here.path().join("data");
        fs::create_dir_all(data.join("runs/0002")).unwrap();
        let vault = Arc::new(Vault::create(&data, MasterSource::File(master)).unwrap());
        for folder in [data.clone(), data.join("runs/0002")] {
            let kind = JournalKind::Coordinator;
            let mut store =
                FileStore::open_sealed(&folder, kind, vault.clone(), |_, _, _| Ok(())).unwrap().store;
            store.publish("000000", &[(SIGNATURE_FILE, &[0; 64])]).unwrap();
        }
        here
    }

    #[test]
    fn whatever_is_named_of_a_sealed_folder_is_refused_with_the_data_folder_to_export() {
        let here = sealed();
        let data = here.path().join("data");
        let later = data.join("runs/0002");
        let both = [(1, data.clone()), (2, later.clone())];
        for (named, exported) in [
            (data.clone(), &data),
            (data.join("checkpoints"), &data),
            (data.join("checkpoints/000000"), &data),
            (later.clone(), &later),
        ] {
            let runs = if named == data { both.to_vec() } else { vec![(1, named.clone())] };
            let why = refuse_sealed(&named, &runs).unwrap_err().to_string();
            let remedy = format!("folkmoot model export --data {} --master", exported.display());
            assert!(why.contains("is sealed") && why.contains(&remedy), "{why}");
        }
    }

    #[test]
    fn a_sealed_run_beside_one_that_can_be_read_is_for_the_check_to_name() {
        let (here, clear) = (sealed(), chain(|_| {}));
        let runs = [(1, clear.path().to_owned()), (2, here.path().join("data/runs/0002"))];
        refuse_sealed(clear.path(), &runs).unwrap();
        refuse_sealed(clear.path(), &[(1, here.path().join("nothing"))]).unwrap();
    }
}
