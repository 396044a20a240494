//! `folkmoot roster`: what the federation's authority signs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::{AuthorisedRoster, IdentityKey, Member, SignedRoster};
use operate::{AuthorityFolder, RosterContents, roster_key};
use secagg::ClientId;

use crate::Failure;
use crate::connect::{Output, Remote};
use crate::files::{WriteError, read_text, write_document};
use crate::keys;

#[derive(Subcommand, Debug)]
pub(crate) enum Roster {
    /// Sign a roster as the federation's authority.
    #[command(after_help = "Example:\n  \
                  folkmoot roster sign --authority authority.key --federation hospitals --epoch 1 \
                  --coordinator-key HEX --member 1:north:HEX --member 2:south:HEX --member 3:west:HEX \
                  --out roster.json")]
    Sign(SignArgs),
    /// Print a signed roster: a file, or the one in force.
    #[command(after_help = "Without --authority-file or --as the file is read and not verified.\n\n\
                  Examples:\n  \
                  folkmoot roster show --as admin\n  \
                  folkmoot roster show --as admin --json\n  \
                  folkmoot roster show roster.json --authority-file authority.json")]
    Show(ShowArgs),
}

#[derive(clap::Args, Debug)]
pub(crate) struct ShowArgs {
    /// A signed roster; without it the coordinator is asked.
    file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args, Debug)]
pub(crate) struct SignArgs {
    /// The authority's secret key.
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// The federation's name.
    #[arg(long, value_name = "NAME")]
    federation: String,
    /// Must grow with every roster of this federation.
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// The coordinator's public key.
    #[arg(long, value_name = "HEX")]
    coordinator_key: String,
    /// A member: its number, its name, its public key. Once for each.
    #[arg(long = "member", value_name = "ID:NAME:HEX", required = true, value_parser = parse_member)]
    members: Vec<(ClientId, String, String)>,
    /// The signed roster before this one, which it names. `last-roster.json` beside the key remembers it from the first one on;
    /// where there is none, a roster without this is a federation's first, and follows none.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Where the signed roster goes; must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) async fn run(roster: Roster) -> Result<(), Failure> {
    match roster {
        Roster::Sign(args) => sign(&args),
        Roster::Show(args) => show(&args).await,
    }
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let text = match &args.file {
        Some(file) => read_text(file)?,
        None => args.remote.administer().await?.clients().await?.roster,
    };
    let signed: SignedRoster = serde_json::from_str(&text)
        .map_err(|why| Failure::usage(format!("this is no signed roster: {why}")))?;
    let known = args.file.is_none() || args.remote.authority_file.is_some() || args.remote.folder.is_some();
    let roster = if known {
        let key = roster_key(&args.remote.authority()?)?;
        signed.open(&key).map_err(Failure::verification)?
    } else {
        eprintln!("warning: the signature is not verified: add --authority-file authority.json");
        serde_json::from_str(&signed.roster)
            .map_err(|why| Failure::usage(format!("the roster does not parse: {why}")))?
    };
    args.output.print(&operate::roster_json(&roster), &operate::roster_text(&roster));
    Ok(())
}

fn sign(args: &SignArgs) -> Result<(), Failure> {
    let mut authority = authority_beside(&args.authority)?;
    let mut members = BTreeMap::new();
    for (id, name, identity_key) in &args.members {
        let member = Member { name: name.clone(), identity_key: identity_key.clone(), admitted: args.epoch };
        if members.insert(*id, member).is_some() {
            return Err(Failure::usage(format!("--member: the number {id} is given twice")));
        }
    }
    let before = args.previous.as_deref().map(|file| signed_before(file, authority.key())).transpose()?;
    if args.out.exists() {
        return Err(WriteError::DocumentTaken { place: args.out.clone() }.into());
    }
    let contents = RosterContents {
        federation: args.federation.clone(),
        epoch: args.epoch,
        coordinator_key: args.coordinator_key.clone(),
        members,
    };
    let next = authority.sign(contents, before)?;
    write_document(&args.out, &serde_json::to_string(next.signed()).map_err(Failure::failed)?)?;
    println!("roster {}", next.digest());
    println!("authority_key = \"{}\"", keys::public_text(authority.key()));
    Ok(())
}

/// With a key that lies in the clear in this file: what it signs is remembered beside it.
fn authority_beside(file: &Path) -> Result<AuthorityFolder, Failure> {
    let key = keys::read(file)?;
    Ok(AuthorityFolder::with_key(vault::files::parent(file), key)?)
}

fn signed_before(file: &Path, authority: &IdentityKey) -> Result<AuthorisedRoster, Failure> {
    let usage = |why: String| Failure::usage(format!("--previous `{}`: {why}", file.display()));
    let signed: SignedRoster =
        serde_json::from_str(&read_text(file)?).map_err(|why| usage(why.to_string()))?;
    signed.authorise(&authority.public()).map_err(|why| usage(why.to_string()))
}

fn parse_member(text: &str) -> Result<(ClientId, String, String), String> {
    let mut parts = text.splitn(3, ':');
    let (Some(id), Some(name), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("a member is ID:NAME:HEX, such as 1:north:9f86…".into());
    };
    let id: u32 = id.parse().map_err(|_| format!("`{id}` is no number"))?;
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    identity::parse_verifying_key(key).map_err(|why| why.to_string())?;
    Ok((ClientId(id), name.to_owned(), key.to_owned()))
}
