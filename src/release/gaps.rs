//! Finds gaps in the sequence numbers of a track.

/// Sequence numbers from here on are taken for times, of which dates such as 20261128 are the shortest: no track has ten
/// million releases.
const TIMES_FROM: u64 = 10_000_000;

/// The last steps of a track, up to eight, each from a sequence number to the next higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceSteps {
    /// One bit for each step, the last step lowest: set if the step was 1.
    pub ones: u8,
    /// The number of steps, at most 8.
    pub count: u8,
}

impl SequenceSteps {
    /// Most steps that are kept.
    pub const MOST: usize = 8;

    /// The steps between these numbers, which are in descending order.
    #[must_use]
    pub fn between(descending: &[u64]) -> Self {
        let mut steps = Self::default();
        descending.windows(2).rev().for_each(|pair| steps.take(pair[1], pair[0]));
        steps
    }

    /// Adds a step.
    pub fn take(&mut self, from: u64, to: u64) {
        self.ones = self.ones << 1 | u8::from(from.checked_add(1) == Some(to));
        self.count = (self.count + 1).min(8);
    }

    /// Tells whether a step leaves out a number. It does if numbers were dense so far: at least half of the steps were 1,
    /// or there is no step yet and `from` is 0 or 1. Numbers that are times have no gaps.
    #[must_use]
    pub fn is_gap(self, from: u64, to: u64) -> bool {
        let ones = (self.ones & mask(self.count)).count_ones();
        let dense = if self.count == 0 { from <= 1 } else { 2 * ones >= u32::from(self.count) };
        dense && to < TIMES_FROM && to.saturating_sub(from) > 1
    }
}

const fn mask(count: u8) -> u8 {
    if count >= 8 { u8::MAX } else { (1 << count) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    /// The numbers before which something is missing.
    fn gaps(numbers: &[u64]) -> Vec<u64> {
        let mut steps = SequenceSteps::default();
        let mut gaps = Vec::new();
        for pair in numbers.windows(2) {
            if steps.is_gap(pair[0], pair[1]) {
                gaps.push(pair[1]);
            }
            steps.take(pair[0], pair[1]);
        }
        gaps
    }

    #[test]
    fn a_number_is_missing_where_numbers_had_been_dense() {
        assert_eq!(gaps(&[1, 2, 3, 5]), [5]);
        assert_eq!(gaps(&[0, 2]), [2]);
        assert_eq!(gaps(&[1, 5]), [5]);
        assert_eq!(gaps(&[7, 11]), NONE, "nobody knows what was before");
        assert_eq!(gaps(&[7, 8, 11]), [11]);
        // One gap does not hide the next.
        assert_eq!(gaps(&[1, 2, 3, 4, 6, 9, 10, 12]), [6, 9, 12]);
        // Numbers that always leave some out.
        assert_eq!(gaps(&[10, 20, 30, 40, 50]), NONE);
        assert_eq!(gaps(&[10, 20, 30, 31, 41]), NONE);
        // From then on every number was used: eight steps on it counts.
        assert_eq!(gaps(&[10, 20, 30, 40, 41, 42, 43, 44, 45, 47]), [47]);
    }

    #[test]
    fn times_leave_nothing_out() {
        // By the second, by the day, in seconds since 1970.
        assert_eq!(gaps(&[20_261_128_103_001, 20_261_128_103_002, 20_261_129_080_000]), NONE);
        assert_eq!(gaps(&[20_261_127, 20_261_128, 20_261_129, 20_261_130, 20_261_201]), NONE);
        assert_eq!(gaps(&[1_795_861_801, 1_795_861_802, 1_795_861_900]), NONE);
        assert_eq!(gaps(&[1, 2, 3, 20_261_128_103_001, 20_261_129_103_001]), NONE, "from a counter to times");
    }

    #[test]
    fn steps_between_many_numbers_are_those_that_were_taken_one_by_one() {
        let mut steps = SequenceSteps::default();
        for pair in [1, 2, 3, 5, 6].windows(2) {
            steps.take(pair[0], pair[1]);
        }
        assert_eq!(SequenceSteps::between(&[6, 5, 3, 2, 1]), steps);
        assert_eq!((steps.ones, steps.count), (0b1101, 4));
        assert_eq!(SequenceSteps::between(&[6]), SequenceSteps::default());
    }
}
