mod stacks;

use super::*;
use crate::{
    Error,
    machine::{
        Access, DioAlignment, InodeFlags, Machine, Mock,
        mock::{Cpu, Function, Port},
    },
    storage::File,
};

const SSD: &str = "/dev/nvme0n1";
const FILE: &str = "/data/file";
const PEER: &str = "0000:05:00.0";

fn switch() -> Mock {
    Mock::one_switch(Cpu::AmdZen).expect("a machine")
}

/// A file on the first SSD, below a filesystem mounted so.
fn mounted(filesystem: &str) -> Machine {
    let mut mock = switch();
    mock.file(FILE, SSD, &[7; 65_536]).expect("a file");
    let line = format!("1 0 259:0 / /data rw - {filesystem}\n");
    mock.facts_mut().file("/proc/self/mountinfo", line);
    Machine::mock(mock)
}

fn source(machine: &Machine, path: &str, access: Access) -> Source {
    AsRef::<Source>::as_ref(&File::open(machine, path, access).expect("a file")).clone()
}

fn judge(source: &Source, peer: &str) -> Verdict {
    let topology = Topology::scan(source.machine()).expect("a topology");
    Verdict::judge(&topology, source, peer.parse().expect("an address")).expect("a verdict")
}

/// The answers of both ways, and what was found.
fn summary(verdict: &Verdict) -> (Answer, Answer, Vec<What>) {
    let findings = verdict.findings().map(|finding| finding.what);
    (verdict.way(Way::P2pmem), verdict.way(Way::Module), findings.collect())
}

#[test]
fn a_file_on_ext4_on_an_ssd_goes_direct() {
    let verdict = judge(&source(&mounted("ext4 /dev/nvme0n1 rw"), FILE, Access::ReadWrite), PEER);
    assert_eq!(summary(&verdict), (Answer::Yes, Answer::Yes, vec![]));
    assert!(verdict.require(Way::P2pmem).is_ok());
}

#[test]
fn each_cause_of_an_alignment_of_0_is_named() {
    let cases = [
        ("ext4 /dev/nvme0n1 rw,data=journal", InodeFlags::EXTENTS, "data=journal"),
        ("ext4 /dev/nvme0n1 rw", InodeFlags::JOURNAL_DATA, "ext4's journal"),
        ("ext4 /dev/nvme0n1 rw", InodeFlags::VERITY, "fs-verity"),
        ("ext4 /dev/nvme0n1 rw", InodeFlags::INLINE_DATA, "in the inode"),
        ("f2fs /dev/nvme0n1 rw", InodeFlags::empty(), "alignment of 0"),
    ];
    for (filesystem, flags, cause) in cases {
        let mut source = source(&mounted(filesystem), FILE, Access::Read);
        (source.dio, source.flags) = (Some(DioAlignment { memory: 0, offset: 0 }), Some(flags));
        let verdict = judge(&source, PEER);
        assert_eq!(summary(&verdict), (Answer::No, Answer::No, vec![What::SilentlyBuffered]));
        assert!(verdict.findings().next().unwrap().refusal.cause.contains(cause), "{cause}");
        assert!(matches!(verdict.require(Way::P2pmem), Err(Error::NoDirectIo(_))));
        let host = Verdict::judge_host(&source).expect_err("the page cache is no bounce");
        assert!(host.to_string().contains(cause), "{host}");
    }
}

#[test]
fn host_memory_takes_what_is_direct_and_nothing_that_reports_an_alignment_of_0() {
    let mut source = source(&mounted("ext4 /dev/nvme0n1 rw"), FILE, Access::Read);
    assert!(Verdict::judge_host(&source).is_ok());
    for (memory, offset) in [(0, 512), (4, 0), (0, 0)] {
        source.dio = Some(DioAlignment { memory, offset });
        for flags in [InodeFlags::EXTENTS, InodeFlags::ENCRYPTED, InodeFlags::NOCOW] {
            source.flags = Some(flags);
            assert!(matches!(Verdict::judge_host(&source), Err(Error::NoDirectIo(_))), "{memory} {offset} {flags:?}");
        }
    }
    let mut device = Source::of_block_device(&Machine::mock(switch()), SSD).expect("an SSD");
    device.dio = Some(DioAlignment { memory: 0, offset: 0 });
    assert!(matches!(Verdict::judge_host(&device), Err(Error::NoDirectIo(_))));
    assert_eq!(summary(&judge(&device, PEER)), (Answer::No, Answer::No, vec![What::SilentlyBuffered]));
}

