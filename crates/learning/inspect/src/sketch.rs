//! Quantiles of numbers that come one after another, in bounded memory.

/// A sketch of numbers: all of them while they are few; of more, one of two neighbours stands for both, again and again.
///
/// A rank is wrong by at most `levels / room` of all numbers, and by far less where they come in no particular order.
///
/// # Paper
/// Manku, Rajagopalan, Lindsay 1998, *Approximate medians and other quantiles in one pass and with limited memory*, with one
/// buffer for each weight.
pub(crate) struct Sketch {
    room: usize,
    /// Of each level, whose numbers stand for 2 to the level each.
    levels: Vec<Vec<f64>>,
    /// Which of two neighbours the next halving of a level keeps: each in turn, so that errors cancel.
    second: Vec<bool>,
}

impl Sketch {
    /// That holds at most so many numbers for each doubling of how many there are; an even number, at least 2.
    pub(crate) fn new(room: usize) -> Self {
        Self { room: room.max(2).next_multiple_of(2), levels: vec![Vec::new()], second: vec![false] }
    }

    pub(crate) fn add(&mut self, number: f64) {
        let mut rising = vec![number];
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
                self.second.push(false);
            }
            let (Some(numbers), Some(second)) = (self.levels.get_mut(level), self.second.get_mut(level))
            else {
                return;
            };
            numbers.append(&mut rising);
            if numbers.len() < self.room {
                return;
            }
            numbers.sort_unstable_by(f64::total_cmp);
            rising = numbers.drain(..).skip(usize::from(*second)).step_by(2).collect();
            *second = !*second;
        }
    }

    /// Whether each number stands for itself.
    pub(crate) fn is_exact(&self) -> bool {
        self.levels.len() == 1
    }

    /// The numbers in order, and how many each stands for.
    pub(crate) fn weighed(&self) -> Vec<(f64, u64)> {
        let levels = self.levels.iter().enumerate();
        let mut all: Vec<(f64, u64)> = levels
            .flat_map(|(level, numbers)| numbers.iter().map(move |number| (*number, 1 << level)))
            .collect();
        all.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        all
    }
}

/// The number below which this share of them lies, of numbers in order; between two of them on the line from one to the other, as NumPy,
/// pandas and R have it. `None` where there is none.
///
/// # Paper
/// Hyndman, Fan 1996, *Sample quantiles in statistical packages*, definition 7.
pub(crate) fn quantile(weighed: &[(f64, u64)], share: f64) -> Option<f64> {
    let all: u64 = weighed.iter().map(|(_, weight)| weight).sum();
    let place = share * all.checked_sub(1)? as f64;
    let (before, beyond) = (at(weighed, place.floor())?, at(weighed, place.ceil())?);
    let part = place.fract();
    // Two that are equal come out as they are, and none so large that their difference is too large.
    Some(if before == beyond { before } else { before * (1.0 - part) + beyond * part })
}

/// The number at this place, from 0.
fn at(weighed: &[(f64, u64)], place: f64) -> Option<f64> {
    let mut below = 0;
    let reaches = |(_, weight): &&(f64, u64)| {
        below += weight;
        below as f64 > place
    };
    weighed.iter().find(reaches).or(weighed.last()).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_have_their_own_quantiles() {
        let mut sketch = Sketch::new(8);
        assert_eq!(quantile(&sketch.weighed(), 0.5), None);
        [5.0, 1.0, 3.0, 2.0, 4.0].into_iter().for_each(|number| sketch.add(number));
        let weighed = sketch.weighed();
        assert!(sketch.is_exact());
        let found = [0.0, 0.25, 0.5, 1.0].map(|share| quantile(&weighed, share));
        assert_eq!(found, [1.0, 2.0, 3.0, 5.0].map(Some));
    }

    #[test]
    fn quartiles_between_two_numbers_are_those_of_pandas() {
        // pandas.Series(numbers).quantile([0.25, 0.5, 0.75])
        let quartiles = |numbers: &[(f64, u64)]| [0.25, 0.5, 0.75].map(|share| quantile(numbers, share));
        let few = [(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)];
        assert_eq!(quartiles(&few), [1.75, 2.5, 3.25].map(Some));
        assert_eq!(quartiles(&[(0.0, 2), (8.0, 2)]), [0.0, 4.0, 8.0].map(Some));
        assert_eq!(quartiles(&[(7.0, 1)]), [7.0; 3].map(Some));
        assert_eq!(quartiles(&[(-f64::MAX, 1), (f64::MAX, 1)])[1], Some(0.0));
    }

    #[test]
    fn many_numbers_have_nearly_theirs_in_whatever_order_they_come() {
        const COUNT: u64 = 100_000;
        // Multiplied by a number without a common divisor, each number below the count comes once.
        for step in [1, COUNT - 1, 38_197] {
            let mut sketch = Sketch::new(256);
            (0..COUNT).for_each(|index| sketch.add((index * step % COUNT) as f64));
            let weighed = sketch.weighed();
            assert!(!sketch.is_exact() && weighed.len() < 256 * 10);
            assert_eq!(weighed.iter().map(|(_, weight)| weight).sum::<u64>(), COUNT);
            for share in [0.01, 0.25, 0.5, 0.75, 0.99] {
                let found = quantile(&weighed, share).unwrap() / COUNT as f64;
                assert!((found - share).abs() < 0.01, "{found} for {share}, by steps of {step}");
            }
        }
    }
}
