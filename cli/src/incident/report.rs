//! An incident's evidence in one file that can be checked without the coordinator.

use std::path::{Path, PathBuf};

use attest::{ModelKey, ModelKeyError};
use checkpoint::{MANIFEST_FILE, SIGNATURE_FILE, folder_name};
use identity::{Authority, RosterError, with_causes};
use operate::{EntriesError, Models, ModelsError, Unbelieved, roster_in_force};
use published::report::{self, AUTHORITY, CHECKPOINTS, ENTRIES, Files, ROSTER, ReportFault, SealError};
use serde_json::json;

use super::Told;
use crate::connect::{ConnectError, Remote, now_s, printable, roster_key};
use crate::files::{Unusable, WriteError, cannot_write};
use crate::model::{write_folder, write_whole};
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
    #[error("there is no incident `{id}`; `folkmoot incident list` shows them")]
    NoIncident { id: String },
    #[error(transparent)]
    Call(#[from] ConnectError),
    #[error(transparent)]
    Models(#[from] ModelsError),
    #[error(transparent)]
    Roster(#[from] Unbelieved),
    #[error(transparent)]
    Coordinator(#[from] RosterError),
    #[error(transparent)]
    Entries(#[from] EntriesError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
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
    let mut files = gather(&args, &authority).await?;
    files.insert("operator.crt".into(), credentials.chain.into_bytes());
    report::seal(&mut files, &args.id, &authority, now_s()?, &key)?;
    let (count, out) = (files.len(), args.out.display());
    if is_tar(&args.out) {
        let packed = report::pack(&files).map_err(ReportError::Pack)?;
        write_whole(&args.out, &packed).map_err(|why| cannot_write(&args.out, why))?;
    } else {
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        write_folder(&args.out, &files)?;
    }
    println!("`{out}`: {count} files; folkmoot incident verify {out}");
    Ok(())
}

async fn gather(args: &ReportArgs, authority: &Authority) -> Result<Files, ReportError> {
    let mut files = Files::new();
    let link = args.remote.connect().await?;
    let mut admin = args.remote.administer().await?;
    let incidents = admin.incidents().await?;
    let incident = incidents.iter().find(|incident| incident.id == args.id);
    let incident = incident.ok_or_else(|| ReportError::NoIncident { id: args.id.clone() })?;
    put(&mut files, "incident.json", &to_json(incident))?;

    let listed = admin.clients().await?;
    let roster = roster_in_force(&listed, &roster_key(authority)?)?;
    files.insert(ROSTER.into(), listed.roster.into_bytes());
    files.insert(AUTHORITY.into(), authority.to_canonical().into_bytes());

    files.insert(ENTRIES.into(), operate::audit_entries(link.clone()).await?);

    let coordinator = roster.coordinator_key()?;
    let mut models = Models::over(link.clone(), Some(coordinator));
    for (signed, manifest) in models.new_signed().await? {
        let folder = format!("{CHECKPOINTS}{}", folder_name(manifest.round));
        files.insert(format!("{folder}/{MANIFEST_FILE}"), signed.manifest_bytes);
        files.insert(format!("{folder}/{SIGNATURE_FILE}"), signed.signature.to_vec());
        for (name, bytes) in models.attestation(manifest.round).await? {
            files.insert(format!("{folder}/{name}"), bytes);
        }
    }

    let status = operate::status(link).await?;
    let coordinator = &status.server.server_version;
    let versions = json!({ "folkmoot": env!("CARGO_PKG_VERSION"), "coordinator": coordinator });
    put(&mut files, "versions.json", &versions)?;
    put(&mut files, "status.json", &serde_json::to_value(&status)?)?;
    Ok(files)
}

fn put(files: &mut Files, name: &str, value: &serde_json::Value) -> Result<(), serde_json::Error> {
    files.insert(name.into(), serde_json::to_vec_pretty(value)?);
    Ok(())
}

fn to_json(incident: &Told) -> serde_json::Value {
    let note =
        |note: &wire::v1::IncidentNote| json!({ "time_ms": note.time_ms, "by": note.by, "text": note.text });
    json!({
        "id": incident.id,
        "title": incident.title,
        "opened_ms": incident.opened_ms,
        "opened_by": incident.opened_by,
        "notes": incident.notes.iter().map(note).collect::<Vec<_>>(),
        "closed_ms": incident.closed_ms,
    })
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
