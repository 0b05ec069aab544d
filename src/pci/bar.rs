//! Base address registers: the windows a device opens. Sizes and kinds only, never where they are.

/// A window of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bar {
    /// The register, 0 to 5. A 64-bit window takes two; this is the first.
    pub index: u8,
    /// The length in bytes.
    pub size: u64,
    /// What is behind it.
    pub kind: BarKind,
}

/// What is behind a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory: the only kind that p2pdma can use.
    Memory {
        /// May lie above 4 GiB.
        is_64bit: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

impl Bar {
    /// How many BARs a function can have. The later lines of `resource` are the ROM, SR-IOV and bridge windows.
    const COUNT: u8 = 6;

    /// Reads the `resource` file of a device: a line per resource, `start end flags`; lines that are no BAR are left out.
    ///
    /// Kernel: `resource_show` in `drivers/pci/pci-sysfs.c`, flags `IORESOURCE_*` in `include/linux/ioport.h`.
    #[must_use]
    pub fn from_resource(text: &str) -> Vec<Self> {
        (0..Self::COUNT).zip(text.lines()).filter_map(|(index, line)| Self::from_line(index, line)).collect()
    }

    fn from_line(index: u8, line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().map(hex);
        // The flags first: most lines are unused.
        let kind = BarKind::from_flags(fields.next_back()??)?;
        let (start, end) = (fields.next()??, fields.next()??);
        Some(Self { index, size: end.checked_sub(start)?.checked_add(1)?, kind })
    }
}

impl BarKind {
    /// `None` for a resource that is neither: an unused line.
    fn from_flags(flags: u64) -> Option<Self> {
        const IO: u64 = 0x100;
        const MEMORY: u64 = 0x200;
        const PREFETCH: u64 = 0x2000;
        const MEMORY_64: u64 = 0x10_0000;
        let has = |flag| flags & flag != 0;
        match (has(IO), has(MEMORY)) {
            (true, false) => Some(Self::Io),
            (false, true) => Some(Self::Memory { is_64bit: has(MEMORY_64), prefetchable: has(PREFETCH) }),
            _ => None,
        }
    }
}

fn hex(field: &str) -> Option<u64> {
    u64::from_str_radix(field.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GPU: &str = "\
        0x00000000fa000000 0x00000000faffffff 0x0000000000040200\n\
        0x0000380000000000 0x00003807ffffffff 0x000000000014220c\n\
        0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
        0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
        0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
        0x000000000000e000 0x000000000000e07f 0x0000000000040101\n\
        0x00000000fb000000 0x00000000fb07ffff 0x0000000000046200\n";

    #[test]
    fn the_bars_of_a_gpu_are_read_and_its_rom_is_not() {
        let memory = |is_64bit, prefetchable| BarKind::Memory { is_64bit, prefetchable };
        let expected = vec![
            Bar { index: 0, size: 16 << 20, kind: memory(false, false) },
            Bar { index: 1, size: 32 << 30, kind: memory(true, true) },
            Bar { index: 5, size: 128, kind: BarKind::Io },
        ];
        assert_eq!(Bar::from_resource(GPU), expected);
    }

    #[test]
    fn damaged_lines_are_left_out() {
        let lines = ["", "0x0 0x1", "0x0 0xfff 0x200x", "0x2 0x1 0x200", "0x0 0xffffffffffffffff 0x200", "1 2 0x200"];
        for line in lines {
            assert_eq!(Bar::from_resource(line), [], "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_at_most_six_bars(text in "(.*\n){0,20}") {
            prop_assert!(Bar::from_resource(&text).len() <= 6);
        }

        #[test]
        fn any_numbers_are_read(start: u64, end: u64, flags: u64) {
            let _ = Bar::from_resource(&format!("{start:#018x} {end:#018x} {flags:#018x}\n"));
        }
    }
}