#[test]
fn a_buffered_file_is_no_for_peer_memory_and_yes_for_the_hosts() {
    let machine = mounted("ext4 /dev/nvme0n1 rw,data=journal");
    let buffered = File::open(&machine, FILE, Access::Read).and_then(|file| file.buffered()).expect("a file");
    assert_eq!(summary(&judge(buffered.as_ref(), PEER)), (Answer::No, Answer::No, vec![What::Buffered]));
    assert!(Verdict::judge_host(&buffered).is_ok());
}

#[test]
fn encryption_is_no_although_the_file_reports_an_alignment() {
    let mut source = source(&mounted("ext4 /dev/nvme0n1 rw,inlinecrypt"), FILE, Access::Read);
    source.flags = Some(InodeFlags::ENCRYPTED | InodeFlags::EXTENTS);
    assert_eq!(summary(&judge(&source, PEER)), (Answer::No, Answer::No, vec![What::TouchedByCpu]));
}

#[test]
fn a_filesystem_that_does_not_say_is_no() {
    let mut source = source(&mounted("reiserfs /dev/nvme0n1 rw"), FILE, Access::Read);
    source.dio = None;
    assert_eq!(summary(&judge(&source, PEER)), (Answer::No, Answer::No, vec![What::AlignmentUnknown]));
}

#[test]
fn holes_without_extents_are_filled_silently_when_written_alone() {
    let mut source = source(&mounted("ext4 /dev/nvme0n1 rw"), FILE, Access::ReadWrite);
    (source.flags, source.has_holes) = (Some(InodeFlags::empty()), true);
    assert_eq!(judge(&source, PEER).answer(), Answer::No);
    source.access = Access::Read;
    let findings = vec![What::BeyondModule, What::Holes];
    assert_eq!(
        summary(&judge(&source, PEER)),
        (Answer::Yes, Answer::No, findings),
        "the module takes none without extents"
    );
}

#[test]
fn btrfs_is_yes_only_without_checksums_on_one_device_and_out_of_the_tree() {
    let mut source = source(&mounted("btrfs /dev/nvme0n1 rw"), FILE, Access::ReadWrite);
    source.dio = Some(DioAlignment { memory: 4096, offset: 4096 });
    let mut judged = |flags, size| {
        (source.flags, source.size) = (Some(flags), Some(size));
        judge(&source, PEER).findings().map(|finding| finding.what).collect::<Vec<_>>()
    };
    // On the mock nothing tells whether the filesystem has further devices: that is said, and is not harmless.
    assert!(judged(InodeFlags::empty(), 65_536).contains(&What::SilentlyBuffered));
    assert_eq!(judged(InodeFlags::NOCOW, 65_536), [What::TouchedByCpu, What::StackUnknown]);
}

/// `pair_check_filesystem` (kmod/pair.c) refuses them at BIND.
#[test]
fn of_other_filesystems_the_module_takes_no_file_and_mappings_do() {
    let mut source = source(&mounted("f2fs /dev/nvme0n1 rw"), FILE, Access::ReadWrite);
    source.dio = Some(DioAlignment { memory: 4, offset: 4096 });
    let verdict = judge(&source, PEER);
    assert_eq!(summary(&verdict), (Answer::Yes, Answer::No, vec![What::BeyondModule]));
    let refused = verdict.require(Way::Module).unwrap_err().to_string();
    assert!(refused.contains("lies on f2fs") && refused.contains("mapped memory"), "{refused}");
}

/// The first SSD and the peer of a machine with root ports, and one more fact.
fn with_fact(path: &str, text: &str) -> Verdict {
    let mut mock = Mock::root_ports(Cpu::AmdZen).expect("a machine");
    mock.facts_mut().file(path, text);
    judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), "0000:02:00.0")
}

#[test]
fn past_a_host_bridge_another_kernel_may_judge_otherwise() {
    let verdict = with_fact("/proc/sys/kernel/osrelease", "6.15.3\n");
    assert_eq!(summary(&verdict), (Answer::Unknown, Answer::Unknown, vec![What::OtherKernel]));
    assert!(matches!(verdict.require(Way::P2pmem), Err(Error::NotAllowed(_))), "what cannot be known is not assumed");
}

