//! Records and evidence as people read them, one on a line.

use accounting::rounded_up;
use attest::RoundEvidence;
use checkpoint::Manifest;
use identity::printable;
use params::Digest;
use serde_json::{Value, json};

use crate::Verified;

/// A record on one line: what was done, or who was in the sum and what it cost.
pub fn record_line(manifest: &Manifest) -> String {
    if let Some(action) = &manifest.action {
        return format!("round {:>6}: {}", manifest.round, printable(&action.to_string()));
    }
    let spent = manifest
        .privacy
        .epsilon
        .map_or_else(String::new, |epsilon| format!(", epsilon {}", rounded_up(epsilon, 4)));
    let left_out: Vec<String> = manifest
        .left_out
        .iter()
        .map(|left_out| format!("silo {} ({})", left_out.client, printable(&left_out.reason)))
        .collect();
    let left_out =
        if left_out.is_empty() { String::new() } else { format!(", left out: {}", left_out.join(", ")) };
    format!(
        "round {:>6}: {} silos{left_out}, model {}{spent}",
        manifest.round,
        manifest.included.len(),
        manifest.model.params_digest.short()
    )
}

/// What was held against what of so many cards, and what nothing could be held against; `planned` where a plan was given.
pub fn cards_line(cards: u64, planned: bool) -> String {
    let (against, left) = if planned {
        ("the records and the plan", "")
    } else {
        ("the records", ", and without --plan what the plan tells")
    };
    format!(
        "cards: {cards} say what {against} say; the coordinator's word alone are the silos' names, data versions and \
         sandboxes, the security controls, the metrics and the owner's part{left}"
    )
}

/// One round's evidence as people read it.
pub fn evidence_line(evidence: &RoundEvidence) -> String {
    let short = |digest: Option<Digest>| digest.map_or_else(|| "none".to_owned(), |digest| digest.short());
    let spent = evidence.privacy.epsilon.map_or_else(
        || "no differential privacy".to_owned(),
        |epsilon| format!("epsilon {} spent", rounded_up(epsilon, 4)),
    );
    let held: Vec<String> = evidence
        .sandboxes
        .iter()
        .map(|(level, silos)| format!("; {silos} say that their trainers are held: {}", printable(level)))
        .collect();
    let held = held.concat();
    format!(
        "round {:>6}: from {}, plan {}, roster {}, silos in the sum {} ({} of {}), {spent}, by {}{held}",
        evidence.round,
        short(evidence.parent.as_ref().map(|parent| parent.record)),
        evidence.plan.short(),
        evidence.roster.short(),
        short(evidence.included_commitment),
        evidence.included,
        evidence.cohort,
        printable(&evidence.code_version),
    )
}

/// A chain that holds, for programs: `records` are the signed ones, oldest first. `evidence` counts checkpoints whose evidence was
/// checked, `steps` rounds whose step was done again; null where nothing was given to check them by.
pub fn verified_json(
    verified: &Verified,
    key_pinned: bool,
    evidence: Option<usize>,
    steps: Option<usize>,
) -> Value {
    json!({
        "rounds": verified.rounds,
        "head": verified.head,
        "model_sha256": verified.model_sha256,
        "key_pinned": key_pinned,
        "cards": verified.cards,
        "evidence": evidence,
        "steps": steps,
        "records": verified.manifests,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{samples, verify_folder};

    #[test]
    fn an_operators_action_is_shown_in_its_own_words_on_one_line() {
        let folder = samples::chain(|_| {});
        let mut manifest = verify_folder(folder.path(), None).unwrap().manifests.pop().unwrap();
        let (reason, by) = ("bad\nrows".to_owned(), "ops".to_owned());
        manifest.action = Some(checkpoint::Action::Rollback { to_round: 1, reason, by });
        let shown = record_line(&manifest);
        assert!(shown.contains("rolled back to the model of round 1 by ops: bad"), "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
    }
}
