//! `folkmoot clients`: who asks to join, who is let in, and who is put out.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ed25519_dalek::VerifyingKey;
use identity::{
    AuthorisedRoster, IdentityKey, Member, Roster, SignedRoster, identity_fingerprint, parse_verifying_key,
    spoken, with_causes,
};
use operate::{AUTHORITY_FILE, read_authority};
use secagg::ClientId;
use vault::{MasterSource, Vault};
use wire::v1::admin_client::AdminClient;
use wire::v1::{
    ClientEntry, Clients as Listed, ListClientsRequest, RefuseClientRequest, RestoreClientRequest,
    RevokeClientRequest,
};

use crate::Failure;
use crate::connect::{Link, Remote, printable, refused, roster_key};
use crate::files::Unusable;

mod extending;

pub(crate) use extending::Authority;
use extending::Base;

/// As the coordinator says it of a request.
const AWAITING: &str = "awaiting approval";

#[derive(Subcommand, Debug)]
pub(crate) enum Clients {
    /// Show the members and who asks to become one.
    #[command(after_help = "Example:\n  folkmoot clients list --as admin")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Admit silos that ask: sign the roster that names them, and put it in force.
    #[command(
        after_help = "Compare the fingerprint with what the silo's own machine shows, by telephone for example: it is \
                      what keeps another in the middle out. Several names make one roster.\n\n\
                      Examples:\n  \
                      folkmoot clients approve north --as admin --authority authority\n  \
                      folkmoot clients approve north --as admin --authority authority --fingerprint 3f9a-22c1-…"
    )]
    Approve(ApproveArgs),
    /// Say no to a silo that asks.
    #[command(after_help = "Example:\n  folkmoot clients refuse north --reason 'no contract yet' --as admin")]
    Refuse {
        /// The name that it asks under.
        name: String,
        /// Why; the silo is told.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Bar a member at once, on live connections too, and leave it out of the roster.
    #[command(
        after_help = "Without --authority the member is barred just as well, but the roster still names it: other \
                      silos learn of it from the next roster.\n\n\
                      Example:\n  folkmoot clients revoke north --reason 'poisoned updates' --as admin --authority authority"
    )]
    Revoke(RevokeArgs),
    /// Let a member in again that was barred.
    #[command(
        after_help = "Only an administrator may. Of a silo that the roster does not name any more, only the bar is \
                      lifted: it enrols again.\n\n\
                      Example:\n  folkmoot clients restore north --reason 'it was the disk after all' --as admin"
    )]
    Restore {
        /// The member's name, or its number.
        #[arg(value_name = "NAME|ID")]
        whom: String,
        /// Why; the audit log is told.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The names that they ask under.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    remote: Remote,
    /// The authority's folder.
    #[arg(long, value_name = "FOLDER")]
    authority: PathBuf,
    /// The fingerprint that the silo's machine shows, once for each name: asks nothing, and fails where one differs.
    #[arg(long = "fingerprint", value_name = "XXXX-…", conflicts_with = "yes")]
    fingerprints: Vec<String>,
    /// Admit them without a comparison.
    #[arg(long)]
    yes: bool,
    /// The first new member's number; without it the next after the highest that this folder remembers to have given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    #[command(flatten)]
    trust: Trust,
}