#[test]
fn below_a_switch_another_kernel_is_only_worth_a_word() {
    let mut mock = switch();
    mock.facts_mut().file("/proc/sys/kernel/osrelease", "6.15.3\n");
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER);
    assert_eq!(summary(&verdict), (Answer::Yes, Answer::Yes, vec![What::OtherKernel]));
}

#[test]
fn forced_bounce_buffers_are_a_no_since_io_would_hang() {
    let verdict = with_fact("/proc/cmdline", "quiet swiotlb=force\n");
    assert_eq!(summary(&verdict), (Answer::No, Answer::No, vec![What::BounceForced]));
    assert_eq!(verdict.findings().next().unwrap().evidence[0].to_string(), "/proc/cmdline = swiotlb=force");
}

#[test]
fn a_host_that_hyper_v_hides_is_to_be_proved() {
    let mut mock = switch();
    let guid = "/sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/MSFT1000:00/7ad35d50-c05b-47ab-b3a0-56a9a845852b";
    let gpu = format!("{guid}/pci7ad3:00/7ad3:00:00.0");
    let facts = mock.facts_mut().symlink("/sys/bus/pci/devices/7ad3:00:00.0", &gpu);
    for (name, value) in [("vendor", "0x10de\n"), ("device", "0x2330\n"), ("class", "0x030200\n"), ("resource", "")] {
        facts.file(format!("{gpu}/{name}"), value);
    }
    facts.file(format!("{gpu}/config"), vec![0; 4096]);
    facts.symlink("/sys/bus/vmbus/devices/7ad35d50-c05b-47ab-b3a0-56a9a845852b", guid);
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), "7ad3:00:00.0");
    assert_eq!(summary(&verdict), (Answer::Unknown, Answer::Unknown, vec![What::HostHidden]));
}

#[test]
fn a_virtual_switch_below_an_iommu_is_unknown_until_it_is_proved() {
    let mut mock = switch();
    let ssd = crate::machine::Facts::link(&mock, "/sys/bus/pci/devices/0000:03:00.0").expect("an SSD");
    let facts = mock.facts_mut().symlink(format!("{ssd}/iommu_group"), "/sys/kernel/iommu_groups/3");
    facts.file("/sys/kernel/iommu_groups/3/type", "DMA-FQ\n");
    facts.file("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\ncpu family\t: 23\nflags\t\t: fpu hypervisor\n");
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER);
    assert_eq!(summary(&verdict), (Answer::Unknown, Answer::Unknown, vec![What::VirtualIommu]));
}

#[test]
fn protection_information_is_worth_a_warning() {
    let mut mock = switch();
    let ssd = crate::machine::Facts::link(&mock, "/sys/class/block/nvme0n1").expect("an SSD");
    mock.facts_mut().file(format!("{ssd}/integrity/format"), "T10-DIF-TYPE1-CRC\n");
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER);
    assert_eq!(summary(&verdict), (Answer::Yes, Answer::Yes, vec![What::CheckedByCpu]));
}

#[test]
fn memory_that_cannot_be_had_is_found_without_taking_any() {
    let mut mock = switch();
    let at = |text: &str| text.parse().expect("an address");
    let gpu = Function {
        driver: Some("nvidia".into()),
        p2pmem: Some(1 << 30),
        ..Function::provider(at("00:1e.0"), None, 1 << 30)
    };
    mock.function(&gpu);
    let source = Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD");
    let found = |peer| judge(&source, peer).and_memory(&source);
    assert_eq!(summary(&found(PEER)), (Answer::Yes, Answer::Yes, vec![]));
    assert_eq!(summary(&found("0000:00:1e.0")), (Answer::No, Answer::Yes, vec![What::ForeignMemory]));
    assert_eq!(summary(&found("0000:04:00.0")), (Answer::No, Answer::No, vec![What::NoPool]));
}

#[test]
fn a_kernel_without_p2pdma_is_said_to_be_one() {
    let mut mock = switch();
    mock.facts_mut().file("/boot/config-6.12.0-mock", "CONFIG_PCI=y\n# CONFIG_PCI_P2PDMA is not set\n");
    let source = Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD");
    let verdict = judge(&source, "0000:04:00.0").and_memory(&source);
    assert_eq!(summary(&verdict), (Answer::Unknown, Answer::Unknown, vec![What::NoKernelSupport]));
    assert!(matches!(verdict.require(Way::P2pmem), Err(Error::NotAllowed(_))));
}

