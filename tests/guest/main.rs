//! Real peer-to-peer DMA on a real Linux 6.12, seen from outside the guest: what p2pbench says is held against QEMU's own
//! trace of the addresses that the SSDs were given.
//!
//! Every test boots a guest (`tests/vm/run`). Run them with `tests/run`, or after `cargo build --workspace` with
//! `cargo test --test guest`.
#![expect(clippy::expect_used, reason = "a test ends where its ground gives way")]

mod copy;
mod ends;
mod lend;
mod lying;
mod machine;
mod queues;
mod recorded;
mod refusals;
mod shapes;
mod silent;
mod stacks;
mod stuck;
mod trace;

use machine::{Guest, Outcome};
use serde_json::Value;
use trace::Command;

/// Blocks near the end of the SSD, which nothing else reads: a read of one marks a place in the trace.
const FIRST_MARK: u64 = 1_040_000;

/// A payload: whose memory, by which way, in which direction, how much.
struct Payload {
    peer: &'static str,
    way: &'static str,
    rw: &'static str,
    bytes: u64,
}

/// QEMU copies into another drive's CMB by 4 KiB MMIO writes, so little goes there.
const PAYLOADS: [Payload; 6] = [
    Payload { peer: "GPU", way: "p2pmem", rw: "read", bytes: 16 << 20 },
    Payload { peer: "GPU", way: "p2pmem", rw: "write", bytes: 16 << 20 },
    Payload { peer: "CMB", way: "p2pmem", rw: "read", bytes: 1 << 20 },
    Payload { peer: "CMB", way: "p2pmem", rw: "write", bytes: 1 << 20 },
    Payload { peer: "GPU", way: "module", rw: "read", bytes: 16 << 20 },
    Payload { peer: "GPU", way: "module", rw: "write", bytes: 16 << 20 },
];

/// Shell functions for the guest.
const FUNCTIONS: &str = r#"
set -e
mark() { dd if=$P2PDMA_SSD of=/dev/null iflag=direct bs=512 skip=$1 count=1 status=none; }
# The disk blocks that hold the payload, FIRST LAST, in 512 bytes; of a block device, the blocks themselves.
extents() {
	if [ -b "$1" ]; then echo 0 $(($2 / 512 - 1)); return; fi
	filefrag -v -b512 "$1" | awk '$1 ~ /^[0-9]+:$/ { sub(/\.\./, "", $4); sub(/:/, "", $5); print $4 + 0, $5 + 0 }'
}
fill() { dd if=/dev/urandom of=$1 bs=1M count=16 oflag=direct conv=notrunc,fsync status=none; }
"#;

/// The script of one payload: verified first, then alone between two marks.
fn script(payload: &Payload, index: u64) -> String {
    let Payload { peer, way, rw, bytes } = payload;
    let mark = FIRST_MARK + 2 * index;
    let run = format!("p2pbench run --source $SOURCE --peer $P2PDMA_{peer}_ADDRESS --path direct --json");
    let options =
        format!("--way {way} --rw {rw} --destructive --force --span {bytes} --size {bytes} --block 256k --depth 4");
    format!(
        "{run} {options} --verify >$P2PDMA_SHARE/verified.{index}\n\
         sync\n\
         mark {mark}\n\
         {run} {options} >$P2PDMA_SHARE/result.{index}\n\
         mark {}\n\
         extents $SOURCE {bytes} >$P2PDMA_SHARE/extents.{index}\n\
         echo $P2PDMA_{peer}_BAR >$P2PDMA_SHARE/bar.{index}\n",
        mark + 1
    )
}

