//! `folkmoot-coordinator init`: a federation's authority, its certificates, its keys and a configuration.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use attest::ModelKey;
use identity::{
    Authority, IdentityKey, LAST_ROSTER_FILE, LastSigned, Role, Roster, SignedRoster, Subject, is_name,
};
use pki::{CertificateAuthority, TransportKey};
use rand::rand_core::UnwrapErr;
use vault::files::{self, OWNER_ONLY, WORLD_READABLE};
use vault::{MasterSource, Vault, layout};

const DAY_S: u64 = 24 * 3600;
/// An administrator's certificate that is made on the coordinator's machine.
const ADMIN_DAYS: u64 = 90;
const CONFIG: &str = "coordinator.toml";

/// What `init` makes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    folkmoot-coordinator init --dir /etc/folkmoot --federation hospitals --address fl.example.org:7440\n\n\
    DIR/authority holds the key that admits silos: move it to the authority's own machine, best one that is offline.\n\
    DIR/admin is the first administrator's: move it to theirs. What stays is sealed under DIR/master.key; keep a copy of\n\
    that elsewhere, or hand it over as a systemd credential and name it so in coordinator.toml.")]
pub struct Init {
    /// The folder to make; must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The federation's name: letters, digits, `-`, `_` and `.`.
    #[arg(long, value_name = "NAME")]
    pub federation: String,
    /// Where silos connect: HOST:PORT; the certificate is made for this host.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: String,
    /// Where to listen, where that is another address than silos connect to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// A further DNS name or address that silos may connect to.
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// The first administrator.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
}

/// What was made, for who goes on with it.
pub struct Made {
    /// What join tokens pin.
    pub authority: Authority,
    /// The coordinator's Ed25519 key, public.
    pub coordinator_key: String,
}

/// Everything that can fail for what was asked, done before anything is written.
struct Prepared {
    authority_key: IdentityKey,
    issuer: CertificateAuthority,
    authority: Authority,
    server: (TransportKey, String),
    admin: (TransportKey, String),
    coordinator: IdentityKey,
    model: ModelKey,
    roster: SignedRoster,
}

impl Init {
    /// Makes everything, or leaves things as they were: nothing is ever overwritten.
    ///
    /// # Errors
    /// A folder that holds anything, a name or an address that cannot be one, a disk that fails.
    pub fn run(&self) -> anyhow::Result<Made> {
        let prepared = self.prepare()?;
        let folder = Unfinished::empty(&self.dir)?;
        self.write(&self.dir, &prepared)?;
        folder.finished();
        let coordinator_key = hex::encode(prepared.coordinator.public().as_bytes());
        Ok(Made { authority: prepared.authority, coordinator_key })
    }

    fn prepare(&self) -> anyhow::Result<Prepared> {
        let (host, _) =
            split(&self.address).with_context(|| format!("--address `{}` is no HOST:PORT", self.address))?;
        if let Some(listen) = &self.listen {
            split(listen).with_context(|| format!("--listen `{listen}` is no ADDRESS:PORT"))?;
        }
        ensure!(
            is_name(&self.federation),
            "--federation `{}`: letters, digits, `-`, `_` and `.`",
            self.federation
        );
        let admin = Subject::operator(&self.admin, Role::Admin).context("--admin")?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock")?.as_secs();
        let rng = &mut UnwrapErr(rand::rngs::SysRng);
        let authority_key = IdentityKey::generate(rng);
        let issuer = CertificateAuthority::create(&self.federation, now_s)?;
        let authority = Authority {
            federation: self.federation.clone(),
            key: hex::encode(authority_key.public().as_bytes()),
            ca_certificate: issuer.certificate_pem().to_owned(),
        };
        let certified = |subject: &Subject, names: &[String], days: u64| {
            let key = TransportKey::generate()?;
            let issued = issuer.issue(&key.request_der()?, subject, names, now_s, days * DAY_S)?;
            anyhow::Ok((key, issued.chain_pem))
        };
        let names: Vec<String> = std::iter::once(host.to_owned()).chain(self.names.iter().cloned()).collect();
        let server = certified(&Subject::Coordinator, &names, 1).with_context(|| {
            format!("no certificate can be made for {}; see --address and --name", names.join(", "))
        })?;
        let admin = certified(&admin, &[], ADMIN_DAYS)?;
        let coordinator = IdentityKey::generate(rng);
        let roster = Roster {
            format: Some(Roster::FORMAT),
            previous: None,
            federation: self.federation.clone(),
            epoch: 1,
            coordinator_key: hex::encode(coordinator.public().as_bytes()),
            members: BTreeMap::new(),
        };
        let roster = roster.sign(&authority_key);
        let model = ModelKey::generate(rng)?;
        Ok(Prepared { authority_key, issuer, authority, server, admin, coordinator, model, roster })
    }

