//! Runs on mock machines that fail where a script says so.

use clap::Parser;
use p2pdma::machine::{
    Mock,
    mock::{Cpu, Fault},
};

use super::*;
use crate::cli::{Cli, Command};

/// Measures, and drops what is stuck.
fn measure(machine: &Machine, workloads: &[Workload], rows: &mut Vec<Row>) -> Result<(), Failure> {
    let mut measured = Measured::default();
    let end = super::measure(machine, workloads, &mut measured);
    *rows = measured.rows;
    end
}

fn workload(options: &str) -> Workload {
    let words = format!("p2pbench run --peer 0000:05:00.0 {options}");
    match Cli::parse_from(words.split_whitespace()).command {
        Some(Command::Run(options)) => Workload::plain(*options),
        other => panic!("{other:?}"),
    }
}

/// What was measured, and how it ended, on a machine with this fault.
fn run(options: &str, operation: u64, fault: Fault) -> (Vec<Row>, Result<(), Failure>) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.fault(operation, fault);
    let mut rows = Vec::new();
    let end = measure(&Machine::mock(mock), &[workload(options)], &mut rows);
    (rows, end)
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

#[test]
fn a_device_that_fails_half_way_ends_the_run_with_4_and_what_was_measured_stays() {
    for (options, jobs) in [("--jobs 1", 1), ("--jobs 4", 4)] {
        let options = format!("--source /dev/nvme0n1 --block 4k --size 4M {options}");
        let (rows, end) = run(&options, 300, Fault::Errno(EIO));
        let failure = end.unwrap_err();
        let line = failure.to_string();
        assert_eq!((failure.code(), line.lines().count()), (4, 1), "{line}");
        assert!(line.starts_with("/dev/nvme0n1"), "{line}");
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert!(row.bytes > 0 && row.bytes < 4 << 20 && row.jobs == jobs, "{row:?}");
        assert_eq!(p2pdma::transfer::leaked_queues(), 0);
    }
}

#[test]
fn one_of_two_ssds_that_fails_is_named_and_stops_the_other() {
    let options = "--source /dev/nvme0n1 --source /dev/nvme1n1 --block 4k --seconds 600";
    let (rows, end) = run(options, 400, Fault::Errno(EIO));
    // The fault comes in the warm-up: nothing is measured yet.
    assert!(rows.is_empty(), "{rows:?}");
    assert!(end.unwrap_err().to_string().starts_with("/dev/nvme"));
}

/// The third operation fails: without a warm-up the first two are measured.
#[test]
fn without_a_warm_up_the_first_operation_counts() {
    let options = "--source /dev/nvme0n1 --block 4k --depth 1 --seconds 60 --warmup 0";
    let (rows, end) = run(options, 2, Fault::Errno(EIO));
    assert_eq!((end.unwrap_err().code(), rows[0].bytes), (4, 2 * 4096));
    let (rows, _) = run(&options.replace("--warmup 0", ""), 2, Fault::Errno(EIO));
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn a_full_disk_and_a_disk_that_turned_read_only_are_4_and_say_which() {
    for (errno, cause) in [(ENOSPC, "o space left"), (EROFS, "ead-only")] {
        let options = "--source /dev/nvme0n1 --rw write --destructive --block 4k --size 1M";
        let failure = run(options, 100, Fault::Errno(errno)).1.unwrap_err();
        let line = failure.to_string();
        assert_eq!((failure.code(), line.lines().count()), (4, 1), "{line}");
        assert!(line.contains("/dev/nvme0n1") && line.contains(cause), "{line}");
    }
}

/// Three blocks of 64 KiB one after the other, on a machine with these faults.
fn blocks(faults: &[(u64, Fault)], more: &str) -> (Vec<Row>, Result<(), Failure>) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    for &(operation, fault) in faults {
        mock.fault(operation, fault);
    }
    let mut rows = Vec::new();
    let options = format!("--source /dev/nvme0n1 --block 64k --depth 1 --size 192k {more}");
    let end = measure(&Machine::mock(mock), &[workload(&options)], &mut rows);
    (rows, end)
}

#[test]
fn a_block_that_falls_short_goes_on_and_counts_once() {
    for more in ["", "--copy-to /dev/nvme1n1 --destructive"] {
        let (rows, end) = blocks(&[(1, Fault::Short(4096)), (2, Fault::Short(512))], more);
        end.unwrap();
        assert_eq!((rows[0].bytes_direct, rows[0].bytes_bounced), (3 * 65536, 0), "{more}");
        assert_eq!(rows[0].latency_distribution.operations.iter().sum::<u64>(), 3, "{more}");
    }
}

