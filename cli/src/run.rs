//! What an operator does to a run at once: pause, resume, quarantine, roll back, change keys, bar people.

use clap::Subcommand;
use identity::printable;
use operate::{ConnectError, Outcome};
use wire::v1::Done;

use crate::Failure;
use crate::connect::{Output, Remote, RemoteRun};

#[derive(Subcommand, Debug)]
pub(crate) enum Run {
    /// Begin no further round; the one in progress ends as it would.
    #[command(after_help = "Example:\n  folkmoot run pause --reason 'odd losses at north' --as admin")]
    Pause {
        /// Why; silos read it, and it goes into the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        run: RemoteRun,
    },
    /// Begin rounds again.
    #[command(after_help = "Example:\n  folkmoot run resume --as admin")]
    Resume {
        #[command(flatten)]
        run: RemoteRun,
    },
    /// Let two silos into one round again that a complaint keeps apart.
    #[command(
        after_help = "A complaint keeps two silos apart for some rounds, as one of them said that the other's shares are \
                      bad; `folkmoot status` names them. Nothing proves which of the two is at fault.\n\n\
                      Example:\n  folkmoot run reconcile north south --reason 'a bad memory module, replaced' --as admin"
    )]
    Reconcile {
        /// One of them: its name, or its number.
        #[arg(value_name = "NAME|ID")]
        one: String,
        /// The other.
        #[arg(value_name = "NAME|ID")]
        other: String,
        /// Why; it goes into the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        run: RemoteRun,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Access {
    /// Bar an operator's name, or one certificate, at once.
    #[command(
        after_help = "A silo is barred with `folkmoot clients revoke`, a token with `folkmoot tokens withdraw`. An \
                      administrator's word bars until an administrator lifts it; an operator's suspends for as long, but \
                      no administrator, and only a few within an hour.\n\n\
                      Example:\n  folkmoot access revoke olga --reason 'lost laptop' --as admin"
    )]
    Revoke {
        /// The operator's name, or the certificate's SHA-256 in hexadecimal.
        #[arg(value_name = "NAME|FINGERPRINT")]
        whom: String,
        /// Why; whoever it is reads it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let an operator's name, or one certificate, in again that was barred. Only an administrator may.
    #[command(after_help = "A silo is let in again with `folkmoot clients restore`.\n\n\
                      Example:\n  folkmoot access restore olga --reason 'the laptop was found' --as admin")]
    Restore {
        /// The operator's name, or the certificate's SHA-256 in hexadecimal.
        #[arg(value_name = "NAME|FINGERPRINT")]
        whom: String,
        /// Why; it is kept with the bar.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show who is barred: silos, operators, certificates.
    #[command(
        after_help = "Examples:\n  folkmoot access list --as admin\n  folkmoot access list --as admin --json"
    )]
    List {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
}

/// One round's model, and why something is done about it.
#[derive(clap::Args, Debug)]
pub(crate) struct RoundArgs {
    /// The round.
    #[arg(value_name = "ROUND")]
    round: u64,
    /// Why; it stands in the signed record.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    run: RemoteRun,
}

pub(crate) async fn run(run: Run) -> Result<(), Failure> {
    match run {
        Run::Pause { reason, run } => {
            let (mut admin, run) = run.administer().await?;
            say(admin.pause(run, reason).await)
        }
        Run::Resume { run } => {
            let (mut admin, run) = run.administer().await?;
            say(admin.resume(run).await)
        }
        Run::Reconcile { one, other, reason, run } => {
            let (mut admin, run) = run.administer().await?;
            let clients = admin.clients().await?.clients;
            let pair = (operate::member(&clients, &one)?, operate::member(&clients, &other)?);
            say(admin.reconcile(run, pair, reason).await)
        }
    }
}

pub(crate) async fn access(access: Access) -> Result<(), Failure> {
    match access {
        Access::Revoke { whom, reason, remote } => {
            say(remote.administer().await?.revoke_access(whom, reason).await)
        }
        Access::Restore { whom, reason, remote } => {
            say(remote.administer().await?.restore_access(whom, reason).await)
        }
        Access::List { remote, output } => {
            let mut admin = remote.administer().await?;
            let (bars, clients) = (admin.bars().await?, admin.clients().await?.clients);
            output.print(&operate::bars_json(&bars, &clients), &operate::bars_text(&bars, &clients));
            Ok(())
        }
    }
}

pub(crate) async fn quarantine(args: RoundArgs) -> Result<(), Failure> {
    let (mut admin, run) = args.run.administer().await?;
    say(admin.quarantine(run, args.round, args.reason).await)
}

pub(crate) async fn rollback(args: RoundArgs) -> Result<(), Failure> {
    let (mut admin, run) = args.run.administer().await?;
    say(admin.rollback(run, args.round, args.reason).await)
}

pub(crate) async fn rotate_keys(remote: &Remote) -> Result<(), Failure> {
    say(remote.administer().await?.rotate_keys().await)
}

/// What an order came to. What is so already is no failure: a script that asks twice has what it wants.
fn say(came_to: Result<Outcome<Done>, ConnectError>) -> Result<(), Failure> {
    match came_to? {
        Outcome::Done(done) => {
            println!("{}", printable(&done.text));
            if !done.warning.is_empty() {
                eprintln!("warning: {}", printable(&done.warning));
            }
        }
        Outcome::AlreadySo(why) => println!("{}", printable(&why)),
    }
    Ok(())
}
