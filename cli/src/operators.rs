//! `folkmoot operators`: certificates of people and programs.

use std::path::PathBuf;

use clap::Subcommand;
use identity::Role;
use operate::NewOperator;
use pki::TransportKey;
use vault::files::{OWNER_ONLY, WORLD_READABLE};
use vault::layout::Operator;

use crate::Failure;
use crate::connect::Remote;
use crate::files::NewFolder;

#[derive(Subcommand, Debug)]
pub(crate) enum Operators {
    /// Make a key on this machine, have it certified, and write an operator's folder for --as.
    #[command(
        after_help = "The folder holds a secret: hand it over by a way that you trust, and keep no copy.\n\n\
                      Example:\n  folkmoot operators issue --as admin --name olga --role operator --out olga"
    )]
    Issue(IssueArgs),
}

#[derive(clap::Args, Debug)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    remote: Remote,
    /// Whom the certificate names: letters, digits, `-`, `_` and `.`.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it may do: admin, operator, author, auditor or viewer.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The folder to make.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How long the certificate is good.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
}

pub(crate) async fn run(operators: Operators) -> Result<(), Failure> {
    let Operators::Issue(args) = operators;
    let asked = NewOperator::new(&args.name, args.role, args.days).map_err(Failure::usage)?;
    // Before anything is issued: a certificate without a place would be lost.
    let folder = NewFolder::beside(&args.out)?;
    let authority = args.remote.authority()?;
    let url = args.remote.url()?;
    let key = TransportKey::generate().map_err(Failure::failed)?;
    let chain = args.remote.administer().await?.issue_operator(&asked, &key, &authority).await?;
    folder.add(Operator::KEY, key.to_pem().as_bytes(), OWNER_ONLY)?;
    folder.add(Operator::CERTIFICATE, chain.as_bytes(), WORLD_READABLE)?;
    folder.add(Operator::AUTHORITY, authority.to_canonical().as_bytes(), WORLD_READABLE)?;
    folder.add(Operator::COORDINATOR, format!("{url}\n").as_bytes(), WORLD_READABLE)?;
    folder.put()?;
    println!(
        "`{}`: a folder for {} {}, good for {} days",
        args.out.display(),
        args.role,
        args.name,
        args.days
    );
    Ok(())
}
