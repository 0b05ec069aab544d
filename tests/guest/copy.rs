//! Several SSDs at the same time, and from one to the other, on real Linux 6.12.

use serde_json::Value;

use crate::machine::Guest;

/// The target is written over before each copy: what arrives came by this one.
const COPIES: &str = r#"
set -e
dd if=/dev/urandom of=$P2PDMA_SSD bs=1M count=16 oflag=direct status=none
copy() {
	dd if=/dev/zero of=$P2PDMA_CMB bs=1M count=16 oflag=direct status=none
	p2pbench run --source $P2PDMA_SSD --copy-to $P2PDMA_CMB --peer $P2PDMA_GPU_ADDRESS --path $1 --way $2 --jobs 2 --block 256k \
		--depth 4 --span 16M --size 16M --repeats 6 --destructive --fdatasync --json >$P2PDMA_SHARE/$1.$2
	cmp -n $((16 << 20)) $P2PDMA_SSD $P2PDMA_CMB
}
copy direct p2pmem; copy direct module; copy bounce p2pmem
p2pbench run --source $P2PDMA_SSD --source $P2PDMA_CMB --peer $P2PDMA_GPU_ADDRESS --jobs 2 --block 64k --span 16M --size 64M \
	--numa 0 --verify --json >$P2PDMA_SHARE/two
"#;

#[test]
fn two_ssds_work_at_the_same_time_and_what_is_copied_arrives() {
    let outcome = Guest::new("switch").run(COPIES);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let rows = |name: &str| serde_json::from_str::<Value>(&outcome.file(name)).expect("JSON")["rows"].clone();
    for (name, direct) in [("direct.p2pmem", 16 << 20), ("direct.module", 16 << 20), ("bounce.p2pmem", 0)] {
        let row = &rows(name)[0];
        assert_eq!(
            (row["rw"].as_str(), row["synced"].as_bool(), row["jobs"].as_u64()),
            (Some("copy"), Some(true), Some(2))
        );
        assert_eq!((row["bytes"].as_u64(), row["bytes_direct"].as_u64()), (Some(16 << 20), Some(direct)), "{row}");
    }
    let two = rows("two");
    let bytes = |row: usize| two[row]["bytes_direct"].as_u64().expect("bytes");
    assert_eq!((bytes(0), bytes(1), bytes(2)), (32 << 20, 32 << 20, 64 << 20), "{two}");
    assert_eq!((two[2]["aggregate"].as_bool(), two[2]["numa"][1]["cpus"].as_str()), (Some(true), Some("0-1")), "{two}");
    assert!(two[2]["limit"]["met"].is_string() && two[0]["limit"].is_null(), "{two}");
}
