//! An incident's evidence in one file that can be checked without the coordinator.

use std::io::IsTerminal;
use std::path::PathBuf;

use attest::{ModelKey, ModelKeyError};
use demo::{StopSignals, StoppedError};
use identity::{Authority, printable, with_causes};
use operate::{ConnectError, Credentials, Gathered, IncidentEvidenceError, WhichRun, now_s};
use published::report::{self, Index, MakingError, NewReport, ReportFault};

use crate::connect::RemoteRun;
use crate::files::Unusable;
use crate::verify;

#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    /// The incident.
    id: String,
    /// Where the report goes: a file FILE.tar, or else a folder; must not exist.
    #[arg(long, value_name = "FILE.tar|FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    run: RemoteRun,
}

#[derive(clap::Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The report.
    file: PathBuf,
    /// The public key of who made it, PEM; without it the report's own is taken, which shows only that nothing was
    /// changed since.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("`{}` exists; write the report beside it", out.display())]
    Exists { out: PathBuf },
    #[error("a report is signed with an operator's key: give --as FOLDER, an operator's folder")]
    NoCredentials,
    #[error("{}", with_causes(.0))]
    Key(#[source] ModelKeyError),
    #[error(transparent)]
    Call(#[from] ConnectError),
    #[error(transparent)]
    Which(#[from] WhichRun),
    #[error(transparent)]
    Evidence(#[from] IncidentEvidenceError),
    #[error(transparent)]
    Making(#[from] MakingError),
    #[error("{0}; nothing was written")]
    Stopped(#[from] StoppedError),
}

/// Why a report does not hold, or was not looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportUnverified {
    /// The key to hold it against.
    #[error(transparent)]
    Key(#[from] Unusable),
    /// It cannot be read, or does not hold.
    #[error("`{}`: {why}", report.display())]
    Bad {
        report: PathBuf,
        #[source]
        why: ReportFault,
    },
}

pub(super) async fn report(args: ReportArgs) -> Result<(), ReportError> {
    if args.out.exists() {
        return Err(ReportError::Exists { out: args.out });
    }
    let authority = args.run.remote.authority()?;
    let credentials = args.run.remote.credentials()?.ok_or(ReportError::NoCredentials)?;
    // The key of the operator's connections signs the report too, so that a report needs no second key to be handed out,
    // pinned and revoked. Neither signature can be taken for the other: TLS 1.3, the only version here, signs 64 spaces and
    // its own context string before a hash, and DSSE signs a text that begins with its name.
    let key = ModelKey::from_pem(&credentials.key.to_pem()).map_err(ReportError::Key)?;
    let signals = StopSignals::listen()?;
    let index = signals.unless(written(&args, &authority, &credentials, &key)).await?;
    let (count, out) = (index.file_count(), args.out.display());
    println!("`{out}`: {count} files; folkmoot incident verify {out}");
    Ok(())
}

/// The report in its place; given up before that, it leaves nothing.
async fn written(
    args: &ReportArgs,
    authority: &Authority,
    credentials: &Credentials,
    key: &ModelKey,
) -> Result<Index, ReportError> {
    let mut report = NewReport::beside(&args.out)?;
    let mut progress = Progress::new();
    let (link, run) = args.run.connect().await?;
    operate::evidence(link, authority, &args.id, run, &mut report, |gathered| progress.say(gathered)).await?;
    report.add("operator.crt", credentials.chain.as_bytes())?;
    progress.end();
    Ok(report.seal(&args.id, authority, now_s()?, key)?)
}

/// How far it is, on standard error: on a terminal in one line that changes.
struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Between two of what is said.
    const STEP: u64 = 1000;

    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: false }
    }

    fn say(&mut self, gathered: Gathered) {
        let (count, what) = match gathered {
            Gathered::Entries(count) => (count, "entries of the audit log"),
            Gathered::Records(count) => (count, "records"),
        };
        if count % Self::STEP != 0 {
            return;
        }
        if self.terminal {
            eprint!("\r\x1b[2K{count} {what} …");
            self.shown = true;
        } else {
            eprintln!("{count} {what}");
        }
    }

    fn end(&mut self) {
        if self.shown {
            eprint!("\r\x1b[2K");
        }
    }
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), ReportUnverified> {
    let pinned = args.key.as_deref().map(verify::read_model_key).transpose()?;
    let index = report::check(&args.file, pinned.as_ref())
        .map_err(|why| ReportUnverified::Bad { report: args.file.clone(), why })?;
    println!(
        "incident {} of {}: {} files hold",
        printable(&index.incident),
        printable(&index.federation),
        index.file_count()
    );
    println!("audit log: {} entries, root {}", index.audit_size, printable(&index.audit_root));
    if pinned.is_none() {
        eprintln!(
            "warning: no key is pinned, so this shows that nothing was changed since, not who made it; from the \
             maker's certificate: openssl x509 -in operator.crt -pubkey -noout > key.pem, then add --key key.pem"
        );
    }
    Ok(())
}
