//! From a model back to the first one.

use crate::evidence::{EvidenceError, RoundEvidence, RoundKind, verify_round};
use crate::key::ModelPublicKey;
use crate::model::{BundleError, ModelStatement};

/// The first break on the way from the newest round to the first.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// Nothing to walk.
    #[error("there is no published round; name the folder that holds the checkpoints")]
    Empty,
    /// A bundle on the way is refused.
    #[error("the bundle of checkpoint {position}, counted from the oldest here as 1, is refused")]
    Bundle {
        /// Which, counted from the oldest as 1.
        position: usize,
        source: BundleError,
    },
    /// An evidence on the way is refused.
    #[error("the evidence of checkpoint {position}, counted from the oldest here as 1, is refused")]
    Evidence {
        /// Which, counted from the oldest as 1.
        position: usize,
        source: EvidenceError,
    },
    /// The round before is another than the one that it started from.
    #[error("round {round} did not start from round {before}, the one before it here; is a folder missing?")]
    Parent {
        /// The later round.
        round: u64,
        /// The earlier one.
        before: u64,
    },
    /// A constant of the run changed.
    #[error("round {round} changes the run's `{field}`")]
    Constant {
        /// The later round.
        round: u64,
        field: &'static str,
    },
    /// A number that may only grow did not.
    #[error("round {round} has `{field}` {actual}, and round {before} had {previous}")]
    Order {
        /// The later round.
        round: u64,
        /// The earlier one.
        before: u64,
        field: &'static str,
        /// In the later round.
        actual: u64,
        /// In the earlier one.
        previous: u64,
    },
    /// The walk ends at a round that has a parent.
    #[error("the oldest round here is {round}, and it had a parent; copy the rounds before it too")]
    Start {
        /// The oldest round given.
        round: u64,
    },
}

/// Walks from the newest round to the first: each must be validly signed with its evidence about the same
/// folder, and have started from the one before it. Oldest first, as `(bundle, evidence)`; returned likewise.
///
/// Aborted rounds have no folder, and the roster may change.
///
/// # Errors
///
/// The first break on the way back.
///
/// # Security
///
/// Says that the key's owner stated one unbroken history, without a look at models and records: whether a
/// folder holds what its bundle signs is [`verify_model`](crate::verify_model)'s to say, and whether the
/// evidence follows from its record is [`RoundEvidence::check`]'s.
pub fn verify_lineage<B: AsRef<[u8]>, E: AsRef<[u8]>>(
    checkpoints: &[(B, E)],
    key: &ModelPublicKey,
) -> Result<Vec<RoundEvidence>, LineageError> {
    let mut newest_first: Vec<RoundEvidence> = Vec::with_capacity(checkpoints.len());
    for (index, (bundle, evidence)) in checkpoints.iter().enumerate().rev() {
        let position = index + 1;
        let bundle = ModelStatement::open(bundle.as_ref(), key)
            .map_err(|source| LineageError::Bundle { position, source })?;
        let evidence = verify_round(evidence.as_ref(), &bundle, key)
            .map_err(|source| LineageError::Evidence { position, source })?;
        if let Some(child) = newest_first.last() {
            follows(child, &evidence)?;
        }
        newest_first.push(evidence);
    }
    let first = newest_first.last().ok_or(LineageError::Empty)?;
    if first.parent.is_some() || first.kind != RoundKind::Initial {
        return Err(LineageError::Start { round: first.round });
    }
    newest_first.reverse();
    Ok(newest_first)
}

