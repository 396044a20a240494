//! Every opened sum holds the noise that was calibrated, whoever was lost on the way.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use dp::{ClippedSum, Scale, WithoutNoise};
use identity::{Contribution, Feature, Mechanism, Plan, Privacy};
use sim::{Fate, Federation, Moment, OpenedSum, private_plan};

const SILOS: u32 = 5;
const ROUNDS: u64 = 10;
const SEEDS: u64 = 3;
const FEATURES: usize = 31;
/// A weight for each feature and a bias, for each of two classes.
const LANES: u64 = 64;

#[test]
fn the_opened_sum_is_the_sum_that_went_in_exactly() {
    for lost in [0, 1] {
        for federation in federations(lost) {
            assert_eq!(federation.opened().len() as u64, ROUNDS);
            for opened in federation.opened() {
                assert_eq!(opened.sum, opened.plaintext, "{:?}", opened.at);
            }
        }
    }
}

#[test]
fn the_noise_in_an_opened_sum_has_the_variance_of_one_share_for_each_silo_in_it() {
    let plan = plan();
    let share = sigma_local(&plan).powi(2);
    for lost in [0, 1] {
        let (mut squares, mut total, mut draws) = (0.0, 0.0, 0u32);
        for opened in federations(lost).iter().flat_map(Federation::opened) {
            let variance = opened.included.len() as f64 * share;
            for noise in noise_of(&plan, opened) {
                squares += noise * noise / variance;
                total += noise / variance.sqrt();
                draws += 1;
            }
        }
        assert_eq!(u64::from(draws), SEEDS * ROUNDS * LANES);
        // With unit variance, the squares are chi-square with n degrees of freedom: close to normal, mean n and
        // variance 2n; the total has mean 0 and variance n. Beyond 4.5 standard deviations once in 10^5 each.
        let n = f64::from(draws);
        let of_variance = (squares - n) / (2.0 * n).sqrt();
        let of_mean = total / n.sqrt();
        assert!(of_variance.abs() < 4.5, "{lost} lost: the variance is {} of what it must be", squares / n);
        assert!(of_mean.abs() < 4.5, "{lost} lost: the mean is off by {of_mean} standard deviations");
    }
}

#[test]
fn every_single_opened_sum_holds_the_noise_that_the_guarantee_counts_on() {
    // A silo lost of five leaves four in the sum; the guarantee counts on honest_min = 2 of them.
    let plan = plan();
    let counted_on = plan.cohort.honest_min as f64 * sigma_local(&plan).powi(2);
    for opened in federations(1).iter().flat_map(Federation::opened) {
        assert_eq!(opened.included.len(), 4);
        let squares: f64 = noise_of(&plan, opened).iter().map(|noise| noise * noise).sum();
        // Were there just the noise counted on, this would be chi-square with 64 degrees of freedom: below 24 once
        // in 6·10^5, so in one of these 30 sums once in 20,000. A sum without noise has 0.
        let ratio = squares / counted_on;
        assert!(ratio > 24.0, "{:?}: {ratio}", opened.at);
    }
}

#[test]
fn the_total_of_the_shares_counted_on_is_the_calibrated_noise() {
    let plan = plan();
    let Privacy::DistributedDpSgd { noise_multiplier, clip_norm, scale_bits, .. } = plan.privacy else {
        panic!("a private plan");
    };
    let lanes = plan.architecture().parameter_count();
    let scale = Scale::from_bits(scale_bits).unwrap();
    let calibrated = noise_multiplier * dp::sensitivity::delta_l2_sum(scale, clip_norm, lanes);
    let total = sigma_local(&plan) * (plan.cohort.honest_min as f64).sqrt();
    assert!(total >= calibrated && total < calibrated * 1.000_001, "{total} for {calibrated}");
}

#[test]
fn a_batch_of_nobody_is_as_noisy_as_any_other() {
    let plan = plan();
    let (mechanism, lanes) = (plan.mechanism().unwrap(), plan.lanes());
    let nobody = ClippedSum::new(vec![0.0; lanes], 1.0, 0).unwrap();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let protected = mechanism.protect(Contribution::Sum(nobody), &mut rng).unwrap();
    let squares = |lane: u32| (f64::from(lane.cast_signed()) / sigma_local(&plan)).powi(2);
    // Chi-square with 64 degrees of freedom: outside these once in 10^4 (5e-5 on each side).
    let ratio: f64 = protected.update.into_lanes().into_iter().map(squares).sum();
    assert!((27.0..117.0).contains(&ratio), "{ratio}");
}

fn plan() -> Plan {
    let mut plan = private_plan(SILOS as usize, ROUNDS, 3.0);
    let feature = |place| Feature { column: format!("x{place}"), minimum: 0.0, maximum: 1.0 };
    plan.data.features = (0..FEATURES).map(feature).collect();
    plan
}

/// One run for each seed; the first `lost` silos die at their first upload.
fn federations(lost: u32) -> Vec<Federation> {
    let run = |seed| {
        let mut federation = Federation::new(plan(), SILOS, seed).with_faults(move |moment| match moment {
            Moment::SiloUploads(id, _) if id.0 <= lost => Fate::Kill,
            _ => Fate::Pass,
        });
        federation.run();
        federation
    };
    (0..SEEDS).map(run).collect()
}

/// What is left of an opened sum after the silos' own contributions are taken off, lane by lane.
fn noise_of(plan: &Plan, opened: &OpenedSum) -> Vec<f64> {
    let Ok(Mechanism::Sums { scale, rows_max, .. }) = plan.mechanism() else { panic!("a private plan") };
    let mut noise = opened.sum.clone();
    for id in &opened.included {
        let Contribution::Sum(sum) = sim::contribute(plan, *id, opened.at) else {
            panic!("a private plan contributes sums");
        };
        let integers = sum.quantize_nearest(scale, rows_max).unwrap();
        let own = integers.without_noise(WithoutNoise::plan_has_no_privacy()).into_lanes();
        noise.iter_mut().zip(own).for_each(|(lane, own)| *lane = lane.wrapping_sub(own));
    }
    noise.into_iter().map(|lane| f64::from(lane.cast_signed())).collect()
}

fn sigma_local(plan: &Plan) -> f64 {
    match plan.mechanism().unwrap() {
        Mechanism::Sums { sigma_local, .. } => sigma_local.value(),
        other => panic!("{other:?}"),
    }
}
