//! What an incident's report is made of: everything that a coordinator shows of itself, as far as it is signed.

use checkpoint::{MANIFEST_FILE, SIGNATURE_FILE, folder_name};
use identity::{Authority, RosterError};
use published::report::{AUTHORITY, CHECKPOINTS, ENTRIES, Files, ROSTER};
use serde_json::{Value, json};
use wire::v1::{Incident, IncidentNote};

use crate::admin::Admin;
use crate::admission::{Unbelieved, roster_in_force};
use crate::connect::{ConnectError, Link, roster_key};
use crate::models::{Models, ModelsError};
use crate::operator::{EntriesError, audit_entries, status};

/// Why an incident's evidence is not together.
#[derive(Debug, thiserror::Error)]
pub enum IncidentEvidenceError {
    /// Nobody opened it.
    #[error("there is no incident `{id}`; `folkmoot incident list` shows them")]
    NoIncident {
        /// What was given.
        id: String,
    },
    /// The coordinator's answer, or none.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// The chain of records, or what was published with them.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// What the coordinator shows as its roster.
    #[error(transparent)]
    Roster(#[from] Unbelieved),
    /// The roster names no coordinator's key.
    #[error(transparent)]
    Coordinator(#[from] RosterError),
    /// The audit log.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// What came has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The files of an incident's report, but for the index that is signed: the incident, the roster, the audit log, the chain of
/// records with what was published beside the models, the run's status. Models are not among them.
///
/// # Errors
/// [`IncidentEvidenceError`].
pub async fn evidence(link: Link, authority: &Authority, id: &str) -> Result<Files, IncidentEvidenceError> {
    let mut files = Files::new();
    let mut admin = Admin::over(link.clone());
    let incidents = admin.incidents().await?;
    let incident = incidents.iter().find(|incident| incident.id == id);
    let incident = incident.ok_or_else(|| IncidentEvidenceError::NoIncident { id: id.to_owned() })?;
    put(&mut files, "incident.json", &to_json(incident))?;

    let listed = admin.clients().await?;
    let roster = roster_in_force(&listed, &roster_key(authority)?)?;
    files.insert(ROSTER.into(), listed.roster.into_bytes());
    files.insert(AUTHORITY.into(), authority.to_canonical().into_bytes());

    files.insert(ENTRIES.into(), audit_entries(link.clone()).await?);

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

    let shown = status(link).await?;
    let coordinator = &shown.server.server_version;
    let versions = json!({ "folkmoot": env!("CARGO_PKG_VERSION"), "coordinator": coordinator });
    put(&mut files, "versions.json", &versions)?;
    put(&mut files, "status.json", &serde_json::to_value(&shown)?)?;
    Ok(files)
}

fn put(files: &mut Files, name: &str, value: &Value) -> Result<(), serde_json::Error> {
    files.insert(name.into(), serde_json::to_vec_pretty(value)?);
    Ok(())
}

fn to_json(incident: &Incident) -> Value {
    let note = |note: &IncidentNote| json!({ "time_ms": note.time_ms, "by": note.by, "text": note.text });
    json!({
        "id": incident.id,
        "title": incident.title,
        "opened_ms": incident.opened_ms,
        "opened_by": incident.opened_by,
        "notes": incident.notes.iter().map(note).collect::<Vec<_>>(),
        "closed_ms": incident.closed_ms,
    })
}
