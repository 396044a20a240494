//! `folkmoot-coordinator init`: a federation's authority, its certificates, its keys and a configuration.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use attest::ModelKey;
use identity::{Authority, IdentityKey, LAST_ROSTER_FILE, LastSigned, Role, Roster, Subject, is_name};
use pki::{CertificateAuthority, TransportKey};
use rand::rand_core::UnwrapErr;
use vault::{MasterSource, Vault};

const DAY_S: u64 = 24 * 3600;
/// The first administrator's certificate.
const ADMIN_DAYS: u64 = 90;

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

impl Init {
    /// Makes everything, or leaves a folder that says where it stopped: nothing is ever overwritten.
    ///
    /// # Errors
    /// A folder that holds anything, a name or an address that cannot be one, a disk that fails.
    pub fn run(&self) -> anyhow::Result<Made> {
        let (host, _) =
            split(&self.address).with_context(|| format!("--address `{}` is no HOST:PORT", self.address))?;
        ensure!(
            is_name(&self.federation),
            "--federation `{}`: letters, digits, `-`, `_` and `.`",
            self.federation
        );
        let admin = Subject::operator(&self.admin, Role::Admin).context("--admin")?;
        let folder = empty(&self.dir)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock")?.as_secs();
        let rng = &mut UnwrapErr(rand::rngs::SysRng);

        let master = folder.join("master.key");
        vault::make_master(&master)?;
        let vault = Vault::create(&folder, MasterSource::File(master))?;
        let seal = |name: &str, text: &str| {
            vault::write_secret(&folder.join(name), &vault, name, text.as_bytes())
                .with_context(|| format!("cannot write `{name}`"))
        };

        let authority_key = IdentityKey::generate(rng);
        let own_authority = folder.join("authority");
        fs::create_dir(&own_authority)?;
        vault::make_master(&own_authority.join("master.key"))?;
        let source = MasterSource::File(own_authority.join("master.key"));
        let authority_vault = Vault::create(&own_authority, source)?;
        let secret = authority_key.secret_hex();
        vault::write_secret(
            &own_authority.join("authority.key"),
            &authority_vault,
            "authority.key",
            secret.as_bytes(),
        )?;

        let issuer = CertificateAuthority::create(&self.federation, now_s)?;
        seal("ca.key", &issuer.key_pem())?;
        let authority = Authority {
            federation: self.federation.clone(),
            key: hex::encode(authority_key.public().as_bytes()),
            ca_certificate: issuer.certificate_pem().to_owned(),
        };
        let document = authority.to_canonical();
        for place in [&folder, &own_authority] {
            write(&place.join("authority.json"), &document, 0o644)?;
        }
        write(&folder.join("ca.crt"), issuer.certificate_pem(), 0o644)?;

        let server = TransportKey::generate()?;
        let names: Vec<String> = std::iter::once(host.to_owned()).chain(self.names.iter().cloned()).collect();
        let issued = issuer.issue(&server.request_der()?, &Subject::Coordinator, &names, now_s, DAY_S)?;
        seal("server.key", &server.to_pem())?;
        write(&folder.join("server.crt"), &issued.chain_pem, 0o644)?;

        let coordinator = IdentityKey::generate(rng);
        seal("coordinator.key", &coordinator.secret_hex())?;
        let model = ModelKey::generate(rng)?;
        let pem = model.to_pem()?;
        seal("model.key", &pem)?;
        write(&folder.join("model.pub.pem"), model.public().to_pem(), 0o644)?;
        let coordinator_key = hex::encode(coordinator.public().as_bytes());
        let roster = Roster {
            format: Some(Roster::FORMAT),
            previous: None,
            federation: self.federation.clone(),
            epoch: 1,
            coordinator_key: coordinator_key.clone(),
            members: BTreeMap::new(),
        };
        let signed = roster.sign(&authority_key);
        write(&folder.join("roster.json"), &serde_json::to_string(&signed)?, 0o644)?;
        // What the authority extends, whatever a coordinator will show.
        let last = LastSigned::new(signed.authorise(&authority_key.public())?);
        write(&own_authority.join(LAST_ROSTER_FILE), &last.to_json(), 0o644)?;

        let own = folder.join("admin");
        fs::create_dir(&own)?;
        let key = TransportKey::generate()?;
        let issued = issuer.issue(&key.request_der()?, &admin, &[], now_s, ADMIN_DAYS * DAY_S)?;
        write(&own.join("operator.key"), &key.to_pem(), 0o600)?;
        write(&own.join("operator.crt"), &issued.chain_pem, 0o644)?;
        write(&own.join("authority.json"), &document, 0o644)?;
        write(&own.join("coordinator"), &format!("https://{}\n", self.address), 0o644)?;

        // Last: a folder without it was not finished.
        let listen = self.listen.as_ref().unwrap_or(&self.address);
        write(&folder.join("coordinator.toml"), &configuration(listen, &authority.key), 0o644)?;
        Ok(Made { authority, coordinator_key })
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
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

fn empty(folder: &Path) -> anyhow::Result<PathBuf> {
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("--dir `{shown}` cannot be made"))?;
    let mut entries = fs::read_dir(folder).with_context(|| format!("--dir `{shown}` cannot be read"))?;
    ensure!(
        entries.next().is_none(),
        "--dir `{shown}` is not empty, and nothing in it is overwritten; name another folder"
    );
    Ok(folder.to_owned())
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_is_made_can_be_loaded_once_there_is_a_plan_and_holds_no_secret_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let made = init(&dir).run().unwrap();
        let plan = identity::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
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
    fn another_master_key_or_none_is_named_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        init(&dir).run().unwrap();
        let plan = identity::Plan::from_toml(include_str!("../../deploy/config/plan.toml")).unwrap();
        let author = IdentityKey::from_secret_hex(&hex::encode([5; 32])).unwrap();
        fs::write(dir.join("plan.json"), serde_json::to_string(plan.sign(&author).signed()).unwrap())
            .unwrap();
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
