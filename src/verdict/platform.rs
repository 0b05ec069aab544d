//! What of the whole machine decides about peer-to-peer DMA: the kernel, forced bounce buffers, a hypervisor.

use crate::{machine::Facts, storage::Evidence, topology::RULES};

/// The machine, as far as verdicts need it. What cannot be read is `None` and decides nothing.
#[derive(Debug)]
pub(super) struct Platform {
    /// Its version.
    pub(super) kernel: Option<Evidence>,
    /// Set where the kernel bounces all DMA.
    pub(super) bounce_forced: Option<Evidence>,
    /// Set in a virtual machine.
    pub(super) hypervisor: Option<Evidence>,
    /// Which one, as its firmware says.
    pub(super) product: Option<Evidence>,
    /// The devices that Hyper-V offers, by name.
    vmbus: Vec<String>,
}

/// Where Hyper-V's devices are.
pub(super) const VMBUS: &str = "/sys/bus/vmbus/devices";

impl Platform {
    pub(super) fn read(facts: &dyn Facts) -> Self {
        let release = "/proc/sys/kernel/osrelease";
        let flags = ["hypervisor", "tdx_guest"].map(|flag| cpu_flag(facts, flag));
        let [hypervisor, tdx] = flags;
        Self {
            kernel: facts.text(release).map(|text| Evidence::new(release, text)),
            bounce_forced: swiotlb(facts).or(tdx).or_else(|| sev(facts)),
            product: hypervisor.as_ref().and_then(|_| product(facts)),
            hypervisor,
            vmbus: facts.list(VMBUS).unwrap_or_default(),
        }
    }

    /// Whether Hyper-V offers devices here.
    pub(super) fn has_vmbus(&self) -> bool {
        !self.vmbus.is_empty()
    }

    /// Whether a PCI function lies below a device of Hyper-V's: `.../VMBUS:01/<guid>/pci7ad3:00/7ad3:00:02.0`.
    pub(super) fn is_below_vmbus(&self, directory: &str) -> bool {
        directory.split('/').any(|part| self.vmbus.iter().any(|device| device == part))
    }

    /// Whether it is known to be another kernel than that of the rules.
    pub(super) fn is_other_kernel(&self) -> bool {
        let is_ours = |release: &str| {
            let rest = release.strip_prefix(RULES);
            rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
        };
        self.kernel.as_ref().is_some_and(|kernel| !is_ours(&kernel.value))
    }
}

/// `swiotlb=force`, `swiotlb=65536,force` (Documentation/admin-guide/kernel-parameters.txt).
fn swiotlb(facts: &dyn Facts) -> Option<Evidence> {
    let path = "/proc/cmdline";
    let text = facts.text(path)?;
    let mut values = text.split_whitespace().filter_map(|word| word.strip_prefix("swiotlb="));
    let forced = values.find(|values| values.split(',').any(|value| value == "force"))?;
    Some(Evidence::new(path, format!("swiotlb={forced}")))
}

/// A flag of the first processor in `/proc/cpuinfo`.
fn cpu_flag(facts: &dyn Facts, flag: &str) -> Option<Evidence> {
    let path = "/proc/cpuinfo";
    let text = facts.text(path)?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags"))?;
    flags.split_whitespace().any(|word| word == flag).then(|| Evidence::new(path, flag))
}

/// `QEMU`, `Amazon EC2`, `Google`.
fn product(facts: &dyn Facts) -> Option<Evidence> {
    let path = "/sys/class/dmi/id/sys_vendor";
    facts.text(path).map(|vendor| Evidence::new(path, vendor))
}

/// The device that only a guest with encrypted memory has (drivers/virt/coco/sev-guest). The flags of the processor say
/// what it could do, not what this guest does.
fn sev(facts: &dyn Facts) -> Option<Evidence> {
    let path = "/sys/class/misc/sev-guest/dev";
    facts.text(path).map(|number| Evidence::new(path, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Snapshot;

    fn platform(path: &str, text: &str) -> Platform {
        Platform::read(Snapshot::new().file(path, text))
    }

    #[test]
    fn another_kernel_is_told_from_the_one_of_the_rules() {
        let other = |release| platform("/proc/sys/kernel/osrelease", release).is_other_kernel();
        assert!(!other("6.12.117\n") && !other("6.12.0-mock\n") && !other("6.12\n"));
        assert!(other("6.1.12\n") && other("6.15.0\n") && other("6.120.1\n"));
        assert!(!Platform::read(&Snapshot::new()).is_other_kernel(), "what cannot be read decides nothing");
    }

    #[test]
    fn forced_bounce_buffers_are_seen_where_they_are_told() {
        let forced = |path, text| platform(path, text).bounce_forced.is_some();
        assert!(forced("/proc/cmdline", "quiet swiotlb=65536,force root=/dev/sda\n"));
        assert!(forced("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu tdx_guest\n"));
        assert!(forced("/sys/class/misc/sev-guest/dev", "10:1\n"));
        assert!(!forced("/proc/cmdline", "swiotlb=noforce noswiotlb=force\n"));
        assert!(!forced("/proc/cpuinfo", "flags\t\t: fpu sev sev_es\n"), "what the processor could do");
    }
}