#[test]
fn a_function_is_judged_by_its_namespace_and_others_are_refused() {
    let machine = Machine::mock(switch());
    let source = Source::of_function(&machine, "0000:03:00.0".parse().expect("an address")).expect("an SSD");
    assert_eq!((source.stack().top().name.as_str(), judge(&source, PEER).answer()), ("nvme0n1", Answer::Yes));
    let gpu = Source::of_function(&machine, PEER.parse().expect("an address"));
    assert!(matches!(gpu, Err(Error::Invalid(_))));
}

/// The first SSD without a block device: what it is bound to, and what its controller says.
fn without_namespace(driver: Option<&str>, state: Option<&str>) -> Verdict {
    let mut mock = switch();
    let address = "0000:06:00.0".parse().expect("an address");
    let driver = driver.map(str::to_owned);
    mock.function(&Function { driver, ..Function::nvme(address, "0000:02:00.0".parse().ok()) });
    let directory = crate::machine::Facts::link(&mock, "/sys/bus/pci/devices/0000:06:00.0").expect("an SSD");
    if let Some(state) = state {
        mock.facts_mut().file(format!("{directory}/nvme/nvme7/state"), state);
    }
    judge(&Source::of_function(&Machine::mock(mock), address).expect("an SSD"), PEER)
}

#[test]
fn an_ssd_without_a_block_device_is_no_and_its_cure_is_that_of_its_driver() {
    let cases = [
        (None, None, "no driver", "modprobe nvme; echo 0000:06:00.0 >/sys/bus/pci/drivers_probe`"),
        (Some("vfio-pci"), None, "its driver is vfio-pci", "/0000:06:00.0/driver/unbind; "),
        (Some("nvme"), Some("dead\n"), "its controller is dead", "/0000:06:00.0/remove; "),
        (Some("nvme"), Some("live\n"), "it has no namespace", "nvme-create-ns(1)"),
    ];
    for (driver, state, cause, cure) in cases {
        let verdict = without_namespace(driver, state);
        assert_eq!(summary(&verdict), (Answer::No, Answer::No, vec![What::NoNamespace]), "{driver:?} {state:?}");
        assert_eq!(verdict.routes().len(), 1, "the route is told all the same");
        let refusal = &verdict.findings().next().expect("a finding").refusal;
        assert!(refusal.cause.contains(cause) && refusal.cure.contains(cure), "{refusal}");
    }
}

/// The kernel keeps its namespaces, which have a queue that takes peer memory.
#[test]
fn an_ssd_whose_controller_is_dead_is_no_although_its_namespace_is_there() {
    let judged = |state: &str| {
        let mut mock = switch();
        let directory = crate::machine::Facts::link(&mock, "/sys/bus/pci/devices/0000:03:00.0").expect("an SSD");
        mock.facts_mut().file(format!("{directory}/nvme/nvme0/state"), state);
        judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER)
    };
    for state in ["live\n", "resetting\n"] {
        assert_eq!(summary(&judged(state)), (Answer::Yes, Answer::Yes, vec![]), "{state}");
    }
    for state in ["dead\n", "deleting (no IO)\n"] {
        let verdict = judged(state);
        assert_eq!(summary(&verdict), (Answer::No, Answer::No, vec![What::NoNamespace]), "{state}");
        let refusal = verdict.findings().next().unwrap().refusal.clone();
        assert!(
            refusal.cause.contains("0000:03:00.0 is d") && refusal.cure.contains("/0000:03:00.0/remove; "),
            "{refusal}"
        );
    }
}

/// The port above the first SSD redirects.
fn redirecting() -> Mock {
    let mut mock = switch();
    let port = Function::port("02:00.0".parse().unwrap(), "01:00.0".parse().ok(), Port::Downstream);
    mock.function(&Function { acs_control: Some(0x1d), ..port });
    mock
}

#[test]
fn a_detour_by_acs_is_yes_with_a_warning_that_names_the_cure() {
    let mock = redirecting();
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER);
    assert_eq!(summary(&verdict), (Answer::Yes, Answer::Yes, vec![What::AcsDetour]));
    let finding = verdict.findings().next().unwrap();
    assert!(finding.refusal.cure.contains("`pci=disable_acs_redir=0000:02:00.0`"), "{finding}");
    assert!(finding.evidence[0].to_string().ends_with("/0000:02:00.0/config = ACS SV | RR | CR | UF"), "{finding:?}");
}

