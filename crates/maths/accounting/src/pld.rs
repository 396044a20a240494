//! Privacy loss distributions: the sharpest epsilon of the continuous Gaussian, composed by fast Fourier transform.
//!
//! One event's loss is put on a grid so that its hockey-stick curve is nowhere below the true one (*connect the dots*),
//! convolved with itself and others on a circle, and read off. Whatever is cut off, wraps around or is rounded is added
//! to delta, so that the epsilon is an upper bound. What is convolved is weighted by `e^(λ loss)` first and divided by it
//! after, so that rounding is small beside delta, however small that is.
//!
//! # Papers
//! Koskela, Jälkö, Honkela 2020; Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022 (connect the dots); Gopi, Lee,
//! Wutschitz 2021 (how wide the circle must be); Esscher 1932 (the weights).

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::event::{AccountingError, DpEvent, valid_delta};
use crate::fractional::sampled_gaussian;
use crate::gaussian::{ln_upper_tail, upper_tail};

/// Fewest and most points of the circle.
const POINTS_MIN: usize = 1 << 18;
const POINTS_MAX: usize = 1 << 21;
/// The grid step that the number of points is chosen for: dp-accounting's. A wide circle has a coarser one.
const STEP: f64 = 1e-4;
/// The widest step whose exponential is far from the end of numbers.
const STEP_MAX: f64 = 500.0;
/// How much of delta may be lost to what is cut off.
const CUT: f64 = 1e-4;

/// How the two tables differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PldRelation {
    /// One record more or less: the worse of the two.
    AddRemoveOne,
    /// One record replaced by another.
    ReplaceOne,
}

/// Epsilon at delta of so many of each event, under addition or removal of one record.
///
/// # Errors
/// Events that mean nothing, fixed-size batches, a delta that is not strictly between 0 and 1.
pub fn pld_epsilon(events: &[(DpEvent, u64)], delta: f64) -> Result<f64, AccountingError> {
    pld_epsilon_under(PldRelation::AddRemoveOne, events, delta)
}

/// The same under a relation.
///
/// # Errors
/// As [`pld_epsilon`].
pub fn pld_epsilon_under(
    relation: PldRelation,
    events: &[(DpEvent, u64)],
    delta: f64,
) -> Result<f64, AccountingError> {
    let delta = valid_delta(delta)?;
    let mut composed = Vec::with_capacity(events.len());
    for (event, count) in events.iter().filter(|(_, count)| *count > 0) {
        let (sampling_rate, noise_multiplier) = event.continuous()?;
        if sampling_rate > 0.0 {
            composed.push((sampling_rate, noise_multiplier, event.sums(*count)));
        }
    }
    let directions: &[Direction] = match relation {
        PldRelation::AddRemoveOne => &[Direction::Remove, Direction::Add],
        PldRelation::ReplaceOne => &[Direction::Replace],
    };
    let epsilons = directions.iter().map(|direction| direction.epsilon(&composed, delta));
    Ok(epsilons.fold(0.0, f64::max))
}

/// Which table is observed, and which it is mistaken for.
#[derive(Debug, Clone, Copy)]
enum Direction {
    /// With the record, mistaken for without.
    Remove,
    /// Without, mistaken for with.
    Add,
    /// With one, mistaken for with another.
    Replace,
}

impl Direction {
    /// Epsilon of so many releases at each sampling rate and noise.
    fn epsilon(self, composed: &[(f64, f64, u64)], delta: f64) -> f64 {
        let steps: f64 = composed.iter().map(|(_, _, count)| *count as f64).sum();
        if steps == 0.0 {
            return 0.0;
        }
        let window = Window::for_tails(self, composed, delta);
        let Some(window) = window else { return f64::INFINITY };
        let mut planner = FftPlanner::new();
        let forward = planner.plan_fft_forward(window.points);
        let mut spectrum = vec![Complex::new(1.0, 0.0); window.points];
        let (mut log_finite, mut log_total) = (0.0, 0.0);
        for (sampling_rate, noise_multiplier, count) in composed {
            let (mut losses, infinite) = self.discretised(*sampling_rate, *noise_multiplier, &window);
            log_finite += *count as f64 * (-infinite).ln_1p();
            log_total += *count as f64 * window.tilt(&mut losses);
            forward.process(&mut losses);
            for (product, factor) in spectrum.iter_mut().zip(losses) {
                *product *= power(factor, *count);
            }
        }
        planner.plan_fft_inverse(window.points).process(&mut spectrum);
        // At infinity, beyond both ends, and wrapped around.
        let lost = -log_finite.exp_m1() + 3.0 * delta * CUT;
        // A point of the spectrum is wrong by some units in the last place for each power, and never by more than two;
        // the sum over all losses by √points times that (Cauchy, Schwarz, Parseval).
        let wrong = (32.0 * f64::EPSILON * steps).min(2.0);
        let rounding = wrong * (window.points as f64).sqrt();
        window.read(&spectrum, log_total, rounding, lost, delta)
    }

