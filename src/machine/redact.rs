//! Takes out of a snapshot what tells which machine it is of: whoever sends a recording need not read it first.
//!
//! A secret becomes a number, the same for the same secret: whether two things are equal is kept. What was replaced
//! before is left alone.

use std::collections::BTreeMap;

use super::{
    file::FileFacts,
    snapshot::{Answers, Snapshot},
};

/// Attributes whose whole value is a secret, by the last part of their path.
const SECRETS: [&str; 24] = [
    "address", // MAC of a network adapter
    "board_serial",
    "boot_id",
    "chassis_serial",
    "domainname",
    "eui",
    "hostid",
    "hostname",
    "hostnqn",
    "machine-id",
    "nguid",
    "node_guid",
    "product_serial",
    "product_uuid",
    "serial",
    "serial_number",
    "subsysnqn",
    "sys_image_guid",
    "unique_id",
    "uuid",
    "vpd",
    "vpd_pg80",
    "vpd_pg83",
    "wwid",
];

/// What stands for a secret, before its number.
const MARK: &str = "REDACTED-";

/// What stands for the 8 bytes of a device's serial number, before 4 bytes of its number.
const CONFIG_MARK: &[u8; 4] = b"RDCT";

/// What stands for a UUID, before 12 digits of its number.
const UUID_MARK: &str = "00000000-0000-0000-0000-";

pub(super) fn redact(snapshot: Snapshot) -> Snapshot {
    let mut secrets = Secrets::default();
    snapshot.map(|(path, answers)| secrets.redact(path, answers))
}

/// Secrets seen so far, with their numbers.
#[derive(Default)]
struct Secrets(BTreeMap<Vec<u8>, usize>);

impl Secrets {
    fn redact(&mut self, path: String, answers: Answers) -> (String, Answers) {
        let read = answers.read.map(|read| read.map(|bytes| self.bytes(&path, bytes)));
        let link = answers.link.map(|link| link.map(|target| self.uuids(target)));
        let list = answers.list.map(|list| list.map(|names| self.names(names)));
        let open = answers.open.map(|open| {
            open.map(|file| Box::new(FileFacts { path: file.path.clone().map(|path| self.uuids(path)), ..*file }))
        });
        (self.uuids(path), Answers { read, link, list, open, ..answers })
    }

    fn number(&mut self, secret: &[u8]) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(secret.to_owned()).or_insert(next)
    }

    fn names(&mut self, names: Vec<String>) -> Vec<String> {
        let mut names: Vec<_> = names.into_iter().map(|name| self.uuids(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn bytes(&mut self, path: &str, bytes: Vec<u8>) -> Vec<u8> {
        let name = path.rsplit('/').next().unwrap_or_default();
        match name {
            "uuid" if path.ends_with("/dm/uuid") => self.behind_the_kind(&bytes),
            _ if SECRETS.contains(&name) => self.whole(&bytes),
            "cmdline" => parameters(&bytes),
            "cpuinfo" => first_paragraph(bytes),
            _ if is_config(path) => options(&bytes),
            "config" => self.config(bytes),
            _ => match String::from_utf8(bytes) {
                Ok(text) => self.uuids(text).into_bytes(),
                Err(error) => error.into_bytes(),
            },
        }
    }

    /// The value without its line break. One that says nothing is no secret; nor is the PCI address of an NVMe
    /// controller, which has the attribute of a network adapter's MAC.
    fn whole(&mut self, bytes: &[u8]) -> Vec<u8> {
        let value = bytes.trim_ascii();
        let is_address = || std::str::from_utf8(value).is_ok_and(|text| text.parse::<crate::pci::Address>().is_ok());
        if value.is_empty() || value.starts_with(MARK.as_bytes()) || is_address() {
            return bytes.to_owned();
        }
        format!("{MARK}{}\n", self.number(value)).into_bytes()
    }

    /// The UUID of a device-mapper device begins with what made it: `LVM-`, `CRYPT-`, `mpath-`. That is no secret, and
    /// decides.
    fn behind_the_kind(&mut self, bytes: &[u8]) -> Vec<u8> {
        let kind = bytes.iter().position(|byte| *byte == b'-').map_or(0, |dash| dash + 1);
        let (kind, secret) =
            if bytes.starts_with(MARK.as_bytes()) { (&bytes[..0], bytes) } else { bytes.split_at(kind) };
        [kind.to_owned(), self.whole(secret)].concat()
    }

    /// The device serial number capability (`PCI_EXT_CAP_ID_DSN`, uapi/linux/pci_regs.h): 8 bytes behind its header.
    fn config(&mut self, mut config: Vec<u8>) -> Vec<u8> {
        let Some(serial) = serial_number(&config) else { return config };
        let Some(place) = config.get(serial..serial + 8).map(<[u8]>::to_owned) else { return config };
        if place == [0; 8] || place.starts_with(CONFIG_MARK) {
            return config;
        }
        let number = u32::try_from(self.number(&place)).unwrap_or(u32::MAX);
        config[serial..serial + 4].copy_from_slice(CONFIG_MARK);
        config[serial + 4..serial + 8].copy_from_slice(&number.to_le_bytes());
        config
    }

    /// Every UUID in a text: of filesystems, LVM, LUKS, md.
    fn uuids(&mut self, text: String) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(start) = (0..rest.len()).find(|&start| is_uuid(rest.as_bytes().get(start..start + 36))) {
            let (uuid, after) = rest[start..].split_at(36);
            result.push_str(&rest[..start]);
            if uuid.starts_with(UUID_MARK) {
                result.push_str(uuid);
            } else {
                result += &format!("{UUID_MARK}{:012}", self.number(uuid.to_ascii_lowercase().as_bytes()));
            }
            rest = after;
        }
        result + rest
    }
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| {
        bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    })
}

