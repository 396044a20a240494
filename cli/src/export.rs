//! `folkmoot model export`: a sealed folder's models in the clear, read beside the daemon that holds the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::CHECKPOINTS_FOLDER;
use identity::with_causes;
use store::{Published, StoreError};
use vault::files::WORLD_READABLE;
use vault::{MasterSource, Vault};

use crate::Failure;
use crate::files::NewFolder;
use crate::ledgers::keyring_of;

#[derive(clap::Args, Debug)]
#[command(after_help = "Whoever can read OUT can read the models. The daemon may go on.\n\n\
                  SOURCE: FILE, credential:NAME, environment:NAME, passphrase_file:FILE or \
                  passphrase_credential:NAME.\n\n\
                  Example:\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator --master master.key out\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator/data/runs/0002 --master master.key second\n  \
                  folkmoot verify out --key HEX")]
pub(crate) struct Args {
    /// The coordinator's data folder, or a later run's in it, runs/NUMBER; the keyring is in it, or beside the configuration.
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
    made.add_folder(CHECKPOINTS_FOLDER)?;
    for name in &names {
        let folder = Path::new(CHECKPOINTS_FOLDER).join(name);
        for file in published.files(name).map_err(refused)? {
            made.add(folder.join(&file), &published.read(name, &file).map_err(refused)?, WORLD_READABLE)?;
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
