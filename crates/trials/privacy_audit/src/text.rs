//! What an audit found, in words.

use std::fmt::Write;

use crate::{Findings, Verdict};
use accounting::{Unit, rounded_down, rounded_up};

/// What an audit found, a line each.
pub fn findings_text(findings: &Findings) -> String {
    let claim = &findings.claim;
    let claimed = match (claim.epsilon, claim.delta) {
        (Some(epsilon), Some(delta)) => format!("epsilon {} at delta {delta}", rounded_up(epsilon, 3)),
        _ => "nothing: this mode carries no differential privacy".into(),
    };
    let mut text = format!(
        "mode          {}\nclaimed       {claimed}\nhides         {}; relation: {}\ntrusted       {}\n",
        claim.mode,
        Unit::hidden_by_name(&claim.unit),
        claim.relation,
        claim.trust,
    );
    // Where a canary moves the sum as far as a record does, the line would only repeat the claim.
    if let Some(epsilon) = claim.epsilon_of_a_canary.filter(|_| claim.epsilon_of_a_canary != claim.epsilon) {
        let _ = writeln!(
            text,
            "a canary      epsilon {}: it replaces its silo's update, which moves the sum twice as far",
            rounded_up(epsilon, 3)
        );
    }
    let _ = writeln!(
        text,
        "audit         {} of {} guesses right, of {} canaries\n\
         lower bound   epsilon {} at confidence {}; all guesses right would give {}\n\
         verdict       {}",
        findings.correct,
        findings.guesses,
        findings.canaries,
        rounded_down(findings.epsilon_lower_bound, 3),
        findings.confidence,
        rounded_down(findings.epsilon_bound_attainable, 3),
        verdict(findings)
    );
    if let Some(m) = &findings.membership {
        let [from, to] = m.auc_interval_95;
        let _ = writeln!(
            text,
            "membership    AUC {:.3} ({from:.3} to {to:.3}) over {} members and {} others; {:.1} % found at 1 % false",
            m.auc,
            m.members,
            m.others,
            100.0 * m.found_at_one_percent
        );
    }
    if let Some(i) = &findings.inversion {
        let noised = i.noised.map_or(String::new(), |noised| format!(", with a share of noise {noised:+.3}"));
        let _ = writeln!(
            text,
            "inversion     correlation with the record: unmasked {:+.3}{noised}, masked {:+.3}",
            i.unmasked, i.masked
        );
    }
    text.push_str("A low bound proves no privacy: it says that these attacks found no more.\n");
    text
}

fn verdict(findings: &Findings) -> String {
    match findings.verdict {
        Verdict::Contradicted => "CONTRADICTS THE CLAIM".into(),
        Verdict::NotContradicted => "does not contradict the claim".into(),
        Verdict::CannotTell => format!("cannot tell: {}", reach_text(findings)),
        Verdict::NothingClaimed => "nothing is claimed".into(),
    }
}

/// What an audit of this size can contradict, and what it takes to contradict the claim.
pub fn reach_text(findings: &Findings) -> String {
    let reach = format!(
        "with {} canaries, all guesses right show an epsilon above {}",
        findings.canaries,
        rounded_down(findings.epsilon_bound_attainable, 3)
    );
    let Some(epsilon) = findings.claim.epsilon_of_a_canary else { return reach };
    let claimed = rounded_up(epsilon, 3);
    match findings.canaries_to_contradict() {
        Some(canaries) => format!("{reach}; it takes {canaries} to contradict the claimed {claimed}"),
        None => format!("{reach}; at this delta no number can contradict the claimed {claimed}"),
    }
}