    fn write(&self, folder: &Path, made: &Prepared) -> anyhow::Result<()> {
        let vault = sealed(folder)?;
        let seal = |name: &str, text: &str| {
            vault::write_secret(&folder.join(name), &vault, name, text.as_bytes())
                .with_context(|| format!("cannot write `{name}`"))
        };
        let own_authority = folder.join("authority");
        fs::create_dir(&own_authority)?;
        let own = layout::Authority::of(&own_authority);
        let secret = made.authority_key.secret_hex();
        let authority_vault = sealed(&own_authority)?;
        vault::write_secret(&own.key, &authority_vault, layout::Authority::KEY, secret.as_bytes())?;
        let document = made.authority.to_canonical();
        for file in [&folder.join("authority.json"), &own.authority] {
            write(file, &document, WORLD_READABLE)?;
        }
        seal("ca.key", &made.issuer.key_pem())?;
        write(&folder.join("ca.crt"), made.issuer.certificate_pem(), WORLD_READABLE)?;
        let (server_key, server_chain) = &made.server;
        seal("server.key", &server_key.to_pem())?;
        write(&folder.join("server.crt"), server_chain, WORLD_READABLE)?;
        seal("coordinator.key", &made.coordinator.secret_hex())?;
        seal("model.key", &made.model.to_pem()?)?;
        write(&folder.join("model.pub.pem"), made.model.public().to_pem(), WORLD_READABLE)?;
        write(&folder.join("roster.json"), &serde_json::to_string(&made.roster)?, WORLD_READABLE)?;
        // What the authority extends, whatever a coordinator will show.
        let last = LastSigned::new(made.roster.clone().authorise(&made.authority_key.public())?);
        write(&own_authority.join(LAST_ROSTER_FILE), &last.to_json(), WORLD_READABLE)?;

        operator_folder(&folder.join("admin"), &made.admin, &document, &self.address)?;

        // Last: a folder without it was not finished.
        let listen = self.listen.as_ref().unwrap_or(&self.address);
        write(&folder.join(CONFIG), &configuration(listen, &made.authority.key), WORLD_READABLE)
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
        println!("  folkmoot plan sign plan.toml --key author.key --out {dir}/plan.json");
        println!("  folkmoot-coordinator --config {dir}/coordinator.toml");
        println!("  folkmoot tokens create --as {dir}/admin --silo NAME --expires 24h");
        Ok(())
    }
}

/// A person's key with its certificate, and that one's issuer's.
pub(crate) fn issued(
    issuer: &CertificateAuthority,
    subject: &Subject,
    now_s: u64,
) -> anyhow::Result<(TransportKey, String)> {
    let key = TransportKey::generate()?;
    let chain = issuer.issue(&key.request_der()?, subject, &[], now_s, ADMIN_DAYS * DAY_S)?.chain_pem;
    Ok((key, chain))
}

/// Makes a person's folder, for `--as`.
pub(crate) fn operator_folder(
    folder: &Path,
    (key, chain): &(TransportKey, String),
    authority: &str,
    address: &str,
) -> anyhow::Result<()> {
    fs::create_dir(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let files = layout::Operator::of(folder);
    write(&files.key, &key.to_pem(), OWNER_ONLY)?;
    write(&files.certificate, chain, WORLD_READABLE)?;
    write(&files.authority, authority, WORLD_READABLE)?;
    write(&files.coordinator, &format!("https://{address}\n"), WORLD_READABLE)
}

fn configuration(listen: &str, authority: &str) -> String {
    format!(
        "# Written by `folkmoot-coordinator init`. Relative paths are relative to this file.\n\
         listen = \"{listen}\"\n\
         data_dir = \"data\"\n\
         # The run's plan, as its author signed it: `folkmoot plan sign`.\n\
         plan = \"plan.json\"\n\
         # The roster to begin with. Later ones come from `folkmoot clients approve` and are kept in data_dir.\n\
         roster = \"roster.json\"\n\
         authority_key = \"{authority}\"\n\
         identity_key_file = \"coordinator.key\"\n\
         # Signs each published model for public tools; its public half is model.pub.pem.\n\
         model_key_file = \"model.key\"\n\
         # metrics_listen = \"127.0.0.1:9440\"\n\
         log = \"info\"\n\n\
         [tls]\n\
         certificate = \"server.crt\"\n\
         key_file = \"server.key\"\n\
         authority = \"authority.json\"\n\
         ca_key_file = \"ca.key\"\n\n\
         # What seals data_dir and the key files. In place of a file: {{ credential = \"NAME\" }} of systemd, or\n\
         # {{ environment = \"NAME\" }}.\n\
         [encryption]\n\
         master_key = {{ file = \"master.key\" }}\n"
    )
}

/// The host of HOST:PORT, without an IPv6 address's brackets.
pub(crate) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

/// A new vault under a new master key, both in this folder.
fn sealed(folder: &Path) -> anyhow::Result<Vault> {
    let master = folder.join("master.key");
    vault::make_master(&master)?;
    Ok(Vault::create(folder, MasterSource::File(master))?)
}

/// A folder that is being filled; what was written is taken away again where it is not finished.
struct Unfinished<'a> {
    folder: &'a Path,
    made: bool,
    finished: bool,
}

