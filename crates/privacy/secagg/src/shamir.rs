//! Shamir's secret sharing of 32-byte secrets over GF(2^8), byte by byte.
//!
//! Holder `k` of `1..=n` has the value at `x = k`; points are public, values and coefficients are not.

use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::gf256;
use crate::secret::Secret;

/// Shares of `secret` for holders `1..=holders` (at most 255), any `threshold` of which recover it.
pub(crate) fn split(
    secret: &Secret,
    threshold: usize,
    holders: usize,
    rng: &mut dyn CryptoRng,
) -> Vec<Secret> {
    let coefficients: Vec<Secret> = (1..threshold).map(|_| Secret::random(rng)).collect();
    (1..=u8::MAX)
        .take(holders)
        .map(|x| {
            let mut value = Secret::zero();
            for coefficient in coefficients.iter().rev() {
                gf256::add(value.expose_mut(), coefficient.expose());
                gf256::scale(value.expose_mut(), x);
            }
            gf256::add(value.expose_mut(), secret.expose());
            value
        })
        .collect()
}

/// The factors that interpolate at zero from the distinct, non-zero points `xs`.
pub(crate) fn lagrange_at_zero(xs: &[u8]) -> Vec<u8> {
    xs.iter()
        .map(|x| {
            xs.iter()
                .filter(|other| *other != x)
                .fold(1, |product, other| gf256::mul(product, gf256::mul(*other, gf256::inverse(other ^ x))))
        })
        .collect()
}

/// The secret: the sum of the shares, each times its factor from [`lagrange_at_zero`].
pub(crate) fn combine<'a>(factors: &[u8], shares: impl Iterator<Item = &'a [u8; 32]>) -> Secret {
    let mut secret = Secret::zero();
    let mut term = [0; 32];
    for (factor, share) in factors.iter().zip(shares) {
        term.copy_from_slice(share);
        gf256::scale(&mut term, *factor);
        gf256::add(secret.expose_mut(), &term);
    }
    term.zeroize();
    secret
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use proptest::prelude::*;
    use rand_core::SeedableRng;
    use vsss_rs::Gf256;

    use super::*;

    fn recover(points: &[(u8, &Secret)]) -> [u8; 32] {
        let xs: Vec<u8> = points.iter().map(|(x, _)| *x).collect();
        *combine(&lagrange_at_zero(&xs), points.iter().map(|(_, share)| share.expose())).expose()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_threshold_of_shares_recovers_here_and_in_another_implementation(
            secret in any::<[u8; 32]>(), seed in any::<[u8; 32]>(), n in 2u8..=255, fraction in 0.0f64..1.0, skip in any::<u8>()
        ) {
            let mut rng = ChaCha20Rng::from_seed(seed);
            let threshold = 2 + (fraction * f64::from(n - 2)) as usize;
            let shares = split(&Secret::copy_of(&secret), threshold, usize::from(n), &mut rng);
            let mut points: Vec<(u8, &Secret)> = (1..=n).zip(&shares).collect();
            points.rotate_left(usize::from(skip) % usize::from(n));
            points.truncate(threshold);
            prop_assert_eq!(recover(&points), secret);

            let theirs: Vec<Vec<u8>> =
                points.iter().map(|(x, s)| std::iter::once(*x).chain(*s.expose()).collect()).collect();
            prop_assert_eq!(Gf256::combine_bytes(&theirs).unwrap(), secret.to_vec());
            prop_assert_ne!(recover(&points[1..]), secret);
        }

        #[test]
        fn shares_of_another_implementation_recover_here(secret in any::<[u8; 32]>(), seed in any::<[u8; 32]>()) {
            let theirs = Gf256::split_bytes(7, 12, secret, ChaCha20Rng::from_seed(seed)).unwrap();
            let parsed: Vec<(u8, Secret)> =
                theirs.iter().map(|s| (s[0], Secret::copy_of(&s[1..].try_into().unwrap()))).collect();
            let points: Vec<(u8, &Secret)> = parsed[3..10].iter().map(|(x, s)| (*x, s)).collect();
            prop_assert_eq!(recover(&points), secret);
        }
    }

    #[test]
    fn fewer_shares_than_the_threshold_fit_every_secret() {
        // With two of three shares fixed, each value of the third gives another secret: all are possible.
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let shares = split(&Secret::copy_of(&[42; 32]), 3, 3, &mut rng);
        let secrets: std::collections::BTreeSet<u8> = (0..=255)
            .map(|guess| recover(&[(1, &shares[0]), (2, &shares[1]), (3, &Secret::copy_of(&[guess; 32]))])[0])
            .collect();
        assert_eq!(secrets.len(), 256);
    }
}
