//! A filesystem that gives up direct I/O while a run is on, and tells nobody: no row of the run may pass for direct.

use serde_json::Value;

use crate::{FUNCTIONS, machine::Guest};

/// `chattr +j` has ext4 take reads and writes of the file through its page cache from then on, whatever it was opened with; where
/// it puts off allocation it does not (`ext4_inode_journal_mode`). What is in the cache before hides nothing.
const SCRIPT: &str = r#"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $P2PDMA_SSD; mkdir /mnt/silent; mount -o nodelalloc $P2PDMA_SSD /mnt/silent
sectors() { awk '{ print $3 }' /sys/class/block/${P2PDMA_SSD##*/}/stat; }
for way in p2pmem module; do
	source=/mnt/silent/$way
	fill $source; cat $source >/dev/null
	p2pbench run --source $source --peer $P2PDMA_GPU_ADDRESS --way $way --path direct,bounce --block 64k --depth 4 --span 16M \
		--seconds 12 --repeats 6 --warmup 0 --json >$P2PDMA_SHARE/$way 2>$P2PDMA_SHARE/$way.err &
	run=$! before=$(sectors)
	until [ $(($(sectors) - before)) -gt 65536 ]; do sleep 0.1; done
	chattr +j $source
	status=0; wait $run || status=$?
	echo $way $status
done
"#;

#[test]
fn a_file_that_goes_through_the_page_cache_half_way_does_not_pass_for_direct() {
    let outcome = Guest::new("switch").run(&format!("{FUNCTIONS}{SCRIPT}"));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "p2pmem 0\nmodule 1\n"), "{}", outcome.stderr);
    let rows = |way| serde_json::from_str::<Value>(&outcome.file(way)).expect("JSON")["rows"].clone();
    let said = |row: &Value| [&row["went"], &row["evidence"]].map(|said| said.as_str().map(str::to_owned));
    // By a mapping only the page cache tells, and cannot tell how much; the other path has nothing to hide.
    let rows_of_mapped = rows("p2pmem");
    assert_eq!(said(&rows_of_mapped[0]), ["SUSPECT", "inferred"].map(|said| Some(said.into())), "{rows_of_mapped}");
    assert_eq!(said(&rows_of_mapped[1]), [Some("BOUNCED".into()), None], "{rows_of_mapped}");
    // The module sees the first such operation, and the run ends with it.
    let row = rows("module")[0].clone();
    assert!(outcome.file("module.err").contains("the filesystem took it through the page cache"), "{row}");
    let bytes = |key: &str| row[key].as_u64().expect("a number");
    assert!(bytes("bytes_direct") > 0 && (1..=4 * 65_536).contains(&bytes("bytes_bounced")), "{row}");
    assert_eq!(row["went"], "PARTLY BOUNCED", "{row}");
}