    /// One release's losses on the circle, and the mass at infinity.
    fn discretised(self, q: f64, z: f64, window: &Window) -> (Vec<Complex<f64>>, f64) {
        let mut losses = vec![Complex::new(0.0, 0.0); window.points];
        let (low, high) = self.support(q, z);
        let first = ((low / window.step).floor() as i64).max(-window.below);
        let last = ((high / window.step).ceil() as i64).min(window.above).max(first + 1);
        let curve = |index: i64| self.hockey_stick(q, z, index as f64 * window.step);
        let growth = window.step.exp();
        let scale = 1.0 / window.step.exp_m1();
        let (mut before, mut here) = (curve(first), curve(first + 1));
        let mut mass = 0.0;
        let mut add = |index: i64, mass: f64| {
            if let Some(place) = losses.get_mut(window.place(index)) {
                *place += mass;
            }
        };
        for index in first + 1..=last {
            let after = if index < last { curve(index + 1) } else { here };
            // Second differences: rounding may make one negative by 10^-11 and its neighbour larger by as much; their sum is
            // what counts, so none is cut to zero.
            let here_mass = scale * (growth * (before - here) - (here - after));
            mass += here_mass;
            add(index, here_mass);
            (before, here) = (here, after);
        }
        let infinite = here.max(0.0);
        add(first, 1.0 - mass - infinite);
        (losses, infinite)
    }

    /// Between which losses all but a vanishing mass lies.
    fn support(self, q: f64, z: f64) -> (f64, f64) {
        // Both tables' numbers lie within so many deviations but for 10^-32.
        let far = 12.0 * z + 1.0;
        let (left, right) = (self.loss(q, z, -far), self.loss(q, z, far));
        (left.min(right), left.max(right))
    }

    /// The loss at x.
    fn loss(self, q: f64, z: f64, x: f64) -> f64 {
        let with = |t: f64| if t > 600.0 { q.ln() + t } else { (q * t.exp_m1()).ln_1p() };
        let inverse_variance = 1.0 / (z * z);
        match self {
            Self::Remove => with((x - 0.5) * inverse_variance),
            Self::Add => -with((x - 0.5) * inverse_variance),
            Self::Replace => with((x - 0.5) * inverse_variance) - with((-x - 0.5) * inverse_variance),
        }
    }

    /// `P[loss > ε] − e^ε Q[loss > ε]`: delta of one release at epsilon.
    fn hockey_stick(self, q: f64, z: f64, epsilon: f64) -> f64 {
        let variance = z * z;
        match self {
            // Without sampling both ways round are one.
            Self::Add if q == 1.0 => return Self::Remove.hockey_stick(q, z, epsilon),
            Self::Remove => {
                let excess = epsilon.exp_m1() + q;
                if excess <= 0.0 {
                    return -epsilon.exp_m1();
                }
                // Of losses so large that only the exponential is left.
                let ln_excess = if epsilon > 600.0 { epsilon } else { excess.ln() };
                let t = variance * (ln_excess - q.ln()) + 0.5;
                q * upper_tail((t - 1.0) / z) - tail_times(ln_excess, t / z)
            }
            Self::Add => {
                // Both are `e^-ε − (1 − q)`; neither cancels where it is used.
                let excess = if q > 0.5 { (-epsilon).exp() - (1.0 - q) } else { (-epsilon).exp_m1() + q };
                if excess <= 0.0 {
                    return 0.0;
                }
                let t = variance * (excess / q).ln() + 0.5;
                // Losses above epsilon lie below t. Epsilon is below −ln(1 − q) here, and so below 37.
                let (plain_below, with_below) =
                    (upper_tail(-t / z), (1.0 - q) * upper_tail(-t / z) + q * upper_tail((1.0 - t) / z));
                plain_below - epsilon.exp() * with_below
            }
            Self::Replace => {
                // With `w = e^(t/z²)`, the threshold solves `c w² − (1−q)(e^ε − 1) w − c e^ε = 0`, c being `q e^(−1/(2z²))`:
                // `w = e^(ε/2 + asinh((1−q) sinh(ε/2) / c))`.
                let half = 0.5 * epsilon.abs();
                let ln_sinh = half + (-(-2.0 * half).exp_m1()).ln() - std::f64::consts::LN_2;
                let ln_bend = (1.0 - q).ln() + ln_sinh - q.ln() + 0.5 / variance;
                let bend =
                    if ln_bend > 300.0 { ln_bend + std::f64::consts::LN_2 } else { ln_bend.exp().asinh() };
                let t = variance * (0.5 * epsilon + bend.copysign(epsilon));
                let tail = |mean: f64| (1.0 - q) * upper_tail(t / z) + q * upper_tail((t - mean) / z);
                let grown_tail =
                    tail_times(epsilon + (1.0 - q).ln(), t / z) + tail_times(epsilon + q.ln(), (t + 1.0) / z);
                tail(1.0) - grown_tail
            }
        }
        .max(0.0)
    }

