//! An incident's evidence in one file that can be checked without the coordinator.

use std::path::{Path, PathBuf};

use attest::{ModelKey, ModelKeyError};
use identity::{printable, with_causes};
use operate::{ConnectError, IncidentEvidenceError, now_s};
use published::report::{self, ReportFault, SealError};
use vault::files::{self, WORLD_READABLE};

use crate::connect::Remote;
use crate::files::{NewFolder, Unusable, WriteError, cannot_write};
use crate::verify;

#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    /// The incident.
    id: String,
    /// Where the report goes: a file FILE.tar, or else a folder; must not exist.
    #[arg(long, value_name = "FILE.tar|FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    remote: Remote,
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
    Evidence(#[from] IncidentEvidenceError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Pack(std::io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a report does not hold, or was not looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportUnverified {
    /// The key to hold it against.
    #[error(transparent)]
    Key(#[from] Unusable),
    /// It cannot be read.
    #[error(transparent)]
    Read(ReportFault),
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
    let authority = args.remote.authority()?;
    let credentials = args.remote.credentials()?.ok_or(ReportError::NoCredentials)?;
    // The key of the operator's connections signs the report too, so that a report needs no second key to be handed out,
    // pinned and revoked. Neither signature can be taken for the other: TLS 1.3, the only version here, signs 64 spaces and
    // its own context string before a hash, and DSSE signs a text that begins with its name.
    let key = ModelKey::from_pem(&credentials.key.to_pem()).map_err(ReportError::Key)?;
    let mut files = operate::evidence(args.remote.connect().await?, &authority, &args.id).await?;
    files.insert("operator.crt".into(), credentials.chain.into_bytes());
    report::seal(&mut files, &args.id, &authority, now_s()?, &key)?;
    let (count, out) = (files.len(), args.out.display());
    if is_tar(&args.out) {
        let packed = report::pack(&files).map_err(ReportError::Pack)?;
        files::put(&args.out, &packed, WORLD_READABLE).map_err(|why| cannot_write(&args.out, why))?;
    } else {
        let files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        NewFolder::whole(&args.out, &files, WORLD_READABLE).map_err(WriteError::from)?;
    }
    println!("`{out}`: {count} files; folkmoot incident verify {out}");
    Ok(())
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), ReportUnverified> {
    let files = report::read(&args.file).map_err(ReportUnverified::Read)?;
    let pinned = args.key.as_deref().map(verify::read_model_key).transpose()?;
    let index = report::check(&files, pinned.as_ref())
        .map_err(|why| ReportUnverified::Bad { report: args.file.clone(), why })?;
    println!(
        "incident {} of {}: {} files hold",
        printable(&index.incident),
        printable(&index.federation),
        files.len()
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

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar")
}
