//! What an incident's report is made of: everything that a coordinator shows of itself, as far as it is signed.

use checkpoint::{MANIFEST_FILE, SIGNATURE_FILE, folder_name};
use identity::{Authority, RosterError};
use params::Digest;
use published::report::{AUTHORITY, CHECKPOINTS, MakingError, NewReport, ROSTER};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admission::{Unbelieved, roster_in_force};
use crate::connect::{ConnectError, Link, roster_key};
use crate::models::{Models, ModelsError, PublishedRecord};
use crate::operator::{EntriesError, audit_entries, status};
use crate::shown::incident_json;

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
    /// The report cannot be written.
    #[error(transparent)]
    Making(#[from] MakingError),
    /// What came has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gathered {
    /// Entries of the audit log that are in it.
    Entries(u64),
    /// Records of the chain that are in it.
    Records(u64),
}

/// Adds the files of an incident's report, but for those of whoever signs it: the incident, the roster, the audit log, the chain of
/// records with what was published beside the models, the run's status. Models are not among them. Each file is written as it comes,
/// so that a run of any length takes little memory; `gathered` hears of every entry and record. Chain and status are those of the run
/// of this name; without it of the one that is shown then.
///
/// # Errors
/// [`IncidentEvidenceError`].
pub async fn evidence(
    link: Link,
    authority: &Authority,
    id: &str,
    run: Option<Digest>,
    report: &mut NewReport,
    mut gathered: impl FnMut(Gathered),
) -> Result<(), IncidentEvidenceError> {
    let mut admin = Admin::over(link.clone());
    let incidents = admin.incidents().await?;
    let incident = incidents.iter().find(|incident| incident.id == id);
    let incident = incident.ok_or_else(|| IncidentEvidenceError::NoIncident { id: id.to_owned() })?;
    report.add("incident.json", &pretty(&incident_json(incident))?)?;

    let listed = admin.clients().await?;
    let roster = roster_in_force(&listed, &roster_key(authority)?)?;
    report.add(ROSTER, listed.roster.as_bytes())?;
    report.add(AUTHORITY, authority.to_canonical().as_bytes())?;

    let mut entries = audit_entries(link.clone()).await?;
    let (mut into, mut count) = (report.entries()?, 0);
    while let Some(entry) = entries.next().await? {
        into.push(&entry)?;
        count += 1;
        gathered(Gathered::Entries(count));
    }
    into.finish()?;

    let mut models = Models::over(link.clone(), Some(roster.coordinator_key()?)).of_run(run);
    let mut count = 0;
    let each = |record: PublishedRecord| {
        let folder = format!("{CHECKPOINTS}{}", folder_name(record.manifest.round));
        report.add(&format!("{folder}/{MANIFEST_FILE}"), &record.signed.manifest_bytes)?;
        report.add(&format!("{folder}/{SIGNATURE_FILE}"), &record.signed.signature)?;
        for (name, bytes) in record.files {
            report.add(&format!("{folder}/{name}"), &bytes)?;
        }
        count += 1;
        gathered(Gathered::Records(count));
        Ok::<(), IncidentEvidenceError>(())
    };
    models.evidence(each).await?;

    let shown = status(link, run).await?;
    let coordinator = &shown.server.server_version;
    let versions = json!({ "folkmoot": env!("CARGO_PKG_VERSION"), "coordinator": coordinator });
    report.add("versions.json", &pretty(&versions)?)?;
    report.add("status.json", &pretty(&serde_json::to_value(&shown)?)?)?;
    Ok(())
}

fn pretty(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(value)
}
