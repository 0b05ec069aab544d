//! How runs end on real Linux 6.12: asked to, on devices that are full or read-only; and what they leave behind.

use serde_json::Value;

use crate::{FIRST_MARK, FUNCTIONS, machine::Guest, trace};

/// Long enough to be in the middle of it.
const STOPPED: &str = r#"
fill $P2PDMA_SSD
p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --way $WAY --span 16M --block 64k --depth 16 --jobs 2 --seconds 600 \
	--warmup 0 --json >$P2PDMA_SHARE/stopped &
run=$!
sleep 5
before=$(date +%s%N)
kill -TERM $run
status=0; wait $run || status=$?
echo $(( ($(date +%s%N) - before) / 1000000 )) >$P2PDMA_SHARE/milliseconds
"#;

#[test]
fn a_run_that_is_told_to_end_does_so_prints_what_it_has_and_leaves_no_dma() {
    for way in ["p2pmem", "module"] {
        let (first, last) = (FIRST_MARK, FIRST_MARK + 1);
        let marks = format!("mark {first}; sleep 1; mark {last}; exit $status");
        let outcome = Guest::new("switch").traced().run(&format!("{FUNCTIONS}\nWAY={way}\n{STOPPED}{marks}"));
        assert_eq!((outcome.status, outcome.stderr.lines().count()), (4, 1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("interrupted: nothing flies any more"), "{}", outcome.stderr);
        let document: Value = serde_json::from_str(&outcome.file("stopped")).expect("JSON");
        let row = &document["rows"][0];
        assert_eq!((&document["interrupted"], &row["cut_short"]), (&Value::Bool(true), &Value::Bool(true)), "{way}");
        assert!(row["bytes_direct"].as_u64() > Some(0) && row["bytes_bounced"] == 0, "{row}");
        // The guest is emulated, and this machine may be busy: of a second that is promised, three.
        let milliseconds: u64 = outcome.file("milliseconds").trim().parse().expect("a number");
        assert!(milliseconds < 3000, "{way}: {milliseconds} ms");
        assert_eq!(trace::between(&outcome.trace, first, last).len(), 0, "{way}: the SSD moves nothing after it");
    }
}

const LEFT_BEHIND: &str = r#"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $P2PDMA_SSD 256M; mkdir /mnt/full; mount $P2PDMA_SSD /mnt/full
fill /mnt/full/file
for rw in read randread write; do
	p2pbench run --source /mnt/full/file --peer $P2PDMA_GPU_ADDRESS --path page_cache,direct,bounce --rw $rw --destructive \
		--block 64k --size 16M --json >$P2PDMA_SHARE/cached.$rw
	fincore --noheadings --bytes --output PAGES /mnt/full/file
done
p2pbench run --source /mnt/full/file --peer $P2PDMA_GPU_ADDRESS --peer $P2PDMA_CMB_ADDRESS --block 64k --depth 2 --size 2M --verify \
	--json >$P2PDMA_SHARE/two
truncate -s 64M /mnt/full/sparse
dd if=/dev/zero of=/mnt/full/rest bs=64k 2>/dev/null || true
refused() { status=0; "$@" >/dev/null 2>$P2PDMA_SHARE/line || status=$?; echo $status $(wc -l <$P2PDMA_SHARE/line) $(cat $P2PDMA_SHARE/line); }
refused p2pbench run --source /mnt/full/sparse --peer $P2PDMA_GPU_ADDRESS --rw write --destructive --block 64k
umount /mnt/full
blockdev --setro $P2PDMA_SSD
refused p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --rw write --destructive --force
"#;

#[test]
fn nothing_stays_in_the_page_cache_and_what_cannot_be_written_to_is_said_in_a_line() {
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{LEFT_BEHIND}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let [read, randread, write, full, read_only] = lines[..] else { panic!("{lines:?}") };
    assert_eq!([read, randread, write].map(str::trim), ["0"; 3], "pages that a run left in the cache");
    assert!(full.starts_with("4 1 ") && full.contains("No space left"), "{full}");
    assert!(read_only.starts_with("3 1 ") && read_only.contains("it is read-only"), "{read_only}");
    for rw in ["read", "randread", "write"] {
        let rows = serde_json::from_str::<Value>(&outcome.file(&format!("cached.{rw}"))).expect("JSON")["rows"].clone();
        let said =
            |row: usize| [&rows[row]["path"], &rows[row]["went"], &rows[row]["evidence"]].map(|said| said.as_str());
        assert_eq!(said(0), [Some("page_cache"), Some("BOUNCED"), None], "{rw}");
        assert_eq!(
            said(1),
            [Some("direct"), Some("direct"), Some("witnessed")],
            "{rw}: what other paths leave is not its own"
        );
    }
    let two = serde_json::from_str::<Value>(&outcome.file("two")).expect("JSON")["rows"].clone();
    let bytes = |row: usize| two[row]["bytes_direct"].as_u64();
    assert_eq!([bytes(0), bytes(1), bytes(2)], [Some(1 << 20), Some(1 << 20), Some(2 << 20)], "{two}");
    assert_eq!(two[2]["bytes_verified_after"].as_u64(), Some(4 * 65536), "{two}");
}

/// A device that works until it has moved some megabytes, and fails from then on: the block layer's fault injection.
const HALF_WAY: &str = r#"
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
fault=/sys/kernel/debug/fail_make_request ssd=/sys/class/block/${P2PDMA_SSD##*/}
echo 100 >$fault/probability; echo -1 >$fault/times; echo 0 >$fault/verbose
run="p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --destructive --path direct,bounce --block 64k --depth 4 --span 16M --json"
for way in p2pmem module; do
	for rw in read write; do
		out=$P2PDMA_SHARE/$way.$rw status=0
		echo $((9 << 20)) >$fault/space; echo 1 >$ssd/make-it-fail
		$run --way $way --rw $rw --size 16M >$out 2>$out.err || status=$?
		echo 0 >$ssd/make-it-fail
		echo $status >$out.status
		$run --way $way --rw $rw --size 2M --repeats 1 --verify >$out.after
	done
done
"#;

#[test]
fn a_device_that_fails_half_way_ends_the_run_with_a_line_and_with_what_was_measured() {
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{HALF_WAY}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    for (way, rw) in [("p2pmem", "read"), ("p2pmem", "write"), ("module", "read"), ("module", "write")] {
        let (name, said) = (format!("{way}.{rw}"), outcome.file(&format!("{way}.{rw}.err")));
        assert_eq!(
            (outcome.file(&format!("{name}.status")).as_str(), said.lines().count()),
            ("4\n", 1),
            "{name}: {said}"
        );
        let parts = ["/dev/nvme", ", at byte ", &format!("{rw} of 65536 bytes"), "Input/output error", "kernel log"];
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
        let document: Value = serde_json::from_str(&outcome.file(&name)).expect("JSON");
        let rows = document["rows"].as_array().expect("rows");
        let moved = |row: &Value| row["bytes"].as_u64().expect("a number");
        assert!(rows.iter().any(|row| row["cut_short"] == true), "{name}: {document}");
        // Faults count what reaches the device. What came back before the first one is measured, and nothing else.
        let all: u64 = rows.iter().map(moved).sum();
        assert!((1..=9 << 20).contains(&all), "{name}: {all} bytes of rows, {document}");
        let after: Value = serde_json::from_str(&outcome.file(&format!("{name}.after"))).expect("JSON");
        assert_eq!(after["rows"][0]["bytes_direct"], 2 << 20, "{name}: it works again");
    }
}