/// Where the serial number lies in a config space that has one and of which that much could be read. A chain of
/// capabilities may lead anywhere, so its length is bounded by what fits.
fn serial_number(config: &[u8]) -> Option<usize> {
    let mut at = 0x100;
    for _ in 0..(4096 - 0x100) / 8 {
        let header = config.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)?;
        if header & 0xffff == 0x0003 {
            return Some(at + 4);
        }
        at = usize::try_from(header >> 20).ok().filter(|next| *next >= 0x100)? & !3;
    }
    None
}

/// Kernel parameters that decide about DMA. Others may hold anything: addresses, names, passwords.
fn parameters(cmdline: &[u8]) -> Vec<u8> {
    const KEPT: [&str; 8] = ["amd_iommu", "intel_iommu", "iommu", "mem_encrypt", "nvme", "pci", "pcie", "swiotlb"];
    let text = String::from_utf8_lossy(cmdline);
    let key = |word: &str| word.split(['=', '.', '_']).next().unwrap_or_default().to_owned();
    let kept = |word: &&str| KEPT.iter().any(|name| word.split('=').next() == Some(*name) || key(word) == *name);
    text.split_whitespace().filter(kept).collect::<Vec<_>>().join(" ").into_bytes().into_iter().chain(*b"\n").collect()
}

/// How a kernel was built: by its file in `/boot`, or beside its modules.
fn is_config(path: &str) -> bool {
    path.starts_with("/boot/config-") || path.starts_with("/lib/modules/") && path.ends_with("/config")
}

