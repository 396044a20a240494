//! What an operator does to a run at once: pause, resume, quarantine, roll back, change keys, bar people.

use clap::Subcommand;
use tonic::{Response, Status};
use wire::v1::{
    Done, PauseRequest, QuarantineRequest, ResumeRequest, RevokeAccessRequest, RollbackRequest,
    RotateKeysRequest,
};

use crate::Failure;
use crate::connect::{Remote, printable, refused};

#[derive(Subcommand, Debug)]
pub(crate) enum Run {
    /// Begin no further round; the one in progress ends as it would.
    #[command(after_help = "Example:\n  folkmoot run pause --reason 'odd losses at north' --as admin")]
    Pause {
        /// Why; silos and the audit log are told.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Begin rounds again.
    #[command(after_help = "Example:\n  folkmoot run resume --as admin")]
    Resume {
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Access {
    /// Bar an operator's name, or one certificate, at once.
    #[command(
        after_help = "A silo is barred with `folkmoot clients revoke`, a token with `folkmoot tokens withdraw`.\n\n\
                      Example:\n  folkmoot access revoke olga --reason 'lost laptop' --as admin"
    )]
    Revoke {
        /// The operator's name, or the certificate's SHA-256 in hexadecimal.
        #[arg(value_name = "NAME|FINGERPRINT")]
        whom: String,
        /// Why; whoever it is is told.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        remote: Remote,
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
    remote: Remote,
}

pub(crate) async fn run(run: Run) -> Result<(), Failure> {
    match run {
        Run::Pause { reason, remote } => say(remote.admin().await?.pause(PauseRequest { reason }).await),
        Run::Resume { remote } => say(remote.admin().await?.resume(ResumeRequest {}).await),
    }
}

pub(crate) async fn access(access: Access) -> Result<(), Failure> {
    let Access::Revoke { whom, reason, remote } = access;
    say(remote.admin().await?.revoke_access(RevokeAccessRequest { whom, reason }).await)
}

pub(crate) async fn quarantine(args: RoundArgs) -> Result<(), Failure> {
    let request = QuarantineRequest { round: args.round, reason: args.reason };
    say(args.remote.admin().await?.quarantine(request).await)
}

pub(crate) async fn rollback(args: RoundArgs) -> Result<(), Failure> {
    let request = RollbackRequest { to_round: args.round, reason: args.reason };
    say(args.remote.admin().await?.rollback(request).await)
}

pub(crate) async fn rotate_keys(remote: &Remote) -> Result<(), Failure> {
    say(remote.admin().await?.rotate_keys(RotateKeysRequest {}).await)
}

fn say(answer: Result<Response<Done>, Status>) -> Result<(), Failure> {
    println!("{}", printable(&answer.map_err(|why| refused(&why))?.into_inner().text));
    Ok(())
}