/// Moves every payload between `$SOURCE`, which `setup` makes, and peer memory, and judges each by the trace.
fn every_byte_goes_direct(topology: &str, setup: &str) {
    let scripts: String = PAYLOADS.iter().zip(0..).map(|(payload, index)| script(payload, index)).collect();
    let outcome = Guest::new(topology).traced().run(&format!("{FUNCTIONS}{setup}\n{scripts}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for (payload, index) in PAYLOADS.iter().zip(0..) {
        check_claims(&outcome, payload, index);
        check_trace(&outcome, payload, index);
    }
}

/// What p2pbench says: all of it direct, none bounced, and the bytes are those that the host reads.
fn check_claims(outcome: &Outcome, payload: &Payload, index: u64) {
    let row = |name: &str| -> Value {
        let document: Value = serde_json::from_str(&outcome.file(&format!("{name}.{index}"))).expect("JSON");
        assert_eq!(document["schema"], "p2pbench.run/1");
        assert_eq!(document["machine"]["kind"], "host");
        document["rows"][0].clone()
    };
    assert_eq!(row("verified")["bytes_verified"], payload.bytes);
    let result = row("result");
    assert_eq!(result["bytes"], payload.bytes);
    assert_eq!(result["bytes_direct"], payload.bytes);
    assert_eq!(result["bytes_bounced"], 0);
    assert_eq!(result["way"], payload.way);
}

/// What the SSD was told: between the marks, the payload's blocks went to or came from the BAR, and nothing else did.
fn check_trace(outcome: &Outcome, payload: &Payload, index: u64) {
    let mark = FIRST_MARK + 2 * index;
    let commands = trace::between(&outcome.trace, mark, mark + 1);
    let extents = trace::ranges(&outcome.file(&format!("extents.{index}")));
    let bar = trace::bar(&outcome.file(&format!("bar.{index}")));
    let is_payload = |command: &&Command| extents.iter().any(|range| range.contains(&command.block));
    let addresses: Vec<_> = commands.iter().filter(is_payload).flat_map(|command| &command.memory).collect();
    let inside: u64 = addresses.iter().filter(|part| bar.contains(&part.start)).map(|part| part.length).sum();
    let outside: u64 = addresses.iter().filter(|part| !bar.contains(&part.start)).map(|part| part.length).sum();
    let Payload { peer, way, rw, bytes } = payload;
    assert_eq!((inside, outside), (*bytes, 0), "{rw} {peer} {way}: bytes inside and outside of the BAR");
    let way = |command: &&Command| command.write == (payload.rw == "write");
    assert!(commands.iter().filter(is_payload).all(|command| way(&command)), "{rw} {peer}: only that");
}

#[test]
fn a_raw_ssd_below_a_switch_goes_direct_into_gpu_and_cmb() {
    every_byte_goes_direct("switch", "SOURCE=$P2PDMA_SSD; fill $SOURCE");
}

#[test]
fn a_raw_ssd_below_another_root_port_goes_direct_on_amd_zen() {
    every_byte_goes_direct("root-ports", "SOURCE=$P2PDMA_SSD; fill $SOURCE");
}

#[test]
fn a_file_on_ext4_goes_direct_into_gpu_and_cmb() {
    let mkfs = "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $P2PDMA_SSD";
    let mount = "mkdir /mnt/ext4; mount -o noatime $P2PDMA_SSD /mnt/ext4; SOURCE=/mnt/ext4/file; fill $SOURCE";
    every_byte_goes_direct("switch", &format!("{mkfs}; {mount}"));
}

#[test]
fn a_file_on_xfs_goes_direct_into_gpu_and_cmb() {
    let mount = "mkdir /mnt/xfs; mount -o noatime $P2PDMA_SSD /mnt/xfs; SOURCE=/mnt/xfs/file; fill $SOURCE";
    every_byte_goes_direct("switch", &format!("mkfs.xfs -q $P2PDMA_SSD; {mount}"));
}

#[test]
fn two_root_ports_of_an_unlisted_intel_are_refused_and_nothing_moves() {
    let mark = FIRST_MARK;
    let run = "p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --path direct --json";
    let script = format!(
        "{FUNCTIONS}echo $P2PDMA_SSD_ADDRESS $P2PDMA_GPU_ADDRESS >$P2PDMA_SHARE/addresses\n\
         mark {mark}; status=0; {run} || status=$?; mark {}; exit $status",
        mark + 1
    );
    let outcome = Guest::new("root-ports").cpu("intel").traced().run(&script);
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    let line = outcome.stderr.trim();
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in outcome.file("addresses").split_whitespace().chain(["host bridge 8086:29c0", "below one PCIe switch"]) {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert_eq!(trace::between(&outcome.trace, mark, mark + 1).len(), 0, "not a byte moved, by any way");
}

#[test]
fn a_disk_in_use_is_never_written() {
    let script = "set -e\n\
                  echo 'start=2048, type=83' | sfdisk -q $P2PDMA_SSD; udevadm settle 2>/dev/null || true\n\
                  mkfs.ext4 -q ${P2PDMA_SSD}p1; mkdir /mnt/part; mount ${P2PDMA_SSD}p1 /mnt/part; echo kept >/mnt/part/file\n\
                  status=0\n\
                  p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --rw write --destructive --size 256M || status=$?\n\
                  umount /mnt/part; fsck.ext4 -fn ${P2PDMA_SSD}p1 >/dev/null; mount ${P2PDMA_SSD}p1 /mnt/part; cat /mnt/part/file\n\
                  exit $status";
    let outcome = Guest::new("switch").run(script);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, "kept\n"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("it is in use: it or a partition of it is mounted"), "{}", outcome.stderr);
}

#[test]
fn a_fifo_is_refused_and_hangs_nothing() {
    let script = "mkfifo /tmp/fifo; timeout 20 p2pbench run --source /tmp/fifo --peer $P2PDMA_GPU_ADDRESS";
    let outcome = Guest::new("switch").run(script);
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("neither a regular file nor a block device"), "{}", outcome.stderr);
}