#[test]
fn what_cuts_a_block_is_told_by_the_next_operation() {
    let faults = [(1, Fault::Short(4096)), (2, Fault::Errno(nix::errno::Errno::EFAULT as i32))];
    let (rows, end) = blocks(&faults, "");
    let error = end.unwrap_err().to_string();
    assert!(error.contains("the peer memory has gone") && error.contains("at byte 69632"), "{error}");
    assert_eq!(rows[0].bytes_direct, 65536 + 4096);
}

#[test]
fn a_path_that_turns_out_to_be_buffered_ends_the_run_and_is_reported_as_bounced() {
    let options = "--source /dev/nvme0n1 --way module --block 64k --size 1M";
    let (rows, end) = run(options, 3, Fault::Buffered);
    let failure = end.unwrap_err();
    assert!(failure.code() == 1 && failure.to_string().contains("page cache"), "{failure}");
    assert_eq!((rows[0].bytes_bounced, rows[0].went), (65_536, "PARTLY BOUNCED"), "{rows:?}");
}

/// By a mapping no receipt tells it; the page cache does.
#[test]
fn a_filesystem_that_copies_in_silence_is_not_taken_for_direct_in_any_form() {
    for more in ["", "--copy-to /dev/nvme1n1 --destructive", "--jobs 2 --repeats 3"] {
        let options = format!("--source /dev/nvme0n1 --block 64k --size 4M --path direct,bounce {more}");
        let (rows, end) = run(&options, u64::MAX, Fault::Withheld);
        end.unwrap();
        assert_eq!((rows[0].went, rows[0].suspect, rows[0].evidence.as_deref()), ("direct", false, Some("witnessed")));
        let (rows, end) = run(&options, 5, Fault::Buffered);
        end.unwrap();
        assert_eq!((rows[0].went, rows[0].suspect, rows[0].evidence.as_deref()), ("SUSPECT", true, Some("inferred")));
        assert!(!rows[1].suspect, "what goes through the host has nothing to hide");
        let report = Report::new(&Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap()), rows, false);
        let (text, page) = (table::table(&report), Page(&report).to_string());
        assert!(
            text.lines().filter(|line| line.starts_with(" direct ")).all(|line| line.contains(" SUSPECT ")),
            "{text}"
        );
        assert!(text.contains("\nSUSPECT: the page cache of /dev/nvme0n1"), "{text}");
        assert!(page.contains(">MOCK: SUSPECT<") && page.contains(">direct (SUSPECT)<"), "{page}");
    }
}

#[test]
fn each_pair_has_a_row_and_all_of_them_another_that_is_their_sum() {
    let options = "--source /dev/nvme0n1 --source /dev/nvme1n1 --block 64k --size 4M --jobs 2 --path direct,bounce";
    let (rows, end) = run(options, u64::MAX, Fault::Withheld);
    end.unwrap();
    assert_eq!(rows.iter().map(|row| row.aggregate).collect::<Vec<_>>(), [false, false, true, false, false, true]);
    for part in rows.chunks(3) {
        assert_eq!((part[0].bytes + part[1].bytes, part[2].bytes), (4 << 20, 4 << 20), "{part:?}");
        assert_eq!(part[2].source, "/dev/nvme0n1 + /dev/nvme1n1");
        assert!(part[0].limit.is_none() && part[2].limit.is_some() && part[0].cpu_seconds.is_none());
        assert!(part.iter().all(|row| row.spread.is_some() && row.turns_bytes_per_second.len() == 6), "{part:?}");
    }
}

#[test]
fn queues_read_each_block_once() {
    let options = "--source /dev/nvme0n1 --block 64k --size 16M --jobs 3";
    let (rows, end) = run(options, u64::MAX, Fault::Withheld);
    end.unwrap();
    assert_eq!((rows.len(), rows[0].bytes, rows[0].jobs), (1, 16 << 20, 3));
}

#[test]
fn each_order_of_the_paths_comes_once() {
    let orders: std::collections::BTreeSet<Vec<usize>> = (0..ROUNDS).map(|round| order(3, round)).collect();
    assert_eq!(orders.len(), 6);
    assert_eq!([0, 1, 2].map(|round| order(3, round)[0]), [0, 1, 2]);
    assert_eq!([0, 1, 2].map(|round| order(2, round)), [[0, 1], [1, 0], [0, 1]]);
}

/// In a process of its own, since a signal is for all of one.
const ALONE: &str = "P2PBENCH_TEST_ALONE";

#[test]
fn after_a_signal_a_device_that_does_not_answer_is_waited_for_less_than_a_second() {
    if std::env::var_os(ALONE).is_none() {
        let name = "run::tests::after_a_signal_a_device_that_does_not_answer_is_waited_for_less_than_a_second";
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name, "--nocapture"]).env(ALONE, "").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    for jobs in [1, 4] {
        interrupted_and_stuck(jobs);
    }
}

