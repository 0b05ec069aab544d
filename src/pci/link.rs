//! PCIe links: speed, width, and the most that can pass.

use std::fmt;

/// A PCIe link's speed per lane and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LinkSpeed {
    /// Not reported, or newer than Linux 6.12 knows.
    Unknown,
    /// 2.5 GT/s (PCIe 1).
    Gt2_5,
    /// 5 GT/s (PCIe 2).
    Gt5,
    /// 8 GT/s (PCIe 3).
    Gt8,
    /// 16 GT/s (PCIe 4).
    Gt16,
    /// 32 GT/s (PCIe 5).
    Gt32,
    /// 64 GT/s (PCIe 6).
    Gt64,
}

impl LinkSpeed {
    const KNOWN: [Self; 6] = [Self::Gt2_5, Self::Gt5, Self::Gt8, Self::Gt16, Self::Gt32, Self::Gt64];

    /// The speed field of Link Capabilities and Link Status. Kernel: `pcie_link_speed[]` in `drivers/pci/probe.c`.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        let index = usize::from(code).checked_sub(1);
        index.and_then(|index| Self::KNOWN.get(index)).copied().unwrap_or(Self::Unknown)
    }

    /// What sysfs says: `16.0 GT/s PCIe`, or `Unknown`. Kernel: `pci_speed_string` in `drivers/pci/probe.c`.
    #[must_use]
    pub fn from_sysfs(text: &str) -> Self {
        let Some((number, _)) = text.trim().split_once(" GT/s") else { return Self::Unknown };
        let number = number.strip_suffix(".0").unwrap_or(number);
        Self::KNOWN.into_iter().find(|speed| speed.number() == number).unwrap_or(Self::Unknown)
    }

    fn number(self) -> &'static str {
        match self {
            Self::Unknown => "?",
            Self::Gt2_5 => "2.5",
            Self::Gt5 => "5",
            Self::Gt8 => "8",
            Self::Gt16 => "16",
            Self::Gt32 => "32",
            Self::Gt64 => "64",
        }
    }

    /// How bytes become bits: `128b/130b`. `None` when the speed is not known.
    #[must_use]
    pub fn encoding(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Gt2_5 | Self::Gt5 => Some("8b/10b"),
            Self::Gt8 | Self::Gt16 | Self::Gt32 => Some("128b/130b"),
            Self::Gt64 => Some("236B/256B"),
        }
    }

    /// The least that a packet with data takes besides the data, in bytes: a header of three words (a completion, or a write
    /// below 4 GiB); with it, below 64 GT/s, 4 bytes of framing and sequence number and 4 of checksum (PCIe Base Specification
    /// 6.0, sections 2.2.1, 3.6.2 and 4.2.2).
    #[must_use]
    pub fn packet_overhead(self) -> u64 {
        if self == Self::Gt64 { 12 } else { 20 }
    }

    /// Bytes a second on one lane, in one direction, as (numerator, denominator): transfers, encoding, 8 bits a byte.
    fn lane(self) -> Option<(u64, u64)> {
        match self {
            Self::Unknown => None,
            Self::Gt2_5 => Some((2_500_000_000 * 8, 10 * 8)),
            Self::Gt5 => Some((5_000_000_000 * 8, 10 * 8)),
            Self::Gt8 => Some((8_000_000_000 * 128, 130 * 8)),
            Self::Gt16 => Some((16_000_000_000 * 128, 130 * 8)),
            Self::Gt32 => Some((32_000_000_000 * 128, 130 * 8)),
            Self::Gt64 => Some((64_000_000_000 * 236, 256 * 8)),
        }
    }
}

/// As people write it: `16 GT/s`.
impl fmt::Display for LinkSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} GT/s", self.number()))
    }
}

/// A link: speed per lane and number of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// The speed per lane and direction.
    pub speed: LinkSpeed,
    /// The number of lanes: 1 to 32. 0 = link down; 255 = not reported.
    pub width: u8,
}

impl Link {
    /// A link as reported, or `None` where neither speed nor width means anything: root-complex endpoints, VFs.
    #[must_use]
    pub fn new(speed: LinkSpeed, width: u8) -> Option<Self> {
        let link = Self { speed, width };
        (speed != LinkSpeed::Unknown || link.has_width()).then_some(link)
    }

    /// Bytes a second in one direction after line encoding, before packet headers: no transfer is faster.
    ///
    /// 8b/10b up to 5 GT/s (PCIe Base Specification 6.0, section 4.2.1), 128b/130b from 8 GT/s (4.2.2), 236 of the
    /// 256 bytes of a flit at 64 GT/s (4.2.3). `None` when speed or width are not known, or the link is down.
    ///
    /// ```
    /// use p2pdma::pci::{Link, LinkSpeed};
    ///
    /// let nvme = Link { speed: LinkSpeed::Gt16, width: 4 };
    /// assert_eq!(nvme.bytes_per_second(), Some(7_876_923_076));
    /// ```
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<u64> {
        let (bytes, seconds) = self.speed.lane()?;
        self.has_width().then(|| bytes * u64::from(self.width) / seconds)
    }