    /// An upper bound of the Rényi divergence of one release, either way round: for the tails only.
    fn renyi(self, q: f64, z: f64, order: f64) -> f64 {
        match self {
            Self::Remove | Self::Add => sampled_gaussian(q, z, order),
            // A replaced record is at most two sensitivities, and sampling only helps.
            Self::Replace => 2.0 * order / (z * z),
        }
    }
}

/// Losses from `-below` to `above` steps, on a circle of so many points, weighted by `e^(tilt loss)`.
struct Window {
    step: f64,
    tilt: f64,
    points: usize,
    below: i64,
    above: i64,
}

impl Window {
    /// One outside of which each end's mass is at most `CUT` of delta, and so is what wraps around in spite of its weight.
    /// `None` where losses are beyond numbers.
    ///
    /// By Chernoff: `P[L ≥ w] ≤ exp((α−1)(R − w))`, and `P[L ≤ −w] ≤ exp(μ R' − (1+μ) w)` with R' the divergence of order
    /// μ + 1 the other way round. What wraps onto losses from 0 on is `e^(tilt w) P[L ≥ w]` after the weights are taken off, w
    /// being the circle's width. The tilt is best where the upper bound is least at delta, because the weighted losses have
    /// their mean there; it is less where that would make the circle more than twice as wide.
    fn for_tails(direction: Direction, composed: &[(f64, f64, u64)], delta: f64) -> Option<Self> {
        let tail = -(delta * CUT).ln();
        let bounds: Vec<(f64, f64)> = tail_orders()
            .map(|order| {
                let renyi = |(q, z, count): &(f64, f64, u64)| *count as f64 * direction.renyi(*q, *z, order);
                (order - 1.0, composed.iter().map(renyi).sum())
            })
            .collect();
        let (mut above, mut below) = (f64::INFINITY, tail);
        let (mut least, mut best) = (f64::INFINITY, 0.0);
        for (power, spent) in &bounds {
            above = above.min(spent + tail / power);
            below = below.min((power * spent + tail) / (power + 1.0));
            let at_delta = spent - delta.ln() / power;
            if at_delta < least {
                (least, best) = (at_delta, *power);
            }
        }
        let unwrapped = |tilt: f64| {
            let steeper = bounds.iter().filter(|(power, _)| *power > tilt);
            steeper
                .map(|(power, spent)| (power * spent + tail) / (power - tilt))
                .fold(f64::INFINITY, f64::min)
        };
        let plain = 1.02 * (above + below);
        if !plain.is_finite() {
            return None;
        }
        let tilts = bounds.iter().map(|(power, _)| *power).filter(|power| *power <= best);
        let tilt = tilts.filter(|tilt| unwrapped(*tilt) <= 2.0 * plain).fold(0.0, f64::max);
        let width = unwrapped(tilt).max(plain);
        let points = ((width / STEP).min(POINTS_MAX as f64) as usize).next_power_of_two();
        let points = points.clamp(POINTS_MIN, POINTS_MAX);
        let step = width / (points - 4) as f64;
        if step > STEP_MAX {
            return None;
        }
        let below = (1.01 * below / step).ceil() as i64 + 1;
        Some(Self { step, tilt, points, below, above: points as i64 - below - 1 })
    }

    /// Where a loss of so many steps lies on the circle.
    fn place(&self, index: i64) -> usize {
        index.rem_euclid(self.points as i64) as usize
    }