#[derive(clap::Args, Debug, Default)]
pub(crate) struct Trust {
    /// Stand for the roster of this digest as the newest that the authority signed, where its folder does not remember it:
    /// after an update from the first release, or where another copy of the folder signed it. For an older one only where the
    /// coordinator's newest folder is lost: whom the last one signed here left out stays out all the same.
    #[arg(long, value_name = "DIGEST")]
    trust_current: Option<String>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The member's name, or its number.
    #[arg(value_name = "NAME|ID")]
    whom: String,
    /// Why; the silo is told.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    remote: Remote,
    /// The authority's folder, to sign the roster without it.
    #[arg(long, value_name = "FOLDER")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

pub(crate) async fn run(clients: Clients) -> Result<(), Failure> {
    match clients {
        Clients::List { remote } => list(&remote).await,
        Clients::Approve(args) => approve(args, &mut std::io::stdin().lock()).await,
        Clients::Refuse { name, reason, remote } => {
            let request = RefuseClientRequest { name, reason };
            let done = remote.admin().await?.refuse_client(request).await.map_err(|why| refused(&why))?;
            println!("{}", printable(&done.into_inner().text));
            Ok(())
        }
        Clients::Revoke(args) => revoke(args).await,
        Clients::Restore { whom, reason, remote } => {
            let mut admin = remote.admin().await?;
            // A number may be of one that is no member any more.
            let id = match whom.parse() {
                Ok(id) => ClientId(id),
                Err(_) => member(&listed(&mut admin).await?.clients, &whom)?,
            };
            let request = RestoreClientRequest { client: id.0, reason };
            let done = admin.restore_client(request).await.map_err(|why| refused(&why))?;
            println!("{}", printable(&done.into_inner().text));
            Ok(())
        }
    }
}

async fn list(remote: &Remote) -> Result<(), Failure> {
    let listed = listed(&mut remote.admin().await?).await?;
    if listed.clients.is_empty() {
        println!(
            "no member, and nobody asks to become one; `folkmoot tokens create --silo NAME` invites one"
        );
    }
    for client in &listed.clients {
        println!("{}", line(client));
    }
    Ok(())
}

fn line(client: &ClientEntry) -> String {
    let number = if client.id == 0 { "-".to_owned() } else { client.id.to_string() };
    let link = if client.connected { "connected" } else { "" };
    let (name, state) = (printable(&client.name), printable(&client.state));
    let line = format!("{number:>4}  {name:<16}  {state:<17}  {}  {link}", printable(&client.fingerprint));
    line.trim_end().to_owned()
}

pub(crate) async fn listed(admin: &mut AdminClient<Link>) -> Result<Listed, Failure> {
    Ok(admin.list_clients(ListClientsRequest {}).await.map_err(|why| refused(&why))?.into_inner())
}

async fn approve(args: ApproveArgs, answers: &mut impl BufRead) -> Result<(), Failure> {
    let mut authority = Authority::open(&args.authority)?;
    let mut admin = args.remote.admin().await?;
    let listed = listed(&mut admin).await?;
    let trusted = args.trust.trust_current.as_deref();
    let current = authority.current(&mut admin, &listed, trusted).await?;
    // What was submitted again may have admitted some of them.
    let clients = self::listed(&mut admin).await?.clients;
    let (members, names) = admitted(&current.next, &clients, &args.names);
    for (id, member) in &members {
        if !args.fingerprints.is_empty() {
            confirm(member, &args, answers)?;
        }
        println!("silo {id} is {} already", printable(&member.name));
    }
    if names.is_empty() {
        return Ok(());
    }
    let asking = asking(&clients, &names)?;
    for newcomer in &asking {
        confirm(newcomer, &args, answers)?;
    }
    let next = admit(&current, &asking, args.number)?;
    let highest = next.members.keys().map(|id| id.0).fold(current.highest_number, u32::max);
    let number = highest.checked_add(1).map(|number| {
        format!("run this again, with --number {number} or higher if a number is what it refuses,")
    });
    let again = number.as_deref().unwrap_or("run this again");
    authority.extend(&mut admin, &current.before, &next, again).await?;
    for (id, member) in next.members.iter().filter(|(_, member)| member.admitted == next.epoch) {
        println!("silo {id} is {}", printable(&member.name));
    }
    Ok(())
}

/// Of these names those that are members and ask for nothing: what admitted them was lost on its way, or its answer was. And the
/// others.
fn admitted(
    roster: &Roster,
    clients: &[ClientEntry],
    names: &[String],
) -> (Vec<(ClientId, Newcomer)>, Vec<String>) {
    let mut members = Vec::new();
    let mut others = Vec::new();
    for name in names {
        let asks = clients.iter().any(|client| client.name == *name && client.state == AWAITING);
        let member = roster.members.iter().find(|(_, member)| !asks && member.name == *name);
        let known = member.and_then(|(id, member)| Some((*id, newcomer(name, &member.identity_key).ok()?)));
        match known {
            Some(known) => members.push(known),
            None => others.push(name.clone()),
        }
    }
    (members, others)
}

async fn revoke(args: RevokeArgs) -> Result<(), Failure> {
    // A wrong folder is found before anybody is barred.
    let authority = args.authority.as_deref().map(Authority::open).transpose()?;
    let mut admin = args.remote.admin().await?;
    let before = listed(&mut admin).await?;
    let id = member(&before.clients, &args.whom)?;
    let request = RevokeClientRequest { client: id.0, reason: args.reason };
    let done = admin.revoke_client(request).await.map_err(|why| refused(&why))?.into_inner();
    println!("{}", printable(&done.text));
    let Some(mut authority) = authority else {
        eprintln!(
            "warning: the roster still names it; with the authority's folder run this again with --authority FOLDER, \
             so that every silo learns of it"
        );
        return Ok(());
    };
    let seen = listed(&mut admin).await?;
    let Base { before, mut next, .. } =
        authority.current(&mut admin, &seen, args.trust.trust_current.as_deref()).await?;
    let Some(member) = before.members.get(&id) else { return Ok(()) };
    next.members.remove(&id);
    // Whose number it is was the coordinator's word; the roster is the authority's.
    if member.name != args.whom && args.whom.parse() != Ok(id.0) {
        return Err(Failure::verification(format!(
            "the coordinator barred silo {id} for `{}`, and the roster calls that one `{}`; nothing was signed",
            printable(&args.whom),
            printable(&member.name)
        )));
    }
    authority.extend(&mut admin, &before, &next, "run this again").await
}

/// Opens the authority's key in its own folder.
pub(crate) fn open_authority(folder: &Path) -> Result<IdentityKey, Failure> {
    let file = folder.join("authority.key");
    let secret = Vault::open_folder(folder, MasterSource::File(folder.join("master.key")))
        .and_then(|vault| vault::read_secret(&file, &vault, "authority.key"))
        .map_err(|why| Failure::usage(format!("--authority: {}", with_causes(&why))))?;
    let text = std::str::from_utf8(&secret).map_err(|_| Unusable::new(&file, "holds no key"))?;
    let key = IdentityKey::from_secret_hex(text).map_err(|why| Unusable::new(&file, why))?;
    let document = folder.join(AUTHORITY_FILE);
    if document.exists() && roster_key(&read_authority(&document)?)? != key.public() {
        return Err(Unusable::new(
            &file,
            "is not the key of the authority.json beside it; restore both from one backup",
        )
        .into());
    }
    Ok(key)
}

/// The roster in force, which the coordinator cannot make up: the authority signed it. Whether it is the newest is not told.
pub(crate) fn roster_in_force(listed: &Listed, authority: &VerifyingKey) -> Result<Roster, Unbelieved> {
    signed_in_force(listed, authority).map(|roster| Roster::clone(&roster))
}

/// What a coordinator shows as its roster, and nobody signed.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator's roster is not believed: {0}")]
pub(crate) struct Unbelieved(#[source] Box<dyn std::error::Error + Send + Sync>);

fn signed_in_force(listed: &Listed, authority: &VerifyingKey) -> Result<AuthorisedRoster, Unbelieved> {
    let signed: SignedRoster = serde_json::from_str(&listed.roster).map_err(|why| Unbelieved(why.into()))?;
    signed.authorise(authority).map_err(|why| Unbelieved(why.into()))
}

/// One that asks, with the fingerprint computed here: the coordinator's word for it is not enough.
#[derive(Debug)]
struct Newcomer {
    name: String,
    identity_key: String,
    fingerprint: String,
}

fn asking(clients: &[ClientEntry], names: &[String]) -> Result<Vec<Newcomer>, Failure> {
    let mut found = Vec::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        let mut of_name = clients.iter().filter(|client| client.name == *name && client.state == AWAITING);
        let Some(client) = of_name.next() else {
            return Err(Failure::usage(format!(
                "nobody asks to join as `{name}`; `folkmoot clients list` shows who does"
            )));
        };
        if of_name.next().is_some() {
            return Err(Failure::usage(format!(
                "two ask to join as `{name}`; refuse it, and have the right one enrol again under another name"
            )));
        }
        found.push(newcomer(name, &client.identity_key)?);
    }
    Ok(found)
}

fn newcomer(name: &str, identity_key: &str) -> Result<Newcomer, Failure> {
    let key = parse_verifying_key(identity_key)
        .map_err(|why| Failure::verification(format!("`{name}` asks with a key that is none: {why}")))?;
    let fingerprint = spoken(&identity_fingerprint(name, &key));
    Ok(Newcomer { name: name.to_owned(), identity_key: identity_key.to_owned(), fingerprint })
}

fn confirm(newcomer: &Newcomer, args: &ApproveArgs, answers: &mut impl BufRead) -> Result<(), Failure> {
    let Newcomer { name, fingerprint, .. } = newcomer;
    if args.yes {
        return Ok(());
    }
    if !args.fingerprints.is_empty() {
        let same = |given: &String| given.trim().eq_ignore_ascii_case(fingerprint);
        return match args.fingerprints.iter().any(same) {
            true => Ok(()),
            false => Err(Failure::verification(format!(
                "who asks as `{name}` has the fingerprint {fingerprint}, which is not what was given; if the silo's \
                 machine shows another, somebody else asks in its name: folkmoot clients refuse {name}"
            ))),
        };
    }
    println!("`{name}` asks to join. Its machine must show this fingerprint:\n  {fingerprint}");
    print!("Does it? [y/N] ");
    let mut answer = String::new();
    std::io::stdout().flush().map_err(Failure::failed)?;
    answers.read_line(&mut answer).map_err(Failure::failed)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed(format!(
            "`{name}` is not admitted; folkmoot clients refuse {name} tells it so"
        ))),
    }
}