#[test]
fn a_newcomer_sees_this_machines_pairs_and_a_measurement() {
    let outcome = Guest::new("switch").run("p2pbench");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(!outcome.stdout.contains("MOCK"));
    for part in ["0000:03:00.0 -> 0000:05:00.0  direct  bus_addr  distance 4", " direct ", " bounce "] {
        assert!(outcome.stdout.contains(part), "{part:?} is missing in {}", outcome.stdout);
    }
}

#[test]
fn a_newcomer_on_a_machine_without_peer_memory_sees_mock_on_every_figure() {
    let outcome = Guest::new("plain").run("p2pbench");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let (hardware, mock): (Vec<_>, Vec<_>) = outcome.stdout.lines().partition(|line| !line.starts_with("MOCK"));
    assert!(mock.iter().any(|line| line.contains(" bounce ")), "{mock:?}");
    assert!(hardware.iter().all(|line| !line.contains(" direct ") && !line.contains("GB/s")), "{hardware:?}");
}

#[test]
fn an_ordinary_user_gets_the_same_answer_or_none() {
    let script = "p2pbench --machine host topo --format json >$P2PDMA_SHARE/root\n\
                  setpriv --reuid 65534 --regid 65534 --clear-groups p2pbench topo --format json >$P2PDMA_SHARE/nobody\n\
                  status=0; setpriv --reuid 65534 --regid 65534 --clear-groups \
                  p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS || status=$?; exit $status";
    let outcome = Guest::new("root-ports").run(script);
    assert_eq!(outcome.status, 3, "{}", outcome.stderr);
    assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    let pairs = |name| serde_json::from_str::<Value>(&outcome.file(name)).expect("JSON")["pairs"].clone();
    let (root, nobody) = (pairs("root"), pairs("nobody"));
    assert_eq!(root.as_array().map(Vec::len), nobody.as_array().map(Vec::len));
    for (root, nobody) in root.as_array().expect("pairs").iter().zip(nobody.as_array().expect("pairs")) {
        assert_ne!(root["map_type"], "unknown");
        assert!(nobody["map_type"] == root["map_type"] || nobody["map_type"] == "unknown", "{root} {nobody}");
    }
}