    /// Bytes of data a second in one direction, in packets of at most `max_payload` bytes of data: what the packets' headers
    /// leave of [`Self::bytes_per_second`]. Acknowledgements and flow control come on top, so it stays a bound.
    ///
    /// ```
    /// use p2pdma::pci::{Link, LinkSpeed};
    ///
    /// let nvme = Link { speed: LinkSpeed::Gt16, width: 4 };
    /// assert_eq!(nvme.data_bytes_per_second(256), Some(7_306_131_456));
    /// ```
    #[must_use]
    pub fn data_bytes_per_second(&self, max_payload: u16) -> Option<u64> {
        let payload = u64::from(max_payload);
        self.bytes_per_second().map(|bytes| bytes / (payload + self.speed.packet_overhead()) * payload)
    }

    /// Whether this link runs below `max`, in speed or in width. What is not known is not below.
    #[must_use]
    pub fn is_below(&self, max: &Self) -> bool {
        let slower = self.speed != LinkSpeed::Unknown && self.speed < max.speed;
        slower || (self.has_width() && max.has_width() && self.width < max.width)
    }

    /// What a link between an end that is at best `self` and one that is at best `other` can be: the lower speed, the smaller
    /// width. What is not known of one end does not limit.
    ///
    /// ```
    /// use p2pdma::pci::{Link, LinkSpeed};
    ///
    /// let (ssd, slot) = (Link { speed: LinkSpeed::Gt32, width: 4 }, Link { speed: LinkSpeed::Gt16, width: 16 });
    /// assert_eq!(ssd.capped(&slot), Link { speed: LinkSpeed::Gt16, width: 4 });
    /// ```
    #[must_use]
    pub fn capped(&self, other: &Self) -> Self {
        let speed = if other.speed == LinkSpeed::Unknown { self.speed } else { self.speed.min(other.speed) };
        let width = if other.has_width() && self.has_width() { self.width.min(other.width) } else { self.width };
        Self { speed, width }
    }

    fn has_width(&self) -> bool {
        (1..=32).contains(&self.width)
    }
}

/// `16 GT/s x4`.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.has_width() { self.width.to_string() } else { "?".to_owned() };
        f.pad(&format!("{} x{width}", self.speed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sysfs_speeds_of_linux_6_12_are_known() {
        let text =
            ["2.5 GT/s PCIe", "5.0 GT/s PCIe", "8.0 GT/s PCIe", "16.0 GT/s PCIe", "32.0 GT/s PCIe", "64.0 GT/s PCIe"];
        assert_eq!(text.map(LinkSpeed::from_sysfs), LinkSpeed::KNOWN);
        assert_eq!(LinkSpeed::from_sysfs("8 GT/s"), LinkSpeed::Gt8);
    }

    #[test]
    fn other_speeds_are_unknown() {
        for text in ["", "Unknown", "33 MHz PCI", "128.0 GT/s PCIe", " GT/s", "16", ".0 GT/s", "? GT/s"] {
            let expected = LinkSpeed::Unknown;
            assert_eq!(LinkSpeed::from_sysfs(text).lane(), expected.lane(), "{text:?}");
        }
    }

    #[test]
    fn the_codes_of_the_link_registers_are_known() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(LinkSpeed::from_code), LinkSpeed::KNOWN);
        assert_eq!([0, 7, 15, 255].map(LinkSpeed::from_code), [LinkSpeed::Unknown; 4]);
    }

    #[test]
    fn rates_are_those_after_encoding() {
        let rate = |speed, width| Link { speed, width }.bytes_per_second();
        assert_eq!(rate(LinkSpeed::Gt2_5, 1), Some(250_000_000));
        assert_eq!(rate(LinkSpeed::Gt5, 8), Some(4_000_000_000));
        assert_eq!(rate(LinkSpeed::Gt8, 16), Some(15_753_846_153));
        assert_eq!(rate(LinkSpeed::Gt32, 4), Some(15_753_846_153));
        assert_eq!(rate(LinkSpeed::Gt64, 16), Some(118_000_000_000));
    }

    #[test]
    fn a_link_that_is_down_or_unknown_has_no_rate() {
        let rate = |speed, width| Link { speed, width }.bytes_per_second();
        assert_eq!(rate(LinkSpeed::Gt16, 0), None);
        assert_eq!(rate(LinkSpeed::Gt16, 255), None);
        assert_eq!(rate(LinkSpeed::Unknown, 4), None);
        assert_eq!(Link::new(LinkSpeed::Unknown, 255), None);
    }

    #[test]
    fn below_its_maximum_is_slower_or_narrower() {
        let link = |speed, width| Link { speed, width };
        let max = link(LinkSpeed::Gt16, 16);
        assert!(link(LinkSpeed::Gt16, 8).is_below(&max));
        assert!(link(LinkSpeed::Gt2_5, 16).is_below(&max));
        assert!(!max.is_below(&max));
        assert!(!link(LinkSpeed::Unknown, 16).is_below(&max));
        assert!(!link(LinkSpeed::Gt16, 0).is_below(&max));
        assert!(!link(LinkSpeed::Gt16, 16).is_below(&link(LinkSpeed::Unknown, 255)));
    }

    proptest! {
        #[test]
        fn any_text_has_a_speed(text in ".*") {
            let _ = LinkSpeed::from_sysfs(&text);
        }

        #[test]
        fn any_link_has_a_finite_rate(code: u8, width: u8) {
            let link = Link { speed: LinkSpeed::from_code(code), width };
            prop_assert!(link.bytes_per_second().unwrap_or(0) <= 236_000_000_000);
        }
    }
}
