//! `folkmoot-client enroll`: a silo's first contact, which ends with a folder that the daemon runs from.
//!
//! Keys are made here and stay here, sealed. The token's secret is said only to a server whose authority is the one
//! that the token pins. Everything can be asked again with the same folder: the keys are then the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use daemon::Secret;
use ed25519_dalek::Signer;
use identity::{
    AuthorisedRoster, Authority, IdentityKey, JoinToken, SignedRoster, Subject, identity_fingerprint,
    join_signed_bytes, spoken,
};
use pki::{ClientTls, Outgoing, Proxy, TransportKey, UnpinnedConnection};
use plan::Problems;
use rand::rngs::SysRng;
use rand_core::UnwrapErr;
use sandbox::Demand;
use secagg::ClientId;
use tonic::Status;
use tonic::transport::Channel;
use vault::files::{self, TEXT_BYTES_MAX};
use vault::layout::Silo;
use vault::{MasterSource, Vault, VaultError};
use wire::v1::enrolment_client::EnrolmentClient;
use wire::v1::join_reply::State;
use wire::{Backoff, v1};
use zeroize::Zeroizing;

use crate::proxy;
use crate::transport::Files;
use crate::{Config, link};

/// Between two questions whether an administrator has decided, at most: a person waits for the answer, and many silos may ask from
/// one address.
const POLL_LONGEST: Duration = Duration::from_secs(10);

/// Asks a coordinator for admission, and writes the silo's folder.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 admitted; what is still to be edited before the daemon can start is said. 1 failed, 2 usage, 3 refused by an administrator or by what this silo checks, 5 not decided \
                  yet (--no-wait), or stopped before it was: run it again.\n\n\
                  Examples:\n  \
                  folkmoot-client enroll --coordinator https://fl.example.org:7440 --token-file north.token --dir silo --author HEX\n  \
                  ssh admin@fl.example.org cat north.token | folkmoot-client enroll --token-file - \
                  --coordinator https://fl.example.org:7440 --dir silo --author HEX"
)]
pub(crate) struct Enroll {
    /// The coordinator: `https://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    coordinator: String,
    /// The join token. Other users of this machine can read a command line: give --token-file.
    #[arg(long, value_name = "TOKEN", required_unless_present = "token_file", conflicts_with = "token_file")]
    token: Option<Secret>,
    /// The file that holds the join token, or - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The HTTP proxy that leads to the coordinator: http://HOST:PORT, or none. Else as https_proxy and no_proxy say.
    #[arg(long, value_name = "URL")]
    proxy: Option<Secret>,
    /// The file with one line USER:PASSWORD for that proxy.
    #[arg(long, value_name = "FILE", requires = "proxy")]
    proxy_auth_file: Option<PathBuf>,
    /// The silo's folder, made where it is not there.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The silo's table: a CSV file, or a folder of them.
    #[arg(long, value_name = "PATH", default_value = "data.csv")]
    data: PathBuf,
    /// The public key of an author whose plans this silo runs; may be repeated.
    #[arg(long, value_name = "HEX", conflicts_with = "policy", required_unless_present = "policy")]
    author: Vec<String>,
    /// A file with the table [policy] to use instead of the strict one.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ask once, and exit with 5 where an administrator has not decided yet.
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Wait for the administrator's decision; this is the default.
    #[arg(long)]
    wait: bool,
}

/// Why a silo is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The coordinator belongs to another federation than the token.
    #[error(
        "the coordinator is not the one that the token was made for: its authority is {found}, the token's is \
         {expected}; nothing secret was said; check the address, and ask the administrator for the fingerprint"
    )]
    OtherAuthority {
        /// As spoken.
        found: String,
        /// As spoken.
        expected: String,
    },
    /// An administrator said no.
    #[error("an administrator refused this silo: {0}")]
    Refused(String),
    /// The coordinator's answer does not hold.
    #[error("the coordinator's admission does not hold: {0}; nothing was written")]
    Admission(String),
    /// A file, a key or a connection.
    #[error("{0}")]
    Other(String),
}

fn other(why: impl std::fmt::Display) -> EnrollError {
    EnrollError::Other(why.to_string())
}

/// The keys of one silo, made once.
struct Keys {
    vault: Arc<Vault>,
    identity: IdentityKey,
    transport: TransportKey,
}

