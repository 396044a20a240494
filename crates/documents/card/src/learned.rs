//! Whose data a version learned from: for its card, and as its chain's records tell it.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{Action, Manifest};
use identity::Roster;
use params::Digest;

use crate::{DATA_VERSIONS_MAX, Silo};

/// Whose data each version learned from, as the records of a chain tell it.
#[derive(Debug, Default)]
pub struct LearnedFrom {
    by_round: BTreeMap<u64, BTreeSet<u32>>,
}

impl LearnedFrom {
    /// Takes the chain's next record. Gives the silos that its model learned from: those in its sum, and those that the model
    /// which it goes on from had learned from.
    pub fn push(&mut self, manifest: &Manifest) -> BTreeSet<u32> {
        let base = match &manifest.action {
            Some(Action::Rollback { to_round, .. }) => self.by_round.get(to_round),
            _ => self.by_round.last_key_value().map(|(_, silos)| silos),
        };
        let mut silos = base.cloned().unwrap_or_default();
        silos.extend(&manifest.included);
        self.by_round.insert(manifest.round, silos.clone());
        silos
    }
}

/// Whose data the model learned from: those before, and those in the sum.
pub(crate) fn silos(
    manifest: &Manifest,
    roster: &Roster,
    before: &[Silo],
    versions: &BTreeMap<u32, Digest>,
) -> Vec<Silo> {
    let mut silos: BTreeMap<u32, Silo> = before.iter().map(|silo| (silo.id, silo.clone())).collect();
    for id in &manifest.included {
        let silo = silos.entry(*id).or_insert_with(|| Silo {
            id: *id,
            name: roster
                .members
                .iter()
                .find(|(member, _)| member.0 == *id)
                .map_or_else(|| "no longer on the roster".into(), |(_, member)| member.name.clone()),
            data_versions: Vec::new(),
        });
        if let Some(version) = versions.get(id) {
            silo.data_versions.retain(|known| known != version);
            silo.data_versions.push(*version);
            let too_many = silo.data_versions.len().saturating_sub(DATA_VERSIONS_MAX);
            silo.data_versions.drain(..too_many);
        }
    }
    silos.into_values().collect()
}
