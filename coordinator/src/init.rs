//! `folkmoot-coordinator init`: the arguments and the words of a federation's beginning, which `founding` makes.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use founding::{FoundingError, Made, NewFederation};

/// What `init` makes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    folkmoot-coordinator init --dir /etc/folkmoot --federation hospitals --address fl.example.org:7440\n\n\
    DIR/authority holds the key that admits silos: move it to the authority's own machine, best one that is offline.\n\
    DIR/admin is the first administrator's: move it to theirs. What stays is sealed under DIR/master.key; keep a copy of\n\
    that elsewhere, or hand it over as a systemd credential and name it so in coordinator.toml.")]
pub(crate) struct Init {
    /// The folder to make; must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The federation's name: letters, digits, `-`, `_` and `.`.
    #[arg(long, value_name = "NAME")]
    pub(crate) federation: String,
    /// Where silos connect: HOST:PORT; the certificate is made for this host.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// Where to listen, where that is another address than silos connect to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// A further DNS name or address that silos may connect to.
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The first administrator.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub(crate) admin: String,
}

/// What cannot be made, after the argument that asks for it.
#[derive(Debug)]
pub(crate) struct AskedFor(FoundingError);

impl fmt::Display for AskedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.0;
        match why {
            FoundingError::Address(_) => write!(f, "--address {why}"),
            FoundingError::Listen(_) => write!(f, "--listen {why}"),
            FoundingError::Name(_) => write!(f, "--federation {why}"),
            FoundingError::Admin(_) => write!(f, "--admin: {why}"),
            FoundingError::Server { .. } => write!(f, "{why}; see --address and --name"),
            FoundingError::Folder { .. }
            | FoundingError::NotRead { .. }
            | FoundingError::CutOff(_)
            | FoundingError::NotEmpty(_) => write!(f, "--dir {why}"),
            _ => why.fmt(f),
        }
    }
}

impl Error for AskedFor {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Init {
    /// Makes everything, or leaves things as they were: nothing is ever overwritten.
    ///
    /// # Errors
    /// A folder that holds anything, a name or an address that cannot be one, a disk that fails.
    pub(crate) fn run(&self) -> Result<Made, AskedFor> {
        let federation = NewFederation {
            name: self.federation.clone(),
            address: self.address.clone(),
            listen: self.listen.clone(),
            names: self.names.clone(),
            admin: self.admin.clone(),
        };
        federation.make(&self.dir).map_err(AskedFor)
    }

    /// [`Init::run`], and what to do next, on standard output.
    #[allow(clippy::print_stdout)]
    pub(crate) fn run_aloud(&self) -> anyhow::Result<()> {
        let made = self.run()?;
        let dir = self.dir.display();
        println!("federation   {}", self.federation);
        println!("fingerprint  {}", identity::spoken(&made.authority.fingerprint()));
        println!("coordinator  {}", made.coordinator_key);
        println!("\nNext:");
        println!(
            "  move {dir}/authority to the authority's own machine, and {dir}/admin to the administrator's"
        );
        daemon::still_roots(&self.dir).iter().for_each(|command| println!("  {command}"));
        println!("  folkmoot plan sign plan.toml --key author.key --out {dir}/plan.json");
        println!("  folkmoot-coordinator --config {dir}/coordinator.toml");
        println!("  folkmoot tokens create --as {dir}/admin --silo NAME --expires 24h");
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::Path;

    use identity::IdentityKey;

    use super::*;

    fn init(dir: &Path) -> Init {
        Init {
            dir: dir.to_owned(),
            federation: "hospitals".into(),
            address: "localhost:7440".into(),
            listen: None,
            names: vec!["127.0.0.1".into()],
            admin: "ada".into(),
        }
    }

    /// A federation's folder with a plan.
    pub(crate) fn federation(folder: &Path) -> (PathBuf, Made) {
        let dir = folder.join("new");
        let made = init(&dir).run().unwrap();
        let plan = plan::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
        fs::write(dir.join("plan.json"), serde_json::to_string(plan.sign(&author).signed()).unwrap())
            .unwrap();
        (dir, made)
    }

    #[test]
    fn what_is_made_can_be_loaded_once_there_is_a_plan() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, made) = federation(folder.path());
        let loaded = crate::Config::load(&dir.join("coordinator.toml")).map_err(|why| why.to_string());
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(loaded.tls.unwrap().authority.fingerprint(), made.authority.fingerprint());
        assert!(loaded.roster.members.is_empty() && loaded.model_key.is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_said_of_the_argument_that_asks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let said = |change: fn(&mut Init)| {
            let mut asked = init(&dir);
            change(&mut asked);
            format!("{:#}", anyhow::Error::from(asked.run().map(drop).unwrap_err()))
        };
        assert_eq!(said(|init| init.address = "here".into()), "--address `here` is no HOST:PORT");
        assert_eq!(said(|init| init.listen = Some("all".into())), "--listen `all` is no ADDRESS:PORT");
        let name = said(|init| init.federation = "two words".into());
        assert_eq!(name, "--federation `two words`: letters, digits, `-`, `_` and `.`");
        let admin = said(|init| init.admin = "a b".into());
        assert!(admin.starts_with("--admin: "), "{admin}");
        let names = said(|init| init.names = vec!["a b".into()]);
        assert!(
            names.starts_with("no certificate can be made for localhost, a b; see --address and --name: "),
            "{names}"
        );
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("mine"), "mine").unwrap();
        let full = format!(
            "--dir `{}` is not empty, and nothing in it is overwritten; in another folder a new federation is made, which nobody has joined",
            dir.display()
        );
        assert_eq!(said(|_| {}), full);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "and nothing was added");
    }

    #[test]
    fn another_master_key_or_none_is_named_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, _) = federation(folder.path());
        let keyring = fs::read(dir.join("keys.json")).unwrap();
        let refused = || match crate::Config::load(&dir.join("coordinator.toml")) {
            Err(why) => why.to_string(),
            Ok(_) => panic!("it was accepted"),
        };
        fs::remove_file(dir.join("master.key")).unwrap();
        assert!(refused().contains("master.key"), "{}", refused());
        vault::make_master(&dir.join("master.key")).unwrap();
        assert!(refused().contains("encryption.master_key"), "{}", refused());
        assert_eq!(fs::read(dir.join("keys.json")).unwrap(), keyring);
    }
}