impl Keys {
    fn open_or_make(dir: &Path) -> Result<Self, EnrollError> {
        let renewed = dir.join(Silo::RENEWED);
        files::make_folders(&renewed).map_err(|why| other(format!("`{}`: {why}", renewed.display())))?;
        let Silo { master, identity, key, .. } = Silo::of(dir);
        if !master.exists() {
            vault::make_master(&master).map_err(other)?;
        }
        let has_sealed = identity.exists();
        let vault = Vault::open_or_create(dir, MasterSource::File(master), has_sealed).map_err(other)?;
        let identity = secret(&identity, Silo::IDENTITY, &vault, || {
            Ok(IdentityKey::generate(&mut UnwrapErr(SysRng)).secret_hex())
        })?;
        let identity = IdentityKey::from_secret_hex(&identity).map_err(other)?;
        let transport =
            secret(&key, Silo::KEY_NAME, &vault, || Ok(TransportKey::generate().map_err(other)?.to_pem()))?;
        let transport = TransportKey::from_pem(&transport).map_err(other)?;
        Ok(Self { vault: Arc::new(vault), identity, transport })
    }
}

/// A sealed secret, made where there is none.
fn secret(
    path: &Path,
    name: &str,
    vault: &Vault,
    make: impl FnOnce() -> Result<Zeroizing<String>, EnrollError>,
) -> Result<Zeroizing<String>, EnrollError> {
    if !path.exists() {
        vault::write_secret(path, vault, name, make()?.as_bytes()).map_err(other)?;
    }
    vault::read_sealed_text(path, vault, name).map_err(|why| match why {
        VaultError::NoText => other(format!("`{}` holds no text", path.display())),
        why => other(why),
    })
}

