//! What an auditor reads of a journal's records.

use audit::{Action, Event, JOURNAL, Status, silo};
use params::Digest;
use protocol::{Record, RoundOutcome, SandboxLevel, Timestamp, UploadHeader};

use super::LaterRun;

/// The event of record `number`, at its own time or else at `now`; none where it says no more to outsiders than a later one.
pub(super) fn event_of(run: LaterRun, number: u64, record: &Record, now: Timestamp) -> Option<Event> {
    let time_ms = record.time().unwrap_or(now).0;
    let event = of_round(time_ms, record)
        .or_else(|| of_silo(time_ms, record))
        .or_else(|| of_operators(time_ms, record))?;
    let run = run.map(|run| run.to_string()).or(event.run.clone());
    Some(Event { run, ..event.with(JOURNAL, number.to_string()) })
}

/// The run, its rounds and its models.
fn of_round(time_ms: u64, record: &Record) -> Option<Event> {
    Some(match record {
        Record::RunStarted { run_id, plan, .. } => {
            let event = Event::of_coordinator(time_ms, Action::RunStarted).with("plan", plan.to_string());
            Event { run: Some(run_id.to_string()), ..event }
        }
        Record::AttemptBegun { at, cohort, .. } => {
            let ids: Vec<String> = cohort.iter().map(ToString::to_string).collect();
            let event = Event::of_coordinator(time_ms, Action::RoundOpened);
            event.in_attempt(at.round, at.attempt).with("cohort", ids.join(" "))
        }
        Record::Staged(UploadHeader { at, client, digest, lanes, .. }) => {
            let event = Event::of_silo(time_ms, client.0, Action::UploadReceived);
            let bytes = Some(lanes * wire::limits::LANE_BYTES);
            Event { bytes, ..event.in_attempt(at.round, at.attempt).with_digest(digest) }
        }
        Record::Committed { manifest, .. } | Record::Acted { manifest, .. } => of_model(time_ms, manifest)?,
        Record::Aborted { outcome, .. } => Event::of_coordinator(time_ms, Action::RoundAborted)
            .with("outcome", RoundOutcome::to_string(outcome)),
        Record::Ended { reason } => {
            Event::of_coordinator(time_ms, Action::RunEnded).with("reason", reason.to_string())
        }
        _ => return None,
    })
}

fn of_model(time_ms: u64, signed: &checkpoint::SignedManifest) -> Option<Event> {
    let manifest = checkpoint::Manifest::from_bytes(&signed.manifest_bytes).ok()?;
    let action = match &manifest.action {
        None => Action::ModelPublished,
        Some(checkpoint::Action::Quarantine { .. }) => Action::ModelQuarantined,
        Some(checkpoint::Action::Rollback { .. }) => Action::ModelRolledBack,
    };
    let mut event = Event::of_coordinator(time_ms, action).with("record", signed.digest().to_string());
    if let Some(epsilon) = manifest.privacy.epsilon {
        event = event.with("epsilon", epsilon.to_string());
    }
    Some(Event { round: Some(manifest.round), ..event.with_digest(manifest.model.params_digest) })
}

/// What a silo says of itself and of others.
fn of_silo(time_ms: u64, record: &Record) -> Option<Event> {
    Some(match record {
        Record::Declined { client, reason } => Event {
            status: Status::Refused,
            ..Event::of_silo(time_ms, client.0, Action::RunRefused).with("reason", reason)
        },
        Record::DataDeclared { client, data } => Event {
            digest: data.map(|data| data.to_string()),
            ..Event::of_silo(time_ms, client.0, Action::DataDeclared)
        },
        Record::SandboxDeclared { client, level } => {
            let event = Event::of_silo(time_ms, client.0, Action::SandboxDeclared);
            event.with("level", level.as_ref().map_or("not said", SandboxLevel::as_str))
        }
        Record::KeptApart { accuser, accused } => {
            Event::of_silo(time_ms, accuser.0, Action::SiloComplained).about(silo(accused.0))
        }
        _ => return None,
    })
}

/// What people decided.
fn of_operators(time_ms: u64, record: &Record) -> Option<Event> {
    Some(match record {
        Record::Barred { client, reason } => {
            Event::of_coordinator(time_ms, Action::SiloBarred).about(silo(client.0)).with("reason", reason)
        }
        Record::Restored { client, by, reason, .. } => {
            let event = Event::of_coordinator(time_ms, Action::SiloRestored).about(silo(client.0));
            event.with("by", by).with("reason", reason)
        }
        Record::Reconciled { one, other, by, reason, .. } => {
            let both = format!("{} {}", silo(one.0), silo(other.0));
            Event::of_coordinator(time_ms, Action::SilosReconciled)
                .about(both)
                .with("by", by)
                .with("reason", reason)
        }
        Record::RosterChanged { roster } => Event::of_coordinator(time_ms, Action::RosterSigned)
            .with_digest(Digest::sha256(roster.roster.as_bytes())),
        Record::Paused { by, reason, .. } => {
            Event::of_coordinator(time_ms, Action::RunPaused).with("by", by).with("reason", reason)
        }
        Record::Resumed { by, .. } => Event::of_coordinator(time_ms, Action::RunResumed).with("by", by),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use secagg::ClientId;

    use super::*;

    #[test]
    fn an_entry_keeps_its_bytes_whichever_release_writes_it() {
        let entry = |record: Record| {
            let bytes = event_of(None, 4, &record, Timestamp(9)).unwrap().encode().unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let (one, other, reason) = (ClientId(3), ClientId(5), String::from("lost laptop"));
        assert_eq!(
            entry(Record::Declined { client: one, reason: reason.clone() }),
            r#"{"action":"run.refused","actor":{"id":"silo-3","role":"client"},"details":{"journal":"4","reason":"lost laptop"},"status":"refused","time_ms":9}"#
        );
        assert_eq!(
            entry(Record::Reconciled { now: Timestamp(7), one, other, by: "ada".into(), reason }),
            r#"{"action":"silos.reconciled","actor":{"id":"coordinator","role":"coordinator"},"details":{"by":"ada","journal":"4","reason":"lost laptop"},"peer":"silo-3 silo-5","status":"ok","time_ms":7}"#
        );
    }

    #[test]
    fn an_entry_of_a_later_run_names_it_and_says_the_same_otherwise() {
        let record = Record::Ended { reason: protocol::RunEnd::Complete };
        let run = Digest::sha256(b"second");
        let of = |run| event_of(run, 4, &record, Timestamp(9)).unwrap();
        assert_eq!(of(Some(run)), Event { run: Some(run.to_string()), ..of(None) });
        assert_eq!(of(None).run, None);
    }
}
