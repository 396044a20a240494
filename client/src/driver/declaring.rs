//! What opens what this silo tells of its data: written when the core has fixed that it is declared, and before it leaves.
//!
//! # Privacy
//! A random word is written as a version is, at the same moment: how long a check-in takes does not tell which of the two it holds.

use std::collections::{BTreeMap, VecDeque};

use alarms::Kind;
use ledger::Statement;
use params::Digest;
use protocol::{ClientEffect, ClientRecord};
use tokio::task::block_in_place;

use super::Driver;
use super::words::UNDECLARED;

/// See the module.
#[derive(Default)]
pub(super) struct Declaring {
    /// The run that the journal is in.
    joined: Option<Digest>,
    /// By run, what the newest reading came to: a commitment, and the version that it is to.
    read: BTreeMap<Digest, (Digest, Digest)>,
}

impl Declaring {
    /// Takes in the journal's next record; gives what is declared in a run from it on.
    pub(super) fn follow(&mut self, record: &ClientRecord) -> Option<(Digest, Statement)> {
        if let ClientRecord::Joined { run_id, .. } = record {
            self.joined = Some(*run_id);
            return None;
        }
        let run = self.joined?;
        let statement = match record {
            ClientRecord::DataNotDeclared { word } => Statement::Random(*word),
            ClientRecord::DataCommitted { commitment: Some(statement) } => {
                let (_, version) =
                    self.read.remove(&run).filter(|(commitment, _)| commitment == statement)?;
                Statement::Version(version)
            }
            _ => return None,
        };
        Some((run, statement))
    }
}

impl Driver {
    /// What may be declared of this version in the run. A ledger's folder that cannot keep what opens it has a random word declared instead,
    /// as data that cannot be read has: it does not end the daemon, or when it ends would tell that the data could be read.
    pub(super) fn commitment(&mut self, run: Digest, version: Digest) -> Option<Digest> {
        match block_in_place(|| self.spending.commitment(&run, &version)) {
            Ok(commitment) => {
                self.declaring.read.insert(run, (commitment, version));
                Some(commitment)
            }
            Err(why) => {
                let text = format!("no commitment to the data can be declared in run {}: {why}", run.short());
                self.alarms.later(move |alarm| alarm.raise(Kind::Opening, &text, ""));
                None
            }
        }
    }

    /// Writes down what the records that are about to be durable tell of the data.
    pub(super) fn declare(&mut self, effects: &VecDeque<ClientEffect>) {
        for effect in effects {
            let ClientEffect::Persist(record) = effect else { continue };
            let Some((run, statement)) = self.declaring.follow(record) else { continue };
            if let Err(why) = block_in_place(|| self.spending.declare(&run, statement)) {
                let text = format!(
                    "what this silo tells of its data in run {} could not be written down; a version opens as long as the table stays \
                     what it is: {why}",
                    run.short()
                );
                self.alarms.later(move |alarm| alarm.raise(Kind::Opening, &text, ""));
            }
            if let Statement::Random(word) = statement {
                let text = format!("{UNDECLARED} (run {run}, word {word})");
                self.alarms.later(move |alarm| alarm.raise(Kind::Untold, &text, ""));
            }
        }
    }
}