/// The parameter that is given last is the only one that counts.
#[test]
fn the_cure_for_acs_keeps_the_ports_that_this_boot_was_told_of() {
    let mut mock = redirecting();
    mock.facts_mut().file(
        "/proc/cmdline",
        "pci=disable_acs_redir=0000:09:00.0 quiet pci=noats,disable_acs_redir=0000:08:00.0;pci:1000:c030\n",
    );
    let verdict = judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER);
    let cure = &verdict.findings().next().unwrap().refusal.cure;
    assert!(cure.contains("`pci=disable_acs_redir=0000:02:00.0;0000:08:00.0;pci:1000:c030`"), "{cure}");
}

#[test]
fn a_module_that_cannot_be_used_is_no_by_that_way_alone() {
    let cases = [(libc::ENOENT, What::NoModule, "not there"), (libc::EACCES, What::NoPermission, "loaded")];
    for (errno, what, seen) in cases {
        let mut mock = switch();
        mock.without_module(errno);
        let source = Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD");
        let verdict = judge(&source, PEER).and_memory(&source);
        assert_eq!(summary(&verdict), (Answer::Yes, Answer::No, vec![what]));
        assert_eq!(verdict.findings().next().unwrap().evidence[0].value, seen);
        assert!(matches!(verdict.require(Way::Module), Err(Error::NotAllowed(_))));
    }
}

/// Without privilege ACS cannot be read; the module's DISTANCE is the running kernel's own answer.
#[test]
fn a_route_in_doubt_is_asked_of_the_kernel_through_the_module() {
    let unprivileged = |no_module: bool| {
        let mut mock = Mock::one_switch(Cpu::IntelUnlisted).expect("a machine");
        let port = crate::machine::Facts::link(&mock, "/sys/bus/pci/devices/0000:02:00.0").expect("a port");
        mock.facts_mut().file_of_size(format!("{port}/config"), vec![0; 64], 4096);
        if no_module {
            mock.without_module(libc::ENOENT);
        }
        let source = Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD");
        judge(&source, PEER).and_memory(&source)
    };
    let asked = unprivileged(false);
    assert_eq!(summary(&asked), (Answer::Yes, Answer::Yes, vec![What::RouteUnknown]));
    assert_eq!(asked.route().and_then(|route| route.distance), Some(4));
    let evidence = &asked.findings().next().unwrap().evidence;
    assert!(evidence.iter().any(|seen| seen.to_string() == "P2PDMA_USER_DISTANCE 0000:05:00.0 0000:03:00.0 = 4"));
    let unknown = unprivileged(true);
    assert_eq!(summary(&unknown), (Answer::Unknown, Answer::No, vec![What::NoModule, What::RouteUnknown]));
    let cure = &unknown.findings().nth(1).unwrap().refusal.cure;
    assert!(cure.contains("`modprobe p2pdma_user`"), "{cure}");
}

#[test]
fn what_is_passed_through_to_a_virtual_machine_is_worth_a_warning() {
    let judged = |vendor: u16| {
        let mut mock = switch();
        let facts = mock.facts_mut();
        facts.file("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\ncpu family\t: 23\nflags\t\t: fpu hypervisor\n");
        facts.file("/sys/class/dmi/id/sys_vendor", "QEMU\n");
        for ssd in ["0000:03:00.0", "0000:05:00.0"] {
            let directory = crate::machine::Facts::link(&mock, &format!("/sys/bus/pci/devices/{ssd}")).expect("an end");
            mock.facts_mut().file(format!("{directory}/vendor"), format!("{vendor:#06x}\n"));
        }
        judge(&Source::of_block_device(&Machine::mock(mock), SSD).expect("an SSD"), PEER)
    };
    assert_eq!(summary(&judged(0x1b36)), (Answer::Yes, Answer::Yes, vec![]), "QEMU's own");
    let passed = judged(0x144d);
    assert_eq!(summary(&passed), (Answer::Yes, Answer::Yes, vec![What::HostHidden]));
    assert!(passed.findings().next().unwrap().refusal.cause.contains("(QEMU)"), "{passed:?}");
}