    /// Weights masses by `e^(tilt loss)`, so that they sum to one; the logarithm of what they summed to before.
    fn tilt(&self, masses: &mut [Complex<f64>]) -> f64 {
        let mut largest = f64::NEG_INFINITY;
        for index in -self.below..=self.above {
            let Some(mass) = masses.get_mut(self.place(index)) else { continue };
            // The logarithm takes the place of the mass, its sign stands beside it.
            *mass = Complex::new(mass.re.abs().ln() + self.tilt * index as f64 * self.step, mass.re.signum());
            largest = largest.max(mass.re);
        }
        for mass in masses.iter_mut() {
            *mass = Complex::new(mass.im * (mass.re - largest).exp(), 0.0);
        }
        let total: f64 = masses.iter().map(|mass| mass.re).sum();
        for mass in masses {
            *mass /= total;
        }
        largest + total.ln()
    }

    /// The least epsilon at delta of losses with these tilted masses, of which the logarithm of the sum before tilting, a
    /// bound of all rounding errors and the mass that counts as infinite are given.
    fn read(&self, masses: &[Complex<f64>], log_total: f64, rounding: f64, lost: f64, delta: f64) -> f64 {
        let normal = 1.0 / self.points as f64;
        // `P[L > ε]` and `E[e^-L; L > ε]` so far; the latter relative to the present point, so that it cannot overflow.
        let (mut mass, mut weight) = (lost, 0.0);
        for index in (-self.below..=self.above).rev() {
            let epsilon = index as f64 * self.step;
            let untilted = (log_total - self.tilt * epsilon).exp();
            // delta at this point, before its own mass counts.
            let counted = mass + rounding * untilted;
            let delta_here = counted - weight;
            if delta_here.is_nan() || index == self.above && delta_here > delta {
                return f64::INFINITY;
            }
            if delta_here > delta || index < 0 {
                // Between this point and the one above: counted − e^(ε − here) weight = delta.
                let ratio = (counted - delta) / weight;
                let exact = epsilon + if ratio.is_finite() && ratio > 0.0 { ratio.ln() } else { self.step };
                return exact.clamp(0.0, epsilon.max(0.0) + self.step);
            }
            let here = masses.get(self.place(index)).map_or(0.0, |mass| mass.re * normal * untilted);
            mass += here;
            weight = (weight + here) * (-self.step).exp();
        }
        0.0
    }
}

/// A factor times the probability above x, by logarithms: one of them may be beyond numbers where the product is not.
fn tail_times(ln_factor: f64, x: f64) -> f64 {
    (ln_factor + ln_upper_tail(x)).exp()
}

/// Orders for the tails: from just above 1 to far beyond what conversions use.
fn tail_orders() -> impl Iterator<Item = f64> {
    (-20..=40).map(|exponent| 1.0 + 2f64.powf(f64::from(exponent) / 3.0))
}

