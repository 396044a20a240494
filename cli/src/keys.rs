//! `folkmoot keys`: a party's identity key, made on its own machine, and the keys that seal what lies on its disk.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::{IdentityKey, with_causes};
use rand::rand_core::UnwrapErr;
use vault::files::{OWNER_ONLY, write_new};
use vault::{MasterRotation, MasterSource, Vault, VaultError};
use zeroize::Zeroizing;

use crate::Failure;
use crate::connect::Remote;
use crate::files::{self, WriteError, cannot_write};

#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant, reason = "one is held, once in a process")]
pub(crate) enum Keys {
    /// Make a key: write the secret half to FILE, readable by its owner only, and print the public half.
    #[command(after_help = "Example:\n  folkmoot keys new silo.key")]
    New {
        /// Where the secret goes; must not exist.
        file: PathBuf,
    },
    /// Print the public half of the key in FILE.
    #[command(after_help = "Example:\n  folkmoot keys show silo.key")]
    Show {
        /// The secret key's file.
        file: PathBuf,
    },
    /// Make a master key, under which data folders are sealed: write it to FILE, readable by its owner only.
    #[command(after_help = "Keep a copy of it elsewhere: without it nothing that is sealed can be read.\n\n\
                            Example:\n  folkmoot keys master master.key")]
    Master {
        /// Where it goes; must not exist.
        file: PathBuf,
    },
    /// Seal data folders under a new key from now on. Daemons that use them go on, and adopt it.
    Rotate(Rotate),
}

#[derive(clap::Args, Debug)]
#[command(
    after_help = "What is sealed already stays under the key that sealed it, which the folder's keyring keeps.\n\n\
                  A master key in a file is replaced there, and the old one kept beside it as FILE.previous: delete \
                  that once no other folder needs it. Any other source is rotated in two calls: --new-master, then, \
                  with the new key in its place, --end.\n\n\
                  SOURCE: FILE, credential:NAME, environment:NAME, passphrase_file:FILE or \
                  passphrase_credential:NAME.\n\n\
                  Without --data a running coordinator changes the key of its own folder: the one of --as, FOLKMOOT_AS or \
                  --coordinator.\n\n\
                  Examples:\n  \
                  folkmoot keys rotate --as admin\n  \
                  folkmoot keys rotate --data /var/lib/folkmoot/coordinator --master /var/lib/folkmoot/coordinator/master.key\n  \
                  folkmoot keys rotate --data silo --master silo/master.key --new-master new.key"
)]
pub(crate) struct Rotate {
    /// A daemon's data folder; name every one that is sealed under the master key.
    #[arg(long, value_name = "DIR", requires = "master", conflicts_with_all = REMOTE)]
    data: Vec<PathBuf>,
    /// The master key, as the daemon's configuration names it.
    #[arg(long, value_name = "SOURCE", requires = "data", conflicts_with_all = REMOTE)]
    master: Option<MasterSource>,
    /// A new master key, made with `folkmoot keys master`, in place of the old one.
    #[arg(long, value_name = "FILE", requires = "data")]
    new_master: Option<PathBuf>,
    /// Forget every other master key: ends a rotation once the new one is in place.
    #[arg(long, conflicts_with = "new_master", requires = "data")]
    end: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What says that a running coordinator is to do it, and not this command.
const REMOTE: [&str; 2] = ["coordinator", "folder"];

impl Keys {
    /// The coordinator that is to rotate its own keys, if that is what was asked.
    pub(crate) fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Rotate(rotate) if rotate.master.is_none() => Some(&rotate.remote),
            _ => None,
        }
    }
}

pub(crate) fn run(keys: &Keys) -> Result<(), Failure> {
    let key = match keys {
        Keys::New { file } => create(file)?,
        Keys::Show { file } => read(file)?,
        Keys::Master { file } => {
            return vault::make_master(file).map_err(|why| Failure::usage(with_causes(&why)));
        }
        Keys::Rotate(rotate) => return rotate.run(),
    };
    println!("{}", public_text(&key));
    Ok(())
}

impl Rotate {
    fn run(&self) -> Result<(), Failure> {
        self.rotate().map_err(|why| match why {
            VaultError::Io { .. } | VaultError::Busy(_) => Failure::failed(with_causes(&why)),
            why => Failure::usage(with_causes(&why)),
        })
    }

    fn rotate(&self) -> Result<(), VaultError> {
        // Without one it is the coordinator that was asked.
        let Some(master) = &self.master else { return Ok(()) };
        if let Some(new) = &self.new_master {
            let Some(rotation) = MasterRotation::new(&self.data, master, new) else {
                return self.add_master(master, new);
            };
            rotation.run()?;
            println!("{master} is replaced; the old key is kept beside it, as `.previous`");
        }
        for folder in &self.data {
            let vault = Vault::open_folder(folder, master.clone())?;
            if self.end {
                vault.retire_other_masters()?;
            }
            println!("{}: data key {} seals from now on", folder.display(), vault.rotate_data_key()?);
        }
        Ok(())
    }

    /// The first half, where this command cannot put the new key in its place.
    fn add_master(&self, master: &MasterSource, new: &Path) -> Result<(), VaultError> {
        let new = match master {
            MasterSource::PassphraseCredential(_) => MasterSource::PassphraseFile(new.to_owned()),
            _ => MasterSource::File(new.to_owned()),
        };
        for folder in &self.data {
            Vault::open_folder(folder, master.clone())?.add_master(&new)?;
            println!("{}: both master keys open it", folder.display());
        }
        println!(
            "now put the new key where {master} is, restart what reads it there, and run this with --end"
        );
        Ok(())
    }
}

/// Makes a key and writes its secret half to a new file.
pub(crate) fn create(file: &Path) -> Result<IdentityKey, WriteError> {
    let key = IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng));
    let text = Zeroizing::new(format!("{}\n", key.secret_hex().as_str()));
    write_new(file, text.as_bytes(), OWNER_ONLY).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => WriteError::KeyTaken { place: file.to_owned() },
        _ => cannot_write(file, why),
    })?;
    Ok(key)
}

/// Reads a secret key from its file.
pub(crate) fn read(file: &Path) -> Result<IdentityKey, Failure> {
    let unusable = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
    let text = files::read_secret_text(file)?;
    let mode =
        fs::metadata(file).map_err(|why| unusable(format!("cannot be read: {why}")))?.permissions().mode();
    if mode & 0o077 != 0 {
        eprintln!("warning: others can read `{0}`; run: chmod 600 '{0}'", file.display());
    }
    IdentityKey::from_secret_hex(&text).map_err(|why| unusable(why.to_string()))
}

/// The public half as rosters and configurations write it.
pub(crate) fn public_text(key: &IdentityKey) -> String {
    hex::encode(key.public().as_bytes())
}
