//! A machine that reports success and delivers nothing: the kernel takes the short way below a switch, and an IOMMU gets the
//! traffic instead. Every receipt would be right as far as it goes; only a proof finds it out, so nothing is bound without one.

use serde_json::Value;

use crate::machine::Guest;

const SCRIPT: &str = r#"
set -e
PATH=${PATH%%:*}/examples:$PATH S=$P2PDMA_SHARE
dd if=/dev/urandom of=$P2PDMA_SSD bs=1M count=2 oflag=direct status=none
dd if=$P2PDMA_SSD of=$S/before bs=1M count=2 iflag=direct status=none
policies $P2PDMA_SSD $P2PDMA_GPU_ADDRESS $S/arrived direct >$S/policies
dd if=$P2PDMA_SSD of=$S/after bs=1M count=2 iflag=direct status=none
p2pbench explain $P2PDMA_SSD $P2PDMA_GPU_ADDRESS --json >$S/explain || echo $? >$S/explain.status
for way in p2pmem module; do
	for rw in read write; do
		status=0
		p2pbench run --source $P2PDMA_SSD --peer $P2PDMA_GPU_ADDRESS --path direct --way $way --rw $rw --destructive \
			--block 64k --size 1M --span 1M --verify --json >$S/$way.$rw.run 2>$S/$way.$rw.refusal || status=$?
		echo $status >$S/$way.$rw.status
	done
done
"#;

#[test]
fn a_machine_that_reports_success_and_delivers_nothing_is_refused_by_the_proof() {
    let outcome = Guest::new("lying").run(SCRIPT);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);

    // Nobody has proved it, so no byte moves: neither way is bound, and the refusal says what to do.
    let lines: Vec<Value> =
        outcome.file("policies").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let refused = line["refused"].as_str().expect("a refusal");
        assert!(refused.contains("prove the route") && line["read"].is_null(), "{line}");
    }
    assert!(outcome.bytes("before") == outcome.bytes("after"), "nothing was written");

    // The kernel says yes, and the verdict asks for a proof.
    let explained: Value = serde_json::from_str(&outcome.file("explain")).expect("JSON");
    assert_eq!((&explained["answer"], &explained["findings"][0]["what"]), (&"unknown".into(), &"virtual_iommu".into()));
    assert_eq!(outcome.file("explain.status"), "3\n");

    // It lies: what is said to have gone direct has not arrived.
    for case in ["p2pmem.read", "p2pmem.write", "module.read", "module.write"] {
        let refusal = outcome.file(&format!("{case}.refusal"));
        assert_eq!(outcome.file(&format!("{case}.status")), "1\n", "{case}: {refusal}");
        assert_eq!(outcome.file(&format!("{case}.run")), "", "{case}: nothing is measured");
        assert!(refusal.contains("direct and host path differ in") && refusal.lines().count() == 1, "{refusal}");
        assert!(refusal.contains("look for an IOMMU or switch"), "{refusal}");
    }
}
