//! Exact discrete Gaussian samples per second on one core.

use std::time::Instant;

use chacha20::ChaCha20Rng;
use dp::{DiscreteGaussian, Sigma};
use rand_core::SeedableRng;

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn main() {
    let mut samples = vec![0_i64; 1 << 20];
    for sigma in [4.0, 7.3, 64.0, 1000.0, 1e6, 2.0_f64.powi(28)] {
        let noise = DiscreteGaussian::new(Sigma::at_least(sigma).expect("a sigma of the sampler"));
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            noise.fill(&mut samples, &mut rng);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("sigma {sigma:>11}: {:.2} M samples/s", samples.len() as f64 / best / 1e6);
    }
}
