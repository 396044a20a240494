//! Membership inference: how well a score tells what was trained on from what was not.

/// How an attack did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attack {
    /// Area under the curve: the probability that a member scores above another; one half is guessing.
    pub auc: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// Share of members found where one of a hundred others is taken for one.
    pub found_at_one_percent: f64,
}

/// Measures an attack by its scores, higher for members.
///
/// `None` where there are no members or no others.
///
/// # Paper
/// Hanley, McNeil 1982, for the interval.
pub fn attack(members: &[f64], others: &[f64]) -> Option<Attack> {
    if members.is_empty() || others.is_empty() {
        return None;
    }
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |score: f64| sorted.partition_point(|other| *other < score);
    let up_to = |score: f64| sorted.partition_point(|other| *other <= score);
    // Ties count one half.
    let wins: f64 = members.iter().map(|score| 0.5 * (below(*score) + up_to(*score)) as f64).sum();
    let (m, n) = (members.len() as f64, others.len() as f64);
    let auc = wins / (m * n);
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let variance =
        (auc * (1.0 - auc) + (m - 1.0) * (q1 - auc * auc) + (n - 1.0) * (q2 - auc * auc)) / (m * n);
    let spread = 1.959_964 * variance.max(0.0).sqrt();
    // At most one of a hundred others lies above the threshold.
    let allowed = sorted.len() / 100;
    let threshold = sorted.get(sorted.len() - 1 - allowed).copied().unwrap_or(f64::INFINITY);
    let found = members.iter().filter(|score| **score > threshold).count() as f64 / m;
    Some(Attack {
        auc,
        interval: [auc - spread, auc + spread].map(|end| end.clamp(0.0, 1.0)),
        found_at_one_percent: found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_guessing_and_parted_ones_are_told_apart() {
        let same: Vec<f64> = (0..200).map(f64::from).collect();
        let guessing = attack(&same, &same).unwrap();
        assert!(
            (guessing.auc - 0.5).abs() < 1e-12 && guessing.interval[0] < 0.5 && guessing.interval[1] > 0.5
        );
        assert!((guessing.found_at_one_percent - 0.01).abs() < 0.006);
        let higher: Vec<f64> = same.iter().map(|score| score + 1_000.0).collect();
        let perfect = attack(&higher, &same).unwrap();
        assert_eq!((perfect.auc, perfect.found_at_one_percent), (1.0, 1.0));
        assert_eq!(attack(&[], &same), None);
    }

    #[test]
    fn the_area_counts_pairs() {
        // Pairs won: 3 > 1, 3 > 2, 2 > 1, and 2 = 2 is one half.
        let attack = attack(&[3.0, 2.0], &[1.0, 2.0]).unwrap();
        assert_eq!(attack.auc, 3.5 / 4.0);
    }
}