impl<'a> Unfinished<'a> {
    /// The folder that `--dir` names, made where it is not there. It is filled in its place: it may be a mounted one, or
    /// belong to somebody.
    fn empty(folder: &'a Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let made = !folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("--dir `{shown}` cannot be made"))?;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| format!("--dir `{shown}` cannot be read"))? {
            names.push(entry?.file_name());
        }
        let cut_off =
            names.iter().any(|name| name == "master.key") && !names.iter().any(|name| name == CONFIG);
        ensure!(
            !cut_off,
            "--dir `{shown}` holds what an earlier call had written when it was killed: it is of no use, remove the \
             folder and run this again"
        );
        ensure!(
            names.is_empty(),
            "--dir `{shown}` is not empty, and nothing in it is overwritten; name another folder"
        );
        Ok(Self { folder, made, finished: false })
    }

    fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be removed stays, and the next call says so.
        for entry in fs::read_dir(self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        if self.made {
            let _ = fs::remove_dir(self.folder);
        }
    }
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    files::write_new(path, text.as_bytes(), mode)
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
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
    pub(crate) fn federation(folder: &Path) -> PathBuf {
        let dir = folder.join("new");
        init(&dir).run().unwrap();
        let plan = plan::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
        fs::write(dir.join("plan.json"), serde_json::to_string(plan.sign(&author).signed()).unwrap())
            .unwrap();
        dir
    }

    #[test]
    fn what_is_made_can_be_loaded_once_there_is_a_plan_and_holds_no_secret_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let made = init(&dir).run().unwrap();
        let plan = plan::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
        fs::write(dir.join("plan.json"), serde_json::to_string(plan.sign(&author).signed()).unwrap())
            .unwrap();
        let loaded = crate::Config::load(&dir.join("coordinator.toml")).map_err(|why| why.to_string());
        let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(loaded.tls.unwrap().authority.fingerprint(), made.authority.fingerprint());
        assert!(loaded.roster.members.is_empty() && loaded.model_key.is_some());
        // The master key stands apart from what it opens; the administrator's own key is theirs to protect.
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(11).any(|at| at == b"PRIVATE KEY"), "{:?}", entry.path());
        }
        assert!(vault::is_sealed(&fs::read(dir.join("authority/authority.key")).unwrap()));
    }

    #[test]
    fn a_folder_that_holds_anything_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let why = init(folder.path()).run().map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("is not empty"), "{why}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_meant_leaves_nothing_and_the_corrected_call_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let changes: [fn(&mut Init); 8] = [
            |init| init.address = "localhost".into(),
            |init| init.address = "https://localhost:7440".into(),
            |init| init.address = "local host:7440".into(),
            |init| init.address = "localhost:99999".into(),
            |init| init.listen = Some("0.0.0.0".into()),
            |init| init.names = vec!["a b".into()],
            |init| init.federation = "two words".into(),
            |init| init.admin = String::new(),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut asked = init(&dir);
            change(&mut asked);
            assert!(asked.run().is_err(), "{place}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{place}");
        }
        init(&dir).run().unwrap();
    }

    #[test]
    fn what_a_disk_that_fails_has_taken_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        for existing in [false, true] {
            let dir = folder.path().join(format!("{existing}"));
            if existing {
                fs::create_dir(&dir).unwrap();
            }
            let unfinished = Unfinished::empty(&dir).unwrap();
            sealed(&dir).unwrap();
            fs::create_dir(dir.join("authority")).unwrap();
            sealed(&dir.join("authority")).unwrap();
            drop(unfinished);
            assert_eq!(dir.exists(), existing, "what was there before is there still");
            init(&dir).run().unwrap();
        }
        // A call that was killed cannot tidy up, and the next one says what is to be done.
        let dir = folder.path().join("killed");
        fs::create_dir(&dir).unwrap();
        sealed(&dir).unwrap();
        let why = init(&dir).run().map(drop).unwrap_err().to_string();
        assert!(why.contains("remove the folder"), "{why}");
    }

    #[test]
    fn another_master_key_or_none_is_named_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = federation(folder.path());
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
