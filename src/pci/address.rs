//! Where a PCI function sits: domain, bus, device, function.

use std::{fmt, str::FromStr};

/// A PCI function's address. Sorts as the kernel lists devices.
///
/// The domain has 32 bits: Intel VMD hands out domains from 0x10000 up (kernel: `drivers/pci/controller/vmd.c`).
///
/// ```
/// use p2pdma::pci::Address;
///
/// let short: Address = "01:00.0".parse()?;
/// assert_eq!(short.to_string(), "0000:01:00.0");
/// let vmd: Address = "10000:e0:06.0".parse()?;
/// assert_eq!(vmd.domain, 0x10000);
/// # Ok::<(), p2pdma::pci::ParseAddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The domain (segment): one per set of 256 buses.
    pub domain: u32,
    /// The bus in the domain.
    pub bus: u8,
    /// The device on the bus, 0 to 31.
    pub device: u8,
    /// The function of the device, 0 to 7.
    pub function: u8,
}

/// As the kernel's `pci_name` prints it: `0000:01:00.0`. Honours width, so that it lines up in tables.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        f.pad(&format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
    }
}

/// Text that is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input:?} is no PCI address: {cause}; expected domain:bus:device.function such as 0000:01:00.0, or 01:00.0")]
pub struct ParseAddressError {
    input: String,
    cause: &'static str,
}

impl ParseAddressError {
    /// Longer input is cut: an error is one readable line.
    const SHOWN: usize = 40;

    fn new(input: &str, cause: &'static str) -> Self {
        Self { input: input.chars().take(Self::SHOWN).collect(), cause }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    /// Reads `domain:bus:device.function`, or `bus:device.function` in domain 0; hexadecimal, every digit present.
    fn from_str(input: &str) -> Result<Self, Self::Err> {
        parse(input).map_err(|cause| ParseAddressError::new(input, cause))
    }
}

fn parse(input: &str) -> Result<Address, &'static str> {
    let (place, function) = input.split_once('.').ok_or("no '.' before the function")?;
    let mut parts = place.split(':').rev();
    let device = hex(parts.next().unwrap_or_default(), 2..=2).ok_or("the device is not two hexadecimal digits")?;
    let bus = hex(parts.next().ok_or("no ':' before the device")?, 2..=2);
    let bus = bus.ok_or("the bus is not two hexadecimal digits")?;
    let domain = hex(parts.next().unwrap_or("0000"), 4..=8).ok_or("the domain is not 4 to 8 hexadecimal digits")?;
    let function = hex(function, 1..=1).ok_or("the function is not one digit")?;
    match parts.next() {
        Some(_) => Err("too many ':'"),
        None if device > 0x1f => Err("the device is above 1f"),
        None if function > 7 => Err("the function is above 7"),
        None => Ok(Address { domain, bus: narrow(bus)?, device: narrow(device)?, function: narrow(function)? }),
    }
}

/// Hexadecimal digits and nothing else: `from_str_radix` alone would take a sign.
fn hex(digits: &str, length: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = length.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

fn narrow(value: u32) -> Result<u8, &'static str> {
    u8::try_from(value).map_err(|_| "a number is out of range")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_prints_as_the_kernel_names_it() {
        let address = Address { domain: 0, bus: 1, device: 0x1f, function: 7 };
        assert_eq!(address.to_string(), "0000:01:1f.7");
        assert_eq!(Address { domain: 0x10000, bus: 0xe0, device: 6, function: 0 }.to_string(), "10000:e0:06.0");
        assert_eq!(format!("{address:>14}|"), "  0000:01:1f.7|");
    }

    #[test]
    fn the_short_form_is_in_domain_0() {
        assert_eq!("01:00.0".parse::<Address>(), "0000:01:00.0".parse());
    }

    #[test]
    fn what_is_not_exactly_an_address_is_refused() {
        let wrong = [
            "",
            ".",
            ":",
            "01:00",
            "1:00.0",
            "01:0.0",
            "01:00.",
            "01:00.8",
            "01:20.0",
            "01:00.00",
            " 01:00.0",
            "01:00.0 ",
            "01:00.0\n",
            "+1:00.0",
            "01:+0.0",
            "000:01:00.0",
            "0000:01:00:0",
            "0000:0001:00.0",
            "000000000:01:00.0",
            "0000:0000:01:00.0",
            ":01:00.0",
            "0x01:00.0",
            "01:00.0.0",
            "01:00.-1",
            "0000:01:00.g",
            "00\u{e9}0:01:00.0",
        ];
        for input in wrong {
            assert!(input.parse::<Address>().is_err(), "{input:?}");
        }
    }

    #[test]
    fn the_error_names_input_cause_and_form() {
        let error = "01:20.0".parse::<Address>().unwrap_err().to_string();
        let expected = "\"01:20.0\" is no PCI address: the device is above 1f; \
                        expected domain:bus:device.function such as 0000:01:00.0, or 01:00.0";
        assert_eq!(error, expected);
    }

    #[test]
    fn the_error_stays_short_and_on_one_line() {
        let error = "x\n".repeat(10_000).parse::<Address>().unwrap_err().to_string();
        assert!(error.len() < 250);
        assert!(!error.contains('\n'));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(domain: u32, bus: u8, device in 0..32_u8, function in 0..8_u8) {
            let address = Address { domain, bus, device, function };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_parsed_or_refused(input in ".*") {
            let _ = input.parse::<Address>();
        }

        #[test]
        fn what_parses_prints_as_it_was_written(input in "([0-9a-f]{4}:)?[0-9a-f]{2}:[0-3][0-9a-f][.:][0-9]") {
            let parsed = input.parse::<Address>().map(|address| address.to_string().ends_with(&input));
            prop_assert!(parsed.unwrap_or(true));
        }
    }
}
