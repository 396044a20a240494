//! `folkmoot model export`: the models of a sealed folder's runs in the clear, read beside the daemon that holds the folder.

use std::path::PathBuf;
use std::sync::Arc;

use identity::with_causes;
use runs::RunFolders;
use vault::{MasterSource, Vault};

use crate::Failure;
use crate::ledgers::keyring_of;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Every run goes into OUT as it lies in DIR: the first into OUT/checkpoints, later ones into OUT/runs/0002 and so on. \
                  `folkmoot verify OUT` checks them all. Whoever can read OUT can read the models. The daemon may go on.\n\n\
                  SOURCE: FILE, credential:NAME, environment:NAME, passphrase_file:FILE or \
                  passphrase_credential:NAME.\n\n\
                  Examples:\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator/data --master master.key out\n  \
                  folkmoot model export --data /var/lib/folkmoot/coordinator/data/runs/0002 --master master.key second\n  \
                  folkmoot verify out --key HEX"
)]
pub(crate) struct Args {
    /// The coordinator's data folder; or a later run's in it, runs/NUMBER, for that run alone. The keyring is in the data folder, or
    /// beside the configuration.
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
    for (run, checkpoints) in RunFolders::new(&args.data, Some(Arc::new(vault))).export(&args.out)? {
        println!("{}: {checkpoints} checkpoints in the clear", run.display());
    }
    Ok(())
}
