//! `folkmoot-coordinator admin`: an administrator's folder, made beside the key that signs certificates.
//!
//! Whoever has this machine could issue any certificate. So this grants nobody anything new, and it is the way back
//! where every administrator's certificate has expired, was lost or was barred.

use std::path::PathBuf;

use access::Registry;
use anyhow::Context;
use daemon::now_s;
use identity::{Role, Subject};

use crate::Config;

/// What `admin` makes.
#[derive(clap::Args, Debug)]
#[command(after_help = "The daemon may run meanwhile, and need not know.\n\n\
    Example:\n  \
    folkmoot-coordinator admin --config /etc/folkmoot/coordinator.toml --name ada2 --out ada2 --address fl.example.org:7440\n\n\
    Then, with that folder, let in whom somebody barred: folkmoot access list --as ada2; folkmoot access restore admin \
    --as ada2 --reason '…'")]
pub struct MakeAdmin {
    /// The daemon's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whom the certificate names: letters, digits, `-`, `_` and `.`; a name that is not barred.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The folder to make. It holds a secret.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Where the coordinator is reached, where that is not the address that it listens on.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

impl MakeAdmin {
    fn run(&self) -> anyhow::Result<()> {
        let subject = Subject::operator(&self.name, Role::Admin).context("--name")?;
        let loaded = Config::load(&self.config).with_context(|| self.config.display().to_string())?;
        let address = self.address.as_ref().unwrap_or(&loaded.config.listen);
        founding::split(address).with_context(|| format!("--address `{address}` is no HOST:PORT"))?;
        let tls = loaded.tls.context(
            "this coordinator runs in plain text and signs no certificates; give it a table [tls]",
        )?;
        let registry = loaded.config.data_dir.join("access.json");
        // Before the daemon's first start nobody is barred.
        if registry.exists() {
            Registry::open(&registry)?.check_operator(&self.name).context("--name")?;
        }
        let own = founding::issued(&tls.issuer, &subject, now_s())?;
        founding::operator_folder(&self.out, &own, &tls.authority.to_canonical(), address)?;
        Ok(())
    }

    /// Makes the folder, and says what it is, on standard output.
    #[allow(clippy::print_stdout)]
    pub(crate) fn run_aloud(&self) -> anyhow::Result<()> {
        self.run()?;
        println!("`{}`: a folder for the administrator {}", self.out.display(), self.name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_folder_makes_an_administrator_under_a_name_that_is_not_barred() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, _) = crate::init::tests::federation(folder.path());
        let data = dir.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let registry = Registry::open(&data.join("access.json")).unwrap();
        registry.deny(access::Whom::Operator("ada".into()), "locked out", "mallory", 1).unwrap();
        let make = |name: &str| MakeAdmin {
            config: dir.join("coordinator.toml"),
            name: name.into(),
            out: folder.path().join(name),
            address: None,
        };
        let why = format!("{:#}", make("ada").run().unwrap_err());
        assert!(why.contains("access restore ada"), "{why}");
        make("ada2").run().unwrap();
        let chain = std::fs::read_to_string(folder.path().join("ada2/operator.crt")).unwrap();
        let made = pki::inspect(&chain).unwrap();
        assert_eq!(made.subject, Subject::operator("ada2", Role::Admin).unwrap());
        assert!(make("ada2").run().is_err(), "nothing is overwritten");
    }
}
