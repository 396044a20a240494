use checkpoint::SignedManifest;
use identity::{IdentityKey, SignedRoster};
use params::Digest;
use plan::Plan;
use vault::MasterSource;

use super::*;

fn plan(name: &str) -> AuthoredPlan {
    let plan = Plan::from_toml(include_str!("../../../../../deploy/config/plan.toml")).unwrap();
    let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
    Plan { name: name.into(), ..plan }.sign(&author)
}

fn started(plan: &AuthoredPlan) -> Record {
    Record::RunStarted {
        run_id: Digest::sha256(b"run"),
        plan: plan.digest(),
        roster: SignedRoster { roster: String::new(), signature: String::new() },
        genesis: SignedManifest { manifest_bytes: Vec::new(), signature: [0; 64] },
    }
}

/// A federation's folder with a second run that has begun.
fn with_second(vault: Option<Arc<Vault>>) -> (tempfile::TempDir, RunFolders) {
    let folder = tempfile::tempdir().unwrap();
    let folders = RunFolders::new(folder.path(), vault);
    let mut store = folders.make(2, plan("second").signed()).unwrap();
    store.append(&started(&plan("second")).encode()).unwrap();
    (folder, folders)
}

#[test]
fn the_first_run_lies_in_the_data_folder_itself_and_later_ones_under_their_numbers() {
    let (folder, folders) = with_second(None);
    folders.make(10, plan("tenth").signed()).unwrap();
    for stranger in ["notes", "2", "00003", "0001", ".0004.tmp"] {
        fs::create_dir(folder.path().join(RUNS_FOLDER).join(stranger)).unwrap();
    }
    assert_eq!(folders.later().unwrap(), [2, 10]);
    let listed = run_folders_in(folder.path()).unwrap();
    let runs = folder.path().join("runs");
    assert_eq!(listed, [(1, folder.path().to_owned()), (2, runs.join("0002")), (10, runs.join("0010"))]);
    let (store, read) = folders.open(2).unwrap().unwrap();
    assert_eq!((store.head().sequence, read), (1, plan("second")));
    assert!(matches!(folders.open(2), Err(RunFoldersError::Store(StoreError::Locked { .. }))));
    assert_eq!(run_folders_in(&runs.join("0002")).unwrap().len(), 1);
}

#[test]
fn what_a_crash_left_of_a_submission_is_removed_wherever_it_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let folders = RunFolders::new(folder.path(), None);
    let second = || fs::create_dir_all(folders.folder(2)).unwrap();
    let cuts: [&dyn Fn(); 3] = [
        &second,
        &|| {
            second();
            folders.keep_plan(2, plan("second").signed()).unwrap();
        },
        &|| drop(folders.make(2, plan("second").signed()).unwrap()),
    ];
    for (case, cut) in cuts.into_iter().enumerate() {
        cut();
        assert!(folders.open(2).unwrap().is_none(), "case {case}");
        assert_eq!(folders.later().unwrap(), [0; 0], "case {case}");
    }
    assert!(folders.make(2, plan("again").signed()).is_ok());
}

#[test]
fn a_run_whose_journal_or_plan_is_gone_or_anothers_is_refused_by_name_and_nothing_is_removed() {
    type Damage<'a> = (&'a dyn Fn(&Path), &'a str);
    let damages: [Damage; 4] = [
        (&|run| fs::remove_file(run.join(PLAN_FILE)).unwrap(), "is gone"),
        (&|run| fs::write(run.join(PLAN_FILE), "{}").unwrap(), "is not the plan that the run was begun with"),
        (
            &|run| {
                let other = serde_json::to_vec(plan("other").signed()).unwrap();
                fs::write(run.join(PLAN_FILE), other).unwrap();
            },
            "and the journal beside it was begun with plan",
        ),
        (
            &|run| {
                fs::remove_file(run.join("journal")).unwrap();
                fs::create_dir(run.join(store::CHECKPOINTS).join("000000")).unwrap();
            },
            "holds published versions and an empty journal",
        ),
    ];
    for (damage, said) in damages {
        let (folder, folders) = with_second(None);
        damage(&folder.path().join("runs/0002"));
        let why = folders.open(2).err().unwrap().to_string();
        assert!(why.contains(said) && why.contains("runs/0002"), "{why}");
        assert_eq!(folders.later().unwrap(), [2]);
    }
}

#[test]
fn a_sealed_runs_journal_is_no_other_runs() {
    let keys = tempfile::tempdir().unwrap();
    let master = keys.path().join("master.key");
    vault::make_master(&master).unwrap();
    let vault = Arc::new(Vault::create(keys.path(), MasterSource::File(master)).unwrap());
    let (folder, folders) = with_second(Some(vault));
    assert!(folders.open(2).unwrap().is_some());
    let runs = folder.path().join(RUNS_FOLDER);
    fs::rename(runs.join("0002"), runs.join("0003")).unwrap();
    assert!(matches!(folders.open(3), Err(RunFoldersError::Store(StoreError::Vault { .. }))));
    let plain = RunFolders::new(folder.path(), None).open(3);
    assert!(matches!(plain, Err(RunFoldersError::Store(StoreError::Journal(_)))));
}
