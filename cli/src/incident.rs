//! `folkmoot incident`: what happened, in the words of who dealt with it.

mod report;

use clap::Subcommand;
use identity::printable;
use operate::Outcome;
use wire::v1::Incident as Reported;

use crate::Failure;
use crate::connect::Remote;
pub(crate) use report::{ReportError, ReportUnverified};

#[derive(Subcommand, Debug)]
pub(crate) enum Incident {
    /// Open an incident and print its id.
    #[command(after_help = "Example:\n  folkmoot incident open --title 'north may be poisoned' --as admin")]
    Open {
        /// What seems to be wrong, in a line.
        #[arg(long)]
        title: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Add a note.
    #[command(
        after_help = "Example:\n  folkmoot incident note INC-0001 'loss jumped in round 12' --as admin"
    )]
    Note {
        /// The incident.
        id: String,
        /// What was found or done.
        text: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Close it.
    #[command(
        after_help = "Example:\n  folkmoot incident close INC-0001 --resolution 'north is out, round 11 is in use' --as admin"
    )]
    Close {
        /// The incident.
        id: String,
        /// How it ended.
        #[arg(long)]
        resolution: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Gather an incident's evidence into one signed file: audit log, roster, chain, status.
    #[command(
        after_help = "The index of all files is signed with the operator's own key. Models are not in it. A report on ten thousand \
                      records takes a minute or so; interrupted, it leaves nothing.\n\n\
                      Example:\n  folkmoot incident report INC-0001 --out INC-0001.tar --as admin"
    )]
    Report(report::ReportArgs),
    /// Check a report offline: every file, the roster, the chain of records and the audit log's root.
    #[command(after_help = "Example:\n  folkmoot incident verify INC-0001.tar --key olga.pub.pem")]
    Verify(report::VerifyArgs),
    /// Show every incident with its notes.
    #[command(after_help = "Example:\n  folkmoot incident list --as admin")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

pub(crate) async fn run(incident: Incident) -> Result<(), Failure> {
    match incident {
        Incident::Open { title, remote } => {
            let opened = remote.administer().await?.open_incident(title).await?;
            // Alone, for scripts.
            println!("{}", printable(&opened.id));
        }
        Incident::Note { id, text: note, remote } => {
            print!("{}", text(&remote.administer().await?.note_incident(id, note).await?));
        }
        Incident::Close { id, resolution, remote } => {
            match remote.administer().await?.close_incident(id, resolution).await? {
                Outcome::Done(incident) => print!("{}", text(&incident)),
                Outcome::AlreadySo(why) => println!("{}", printable(&why)),
            }
        }
        Incident::Report(args) => report::report(args).await?,
        Incident::Verify(args) => report::verify(&args)?,
        Incident::List { remote } => {
            let incidents = remote.administer().await?.incidents().await?;
            if incidents.is_empty() {
                println!("no incident was opened");
            }
            for incident in &incidents {
                print!("{}", text(incident));
            }
        }
    }
    Ok(())
}

/// An incident as people read it.
fn text(incident: &Reported) -> String {
    let state = if incident.closed_ms.is_some() { "closed" } else { "open" };
    let (id, title) = (printable(&incident.id), printable(&incident.title));
    let by = printable(&incident.opened_by);
    let mut text = format!("incident {id}, {state}: {title}\n  {}  opened by {by}\n", incident.opened_ms);
    for note in &incident.notes {
        let (by, said) = (printable(&note.by), printable(&note.text));
        text.push_str(&format!("  {}  {by}: {said}\n", note.time_ms));
    }
    if let Some(closed_ms) = incident.closed_ms {
        text.push_str(&format!("  {closed_ms}  closed\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use wire::v1::IncidentNote;

    use super::*;

    #[test]
    fn an_incident_is_shown_with_its_notes_in_order_and_no_note_drives_the_terminal() {
        let note = |time_ms, text: &str| IncidentNote { time_ms, by: "olga".into(), text: text.into() };
        let mut incident = Reported {
            id: "3".into(),
            title: "odd losses".into(),
            opened_ms: 17,
            opened_by: "ada".into(),
            notes: vec![note(18, "paused"), note(19, "\u{1b}[2Jgone")],
            closed_ms: None,
        };
        let shown = text(&incident);
        assert_eq!(
            shown,
            "incident 3, open: odd losses\n  17  opened by ada\n  18  olga: paused\n  19  olga: \u{fffd}[2Jgone\n"
        );
        incident.closed_ms = Some(20);
        assert!(text(&incident).starts_with("incident 3, closed"));
        assert!(text(&incident).ends_with("  20  closed\n"));
    }
}
