//! Random numbers that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::objects::setting;

#[path = "../oracle/random.rs"]
mod split_mix;

pub(crate) use split_mix::Random;

/// `P2PDMA_SEED`, or by the clock.
pub(crate) fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    setting("P2PDMA_SEED", clock)
}