fn interrupted_and_stuck(jobs: u64) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    for operation in 300..300 + jobs {
        mock.fault(operation, Fault::Withheld);
    }
    let options = format!("--source /dev/nvme0n1 --block 4k --size 4096G --jobs {jobs}");
    interrupt::watch().unwrap();
    let signal = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(500));
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGINT).unwrap();
        std::time::Instant::now()
    });
    let (machine, mut measured) = (Machine::mock(mock), Measured::default());
    let end = super::measure(&machine, &[workload(&options)], &mut measured);
    let took = signal.join().unwrap().elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let line = end.unwrap_err().to_string();
    assert!(line.contains(&format!("interrupted: {jobs} operations still fly")), "{line}");
    assert!(measured.rows[0].bytes > 0 && measured.rows[0].cut_short && !measured.stuck.is_empty());
    let provider = "0000:05:00.0".parse().unwrap();
    let memory = Provider::find(&machine, provider).and_then(|provider| provider.allocate(1 << 20)).unwrap();
    assert!(
        matches!(fill(&memory), Err(Failure::Interrupted { .. })),
        "what large memory is filled with takes its time"
    );
    interrupt::forget();
}

#[test]
fn what_the_slots_hold_after_the_last_turn_is_compared_with_storage() {
    for (more, files) in [("", 1), ("--rw write --destructive", 1), ("--copy-to /dev/nvme1n1 --destructive", 2)] {
        let options = format!("--source /dev/nvme0n1 --block 64k --depth 4 --size 4M --jobs 2 --verify {more}");
        let (rows, end) = run(&options, u64::MAX, Fault::Withheld);
        end.unwrap();
        assert_eq!(rows[0].bytes_verified_after, Some(files * 2 * 4 * 65536), "{more}");
    }
}

#[test]
fn a_slot_that_holds_something_else_after_the_last_turn_is_found_out() {
    for more in ["", "--rw write --destructive"] {
        let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
        let workload = workload(&format!("--source /dev/nvme0n1 --block 64k --depth 4 --size 4M {more}"));
        let ready = Ready::new(&machine, &workload, &mut Opened::default()).unwrap();
        let peers = ready.peers(&machine).unwrap();
        let (job, ends) = (&ready.jobs[0], Ends::all(&ready.files, &[], &peers, None));
        let mut lane = Lane::new(&machine, job, &ends, Path::Direct).unwrap();
        lane.run(&machine, job, Budget::Operations(64), &Progress::new(1)).unwrap();
        assert_eq!(lane.check(job).unwrap(), 4 * 65536);
        let slot = peers[0].memory.slice(2 * 65536 + 5..2 * 65536 + 6).unwrap();
        let mut byte = [0];
        Copier::new().unwrap().read(&slot, &mut byte).unwrap();
        Copier::new().unwrap().write(&[!byte[0]], &slot).unwrap();
        let failure = lane.check(job).unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.to_string().contains("slot 2 of the peer's memory differs"), "{failure}");
    }
}

/// The bytes of a file of a machine.
fn bytes(machine: &Machine, path: &str) -> Vec<u8> {
    use std::os::fd::AsFd;
    let file = File::open(machine, path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size()).unwrap()];
    assert_eq!(nix::sys::uio::pread(file.as_fd(), &mut bytes, 0), Ok(bytes.len()));
    bytes
}

const COPY: &str = "--source /dev/nvme0n1 --copy-to /dev/nvme1n1";

/// A machine whose second SSD holds other bytes than the first.
fn two_different_ssds() -> Machine {
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
    let options = "--source /dev/nvme1n1 --rw write --destructive --block 64k --size 16M";
    measure(&machine, &[workload(options)], &mut Vec::new()).unwrap();
    assert_ne!(bytes(&machine, "/dev/nvme0n1"), bytes(&machine, "/dev/nvme1n1"));
    machine
}

#[test]
fn a_copy_through_peer_memory_or_the_host_arrives_and_says_which_way_it_went() {
    for (path, direct) in [("direct", 16 << 20), ("bounce", 0), ("page_cache", 0)] {
        for more in ["--verify", "--jobs 2 --repeats 6", "--way module"] {
            let machine = two_different_ssds();
            let mut rows = Vec::new();
            let options = format!("{COPY} --block 256k --destructive --size 16M --path {path} {more}");
            measure(&machine, &[workload(&options)], &mut rows).unwrap();
            assert!(bytes(&machine, "/dev/nvme0n1") == bytes(&machine, "/dev/nvme1n1"), "{options}");
            let [row] = &rows[..] else { panic!("{rows:?}") };
            assert_eq!((row.rw, row.bytes, row.bytes_direct), ("copy", 16 << 20, direct), "{options}");
            assert_eq!(row.copy_to.as_deref(), Some("/dev/nvme1n1"));
        }
    }
}

