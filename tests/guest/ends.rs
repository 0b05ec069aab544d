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
    let two = serde_json::from_str::<Value>(&outcome.file("two")).expect("JSON")["rows"].clone();
    let bytes = |row: usize| two[row]["bytes_direct"].as_u64();
    assert_eq!([bytes(0), bytes(1), bytes(2)], [Some(1 << 20), Some(1 << 20), Some(2 << 20)], "{two}");
    assert_eq!(two[2]["bytes_verified_after"].as_u64(), Some(4 * 65536), "{two}");
}
