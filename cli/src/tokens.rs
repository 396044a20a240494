//! `folkmoot tokens`: what a silo joins with, and what a person or a program without a certificate calls with.

use clap::Subcommand;
use identity::{Role, printable};
use operate::{NewToken, now_s};

use crate::Failure;
use crate::connect::{Output, Remote};

#[derive(Subcommand, Debug)]
pub(crate) enum Tokens {
    /// Make a token on this machine and register its hash: for a silo that joins, or for an operator.
    #[command(
        after_help = "The token is printed once, alone on standard output: the coordinator keeps only a hash of it. Whoever has it can use \
                      it: write it to a file that you alone can read, and never on a command line, which others on the machine can \
                      read.\n\n\
                      Examples:\n  \
                      (umask 077; folkmoot tokens create --as admin --silo north --expires 24h > north.token)\n  \
                      (umask 077; folkmoot tokens create --as admin --operator grafana --role viewer --expires 30d > grafana.token)"
    )]
    Create(CreateArgs),
    /// Show every token that is kept, and what became of it.
    #[command(
        after_help = "Examples:\n  folkmoot tokens list --as admin\n  folkmoot tokens list --as admin --json"
    )]
    List {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
    /// Make a token worthless.
    #[command(after_help = "Example:\n  folkmoot tokens withdraw 1f0c99ab --as admin")]
    Withdraw {
        /// Its id, as `folkmoot tokens list` shows it.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    remote: Remote,
    /// For a silo that will be admitted under this name; good once.
    #[arg(long, value_name = "NAME", required_unless_present = "operator", conflicts_with = "operator")]
    silo: Option<String>,
    /// For a person or a program of this name, which calls with it.
    #[arg(long, value_name = "NAME", requires = "role")]
    operator: Option<String>,
    /// What the operator may do: admin, operator, author, auditor or viewer.
    #[arg(long, value_name = "ROLE", requires = "operator")]
    role: Option<Role>,
    /// How long it is good: a number with s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = identity::parse_time)]
    expires: u64,
}

pub(crate) async fn run(tokens: Tokens) -> Result<(), Failure> {
    match tokens {
        Tokens::Create(args) => create(args).await,
        Tokens::List { remote, output } => {
            let tokens = remote.administer().await?.tokens().await?;
            output.print(&operate::tokens_json(&tokens), &operate::tokens_text(&tokens, now_s()?));
            Ok(())
        }
        Tokens::Withdraw { id, remote } => {
            let done = remote.administer().await?.withdraw_token(id).await?;
            println!("{}", printable(&done.text));
            Ok(())
        }
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let expires_s = now_s()?.saturating_add(args.expires);
    let (token, next) = args.make()?;
    let done = args.remote.administer().await?.register_token(&token, expires_s).await?;
    eprintln!("{}; {next}", printable(&done.text));
    println!("{}", token.text.as_str());
    Ok(())
}

impl CreateArgs {
    /// The token, and what its owner does with it.
    fn make(&self) -> Result<(NewToken, String), Failure> {
        match (&self.silo, &self.operator, self.role) {
            (Some(silo), None, _) => {
                let authority = self.remote.authority()?;
                let token = NewToken::for_silo(silo, &authority).map_err(|_| {
                    Failure::usage(format!(
                        "--silo `{silo}`: a name has letters, digits, `-`, `_` and `.`, at most 64"
                    ))
                })?;
                let url = self.remote.url()?;
                let next = format!(
                    "hand it to the silo in a file, by a way that you trust, who runs\n  \
                     folkmoot-client enroll --coordinator {url} --token-file FILE --dir DIR\n\
                     then compare fingerprints and run `folkmoot clients approve {silo}`"
                );
                Ok((token, next))
            }
            (None, Some(name), Some(role)) => {
                let token = NewToken::for_operator(name, role)
                    .map_err(|why| Failure::usage(format!("--operator: {why}")))?;
                let next = format!(
                    "hand it to {name} in a file, who gives each command --token-file FILE, --coordinator and --authority-file"
                );
                Ok((token, next))
            }
            _ => Err(Failure::usage(
                "a token is for a silo, or for an operator with a role; give --silo or --operator",
            )),
        }
    }
}