/// The few of some ten thousand lines that matter.
fn options(config: &[u8]) -> Vec<u8> {
    const KEPT: [&str; 4] = ["CONFIG_IO_URING", "CONFIG_PCI", "CONFIG_PCI_P2PDMA", "CONFIG_ZONE_DEVICE"];
    let text = String::from_utf8_lossy(config);
    let kept = |line: &&str| KEPT.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// The first processor of all: the others say the same, a thousand lines of it.
fn first_paragraph(bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    bytes[..end.map_or(bytes.len(), |end| end + 1)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Facts;

    fn text(snapshot: &Snapshot, path: &str) -> String {
        (snapshot as &dyn Facts).text(path).unwrap()
    }

    #[test]
    fn secrets_become_numbers_and_equal_ones_stay_equal() {
        let mut facts = Snapshot::new();
        facts.file("/a/serial", "S6XYZ   \n").file("/b/serial", "OTHER\n").file("/c/wwid", "S6XYZ\n");
        facts.file("/a/model", "S6XYZ is no secret here\n").file("/d/serial", "\n").refused("/e/serial", libc::EACCES);
        let redacted = redact(facts);
        assert_eq!(text(&redacted, "/a/serial"), "REDACTED-1");
        assert_eq!(
            (text(&redacted, "/b/serial"), text(&redacted, "/c/wwid")),
            ("REDACTED-2".into(), "REDACTED-1".into())
        );
        assert_eq!(text(&redacted, "/a/model"), "S6XYZ is no secret here");
        assert_eq!(text(&redacted, "/d/serial"), "", "nothing is no secret");
        assert_eq!(redacted.read("/e/serial").unwrap_err().raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn what_made_a_dm_device_is_kept_and_its_uuid_is_not() {
        let mut facts = Snapshot::new();
        facts.file("/dm-0/dm/uuid", "LVM-AbCdEf\n").file("/dm-1/dm/uuid", "nodash\n");
        let redacted = redact(facts);
        assert_eq!(text(&redacted, "/dm-0/dm/uuid"), "LVM-REDACTED-1");
        assert_eq!(text(&redacted, "/dm-1/dm/uuid"), "REDACTED-2");
        assert_eq!(redact(redacted.clone()), redacted);
    }

    #[test]
    fn an_nvme_controllers_address_is_kept_and_a_mac_is_not() {
        let mut facts = Snapshot::new();
        facts.file("/nvme0/address", "0000:01:00.0\n").file("/eth0/address", "52:54:00:12:34:56\n");
        let redacted = redact(facts);
        assert_eq!(text(&redacted, "/nvme0/address"), "0000:01:00.0");
        assert_eq!(text(&redacted, "/eth0/address"), "REDACTED-1");
    }

    #[test]
    fn a_uuid_is_replaced_wherever_it_stands_and_still_leads_to_the_same_place() {
        let uuid = "6a1f4b9c-0d2e-4f3a-8b7c-9d0e1f2a3b4c";
        let mut facts = Snapshot::new();
        facts.symlink("/by-uuid", format!("/dm/{uuid}")).file(format!("/dm/{uuid}"), format!("crypt-{uuid}-x\n"));
        let redacted = redact(facts);
        assert!(!redacted.to_string().contains("6a1f4b9c"), "{redacted}");
        assert_eq!(text(&redacted, "/by-uuid"), "crypt-00000000-0000-0000-0000-000000000001-x");
    }

    /// 4 KiB with an ACS capability at 0x100 and a serial number behind it.
    fn config(serial: [u8; 8]) -> Vec<u8> {
        let mut config = vec![0; 4096];
        config[0x100..0x104].copy_from_slice(&0x1400_000d_u32.to_le_bytes());
        config[0x140..0x144].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
        config[0x144..0x14c].copy_from_slice(&serial);
        config
    }

    #[test]
    fn a_serial_number_in_config_space_is_replaced_and_nothing_else() {
        let mut facts = Snapshot::new();
        facts.file("/a/config", config(*b"SERIAL-A")).file("/b/config", config(*b"SERIAL-B"));
        facts.file("/c/config", config(*b"SERIAL-A")).file("/d/config", config([0; 8]));
        let redacted = redact(facts);
        assert_eq!(redacted.read("/a/config").unwrap(), config(*b"RDCT\x01\0\0\0"));
        assert_eq!(redacted.read("/b/config").unwrap(), config(*b"RDCT\x02\0\0\0"));
        assert_eq!(redacted.read("/c/config").unwrap(), config(*b"RDCT\x01\0\0\0"));
        assert_eq!(redacted.read("/d/config").unwrap(), config([0; 8]));
    }

    #[test]
    fn a_chain_of_capabilities_that_loops_or_leaves_ends() {
        let mut config = vec![0; 4096];
        config[0x100..0x104].copy_from_slice(&0x1000_0001_u32.to_le_bytes());
        assert_eq!(serial_number(&config), None);
        config[0x100..0x104].copy_from_slice(&0xffc0_0001_u32.to_le_bytes());
        config[0xffc..].copy_from_slice(&0x0001_0003_u32.to_le_bytes());
        let mut facts = Snapshot::new();
        facts.file("/a/config", config.clone()).file("/b/config", &config[..64]);
        assert_eq!(redact(facts.clone()), facts, "no place for 8 bytes");
    }

    #[test]
    fn redacting_twice_changes_nothing_more() {
        let mut facts = Snapshot::new();
        facts.file("/b/serial", "x\n").file("/a/config", config(*b"SERIAL-A"));
        facts.file("/c/text", "6a1f4b9c-0d2e-4f3a-8b7c-9d0e1f2a3b4c\n");
        let once = redact(facts);
        assert_eq!(redact(once.clone()), once);
    }

    #[test]
    fn of_the_kernels_parameters_those_of_dma_are_kept() {
        let mut facts = Snapshot::new();
        facts.file(
            "/proc/cmdline",
            "root=UUID=x secret=1 swiotlb=force pci=noats intel_iommu=on nvme_core.multipath=N\n",
        );
        let kept = text(&redact(facts), "/proc/cmdline");
        assert_eq!(kept, "swiotlb=force pci=noats intel_iommu=on nvme_core.multipath=N");
    }

    #[test]
    fn of_how_the_kernel_was_built_what_matters_is_kept() {
        let mut facts = Snapshot::new();
        facts.file("/boot/config-6.12", "CONFIG_PCI=y\nCONFIG_PCI_MSI=y\nCONFIG_LOCALVERSION=\"-ours\"\n");
        assert_eq!(*redact(facts).read("/boot/config-6.12").unwrap(), *b"CONFIG_PCI=y\n");
    }

    #[test]
    fn one_processor_tells_for_all() {
        let mut facts = Snapshot::new();
        facts.file("/proc/cpuinfo", "processor: 0\nvendor_id: x\n\nprocessor: 1\nvendor_id: x\n\n");
        assert_eq!(*redact(facts).read("/proc/cpuinfo").unwrap(), *b"processor: 0\nvendor_id: x\n");
    }
}
