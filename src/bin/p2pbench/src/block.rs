//! How many bytes one operation moves.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{cli, text};

/// One size, or several that are mixed: `4k`, `4k/60:64k/30:1M/10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// At least one; where there are more, their shares add up to 100.
    sizes: Vec<Size>,
}

/// A size of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    /// Of 100 operations so many, on average.
    pub(crate) percent: u32,
}

impl Block {
    /// Sizes whose shares somebody else has checked.
    pub(crate) fn mixed(sizes: Vec<Size>) -> Self {
        Self { sizes }
    }

    /// The places of all operations are multiples of the largest size, and memory has room for it.
    pub(crate) fn largest(&self) -> u64 {
        self.sizes.iter().map(|size| size.bytes).max().unwrap_or(1)
    }

    /// What an operation moves on average.
    pub(crate) fn mean(&self) -> u64 {
        let sum: u64 = self.sizes.iter().map(|size| size.bytes * u64::from(size.percent)).sum();
        (sum / 100).max(1)
    }

    /// The sizes of a mix; none of a single one.
    pub(crate) fn mix(&self) -> Option<&[Size]> {
        (self.sizes.len() > 1).then_some(&self.sizes)
    }

    /// The size that falls to one of 100 numbers.
    pub(crate) fn pick(&self, number: u32) -> u64 {
        let mut until = 0;
        let size = self.sizes.iter().find(|size| {
            until += size.percent;
            number < until
        });
        size.map_or(self.largest(), |size| size.bytes)
    }
}

impl From<u64> for Block {
    fn from(bytes: u64) -> Self {
        Self { sizes: vec![Size { bytes, percent: 100 }] }
    }
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(['/', ':']) {
            return cli::size(text).map(Self::from);
        }
        let sizes = text.split(':').map(|part| {
            let (bytes, percent) =
                part.split_once('/').ok_or_else(|| format!("{part} has no share: write SIZE/PERCENT"))?;
            let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
            let percent = percent.ok_or_else(|| format!("the share of {part} is no whole number from 1 to 100"))?;
            Ok(Size { bytes: cli::size(bytes)?, percent })
        });
        let sizes = sizes.collect::<Result<Vec<_>, String>>()?;
        match sizes.iter().map(|size| size.percent).sum() {
            100 => Ok(Self { sizes }),
            sum => Err(format!("the shares add up to {sum}, not 100")),
        }
    }
}

/// As it is written.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mix() {
            None => f.write_str(&text::size(self.largest())),
            Some(sizes) => {
                let parts =
                    sizes.iter().map(|size| format!("{}/{}", text::size(size.bytes).replace(' ', ""), size.percent));
                f.write_str(&parts.collect::<Vec<_>>().join(":"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_sizes_in_their_shares() {
        let block: Block = "4k/60:64k/30:1M/10".parse().expect("a mix");
        assert_eq!((block.largest(), block.mean()), (1 << 20, (4096 * 60 + 65_536 * 30 + (1 << 20) * 10) / 100));
        let picked: Vec<u64> = (0..100).map(|number| block.pick(number)).collect();
        let count = |bytes| picked.iter().filter(|&&picked| picked == bytes).count();
        assert_eq!([4096, 65_536, 1 << 20].map(count), [60, 30, 10]);
        assert_eq!(block.to_string(), "4KiB/60:64KiB/30:1MiB/10");
        assert_eq!(block.to_string().parse(), Ok(block));
    }

    #[test]
    fn one_size_is_no_mix() {
        let block: Block = "64k".parse().expect("a size");
        assert_eq!((block.largest(), block.mean(), block.mix(), block.pick(99)), (65_536, 65_536, None, 65_536));
        assert_eq!(block.to_string(), "64 KiB");
    }

    #[test]
    fn shares_that_are_wrong_are_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<Block>().expect_err("a refusal");
        assert_eq!(refused("4k/60:64k/30"), "the shares add up to 90, not 100");
        assert_eq!(refused("4k/60:64k"), "64k has no share: write SIZE/PERCENT");
        assert_eq!(refused("4k/0:64k/100"), "the share of 4k/0 is no whole number from 1 to 100");
        assert_eq!(refused("4k/4294967295:64k/101"), "the share of 4k/4294967295 is no whole number from 1 to 100");
    }
}