fn follows(child: &RoundEvidence, parent: &RoundEvidence) -> Result<(), LineageError> {
    let (round, before) = (child.round, parent.round);
    let named = child.parent.as_ref().map(|named| (named.record, named.model));
    if named != Some((parent.record, parent.model)) {
        return Err(LineageError::Parent { round, before });
    }
    for (field, same) in [("run_id", child.run_id == parent.run_id), ("plan", child.plan == parent.plan)] {
        if !same {
            return Err(LineageError::Constant { round, field });
        }
    }
    let (actual, previous) = (child.privacy.steps, parent.privacy.steps);
    if round <= before {
        return Err(LineageError::Order { round, before, field: "round", actual: round, previous: before });
    }
    if actual < previous {
        return Err(LineageError::Order { round, before, field: "privacy.steps", actual, previous });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    type Pair = (Vec<u8>, Vec<u8>);

    fn chain(rounds: &[u64]) -> Vec<Pair> {
        rounds.iter().map(|&round| samples::published(round, |_| {})).collect()
    }

    fn verify(pairs: &[Pair]) -> Result<Vec<RoundEvidence>, LineageError> {
        verify_lineage(pairs, samples::key(1).public())
    }

    /// The break in rounds 0 to 3 after `edit` of round 2's evidence, signed again.
    fn broken(edit: impl Fn(&mut RoundEvidence)) -> LineageError {
        let mut pairs = chain(&[0, 1, 2, 3]);
        pairs[2] = samples::published(2, edit);
        verify(&pairs).unwrap_err()
    }

    #[test]
    fn an_unbroken_history_is_walked_and_returned_oldest_first() {
        let rounds: Vec<u64> = verify(&chain(&[0, 1, 2, 3])).unwrap().iter().map(|e| e.round).collect();
        assert_eq!(rounds, [0, 1, 2, 3]);
        assert_eq!(verify(&chain(&[0])).unwrap().len(), 1);
    }

    #[test]
    fn a_missing_round_and_a_missing_beginning_are_named() {
        let gap = verify(&chain(&[0, 1, 3])).unwrap_err();
        assert!(matches!(gap, LineageError::Parent { round: 3, before: 1 }), "{gap}");
        assert!(matches!(verify(&chain(&[1, 2, 3])), Err(LineageError::Start { round: 1 })));
        assert!(matches!(verify(&[]), Err(LineageError::Empty)));
    }

    #[test]
    fn rounds_in_another_order_are_refused() {
        assert!(matches!(verify(&chain(&[1, 0])), Err(LineageError::Parent { round: 0, before: 1 })));
        assert!(matches!(verify(&chain(&[0, 0])), Err(LineageError::Parent { round: 0, before: 0 })));
    }

    #[test]
    fn each_rule_between_rounds_names_its_break() {
        let other = params::Digest::sha256(b"x");
        let changed = broken(|e| e.record = other);
        assert!(matches!(changed, LineageError::Parent { round: 3, before: 2 }));
        let changed = broken(|e| e.model = other);
        assert!(matches!(changed, LineageError::Parent { round: 3, before: 2 }));
        let changed = broken(|e| e.parent.as_mut().unwrap().model = other);
        assert!(matches!(changed, LineageError::Parent { round: 2, before: 1 }));
        let changed = broken(|e| e.parent = None);
        assert!(matches!(changed, LineageError::Parent { round: 2, before: 1 }));
        let changed = broken(|e| e.run_id = other);
        assert!(matches!(changed, LineageError::Constant { round: 3, field: "run_id" }));
        let changed = broken(|e| e.plan = other);
        assert!(matches!(changed, LineageError::Constant { round: 3, field: "plan" }));
        let changed = broken(|e| e.round = 3);
        assert!(matches!(changed, LineageError::Order { field: "round", actual: 3, previous: 3, .. }));
        let changed = broken(|e| e.privacy.steps = 0);
        assert!(matches!(changed, LineageError::Order { round: 2, field: "privacy.steps", .. }), "{changed}");
    }

    #[test]
    fn a_first_round_that_claims_training_is_no_beginning() {
        let pair = samples::published(0, |e| e.kind = RoundKind::Training);
        assert!(matches!(verify(&[pair]), Err(LineageError::Start { round: 0 })));
    }

    #[test]
    fn another_key_a_damaged_bundle_and_swapped_evidence_are_named_by_position() {
        let pairs = chain(&[0, 1, 2]);
        let other = verify_lineage(&pairs, samples::key(2).public()).unwrap_err();
        assert!(matches!(other, LineageError::Bundle { position: 3, source: BundleError::Key { .. } }));

        let mut damaged = pairs.clone();
        damaged[1].0.truncate(100);
        let error = verify(&damaged).unwrap_err();
        assert!(matches!(error, LineageError::Bundle { position: 2, source: BundleError::Json(_) }));

        let mut swapped = pairs;
        swapped[0].1 = swapped[1].1.clone();
        let error = verify(&swapped).unwrap_err();
        let subject = EvidenceError::Subject {
            expected: samples::signed_model(0).root,
            actual: samples::signed_model(1).root,
        };
        assert!(error.to_string().contains("checkpoint 1"), "{error}");
        match error {
            LineageError::Evidence { position: 1, source } => {
                assert_eq!(source.to_string(), subject.to_string())
            }
            other => panic!("{other}"),
        }
    }
}