#[test]
fn a_copy_whose_target_fails_names_the_target_and_the_place() {
    // Reads and writes alternate at depth 1: operation 5 is the third write.
    let options = format!("{COPY} --block 64k --destructive --size 1M --depth 1");
    let (rows, end) = run(&options, 5, Fault::Errno(EIO));
    assert!(end.unwrap_err().to_string().starts_with("/dev/nvme1n1, at byte 131072: write"));
    assert_eq!(rows[0].bytes, 2 * 65536);
}

/// Why a run is refused, on a machine with this at the start of its first SSD.
fn refused(options: &str, offset: i64, magic: &[u8]) -> String {
    use std::os::fd::AsFd;
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
    let file = File::open(&machine, "/dev/nvme0n1", Access::ReadWrite).unwrap();
    nix::sys::uio::pwrite(file.as_fd(), magic, offset).unwrap();
    drop(file);
    let end = measure(&machine, &[workload(options)], &mut Vec::new());
    let failure = end.map_or_else(|failure| failure, |()| Failure::Said(0));
    assert!([0, 2].contains(&failure.code()), "{failure}");
    failure.to_string()
}

#[test]
fn what_holds_a_filesystem_is_written_to_by_force_alone() {
    let write = "--source /dev/nvme0n1 --rw write --size 1M --destructive";
    let ext4 = refused(write, 0x438, b"\x53\xef");
    assert!(
        ext4.starts_with("/dev/nvme0n1: it holds an ext2, ext3 or ext4 filesystem; ") && ext4.ends_with("destroyed")
    );
    assert!(refused(&format!("{write} --force"), 0x438, b"\x53\xef").contains("exit code 0"));
    for place in [(16 << 20) - 65536, (16 << 20) - 8192] {
        assert!(refused(write, place, b"\xfc\x4e\x2b\xa9").contains("a member of software RAID"), "{place}");
    }
    assert!(refused(write, 0x200, b"EFI PART").contains("a partition table"));
    let onto = "--source /dev/nvme1n1 --copy-to /dev/nvme0n1 --size 1M --destructive";
    assert!(refused(onto, 0, b"XFSB").contains("an xfs filesystem"));
    let from = "--source /dev/nvme0n1 --copy-to /dev/nvme1n1 --size 1M --destructive";
    assert!(refused(from, 0, b"XFSB").contains("exit code 0"), "what is only read may hold anything");
}

#[test]
fn a_read_only_device_is_3_before_anything_is_written() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
    let directory = machine.facts().link("/sys/dev/block/259:0").unwrap();
    mock.facts_mut().file(format!("{directory}/ro"), "1\n");
    let machine = Machine::mock(mock);
    let write = workload("--source /dev/nvme0n1 --rw write --size 1M --destructive --force");
    let failure = measure(&machine, &[write], &mut Vec::new()).unwrap_err();
    assert_eq!((failure.code(), failure.to_string().lines().count()), (3, 1));
    assert!(failure.to_string().starts_with("/dev/nvme0n1: it is read-only; "), "{failure}");
    measure(&machine, &[workload("--source /dev/nvme0n1 --size 1M")], &mut Vec::new()).unwrap();
}

#[test]
fn a_copy_onto_itself_of_several_or_by_writing_is_wrong_usage() {
    let cases = [
        ("--source /dev/nvme0n1 --copy-to /dev/nvme0n1 --destructive", "lies on what it is to be copied from"),
        ("--source /dev/nvme0n1 --source /dev/nvme1n1 --copy-to /dev/nvme1n1 --destructive", "several sources"),
        ("--source /dev/nvme0n1 --copy-to /dev/nvme1n1 --rw write --destructive", "use --rw read"),
        ("--source /dev/nvme0n1 --copy-to /dev/nvme1n1", "add --destructive"),
    ];
    for (options, cause) in cases {
        let line = refused(options, 0, b"");
        assert!(line.contains(cause) && line.lines().count() == 1, "{line}");
    }
}

#[test]
fn runs_of_one_file_share_what_they_open() {
    let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).unwrap());
    let mut opened = Opened::default();
    let path = std::path::Path::new("/dev/nvme0n1");
    (0..3).for_each(|_| drop(opened.open(&machine, path, true).unwrap()));
    opened.open(&machine, path, false).unwrap();
    assert_eq!(opened.0.len(), 2);
}
