//! The processor rule: what the kernel allows on any machine with such a processor.

/// The processor, as far as the rule needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cpu {
    /// An AMD processor of this family.
    Amd(u32),
    /// Any other.
    Other,
    /// `/proc/cpuinfo` cannot be read, or does not tell.
    Unknown,
}

impl Cpu {
    /// AMD's Zen is family 0x17.
    const ZEN: u32 = 0x17;

    /// Decodes the first processor of `/proc/cpuinfo`.
    pub(super) fn from_cpuinfo(text: &str) -> Self {
        match value(text, "vendor_id") {
            Some("AuthenticAMD") => value(text, "cpu family").and_then(decimal).map_or(Self::Unknown, Self::Amd),
            _ if text.trim().is_empty() => Self::Unknown,
            _ => Self::Other,
        }
    }

    /// Whether the kernel trusts this processor with peer-to-peer traffic between any two root ports.
    ///
    /// Kernel: `cpu_supports_p2pdma` in `drivers/pci/p2pdma.c`; rules: 6.12. Hygon is not AMD there, nor is any Arm.
    pub(super) fn supports_p2pdma(&self) -> Option<bool> {
        match self {
            Self::Amd(family) => Some(*family >= Self::ZEN),
            Self::Other => Some(false),
            Self::Unknown => None,
        }
    }
}

/// The value of a `name : value` line of the first processor; processors are separated by an empty line.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let first = text.lines().skip_while(|line| line.trim().is_empty()).take_while(|line| !line.trim().is_empty());
    let mut pairs = first.filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn decimal(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn supported(cpuinfo: &str) -> Option<bool> {
        Cpu::from_cpuinfo(cpuinfo).supports_p2pdma()
    }

    #[test]
    fn amd_from_zen_on_is_supported() {
        assert_eq!(supported("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 23\n"), Some(true));
        assert_eq!(supported("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 22\n"), Some(false));
    }

    #[test]
    fn other_processors_are_not() {
        assert_eq!(supported("vendor_id\t: GenuineIntel\ncpu family\t: 25\n"), Some(false));
        assert_eq!(supported("vendor_id\t: HygonGenuine\ncpu family\t: 24\n"), Some(false));
        assert_eq!(supported("processor\t: 0\nCPU implementer\t: 0x41\n"), Some(false));
    }

    #[test]
    fn the_first_processor_counts() {
        assert_eq!(supported("vendor_id: GenuineIntel\n\nvendor_id: AuthenticAMD\ncpu family: 25\n"), Some(false));
        assert_eq!(supported("vendor_id: AuthenticAMD\n\ncpu family: 25\n"), None);
    }

    #[test]
    fn what_does_not_tell_is_unknown() {
        assert_eq!(supported(""), None);
        assert_eq!(supported("vendor_id: AuthenticAMD\ncpu family: many\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_some_processor(text in "(vendor_id|cpu family|.*)(:.*)?\n(.*\n)*") {
            let _ = supported(&text);
        }
    }
}
