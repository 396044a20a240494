//! `folkmoot keys`: a party's identity key, made on its own machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::IdentityKey;
use rand::rand_core::UnwrapErr;

use crate::Failure;

#[derive(Subcommand, Debug)]
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
}

pub(crate) fn run(keys: &Keys) -> Result<(), Failure> {
    let key = match keys {
        Keys::New { file } => create(file)?,
        Keys::Show { file } => read(file)?,
    };
    println!("{}", public_text(&key));
    Ok(())
}

/// Makes a key and writes its secret half to a new file.
pub(crate) fn create(file: &Path) -> Result<IdentityKey, Failure> {
    let key = IdentityKey::generate(&mut UnwrapErr(rand::rngs::SysRng));
    write_secret(file, &key).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "`{}` exists and is not overwritten: a lost key cannot be made again; choose another name",
            file.display()
        )),
        _ => Failure::failed(format!("`{}` cannot be written: {why}", file.display())),
    })?;
    Ok(key)
}

/// Reads a secret key from its file.
pub(crate) fn read(file: &Path) -> Result<IdentityKey, Failure> {
    let unusable = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|why| unusable(format!("cannot be read: {why}")))?;
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

fn write_secret(file: &Path, key: &IdentityKey) -> io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(key.secret_hex().as_bytes())?;
    out.write_all(b"\n")?;
    out.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_readable_by_its_owner_only_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        let key = create(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file).unwrap().public(), key.public());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        let first = create(&file).unwrap();
        let again = create(&file).unwrap_err();
        assert!(matches!(&again, Failure::Usage(text) if text.contains("is not overwritten")), "{again}");
        assert_eq!(read(&file).unwrap().public(), first.public());
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        fs::write(&file, "secret").unwrap();
        let why = read(&file).unwrap_err().to_string();
        assert!(why.contains("/k`") && why.contains("64 hexadecimal digits"), "{why}");
    }
}
