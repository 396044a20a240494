//! What operators stopped, as the journals say: it must stay stopped.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{Action, Manifest};
use params::Digest;
use protocol::{ClientRecord, Record};
use secagg::ClientId;

#[derive(Default)]
pub(crate) struct Holds {
    paused: bool,
    /// The newest model.
    head: Option<Digest>,
    /// Models by the round whose result they are.
    results: BTreeMap<u64, Digest>,
    quarantined: BTreeSet<Digest>,
    /// Whom an operator wanted out; a crash may have come before it was written down.
    unwanted: BTreeSet<ClientId>,
    barred: BTreeSet<ClientId>,
    /// What each silo's own journal says of quarantines.
    silos: BTreeMap<ClientId, BTreeSet<Digest>>,
}

impl Holds {
    /// The coordinator's record is durable; says what is wrong with it.
    pub(crate) fn center_wrote(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Paused { .. } => self.paused = true,
            Record::Resumed { .. } => self.paused = false,
            Record::Barred { client, .. } => {
                self.barred.insert(*client);
            }
            Record::Restored { client, .. } => {
                self.barred.remove(client);
                self.unwanted.remove(client);
            }
            Record::RunStarted { genesis: signed, .. }
            | Record::Committed { manifest: signed, .. }
            | Record::Acted { manifest: signed, .. } => {
                if let Ok(manifest) = Manifest::from_bytes(&signed.manifest_bytes) {
                    return self.chained(&manifest);
                }
            }
            Record::AttemptBegun { at, cohort, .. } => {
                if self.paused {
                    return Err(format!("{at:?} is opened in a run that is paused"));
                }
                if self.head.is_some_and(|head| self.quarantined.contains(&head)) {
                    return Err(format!("{at:?} is opened on a model that is quarantined"));
                }
                if let Some(client) = cohort.iter().find(|client| self.barred.contains(client)) {
                    return Err(format!("{at:?} is opened to silo {client}, which is barred"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn chained(&mut self, manifest: &Manifest) -> Result<(), String> {
        let (round, model, before) = (manifest.round, manifest.model.params_digest, self.head);
        self.head = Some(model);
        match &manifest.action {
            None => {
                self.results.insert(round, model);
                match before.is_some_and(|before| self.quarantined.contains(&before)) {
                    true => Err(format!("round {round} was committed on a model that is quarantined")),
                    false => Ok(()),
                }
            }
            Some(Action::Quarantine { model, .. }) => {
                self.quarantined.insert(*model);
                match self.head == before {
                    true => Ok(()),
                    false => Err(format!("the quarantine in round {round} changes the model")),
                }
            }
            Some(Action::Rollback { to_round, .. }) => {
                let sound = self.results.get(to_round) == Some(&model) && !self.quarantined.contains(&model);
                match sound {
                    true => Ok(()),
                    false => {
                        Err(format!("round {round} goes back to what is not round {to_round}'s sound model"))
                    }
                }
            }
        }
    }

    /// A silo's record is durable; says what is wrong with it.
    pub(crate) fn silo_wrote(&mut self, id: ClientId, record: &ClientRecord) -> Result<(), String> {
        let known = self.silos.entry(id).or_default();
        match record {
            ClientRecord::ChainHead(signed) => {
                let action =
                    Manifest::from_bytes(&signed.manifest_bytes).ok().and_then(|record| record.action);
                if let Some(Action::Quarantine { model, .. }) = action {
                    known.insert(model);
                }
                Ok(())
            }
            ClientRecord::Debited { at, model, .. } if known.contains(model) => Err(format!(
                "silo {id} debits an update in {at:?} of a model that it knows to be quarantined"
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn removes(&mut self, client: ClientId) {
        self.unwanted.insert(client);
    }

    pub(crate) fn is_unwanted(&self, client: ClientId) -> bool {
        self.unwanted.contains(&client)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether no round can open until a rollback.
    pub(crate) fn needs_rollback(&self) -> bool {
        self.head.is_some_and(|head| self.quarantined.contains(&head))
    }

    /// Rounds with results, oldest first.
    pub(crate) fn results(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.results.keys().copied()
    }

    /// Rounds with sound results but for the newest model's, newest first.
    pub(crate) fn ways_back(&self) -> Vec<u64> {
        let sound = |model: &Digest| !self.quarantined.contains(model) && self.head != Some(*model);
        self.results.iter().rev().filter(|(_, model)| sound(model)).map(|(round, _)| *round).collect()
    }
}
