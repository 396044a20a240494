//! `folkmoot model export`: a sealed folder's models in the clear, read beside the daemon that holds the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::CHECKPOINTS_FOLDER;
use identity::with_causes;
use store::{Published, StoreError};
use vault::{MasterSource, Vault};

use crate::Failure;
use crate::files::{NewFolder, cannot_write};
use crate::ledgers::keyring_of;

#[derive(clap::Args, Debug)]
#[command(after_help = "Whoever can read OUT can read the models. The daemon may go on.\n\n\
                  SOURCE: FILE, credential:NAME, environment:NAME, passphrase_file:FILE or \
                  passphrase_credential:NAME.\n\n\
                  Example:\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator --master master.key out\n  \
                  folkmoot verify out --key HEX")]
pub(crate) struct Args {
    /// The coordinator's data folder; its keyring is in it, or beside the configuration in the folder above.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The master key, as the daemon's configuration names it.
    #[arg(long, value_name = "SOURCE")]
    master: MasterSource,
    /// Where the models go; must not exist.
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let keyring = keyring_of(&args.data).unwrap_or(&args.data);
    let vault = Vault::open_folder(keyring, args.master.clone());
    let vault = vault.map_err(|why| Failure::usage(with_causes(&why)))?;
    let published = Published::new(args.data.join(CHECKPOINTS_FOLDER), Some(Arc::new(vault)));
    let names = published.names().map_err(refused)?;
    let made = NewFolder::beside(&args.out)?;
    // A run without a version yet is a folder as well.
    fs::create_dir(made.path().join(CHECKPOINTS_FOLDER)).map_err(|why| cannot_write(&args.out, why))?;
    for name in &names {
        let folder = Path::new(CHECKPOINTS_FOLDER).join(name);
        for file in published.files(name).map_err(refused)? {
            made.add(folder.join(&file), &published.read(name, &file).map_err(refused)?, 0o644)?;
        }
    }
    made.put()?;
    println!("{}: {} checkpoints in the clear", args.out.display(), names.len());
    Ok(())
}

fn refused(why: StoreError) -> Failure {
    match why {
        StoreError::Vault { .. } => Failure::verification(with_causes(&why)),
        why => Failure::failed(with_causes(&why)),
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::{MANIFEST_FILE, MODEL_FILE};
    use store::{FileStore, JournalKind, Store};
    use vault::KEYRING_FILE;

    use super::*;

    /// A sealed folder with two checkpoints, whose daemon runs.
    fn sealed_folder() -> (tempfile::TempDir, FileStore, Args) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        vault::make_master(&file).unwrap();
        let (data, master) = (folder.path().join("data"), MasterSource::File(file));
        fs::create_dir(&data).unwrap();
        let vault = Arc::new(Vault::create(&data, master.clone()).unwrap());
        let opened = FileStore::open_sealed(&data, JournalKind::Coordinator, vault, |_, _, _| Ok(()));
        let mut store = opened.unwrap().store;
        for name in ["000000", "000001"] {
            store.publish(name, &[(MODEL_FILE, name.as_bytes()), (MANIFEST_FILE, b"{}")]).unwrap();
        }
        let out = folder.path().join("out");
        (folder, store, Args { data, master, out })
    }

    #[test]
    fn every_file_is_written_as_it_was_published_while_the_daemon_runs() {
        let (_folder, _daemon, args) = sealed_folder();
        run(&args).unwrap();
        let checkpoints = args.out.join(CHECKPOINTS_FOLDER);
        for name in ["000000", "000001"] {
            assert_eq!(fs::read(checkpoints.join(name).join(MODEL_FILE)).unwrap(), name.as_bytes());
            assert_eq!(fs::read(checkpoints.join(name).join(MANIFEST_FILE)).unwrap(), b"{}");
        }
        let again = run(&args).unwrap_err();
        assert!(matches!(&again, Failure::Usage(text) if text.contains("not overwritten")), "{again}");
    }

    #[test]
    fn a_keyring_beside_the_configuration_is_found_above_the_data_folder() {
        let (_folder, _daemon, args) = sealed_folder();
        let above = args.data.parent().unwrap().join(KEYRING_FILE);
        fs::rename(args.data.join(KEYRING_FILE), above).unwrap();
        run(&args).unwrap();
        assert_eq!(fs::read_dir(args.out.join(CHECKPOINTS_FOLDER)).unwrap().count(), 2);
    }

    #[test]
    fn a_changed_file_is_named_and_a_wrong_master_key_too() {
        let (folder, _daemon, mut args) = sealed_folder();
        let model = args.data.join(CHECKPOINTS_FOLDER).join("000001").join(MODEL_FILE);
        let mut bytes = fs::read(&model).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&model, bytes).unwrap();
        let why = run(&args).unwrap_err();
        let named = format!("000001/{MODEL_FILE}");
        assert!(matches!(&why, Failure::Verification(text) if text.contains(&named)), "{why}");
        let other = folder.path().join("other.key");
        vault::make_master(&other).unwrap();
        args.master = MasterSource::File(other);
        let why = run(&args).unwrap_err();
        assert!(matches!(&why, Failure::Usage(text) if text.contains("other.key")), "{why}");
    }

    #[test]
    fn a_sealed_folder_is_not_verified_but_told_from_a_damaged_one() {
        let (_folder, mut daemon, args) = sealed_folder();
        daemon.publish("000002", &[("manifest.sig", &[0; 10])]).unwrap();
        fs::remove_dir_all(args.data.join(CHECKPOINTS_FOLDER).join("000000")).unwrap();
        fs::remove_dir_all(args.data.join(CHECKPOINTS_FOLDER).join("000001")).unwrap();
        let why = published::verify_folder(&args.data, None).unwrap_err().to_string();
        assert!(why.contains("folkmoot model export"), "{why}");
    }
}
