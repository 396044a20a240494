//! What silos contribute, in place of training.

use dp::{ClippedSum, LocalUpdate};
use plan::{Learned, Plan, PrivacyMode};
use protocol::Attempt;
use secagg::ClientId;

/// What a silo brings to an attempt: one-hot in its own lane, a prime in another, so that a sum that counts somebody twice, not at all or
/// with the wrong sign is not the right one by accident.
///
/// # Panics
/// Where these constants are no contribution under the plan: then they are wrong.
pub fn contribute(plan: &Plan, id: ClientId, at: Attempt) -> Learned {
    const PRIMES: [u16; 8] = [2, 3, 5, 7, 11, 13, 17, 19];
    let lanes = plan.architecture().parameter_count();
    let mut values = vec![0f32; lanes];
    let own = id.0 as usize % lanes;
    let prime = f32::from(PRIMES[id.0 as usize % PRIMES.len()]);
    values[own] = 1.0 / 16.0;
    values[(own + 1 + at.round as usize) % lanes] -= prime / 64.0;
    match (plan.mode(), plan.clip_norm()) {
        (PrivacyMode::DistributedDpSgd, Some(clip_norm)) => {
            let values = values.into_iter().map(f64::from).collect();
            let sum = ClippedSum::new(values, clip_norm, 8).expect("finite values");
            Learned::Sum(sum.with_count(i64::from(id.0 % 5) - 2))
        }
        (PrivacyMode::DistributedDpFedavg | PrivacyMode::CentralDpFedavg, Some(clip_norm)) => {
            let update = LocalUpdate::new(values).expect("finite values");
            Learned::Clipped(update.clip(clip_norm).expect("a plan's clip norm"))
        }
        _ => Learned::Update {
            update: LocalUpdate::new(values).expect("finite values"),
            rows: u64::from(id.0) * 10,
            metrics: [0.25 * f64::from(id.0), 0.5],
        },
    }
}
