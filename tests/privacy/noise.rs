//! Every opened sum holds the noise that was calibrated, whoever was lost on the way.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use dp::{ClippedSum, Scale, WithoutNoise};
use plan::{Contribution, Feature, Learned, Mechanism, Origin, Plan, SharedNoise};
use secagg::NoiseSeeds;
use sim::{Fate, Federation, Moment, OpenedSum, private_plan};

/// `t` is 5 with one corrupt: sums of 7, 6 and 5 can be opened.
const SILOS: u32 = 7;
const LOST_MAX: u32 = 2;
const ROUNDS: u64 = 10;
const SEEDS: u64 = 3;
const FEATURES: usize = 63;
/// A weight for each feature and a bias, for each of two classes.
const LANES: u64 = 128;

#[test]
fn the_opened_sum_is_the_sum_that_went_in_exactly() {
    for plan in [plan(), removing_excess()] {
        for federation in (0..=LOST_MAX).flat_map(|lost| federations(&plan, lost)) {
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
    let share = calibrated(&plan).powi(2) / plan.cohort.honest_min as f64;
    for lost in 0..=LOST_MAX {
        holds_noise_of_variance(&plan, lost, |included| included * share);
    }
}

#[test]
fn where_excess_is_removed_all_but_the_corrupt_keep_exactly_the_calibrated_noise_whoever_was_lost() {
    let plan = removing_excess();
    let (total, corrupt) = (calibrated(&plan).powi(2), plan.cohort.corrupt as f64);
    for lost in 0..=LOST_MAX {
        // Those that collude may have added none: what `u − c` add is the calibrated variance.
        holds_noise_of_variance(&plan, lost, |included| total * included / (included - corrupt));
    }
}

/// Checks mean and variance of all noise in all sums that `lost` silos are missing in.
fn holds_noise_of_variance(plan: &Plan, lost: u32, expected: impl Fn(f64) -> f64) {
    let (mut squares, mut total, mut draws) = (0.0, 0.0, 0u32);
    for opened in federations(plan, lost).iter().flat_map(Federation::opened) {
        assert_eq!(opened.included.len() as u32, SILOS - lost);
        let variance = expected(f64::from(SILOS - lost));
        for noise in noise_of(plan, opened) {
            squares += noise * noise / variance;
            total += noise / variance.sqrt();
            draws += 1;
        }
    }
    assert_eq!(u64::from(draws), SEEDS * ROUNDS * LANES);
    // With unit variance, the squares are chi-square with n degrees of freedom: close to normal, mean n and
    // variance 2n; the total has mean 0 and variance n. Beyond 4.5 standard deviations once in 10^5 each. One
    // component more or less is 16 per cent of the variance at least, seven standard deviations.
    let n = f64::from(draws);
    let of_variance = (squares - n) / (2.0 * n).sqrt();
    let of_mean = total / n.sqrt();
    assert!(of_variance.abs() < 4.5, "{lost} lost: the variance is {} of what it must be", squares / n);
    assert!(of_mean.abs() < 4.5, "{lost} lost: the mean is off by {of_mean} standard deviations");
}

#[test]
fn every_single_opened_sum_holds_the_noise_that_the_guarantee_counts_on() {
    for plan in [plan(), removing_excess()] {
        // Honest silos alone are counted on, and they add the calibrated noise.
        let counted_on = calibrated(&plan).powi(2);
        for opened in federations(&plan, LOST_MAX).iter().flat_map(Federation::opened) {
            let squares: f64 = noise_of(&plan, opened).iter().map(|noise| noise * noise).sum();
            // Were there just the noise counted on, this would be chi-square with 128 degrees of freedom: below 64
            // once in 2·10^6. A sum without noise has 0.
            let ratio = squares / counted_on;
            assert!(ratio > 64.0, "{:?}: {ratio}", opened.at);
        }
    }
}

#[test]
fn the_total_of_the_shares_counted_on_is_the_calibrated_noise() {
    let plan = plan();
    let total = noise(&plan).share().value() * (plan.cohort.honest_min as f64).sqrt();
    let calibrated = calibrated(&plan);
    assert!(total >= calibrated && total < calibrated * 1.000_001, "{total} for {calibrated}");
}

#[test]
fn a_batch_of_nobody_is_as_noisy_as_any_other() {
    let plan = plan();
    let (mechanism, lanes) = (plan.mechanism().unwrap(), plan.lanes());
    let nobody = ClippedSum::new(vec![0.0; lanes], 1.0, 0).unwrap();
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let seeds = NoiseSeeds::nobody_drops(SILOS as usize);
    let origin = Origin { plan: plan.digest(), start: plan.initial_model().digest() };
    let nobody = Contribution::new(origin, Learned::Sum(nobody));
    let protected = mechanism.protect(nobody, origin, &seeds, &mut rng).unwrap();
    let sigma = noise(&plan).share().value();
    let squares = |lane: u32| (f64::from(lane.cast_signed()) / sigma).powi(2);
    // Chi-square with 128 degrees of freedom: outside these once in 10^4 (5e-5 on each side).
    let ratio: f64 = protected.into_plain_lanes().into_iter().map(squares).sum();
    assert!((75.0..200.0).contains(&ratio), "{ratio}");
}

fn plan() -> Plan {
    let mut plan = private_plan(SILOS as usize, ROUNDS, 3.0);
    plan.cohort.minimum = (SILOS - LOST_MAX) as usize;
    let feature = |place| Feature::range(format!("x{place}"), 0.0, 1.0);
    plan.data.features = (0..FEATURES).map(feature).collect();
    plan
}

fn removing_excess() -> Plan {
    sim::removing_excess(plan())
}

/// One run for each seed; the first `lost` silos die at their first upload.
fn federations(plan: &Plan, lost: u32) -> Vec<Federation> {
    let run = |seed| {
        let mut federation =
            Federation::new(plan.clone(), SILOS, seed).with_faults(move |moment| match moment {
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
        let Learned::Sum(sum) = sim::contribute(plan, *id, opened.at) else {
            panic!("a private plan contributes sums");
        };
        let integers = sum.quantize_nearest(scale, rows_max).unwrap();
        let own = integers.without_noise(WithoutNoise::plan_has_no_privacy()).into_lanes();
        noise.iter_mut().zip(own).for_each(|(lane, own)| *lane = lane.wrapping_sub(own));
    }
    noise.into_iter().map(|lane| f64::from(lane.cast_signed())).collect()
}

/// The noise that one round's epsilon is of, in lanes.
fn calibrated(plan: &Plan) -> f64 {
    let promise = plan.privacy.promise().unwrap();
    let scale = Scale::from_bits(promise.scale_bits).unwrap();
    let parameters = plan.architecture().parameter_count();
    promise.noise_multiplier * dp::sensitivity::delta_l2_sum(scale, promise.clip_norm, parameters)
}

fn noise(plan: &Plan) -> SharedNoise {
    match plan.mechanism().unwrap() {
        Mechanism::Sums { noise, .. } => noise,
        other => panic!("{other:?}"),
    }
}
