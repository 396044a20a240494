//! `folkmoot incident`: what happened, in the words of who dealt with it.

mod report;

use clap::Subcommand;
use identity::printable;
use operate::{Outcome, incident_json, incident_text};

use crate::Failure;
use crate::connect::{Output, Remote};
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
                      records takes some seconds; interrupted, it leaves nothing.\n\n\
                      Example:\n  folkmoot incident report INC-0001 --out INC-0001.tar --as admin"
    )]
    Report(report::ReportArgs),
    /// Check a report offline: every file, the roster, the chain of records and the audit log's root.
    #[command(after_help = "Example:\n  folkmoot incident verify INC-0001.tar --key olga.pub.pem")]
    Verify(report::VerifyArgs),
    /// Show every incident with its notes.
    #[command(
        after_help = "Examples:\n  folkmoot incident list --as admin\n  folkmoot incident list --as admin --json"
    )]
    List {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        output: Output,
    },
}

pub(crate) async fn run(incident: Incident) -> Result<(), Failure> {
    match incident {
        Incident::Open { title, remote } => {
            let opened = remote.administer().await?.open_incident(title).await?;
            // Alone, for scripts.
            println!("{}", printable(&opened.id));
        }
        Incident::Note { id, text, remote } => {
            print!("{}", incident_text(&remote.administer().await?.note_incident(id, text).await?));
        }
        Incident::Close { id, resolution, remote } => {
            match remote.administer().await?.close_incident(id, resolution).await? {
                Outcome::Done(incident) => print!("{}", incident_text(&incident)),
                Outcome::AlreadySo(why) => println!("{}", printable(&why)),
            }
        }
        Incident::Report(args) => report::report(args).await?,
        Incident::Verify(args) => report::verify(&args)?,
        Incident::List { remote, output } => {
            let incidents = remote.administer().await?.incidents().await?;
            let text: String = incidents.iter().map(incident_text).collect();
            let text = if text.is_empty() { "no incident was opened\n" } else { &text };
            output.print(&incidents.iter().map(incident_json).collect(), text);
        }
    }
    Ok(())
}
