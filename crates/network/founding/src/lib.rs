//! How a federation begins: its authority, its first certificates, its keys and a configuration, in one folder.
//!
//! Owns: which files there are, whose each is, and which are sealed ([`NewFederation`]); and the folder that a person calls a
//! coordinator with ([`operator_folder`]). All that can fail for what was asked is done before anything is written; a folder is
//! filled whole or not at all, and nothing in it is ever overwritten.
//!
//! Does not: admit anybody, sign a later roster (both are `operate`'s), or read the configuration that it writes, which is the
//! coordinator's.
//!
//! ```text
//! DIR/authority/        to be moved to the authority's own machine, best an offline one: the key that admits silos, sealed
//! DIR/admin/            to be moved to the first administrator's: a key of theirs, and its certificate
//! DIR/master.key        opens DIR/keys.json, and with it every other .key file beside them
//! DIR/coordinator.toml  written last: a folder without it was not finished
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod error;
mod operator;
mod unfinished;

use std::collections::BTreeMap;
use std::path::Path;

use attest::ModelKey;
use identity::{
    Authority, IdentityKey, LAST_ROSTER_FILE, LastSigned, Role, Roster, SignedRoster, Subject, is_name,
};
use pki::{CertificateAuthority, TransportKey};
use rand::rand_core::UnwrapErr;
use vault::files::{self, FOLDER_OWNER_ONLY, WORLD_READABLE};
use vault::{MasterSource, Vault, layout};

pub use error::{CertificateError, FoundingError};
pub use operator::{issued, operator_folder};
use unfinished::Unfinished;

const DAY_S: u64 = 24 * 3600;
/// The file that a coordinator is started with.
const CONFIG: &str = "coordinator.toml";
const MASTER_KEY: &str = "master.key";

/// A federation that is to be.
#[derive(Debug, Clone)]
pub struct NewFederation {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where silos connect: HOST:PORT; the certificate is made for this host.
    pub address: String,
    /// Where its coordinator listens, where that is another address than silos connect to.
    pub listen: Option<String>,
    /// Further DNS names or addresses that silos may connect to.
    pub names: Vec<String>,
    /// The first administrator's name.
    pub admin: String,
}

/// What was made, for whoever continues with it.
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

impl NewFederation {
    /// Makes everything in `folder`, which is empty or not there, or leaves things as they were.
    ///
    /// # Errors
    /// [`FoundingError`]: a folder that holds anything, a name or an address that cannot be one, a disk that fails.
    pub fn make(&self, folder: &Path) -> Result<Made, FoundingError> {
        let prepared = self.prepare()?;
        let unfinished = Unfinished::empty(folder)?;
        self.write(folder, &prepared)?;
        unfinished.finished();
        let coordinator_key = hex::encode(prepared.coordinator.public().as_bytes());
        Ok(Made { authority: prepared.authority, coordinator_key })
    }

    fn prepare(&self) -> Result<Prepared, FoundingError> {
        let (host, _) = split(&self.address).ok_or_else(|| FoundingError::Address(self.address.clone()))?;
        if let Some(listen) = self.listen.as_ref().filter(|listen| split(listen).is_none()) {
            return Err(FoundingError::Listen(listen.clone()));
        }
        if !is_name(&self.name) {
            return Err(FoundingError::Name(self.name.clone()));
        }
        let admin = Subject::operator(&self.admin, Role::Admin)?;
        let now_s = pki::now_s()?;
        let rng = &mut UnwrapErr(rand::rngs::SysRng);
        let authority_key = IdentityKey::generate(rng);
        let issuer = CertificateAuthority::create(&self.name, now_s).map_err(CertificateError::from)?;
        let authority = Authority {
            federation: self.name.clone(),
            key: hex::encode(authority_key.public().as_bytes()),
            ca_certificate: issuer.certificate_pem().to_owned(),
        };
        let names: Vec<String> = std::iter::once(host.to_owned()).chain(self.names.iter().cloned()).collect();
        let server = operator::certified(&issuer, &Subject::Coordinator, &names, now_s, DAY_S)
            .map_err(|why| FoundingError::Server { names: names.join(", "), why })?;
        let admin = issued(&issuer, &admin, now_s)?;
        let coordinator = IdentityKey::generate(rng);
        let roster = Roster {
            format: Some(Roster::FORMAT),
            previous: None,
            federation: self.name.clone(),
            epoch: 1,
            coordinator_key: hex::encode(coordinator.public().as_bytes()),
            members: BTreeMap::new(),
        };
        let roster = roster.sign(&authority_key);
        let model = ModelKey::generate(rng)?;
        Ok(Prepared { authority_key, issuer, authority, server, admin, coordinator, model, roster })
    }

    fn write(&self, folder: &Path, made: &Prepared) -> Result<(), FoundingError> {
        let vault = sealed(folder)?;
        let seal = |name: &'static str, text: &str| {
            vault::write_secret(&folder.join(name), &vault, name, text.as_bytes())
                .map_err(|why| FoundingError::NotSealed { name, why })
        };
        let own_authority = folder.join("authority");
        files::make_folder(&own_authority, FOLDER_OWNER_ONLY)?;
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

/// The host and the port of HOST:PORT, without an IPv6 address's brackets.
pub fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

/// A new vault under a new master key, both in this folder.
fn sealed(folder: &Path) -> Result<Vault, FoundingError> {
    let master = folder.join(MASTER_KEY);
    vault::make_master(&master)?;
    Ok(Vault::create(folder, MasterSource::File(master))?)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), FoundingError> {
    files::write_new(path, text.as_bytes(), mode)
        .map_err(|why| FoundingError::NotWritten { file: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn hospitals() -> NewFederation {
        NewFederation {
            name: "hospitals".into(),
            address: "localhost:7440".into(),
            listen: None,
            names: vec!["127.0.0.1".into()],
            admin: "ada".into(),
        }
    }

    #[test]
    fn a_folder_that_holds_anything_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let why = hospitals().make(folder.path()).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("is not empty"), "{why}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_meant_leaves_nothing_and_the_corrected_call_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        let changes: [fn(&mut NewFederation); 8] = [
            |new| new.address = "localhost".into(),
            |new| new.address = "https://localhost:7440".into(),
            |new| new.address = "local host:7440".into(),
            |new| new.address = "localhost:99999".into(),
            |new| new.listen = Some("0.0.0.0".into()),
            |new| new.names = vec!["a b".into()],
            |new| new.name = "two words".into(),
            |new| new.admin = String::new(),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut asked = hospitals();
            change(&mut asked);
            assert!(asked.make(&dir).is_err(), "{place}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{place}");
        }
        hospitals().make(&dir).unwrap();
    }

    #[test]
    fn no_key_that_opens_anything_lies_beside_the_master_key_in_the_clear() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new");
        hospitals().make(&dir).unwrap();
        // The master key stands apart from what it opens; the administrator's own key is theirs to protect.
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
            let bytes = fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(11).any(|at| at == b"PRIVATE KEY"), "{:?}", entry.path());
        }
        assert!(vault::is_sealed(&fs::read(dir.join("authority/authority.key")).unwrap()));
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
            hospitals().make(&dir).unwrap();
        }
        // A call that was killed cannot tidy up, and the next one says what is to be done.
        let dir = folder.path().join("killed");
        fs::create_dir(&dir).unwrap();
        sealed(&dir).unwrap();
        let why = hospitals().make(&dir).map(drop).unwrap_err().to_string();
        assert!(why.contains("remove the folder"), "{why}");
    }
}