/// A power of a number within the unit circle.
fn power(base: Complex<f64>, count: u64) -> Complex<f64> {
    if count == 1 {
        return base;
    }
    let (radius, angle) = base.to_polar();
    if radius == 0.0 {
        return Complex::new(0.0, 0.0);
    }
    Complex::from_polar((count as f64 * radius.ln()).exp(), count as f64 * angle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RdpCurve, analytic_gaussian_epsilon, fractional_epsilon};

    fn sampled(sampling_rate: f64, noise_multiplier: f64) -> DpEvent {
        DpEvent::PoissonGaussian { sampling_rate, noise_multiplier }
    }

    #[test]
    fn without_sampling_it_is_the_analytic_gaussian_from_above() {
        for (noise, count, delta) in
            [(1.0, 1, 1e-5), (20.0, 400, 1e-5), (5.0, 100, 1e-9), (100.0, 10, 0.1), (0.3, 1, 1e-6)]
        {
            let got = pld_epsilon(&[(DpEvent::Gaussian { noise_multiplier: noise }, count)], delta).unwrap();
            let exact = analytic_gaussian_epsilon(noise / (count as f64).sqrt(), delta).unwrap();
            assert!(got >= exact && got <= 1.005 * exact + 1e-6, "{noise} {count} {delta}: {got} {exact}");
        }
    }

    #[test]
    fn it_is_below_rdp_and_the_order_of_composition_does_not_matter() {
        let events = [
            (sampled(0.01, 0.8), 300),
            (sampled(0.2, 4.0), 50),
            (DpEvent::Gaussian { noise_multiplier: 9.0 }, 3),
        ];
        let mut reversed = events;
        reversed.reverse();
        let mut curve = RdpCurve::zero();
        for (event, count) in &events {
            curve.compose(event, *count).unwrap();
        }
        let epsilon = pld_epsilon(&events, 1e-5).unwrap();
        assert!(epsilon < curve.epsilon(1e-5).unwrap().epsilon);
        assert!((epsilon - pld_epsilon(&reversed, 1e-5).unwrap()).abs() < 1e-9);
        assert!(epsilon > pld_epsilon(&events[..2], 1e-5).unwrap());
        assert_eq!(pld_epsilon(&[], 1e-5).unwrap(), 0.0);
        assert_eq!(pld_epsilon(&[(sampled(0.0, 1.0), 9)], 1e-5).unwrap(), 0.0);
    }

    /// Adding or removing a record that is taken with probability q: exact for one release, by Balle, Barthe, Gaboardi 2018,
    /// theorem 8.
    fn once(q: f64, z: f64, delta: f64) -> f64 {
        let whole = analytic_gaussian_epsilon(z, delta / q).unwrap();
        if whole > 600.0 { whole + q.ln() } else { (q * whole.exp_m1()).ln_1p() }
    }

    #[test]
    fn losses_beyond_the_exponentials_range_are_counted() {
        // The mean loss of one release is 1/(2z²): from 139 to 500,000.
        for z in [0.06, 0.03, 0.001] {
            for q in [1.0, 0.01] {
                let (got, exact) = (pld_epsilon(&[(sampled(q, z), 1)], 1e-5).unwrap(), once(q, z, 1e-5));
                assert!(got >= exact && got <= 1.005 * exact, "q = {q}, z = {z}: {got} against {exact}");
            }
            // Two sensitivities without sampling; with it never more, nor less than for a record that comes and goes.
            let [all, half] = [1.0, 0.5]
                .map(|q| pld_epsilon_under(PldRelation::ReplaceOne, &[(sampled(q, z), 1)], 1e-5).unwrap());
            let exact = analytic_gaussian_epsilon(0.5 * z, 1e-5).unwrap();
            assert!(all >= exact && all <= 1.005 * exact, "z = {z}: {all} against {exact}");
            assert!(half <= all && half >= once(0.5, z, 1e-5), "z = {z}: {half} against {all}");
        }
        // Three of ten releases take the record with more than delta's probability, and each of them tells all.
        let several = pld_epsilon(&[(sampled(0.01, 0.001), 10)], 1e-5).unwrap();
        assert!(several > 0.98 * 3.0 * 5e5, "{several}");
    }

    #[test]
    fn rounding_stays_small_beside_the_smallest_deltas() {
        for delta in [1e-12, 1e-20] {
            let whole = pld_epsilon(&[(sampled(1.0, 20.0), 500)], delta).unwrap();
            let exact = analytic_gaussian_epsilon(20.0 / 500f64.sqrt(), delta).unwrap();
            assert!(whole >= exact && whole <= 1.001 * exact, "{delta}: {whole} against {exact}");
            let (got, exact) =
                (pld_epsilon(&[(sampled(0.01, 1.0), 1)], delta).unwrap(), once(0.01, 1.0, delta));
            assert!(got >= exact && got <= 1.01 * exact, "{delta}: {got} against {exact}");
            for (q, z, steps) in [(1e-4, 7.0, 6), (0.00138, 0.337, 437), (0.0238, 1.61, 760_412)] {
                let events = [(sampled(q, z), steps)];
                let (pld, rdp) = (
                    pld_epsilon(&events, delta).unwrap(),
                    fractional_epsilon(&events, delta).unwrap().epsilon,
                );
                assert!(pld > 0.0 && pld < rdp, "q = {q}, z = {z}, {steps} steps, {delta}: {pld} and {rdp}");
            }
        }
    }

    #[test]
    fn extremes_give_upper_bounds_or_infinity_and_never_panic() {
        for q in [1e-6, 0.3, 1.0] {
            for z in [0.3, 1.0, 100.0] {
                for steps in [1, 1_000_000] {
                    for delta in [1e-12, 0.1] {
                        let epsilon = pld_epsilon(&[(sampled(q, z), steps)], delta).unwrap();
                        assert!(epsilon >= 0.0, "{q} {z} {steps} {delta}: {epsilon}");
                    }
                }
            }
        }
        assert_eq!(pld_epsilon(&[(sampled(0.5, 1e-200), 1)], 1e-5).unwrap(), f64::INFINITY);
        assert!(pld_epsilon(&[(sampled(0.5, 1.0), u64::MAX)], 1e-5).unwrap() > 1e3);
        let fixed = DpEvent::FixedSizeGaussian { sampling_rate: 0.1, noise_multiplier: 1.0 };
        assert_eq!(pld_epsilon(&[(fixed, 1)], 1e-5), Err(AccountingError::FixedSize));
    }
}
