//! `folkmoot operators`: certificates of people and programs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use identity::{Authority, Role, Subject};
use pki::{ClientTls, TransportKey};
use wire::v1::IssueOperatorRequest;

use crate::Failure;
use crate::connect::{
    AUTHORITY_FILE, CERTIFICATE_FILE, COORDINATOR_FILE, KEY_FILE, Remote, printable, refused,
};
use crate::failure::with_causes;

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
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=90))]
    days: u64,
}

pub(crate) async fn run(operators: Operators) -> Result<(), Failure> {
    let Operators::Issue(args) = operators;
    let subject = Subject::operator(&args.name, args.role).map_err(Failure::usage)?;
    if args.out.exists() {
        return Err(exists(&args.out));
    }
    let authority = args.remote.authority()?;
    let url = args.remote.url()?;
    let key = TransportKey::generate().map_err(Failure::failed)?;
    let request = IssueOperatorRequest {
        name: args.name.clone(),
        role: args.role.to_string(),
        certificate_request: key.request_der().map_err(Failure::failed)?,
        lifetime_s: args.days.saturating_mul(86_400),
    };
    let issued = args.remote.admin().await?.issue_operator(request).await.map_err(|why| refused(&why))?;
    let chain = issued.into_inner().chain;
    check(&chain, &key, &authority, &subject)?;
    write(&args.out, &chain, &key, &authority, &url).map_err(|why| match why.kind() {
        io::ErrorKind::AlreadyExists => exists(&args.out),
        _ => Failure::failed(format!("`{}` cannot be written: {why}", args.out.display())),
    })?;
    println!(
        "`{}`: a folder for {} {}, good for {} days",
        args.out.display(),
        args.role,
        args.name,
        args.days
    );
    Ok(())
}

/// What was issued must be what was asked for: the folder would fail its owner later.
fn check(chain: &str, key: &TransportKey, authority: &Authority, subject: &Subject) -> Result<(), Failure> {
    let leaf = pki::inspect(chain).map_err(Failure::verification)?;
    if leaf.subject != *subject {
        let (asked, got) = (subject.to_string(), printable(&leaf.subject.to_string()));
        return Err(Failure::verification(format!(
            "asked for a certificate of {asked}, the coordinator sent one of {got}"
        )));
    }
    let tls = ClientTls::new(&authority.ca_certificate, Some((chain, key)));
    tls.map(drop).map_err(|why| Failure::verification(with_causes(&why)))
}

fn write(folder: &Path, chain: &str, key: &TransportKey, authority: &Authority, url: &str) -> io::Result<()> {
    fs::create_dir(folder)?;
    let file = |name: &str, text: &str, mode| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(folder.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    file(KEY_FILE, &key.to_pem(), 0o600)?;
    file(CERTIFICATE_FILE, chain, 0o644)?;
    file(AUTHORITY_FILE, &authority.to_canonical(), 0o644)?;
    file(COORDINATOR_FILE, &format!("{url}\n"), 0o644)
}

fn exists(folder: &Path) -> Failure {
    Failure::usage(format!("`{}` exists; write the new folder beside it", folder.display()))
}
