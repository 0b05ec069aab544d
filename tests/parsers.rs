//! Whatever a fact says: sysfs and procfs values, links, listings and opened files of a machine that has one of everything are
//! replaced by anything at all, and every decoder looks at the result. Nothing panics or hangs; what is refused is one line.
//!
//! The decoders' own proptests are beside them: addresses, config space, links, BARs, ports and processors, mounts, recordings,
//! descriptions (`tests/described.rs`), option values (in `p2pbench`).

#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use p2pdma::{
    Error,
    machine::{Machine, Mock, Recorder, Snapshot, mock::Cpu},
    memory::Provider,
    pci::Address,
    storage::{Source, namespaces},
    topology::Topology,
    verdict::{Verdict, Way},
};
use proptest::prelude::*;

/// Far more than any answer takes, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(5);

/// Block devices of every kind that storage tells apart, and files on filesystems of every kind that a verdict does.
const STACKS: &str = "\
/proc/cmdline read = quiet swiotlb=force
/proc/self/mountinfo read text
  | 30 1 259:0 / /ext4 rw,relatime shared:1 - ext4 /dev/nvme0n1 rw,data=journal
  | 31 1 0:40 / /btrfs rw - btrfs /dev/nvme1n1 rw,nodatasum
  | 32 1 0:41 / /overlay rw - overlay overlay rw,lowerdir=/ext4/a:/btrfs,upperdir=/ext4/b,workdir=/ext4/w
  | 33 1 9:0 / /xfs rw - xfs /dev/md0 rw
/sys/fs/btrfs/6a1f4b9c-0d2e-4f3a-8b7c-9d0e1f2a3b4c/devices/nvme1n1 link ../../../../class/block/nvme1n1
/boot/config-6.12.0-mock read = CONFIG_PCI=y
/sys/class/block/md0 link /sys/devices/virtual/block/md0
/sys/dev/block/9:0 link /sys/devices/virtual/block/md0
/sys/devices/virtual/block/md0/dev read = 9:0
/sys/devices/virtual/block/md0/md/level read = raid1
/sys/devices/virtual/block/md0/md/bitmap/backlog read = 0
/sys/devices/virtual/block/md0/queue/dma_alignment read = 511
/sys/devices/virtual/block/md0/queue/logical_block_size read = 512
/sys/devices/virtual/block/md0/slaves/nvme0n1 link /sys/class/block/nvme0n1
/sys/devices/virtual/block/md0/slaves/dm-0 link ../../dm-0
/sys/class/block/dm-0 link /sys/devices/virtual/block/dm-0
/sys/devices/virtual/block/dm-0/dev read = 253:0
/sys/devices/virtual/block/dm-0/dm/name read = volume
/sys/devices/virtual/block/dm-0/dm/uuid read = LVM-abcdef
/sys/devices/virtual/block/dm-0/slaves/nvme1n1p1 link ../../nvme1n1p1
/sys/class/block/nvme1n1p1 link /sys/devices/virtual/block/nvme1n1p1
/sys/devices/virtual/block/nvme1n1p1/dev read = 259:7
/sys/devices/virtual/block/nvme1n1p1/partition read = 1
/sys/class/block/loop0 link /sys/devices/virtual/block/loop0
/sys/devices/virtual/block/loop0/dev read = 7:0
/sys/devices/virtual/block/loop0/loop/backing_file read = /ext4/file
/sys/class/block/nvme5n1 link /sys/devices/virtual/nvme-subsystem/nvme-subsys5/nvme5n1
/sys/devices/virtual/nvme-subsystem/nvme-subsys5/nvme5n1/dev read = 259:9
/sys/devices/virtual/nvme-subsystem/nvme-subsys5/nvme5n1/integrity/format read = T10-DIF-TYPE1-CRC
/sys/devices/virtual/nvme-subsystem/nvme-subsys5/nvme0 link ../../../pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0
/ext4/b/file size 8192
/ext4/file open
  size 8192
  regular 259:0
  mount 30
  dio 0 0
  flags 0x00084000
  path /ext4/file
/btrfs/file open
  size 8192
  regular 0:40
  fs_block 4096
  mount 31
/overlay/file open
  size 8192
  regular 0:41
  mount 32
  dio 4 512
  path /overlay/file
/xfs/file open
  size 8192
  hole 4096
  regular 9:0
  mount 33
  dio 4 512
";

const DEVICES: [&str; 7] = ["nvme0n1", "nvme1n1p1", "md0", "dm-0", "loop0", "nvme5n1", "nvme9n9"];
const FILES: [&str; 5] = ["/ext4/file", "/btrfs/file", "/overlay/file", "/xfs/file", "/nowhere"];
const FUNCTIONS: [&str; 3] = ["0000:03:00.0", "0000:04:00.0", "0000:05:00.0"];

/// The mock machine with all of that on it.
fn everything() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(make_everything)
}