impl Enroll {
    /// Until the silo is admitted and its folder written; `false` where nobody has decided yet and none is waited for.
    #[allow(clippy::print_stdout)]
    pub(crate) async fn run(self) -> Result<bool, EnrollError> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => token.0.clone(),
            (None, Some(path)) => files::read_secret_argument(path, TEXT_BYTES_MAX)
                .map_err(|why| other(format!("`{}`: {why}", path.display())))?,
            (None, None) => return Err(other("give --token-file FILE, or - for standard input")),
        };
        let token = JoinToken::from_text(&text).map_err(other)?;
        let proxy = self.checked()?;
        let (authority, tls) =
            first_contact(&self.coordinator, &token, &Outgoing::new(proxy.clone())).await?;
        // Nothing is written for an address, a token or a file that cannot be meant.
        let keys = Keys::open_or_make(&self.dir)?;
        let fingerprint = identity_fingerprint(&token.silo, &keys.identity.public());
        println!("federation   {}", authority.federation);
        println!("silo         {}", token.silo);
        println!("fingerprint  {}", spoken(&fingerprint));
        println!(
            "Read the fingerprint to the administrator by telephone or in person: it must be what they see."
        );
        let channel = link::channel(&self.coordinator, Some(&tls), proxy).map_err(other)?;
        let Some(admission) = self.ask(channel, &token, &keys).await? else { return Ok(false) };
        let number = ClientId(admission.client);
        let (chain, roster) = check(&admission, &authority, &token, &keys)?;
        self.write(&authority, number, &chain, &roster, &keys)?;
        println!("admitted as silo {number}; wrote `{}`", self.dir.display());
        daemon::still_roots(&self.dir).iter().for_each(|command| println!("run: {command}"));
        let config = Silo::of(&self.dir).config;
        match Config::load(&config) {
            Ok(_) => println!("start it: folkmoot-client --config '{}'", config.display()),
            Err(why) => println!("before it can start, edit `{}`: {why}", config.display()),
        }
        Ok(true)
    }

    /// What the folder's configuration will say can be used, but for what its operator may still fill in: the data, and
    /// the authors of plans.
    fn checked(&self) -> Result<Proxy, EnrollError> {
        let mut problems = Problems::default();
        let [data, dir] =
            [&self.data, &self.dir].map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        problems.require(!data.starts_with(&dir), "data", || {
            format!(
                "lies in `{}`, which the daemon follows and is to be kept out of: put it elsewhere",
                dir.display()
            )
        });
        if self.proxy.as_ref().is_some_and(|address| address.0.contains('@')) {
            problems.add(
                "--proxy",
                "holds a password, which would lie in the configuration for all to read: give it in --proxy-auth-file",
            );
        }
        let proxy = proxy::named(self.proxy.as_ref(), self.proxy_auth_file.as_deref(), &mut problems);
        let unknown =
            Authority { federation: String::new(), key: String::new(), ca_certificate: String::new() };
        let config: Config = daemon::parse(&self.configuration(&unknown, ClientId(0))?).map_err(other)?;
        config.check_coordinator(&mut problems);
        let filled_in_later = |field: &str| field == "authors" && config.policy.authors.is_empty();
        let policy = config.policy.validate().err().unwrap_or_default();
        for problem in policy.0.into_iter().filter(|problem| !filled_in_later(&problem.field)) {
            problems.add(&format!("policy.{}", problem.field), problem.text);
        }
        match proxy {
            Some(proxy) if problems.0.is_empty() => Ok(proxy),
            _ => Err(other(format!("nothing was written, and nobody asked:\n{problems}"))),
        }
    }

    /// The lines of the configuration about the proxy.
    fn proxy_lines(&self) -> Result<String, EnrollError> {
        let Some(address) = &self.proxy else { return Ok(String::new()) };
        let mut lines = format!("# The way to the coordinator.\nproxy = {:?}\n", address.0.as_str());
        if let Some(file) = &self.proxy_auth_file {
            let file = std::path::absolute(file).map_err(other)?;
            lines += &format!("proxy_auth_file = {:?}\n", file.display().to_string());
        }
        Ok(lines)
    }

    #[allow(clippy::print_stdout)]
    async fn ask(
        &self,
        channel: Channel,
        token: &JoinToken,
        keys: &Keys,
    ) -> Result<Option<v1::Admission>, EnrollError> {
        let certificate_request = keys.transport.request_der().map_err(other)?;
        let signed = join_signed_bytes(token.secret(), &token.silo, &certificate_request);
        let signature = keys.identity.signing_key().sign(&signed).to_bytes().to_vec();
        let request = v1::JoinRequest {
            secret: token.secret().to_vec(),
            silo: token.silo.clone(),
            identity_key: keys.identity.public().as_bytes().to_vec(),
            certificate_request,
            signature,
        };
        let mut enrolment = EnrolmentClient::new(channel);
        let (mut shown, mut backoff) = (false, Backoff::new(POLL_LONGEST));
        loop {
            let wait = match enrolment.join(request.clone()).await.map(|reply| reply.into_inner().state) {
                Ok(Some(State::Admitted(admission))) => return Ok(Some(admission)),
                Ok(Some(State::Refused(why))) => return Err(EnrollError::Refused(why)),
                Ok(Some(State::Awaiting(_))) if self.no_wait => {
                    println!("an administrator has not decided yet; run this again");
                    return Ok(None);
                }
                Ok(Some(State::Awaiting(_))) => {
                    if !shown {
                        println!("waiting for an administrator; this can be stopped, and run again");
                    }
                    shown = true;
                    backoff.wait()
                }
                Ok(None) => return Err(EnrollError::Admission("it says nothing".into())),
                Err(why) if shown && why.code() == tonic::Code::Unavailable => backoff.after(&why),
                Err(why) => again(&mut backoff, why)?,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The configuration last: a folder that has one is whole.
    fn write(
        &self,
        authority: &Authority,
        number: ClientId,
        chain: &str,
        roster: &AuthorisedRoster,
        keys: &Keys,
    ) -> Result<(), EnrollError> {
        let place = Silo::of(&self.dir);
        let replace = |file: &Path, text: &str| store::write_replacing(file, text.as_bytes()).map_err(other);
        replace(&place.authority, &authority.to_canonical())?;
        replace(&place.roster, &serde_json::to_string(roster.signed()).map_err(other)?)?;
        let files =
            Files { certificate: place.certificate, key: place.key, vault: Some(Arc::clone(&keys.vault)) };
        files.replace(chain, &keys.transport).map_err(other)?;
        // What its operator has written since stays.
        if place.config.exists() {
            return Ok(());
        }
        replace(&place.config, &self.configuration(authority, number)?)
    }

    fn configuration(&self, authority: &Authority, number: ClientId) -> Result<String, EnrollError> {
        let data = std::path::absolute(&self.data).map_err(other)?;
        let policy = match &self.policy {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|why| other(format!("`{}`: {why}", path.display())))?;
                if text.contains("[policy]") { text } else { format!("[policy]\n{text}") }
            }
            None => strict(&self.author),
        };
        Ok(format!(
            include_str!("enroll/client.toml"),
            coordinator = self.coordinator,
            proxy = self.proxy_lines()?,
            number = number,
            data = data.display().to_string(),
            // Where no machine can hold it, none would start.
            sandbox = if cfg!(target_os = "linux") { Demand::Required } else { Demand::Off },
            roster = Silo::ROSTER,
            authority_key = authority.key,
            identity = Silo::IDENTITY,
            authority = Silo::AUTHORITY,
            certificate = Silo::CERTIFICATE,
            key = Silo::KEY,
            master = Silo::MASTER,
            policy = policy,
        ))
    }
}