/// The roster that admits these, each under a number that no member has.
fn admit(base: &Base, asking: &[Newcomer], number: Option<u32>) -> Result<Roster, Failure> {
    let Base { next: current, highest_number, .. } = base;
    let mut next = current.clone();
    // A former member's number is nobody else's.
    let mut id = number.or_else(|| highest_number.checked_add(1));
    for newcomer in asking {
        if let Some((id, _)) = current.members.iter().find(|(_, member)| member.name == newcomer.name) {
            return Err(Failure::usage(format!(
                "silo {id} is `{}` already; refuse this one, and have it enrol under another name",
                newcomer.name
            )));
        }
        let here = id.ok_or_else(|| Failure::failed("the roster has no number left"))?;
        let (name, identity_key) = (newcomer.name.clone(), newcomer.identity_key.clone());
        let member = Member { name, identity_key, admitted: next.epoch };
        if next.members.insert(ClientId(here), member).is_some() {
            return Err(Failure::usage(format!(
                "--number: silo {here} is a member; begin with a higher number"
            )));
        }
        id = here.checked_add(1);
    }
    Ok(next)
}

/// A member's number, from it or from its name.
pub(crate) fn member(clients: &[ClientEntry], whom: &str) -> Result<ClientId, Failure> {
    let members = || clients.iter().filter(|client| client.id != 0);
    let by_name = members().find(|client| client.name == whom);
    let found = by_name.or_else(|| members().find(|client| whom.parse() == Ok(client.id)));
    found.map(|client| ClientId(client.id)).ok_or_else(|| {
        Failure::usage(format!("no member is `{whom}`; `folkmoot clients list` shows names and numbers"))
    })
}

#[cfg(test)]
mod tests;
