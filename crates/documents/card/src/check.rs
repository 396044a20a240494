//! Whether a card says what the records and the plan say: it is made again from them, and compared whole.

use std::collections::BTreeSet;

use checkpoint::Manifest;
use plan::Plan;
use serde_norway::Value;

use crate::planned::PLANNED;
use crate::{Card, CardError, Silo, first_statement};

/// What neither records nor plan say: there the coordinator is believed, and the owner.
const BELIEVED: [&str; 5] =
    ["training_data.silos.name", "training_data.silos.data_versions", "security", "metrics", "compliance"];
/// Believed too, as long as there are no more of them than silos in the sum.
const SANDBOXES: &str = "sandboxes";

impl Card {
    /// Whether the card says what its record, the silos that its model learned from and, where there is one, its plan
    /// say. Not compared is what none of them says: the silos' names, data versions and sandboxes, the controls, the metrics
    /// and the owner's part.
    ///
    /// # Errors
    /// The first field that differs.
    pub fn check(
        &self,
        manifest: &Manifest,
        learned: &BTreeSet<u32>,
        plan: Option<&Plan>,
    ) -> Result<(), CardError> {
        let silo = |id: &u32| Silo { id: *id, name: String::new(), data_versions: Vec::new() };
        let silos = learned.iter().map(silo).collect();
        let mut expected = Self::of_record(manifest, silos, &self.security, self.metrics.clone());
        let said = self.sandboxes.values().copied().map(u128::from).sum::<u128>();
        if said > manifest.included.len() as u128 {
            return Err(CardError::Differs { field: SANDBOXES.into() });
        }
        expected.sandboxes.clone_from(&self.sandboxes);
        expected.format.clone_from(&self.format);
        let mut skipped = BELIEVED.to_vec();
        match plan {
            Some(plan) => expected.add_plan(plan),
            None => {
                // It is left out where there is none, and what is left out cannot be skipped.
                expected.lineage.begun_with.clone_from(&self.lineage.begun_with);
                expected.usage.clone_from(&self.usage);
                skipped.extend(PLANNED);
            }
        }
        if self.is_of_first_format() {
            expected.usage = None;
            expected.privacy.statement = first_statement(&manifest.privacy);
        }
        let (card, expected) = (serde_norway::to_value(self)?, serde_norway::to_value(expected)?);
        match first_difference("", &card, &expected, &skipped) {
            Some(field) => Err(CardError::Differs { field }),
            None => Ok(()),
        }
    }
}

/// The path of the first field in which two cards differ; a list's places have no numbers in it.
fn first_difference(path: &str, card: &Value, expected: &Value, skipped: &[&str]) -> Option<String> {
    if skipped.contains(&path) {
        return None;
    }
    match (card, expected) {
        (Value::Mapping(card), Value::Mapping(expected)) => {
            let only_there = card.keys().filter(|name| !expected.contains_key(*name));
            expected.keys().chain(only_there).find_map(|name| {
                let inner = name.as_str().unwrap_or_default();
                let inner = if path.is_empty() { inner.to_owned() } else { format!("{path}.{inner}") };
                let [card, expected] = [card, expected].map(|side| side.get(name).unwrap_or(&Value::Null));
                first_difference(&inner, card, expected, skipped)
            })
        }
        (Value::Sequence(card), Value::Sequence(expected)) if card.len() == expected.len() => card
            .iter()
            .zip(expected)
            .find_map(|(card, expected)| first_difference(path, card, expected, skipped)),
        _ => (card != expected).then(|| path.to_owned()),
    }
}