/// How long to wait where silos ask too often, which all behind one address do together.
fn again(backoff: &mut Backoff, why: Status) -> Result<Duration, EnrollError> {
    backoff.again(why).map_err(|why| other(link::said(&why)))
}

/// Asks who the authority is, and believes it only where the token pins it.
async fn first_contact(
    coordinator: &str,
    token: &JoinToken,
    outgoing: &Outgoing,
) -> Result<(Authority, ClientTls), EnrollError> {
    let contact = UnpinnedConnection::open(coordinator, outgoing).await.map_err(other)?;
    let mut enrolment = EnrolmentClient::new(contact.public_questions_only());
    let mut backoff = Backoff::new(POLL_LONGEST);
    let document = loop {
        match enrolment.describe_authority(v1::DescribeAuthorityRequest {}).await {
            Ok(document) => break document.into_inner(),
            Err(why) => tokio::time::sleep(again(&mut backoff, why)?).await,
        }
    };
    let authority = Authority::from_canonical(&document.authority).map_err(other)?;
    if authority.fingerprint() != token.authority {
        return Err(EnrollError::OtherAuthority {
            found: spoken(&authority.fingerprint()),
            expected: spoken(&token.authority),
        });
    }
    let tls = contact.pin(&authority.ca_certificate).map_err(other)?;
    Ok((authority, tls))
}

/// What was admitted is this silo, under this authority, with these keys.
fn check(
    admission: &v1::Admission,
    authority: &Authority,
    token: &JoinToken,
    keys: &Keys,
) -> Result<(String, AuthorisedRoster), EnrollError> {
    let wrong = |why: String| EnrollError::Admission(why);
    let number = ClientId(admission.client);
    let key = authority.verifying_key().map_err(other)?;
    let signed: SignedRoster =
        serde_json::from_str(&admission.roster).map_err(|why| wrong(format!("the roster: {why}")))?;
    let roster = signed.authorise(&key).map_err(|why| wrong(why.to_string()))?;
    let named = roster.keys().get(&number) == Some(&keys.identity.public())
        && roster.name(number) == token.silo
        && roster.federation == authority.federation;
    if !named {
        return Err(wrong(format!("the roster does not name {} with this silo's key", token.silo)));
    }
    let chain = admission.certificate.as_ref().map(|certificate| certificate.chain.clone());
    let chain = chain.ok_or_else(|| wrong("it has no certificate".into()))?;
    let leaf = pki::inspect(&chain).map_err(|why| wrong(why.to_string()))?;
    if leaf.subject != Subject::Silo(number) {
        return Err(wrong("the certificate is of somebody else".into()));
    }
    ClientTls::new(&authority.ca_certificate, Some((&chain, &keys.transport)))
        .map_err(|why| wrong(why.to_string()))?;
    Ok((chain, roster))
}

/// The most that all runs may spend at a silo that has not said otherwise, as the table says it.
const EPSILON_MAX: f64 = 5.0;

/// What a silo allows that has not said otherwise: of what all runs may spend, an equal share may be claimed for each author, rounded down.
fn strict(authors: &[String]) -> String {
    let share = (1000.0 * EPSILON_MAX / authors.len().max(1) as f64).floor() / 1000.0;
    let table = include_str!("enroll/policy.toml").replace("AUTHORS", &format!("{authors:?}"));
    table.replace("SHARE", &format!("{share:?}"))
}

#[cfg(test)]
mod tests;