fn make_everything() -> String {
    let recorder = Recorder::new(&Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a machine")));
    let _ = judge(recorder.machine());
    let recorded = recorder.snapshot().to_string();
    // What the stacks say is said once.
    let own: Vec<&str> =
        STACKS.lines().filter_map(|line| line.split(' ').next().filter(|path| !path.is_empty())).collect();
    let (mut kept, mut text) = (true, String::new());
    for line in recorded.lines() {
        kept = if line.starts_with("  ") { kept } else { !own.contains(&line.split(' ').next().unwrap_or_default()) };
        text += &if kept { format!("{line}\n") } else { String::new() };
    }
    text + "complete\n" + STACKS
}

/// Asks all that any decoder answers; gives the errors.
fn judge(machine: &Machine) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut note = |error: Error| errors.push(error);
    let functions: Vec<Address> = FUNCTIONS.iter().map(|function| function.parse().expect("an address")).collect();
    let devices = DEVICES.iter().map(|name| Source::of_block_device(machine, &format!("/dev/{name}")));
    let files = FILES.iter().map(|path| Source::of_file(machine, path));
    let sources = devices.chain(files).chain(functions.iter().map(|&function| Source::of_function(machine, function)));
    let sources: Vec<Source> = sources.filter_map(|source| source.map_err(&mut note).ok()).collect();
    let Ok(topology) = Topology::scan(machine).map_err(&mut note) else { return errors };
    for source in &sources {
        let _ = Verdict::judge_host(source).map_err(&mut note);
    }
    for &provider in &functions {
        let _ = namespaces(machine, provider);
        let _ = Provider::find(machine, provider).map_err(&mut note);
        for source in sources.iter().filter(|_| provider == functions[2]) {
            let verdict = Verdict::judge(&topology, source, provider);
            let refused = verdict.and_then(|verdict| verdict.and_memory(source).require(Way::P2pmem));
            let _ = refused.map_err(&mut note);
        }
    }
    errors
}

/// Judges, and holds it to its word.
fn check(text: &str) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let snapshot: Snapshot = text.parse().map_err(|error: Error| TestCaseError::fail(error.to_string()))?;
    for error in judge(&Machine::recorded(snapshot)) {
        let line = error.to_string();
        prop_assert!(line.lines().count() == 1 && line.contains(": ") && line.contains("; "), "{:?}", line);
    }
    prop_assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    Ok(())
}

/// What a value may be: nearly right, far too large, or nothing of the kind. As a snapshot writes it.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{0,22}(:[0-9]{0,22})?",
        "(0x)?[0-9a-f]{0,18}",
        "-?[0-9]{1,3}\\.[0-9] GT/s( PCIe)?",
        "(CRYPT|LVM|mpath|part[0-9]{0,20})-[!-\\[\\]-~]{0,12}",
        "(/(ext4|btrfs|overlay|xfs|dev|sys|nvme0n1|\\.\\.|\\.|proc/self)){1,6}",
        "(raid[0-9]{1,12}|none|linear)",
        "([0-9]{1,3} ){2}[0-9]{1,20}:[0-9]{1,20} / /[a-z4]{0,5} rw - (ext4|btrfs|overlay|xfs) [!-\\[\\]-~]{1,20} [!-\\[\\]-~]{0,30}",
        "[ -\\[\\]-~]{0,40}",
        "(\\\\x[0-9a-f]{2}){0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_value_in_place_of_another_is_decoded_or_refused(at: prop::sample::Index, value in value()) {
        let text = everything();
        let values: Vec<usize> = text.match_indices(" read = ").map(|(place, _)| place + 8).collect();
        let start = values[at.index(values.len())];
        let end = start + text[start..].find('\n').expect("a line");
        check(&format!("{}{}{}", &text[..start], value.trim_end(), &text[end..]))?;
    }

    #[test]
    fn any_link_in_place_of_another_leads_somewhere_or_nowhere(from: prop::sample::Index, to: prop::sample::Index) {
        let text = everything();
        let links: Vec<(usize, usize)> = text
            .match_indices(" link /")
            .map(|(place, _)| (place + 6, place + text[place..].find('\n').expect("a line")))
            .collect();
        let (start, end) = links[from.index(links.len())];
        let (other, until) = links[to.index(links.len())];
        check(&format!("{}{}{}", &text[..start], &text[other..until], &text[end..]))?;
    }

    #[test]
    fn any_row_in_place_of_another_is_decoded_or_refused(at: prop::sample::Index, mount in value(), size: u64, memory: u32, offset: u32) {
        let text = everything();
        let rows: Vec<usize> = text.match_indices("  | ").map(|(place, _)| place + 4).collect();
        let start = rows[at.index(rows.len())];
        let end = start + text[start..].find('\n').expect("a line");
        let text = format!("{}{}{}", &text[..start], mount.trim_end(), &text[end..]);
        check(&text.replace("  dio 4 512\n", &format!("  dio {memory} {offset}\n")).replace("size 8192", &format!("size {size}")))?;
    }
}

/// Or the tests above would test nothing.
#[test]
fn the_machine_has_one_of_everything() {
    let machine = Machine::recorded(everything().parse().expect("a machine"));
    let kinds = DEVICES.iter().filter_map(|name| Source::of_block_device(&machine, &format!("/dev/{name}")).ok());
    let kinds: Vec<&str> = kinds.map(|source| source.stack().top().word()).collect();
    assert_eq!(kinds, ["namespace", "partition", "md", "dm", "loop", "multipath_head"]);
    let files = FILES.iter().filter_map(|path| Source::of_file(&machine, path).ok());
    let files: Vec<String> =
        files.filter_map(|source| source.stack().filesystem().map(|mount| mount.kind.clone())).collect();
    assert_eq!(files, ["ext4", "btrfs", "ext4", "xfs"], "the overlay's file lies on ext4");
    assert!(Topology::scan(&machine).is_ok_and(|topology| topology.providers().count() == 1));
}
