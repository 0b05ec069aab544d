use proptest::prelude::*;

use super::*;
use crate::pci::{Link, LinkSpeed, PortType};

/// A downstream port with a PCIe capability at 0x40 and ACS at 0x148 behind another extended capability.
fn port(control: u8) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[0x00..0x04].copy_from_slice(&[0xb5, 0x10, 0x47, 0x87]);
    bytes[0x06] = 0x10;
    bytes[0x0e] = 0x01;
    bytes[0x34] = 0x40;
    bytes[0x40..0x44].copy_from_slice(&[0x10, 0x00, 0x62, 0x01]);
    bytes[0x4c..0x50].copy_from_slice(&[0x04, 0x01, 0x00, 0x00]);
    bytes[0x52..0x54].copy_from_slice(&[0x43, 0x00]);
    bytes[0x100..0x104].copy_from_slice(&[0x01, 0x00, 0x81, 0x14]);
    bytes[0x148..0x150].copy_from_slice(&[0x0d, 0x00, 0x01, 0x00, 0x7f, 0x00, control, 0x00]);
    bytes
}

#[test]
fn the_pcie_capability_tells_port_and_links() {
    let link = |speed, width| Some(Link { speed, width });
    let expected = Pcie {
        port_type: PortType::Downstream,
        link: link(LinkSpeed::Gt8, 4),
        max_link: link(LinkSpeed::Gt16, 16),
        max_payload: 128,
    };
    assert_eq!(ConfigSpace::new(port(0), 4096).pcie(), Capability::Present(expected));
}

#[test]
fn acs_is_found_behind_another_extended_capability() {
    let acs = ConfigSpace::new(port(0x1d), 4096).acs().present().unwrap();
    assert_eq!(acs.control, AcsFlags::SV | AcsFlags::RR | AcsFlags::CR | AcsFlags::UF);
    assert_eq!(acs.capability.bits(), 0x7f);
    assert!(acs.redirects());
}

#[test]
fn without_privilege_nothing_past_the_header_is_known() {
    let config = ConfigSpace::new(port(0x1d)[..64].to_vec(), 4096);
    assert_eq!(config.pcie(), Capability::Unreadable);
    assert_eq!(config.acs(), Capability::Unreadable);
}

#[test]
fn without_extended_space_acs_is_known_to_be_absent_for_any_user() {
    assert_eq!(ConfigSpace::new(&port(0x1d)[..64], 256).acs(), Capability::Absent);
    assert_eq!(ConfigSpace::new(&[][..], 256).acs(), Capability::Absent);
}

#[test]
fn a_function_without_a_capability_list_has_no_pcie_capability_for_any_user() {
    assert_eq!(ConfigSpace::new(vec![0; 64], 256).pcie(), Capability::Absent);
}

#[test]
fn an_empty_extended_space_has_no_acs() {
    assert_eq!(ConfigSpace::new(vec![0; 4096], 4096).acs(), Capability::Absent);
}

#[test]
fn a_device_that_does_not_answer_is_unreadable() {
    let silent = ConfigSpace::new(vec![0xff; 4096], 4096);
    assert_eq!(silent.pcie(), Capability::Unreadable);
    assert_eq!(silent.acs(), Capability::Unreadable);
}

#[test]
fn a_virtual_function_is_read_although_its_ids_are_all_ones() {
    let mut bytes = port(0);
    bytes[..4].fill(0xff);
    assert!(ConfigSpace::new(bytes, 4096).pcie().present().is_some());
}

#[test]
fn a_loop_of_capabilities_ends_as_absent() {
    let mut bytes = port(0);
    bytes[0x40..0x42].copy_from_slice(&[0x01, 0x40]);
    bytes[0x100..0x104].copy_from_slice(&[0x01, 0x00, 0x01, 0x10]);
    let config = ConfigSpace::new(bytes, 4096);
    assert_eq!(config.pcie(), Capability::Absent);
    assert_eq!(config.acs(), Capability::Absent);
}

#[test]
fn the_last_of_as_many_capabilities_as_fit_is_found() {
    let mut bytes = port(0);
    for offset in 0x40..=0xff_u8 {
        bytes[usize::from(offset)] = if offset % 4 == 1 { offset.wrapping_add(3) } else { 0x01 };
    }
    bytes[0xfc] = 0x05;
    for offset in (0x100..0x1000_u16).step_by(8) {
        let header = (u32::from(offset) + 8) << 20 | 0x1_0001;
        bytes[usize::from(offset)..][..4].copy_from_slice(&header.to_le_bytes());
    }
    bytes[0xff8..].copy_from_slice(&[0x0d, 0x00, 0x01, 0x00, 0x7f, 0x00, 0x04, 0x00]);
    let config = ConfigSpace::new(bytes, 4096);
    assert_eq!(config.capability(0x05), Capability::Present(0xfc));
    assert_eq!(config.acs().present().map(|acs| acs.control), Some(AcsFlags::RR));
}

#[test]
fn acs_cut_off_by_the_end_is_unreadable() {
    let mut bytes = port(0);
    bytes[0x100..0x104].copy_from_slice(&[0x01, 0x00, 0xc1, 0xff]);
    bytes[0xffc..].copy_from_slice(&[0x0d, 0x00, 0x01, 0x00]);
    assert_eq!(ConfigSpace::new(bytes, 4096).acs(), Capability::Unreadable);
}

#[test]
fn reads_past_the_end_are_none() {
    let config = ConfigSpace::new(vec![1, 2, 3, 4, 5], 4096);
    assert_eq!((config.u8(4), config.u8(5)), (Some(5), None));
    assert_eq!((config.u16(3), config.u16(4)), (Some(0x0504), None));
    assert_eq!((config.u32(1), config.u32(2), config.u32(usize::MAX)), (Some(0x0504_0302), None, None));
}

/// Random capability chains: the header is sane, so that the walks get past it.
fn chain() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 4096).prop_map(|mut bytes| {
        bytes[0x06] |= 0x10;
        bytes[0x0e] &= 1;
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_decoded(bytes in prop::collection::vec(any::<u8>(), 0..300), size: u64) {
        let config = ConfigSpace::new(bytes, size);
        let _ = (config.pcie(), config.acs());
    }

    #[test]
    fn any_chain_ends(bytes in chain(), id: u8) {
        let config = ConfigSpace::new(bytes, 4096);
        let _ = (config.pcie(), config.acs(), config.capability(id), config.extended_capability(id.into()));
    }

    #[test]
    fn reading_less_never_changes_an_answer_but_to_unreadable(bytes in chain(), readable in 0_usize..4096) {
        let all = ConfigSpace::new(bytes.clone(), 4096);
        let some = ConfigSpace::new(&bytes[..readable], 4096);
        prop_assert!(some.acs() == all.acs() || some.acs() == Capability::Unreadable);
        prop_assert!(some.pcie() == all.pcie() || some.pcie() == Capability::Unreadable);
    }
}
