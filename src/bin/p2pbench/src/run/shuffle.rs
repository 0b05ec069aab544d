//! Blocks at random, each once before one comes again: what came back from a cache would be no read of the drive.

/// Passes over the numbers below some bound, each in another order, and in the same orders in every run.
///
/// Nothing is remembered but a counter: its values below the next power of two are mixed by steps that can each be undone
/// (a shift to the right with exclusive or; a product with an odd number), so no two become the same, and what lands beyond
/// the bound is passed over, less than half of them.
#[derive(Debug)]
pub(super) struct Shuffle {
    bound: u64,
    /// One less than the power of two.
    mask: u64,
    shift: u32,
    counter: u64,
    left: u64,
    random: fastrand::Rng,
    /// Of this pass: both odd.
    factors: [u64; 2],
    offset: u64,
}

impl Shuffle {
    /// Numbers below `bound`, which is not 0.
    pub(super) fn new(bound: u64, seed: u64) -> Self {
        let mask = bound.checked_next_power_of_two().map_or(u64::MAX, |power| power - 1);
        let shift = (64 - mask.leading_zeros()).div_ceil(2).max(1);
        let random = fastrand::Rng::with_seed(seed);
        let mut shuffle = Self { bound, mask, shift, counter: 0, left: 0, random, factors: [1; 2], offset: 0 };
        shuffle.pass();
        shuffle
    }

    fn pass(&mut self) {
        self.factors = [(); 2].map(|()| self.random.u64(..) | 1);
        self.offset = self.random.u64(..);
        (self.counter, self.left) = (0, self.bound);
    }

    /// How many come before one comes again; never 0.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn next(&mut self) -> u64 {
        let number = loop {
            let number = self.mixed(self.counter);
            self.counter = self.counter.wrapping_add(1);
            if number < self.bound {
                break number;
            }
        };
        self.left -= 1;
        if self.left == 0 {
            self.pass();
        }
        number
    }

    fn mixed(&self, counter: u64) -> u64 {
        let mut number = counter.wrapping_add(self.offset) & self.mask;
        for factor in self.factors {
            number ^= number >> self.shift;
            number = number.wrapping_mul(factor) & self.mask;
        }
        number ^ (number >> self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once_in_a_pass_and_passes_differ() {
        for bound in [1, 2, 3, 7, 64, 1000, 1025] {
            let mut shuffle = Shuffle::new(bound, 7);
            let mut pass = || (0..bound).map(|_| shuffle.next()).collect::<Vec<_>>();
            let (first, second) = (pass(), pass());
            for pass in [&first, &second] {
                let mut sorted = pass.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..bound), "{bound}: {pass:?}");
            }
            assert!(bound < 7 || first != second, "{bound}");
            assert_eq!(shuffle.left(), bound);
        }
    }

    #[test]
    fn neighbours_in_time_are_no_neighbours_in_place() {
        let mut shuffle = Shuffle::new(65_536, 7);
        let pass: Vec<u64> = (0..65_536).map(|_| shuffle.next()).collect();
        let near = pass.windows(2).filter(|two| two[0].abs_diff(two[1]) < 64).count();
        assert!(near < 65_536 / 100, "{near} of them");
        let half = pass.iter().take(32_768).filter(|&&number| number < 32_768).count();
        assert!((14_000..19_000).contains(&half), "{half}");
    }

    #[test]
    fn the_largest_bound_is_one() {
        let mut shuffle = Shuffle::new(u64::MAX, 7);
        assert_ne!(shuffle.next(), shuffle.next());
    }
}
