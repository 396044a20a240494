//! Figures of privacy as people read them: cut to a few digits, never to the better side.

/// An epsilon that is spent or claimed, as decimal text that is never below it.
pub fn rounded_up(epsilon: f64, decimals: usize) -> String {
    next_if(epsilon, decimals, 1.0, |shown| shown < epsilon)
}

/// An epsilon that is left, or that an audit proves at least, as decimal text that is never above it.
pub fn rounded_down(epsilon: f64, decimals: usize) -> String {
    next_if(epsilon, decimals, -1.0, |shown| shown > epsilon)
}

/// The nearest text, or the next one in this direction where what it reads as is on the wrong side.
fn next_if(value: f64, decimals: usize, direction: f64, wrong: impl Fn(f64) -> bool) -> String {
    let nearest = format!("{value:.decimals$}");
    match nearest.parse::<f64>() {
        Ok(shown) if wrong(shown) => {
            let next = shown + direction * 10f64.powi(-(decimals as i32));
            format!("{next:.decimals$}")
        }
        _ => nearest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epsilon_is_shown_no_lower_and_a_bound_no_higher_than_it_is_and_exact_figures_stay() {
        let figures = [
            (4.89995, 4, "4.9000", "4.8999"),
            (4.899_94, 4, "4.9000", "4.8999"),
            (4.9001, 3, "4.901", "4.900"),
            (4.9, 4, "4.9000", "4.9000"),
            (0.3, 3, "0.300", "0.300"),
            (1e-9, 4, "0.0001", "0.0000"),
            (0.0, 2, "0.00", "0.00"),
            (9.9999, 2, "10.00", "9.99"),
            (f64::INFINITY, 2, "inf", "inf"),
        ];
        for (epsilon, decimals, up, down) in figures {
            assert_eq!(rounded_up(epsilon, decimals), up, "{epsilon}");
            assert_eq!(rounded_down(epsilon, decimals), down, "{epsilon}");
        }
        for step in 1..20_000 {
            let epsilon = f64::from(step) * 0.000_377;
            let read = |text: String| text.parse::<f64>().unwrap();
            let (up, down) = (read(rounded_up(epsilon, 4)), read(rounded_down(epsilon, 4)));
            assert!(down <= epsilon && epsilon <= up && up - down < 1.001e-4, "{epsilon}");
        }
    }
}
