//! What one record's gradient gives away: the record.

/// The input of a linear layer, read off the gradient of its weights and biases for one example: every weight's
/// gradient is the input times its bias's.
///
/// # Shapes
/// `gradient` begins with the layer's weight `[inputs, outputs]` and bias `[outputs]`; the result is `[inputs]`. `None`
/// where it is shorter or has no bias that moved.
///
/// # Paper
/// Phong et al. 2018, *Privacy-Preserving Deep Learning via Additively Homomorphic Encryption*, section 3.
pub fn invert_linear(gradient: &[f64], inputs: usize, outputs: usize) -> Option<Vec<f64>> {
    let (weights, rest) = gradient.split_at_checked(inputs.checked_mul(outputs)?)?;
    let biases = rest.get(..outputs)?;
    let (strongest, bias) = biases.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
    if *bias == 0.0 || !bias.is_finite() {
        return None;
    }
    Some(
        weights
            .chunks_exact(outputs)
            .filter_map(|row| row.get(strongest))
            .map(|weight| weight / bias)
            .collect(),
    )
}

/// Pearson's correlation; 0 where one side does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let mut sums = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        sums = [sums[0] + a * b, sums[1] + a * a, sums[2] + b * b];
    }
    let scale = (sums[1] * sums[2]).sqrt();
    if scale > 0.0 { sums[0] / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_records_gradient_is_the_record() {
        let (input, delta) = ([0.5, -1.0, 3.0], [0.1, -0.7]);
        let mut gradient: Vec<f64> = input.iter().flat_map(|x| delta.map(|d| x * d)).collect();
        gradient.extend(delta);
        let read = invert_linear(&gradient, 3, 2).unwrap();
        assert!(read.iter().zip(input).all(|(read, input)| (read - input).abs() < 1e-12));
        assert!((correlation(&read, &input) - 1.0).abs() < 1e-12);
        assert_eq!(invert_linear(&[0.0; 8], 3, 2), None, "nothing moved");
        assert_eq!(invert_linear(&[1.0; 7], 3, 2), None, "too short");
    }

    #[test]
    fn what_does_not_vary_correlates_with_nothing() {
        assert_eq!(correlation(&[1.0, 1.0], &[3.0, 4.0]), 0.0);
        assert!((correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
    }
}
