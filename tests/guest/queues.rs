//! More queues on real Linux 6.12: two SSDs into one peer, until the processors are full.

use serde_json::Value;

use crate::{FUNCTIONS, machine::Guest};

/// Queues of one operation, which leave the processor idle while the SSD works.
///
/// One on one SSD beside eight on two, in turn: medians are compared, as the emulator's speed varies. Then twice as many each
/// time, all on one processor, until the report says that there is no more to be had from queues.
const SCRIPT: &str = r#"
fill $P2PDMA_SSD; fill $P2PDMA_SSD1
run() {
	p2pbench run --source $P2PDMA_SSD "${@:2}" --peer $P2PDMA_GPU_ADDRESS --path direct --rw randread --block 4k --depth 1 \
		--span 16M --seconds 1 --warmup 0.2 --json >$P2PDMA_SHARE/$1
}
both="--source $P2PDMA_SSD1"
for turn in 0 1 2 3 4; do
	run one.$turn
	run eight.$turn $both --jobs 4
done
taskset -p -c 0 $$ >/dev/null
for jobs in 1 2 4 8 16 32; do
	run full.$jobs $both --jobs $jobs
	echo $jobs
	if sed -n '/"aggregate": true/,$p' $P2PDMA_SHARE/full.$jobs | grep -q '"met": "cpu"'; then break; fi
done
"#;

/// The row that stands for all queues: the sum, where there is one.
fn all(document: &str) -> Value {
    let document: Value = serde_json::from_str(document).expect("JSON");
    let rows = document["rows"].as_array().expect("rows");
    let sum = rows.iter().find(|row| row["aggregate"] == true).unwrap_or(&rows[0]);
    assert_eq!(sum["bytes_bounced"], 0, "{sum}");
    assert!(sum["cpu_kernel_threads_seconds"].is_number(), "the kernel's threads are to be seen here: {sum}");
    sum.clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
#[ignore = "compares times, so it runs with no other guest beside it: a stage of its own in tests/run"]
fn two_ssds_into_one_peer_are_faster_with_more_queues_until_the_processors_are_full() {
    let outcome = Guest::new("stacks").run(&format!("{FUNCTIONS}{SCRIPT}"));
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let median = |name: &str| {
        let mut rates = [0, 1, 2, 3, 4].map(|turn| number(&all(&outcome.file(&format!("{name}.{turn}")))["iops"]));
        rates.sort_by(f64::total_cmp);
        rates[2]
    };
    let gain = median("eight") / median("one");
    assert!(gain > 1.2, "eight queues together do {gain:.2} of what one does");

    let jobs: Vec<&str> = outcome.stdout.lines().collect();
    let limits: Vec<Value> =
        jobs.iter().map(|jobs| all(&outcome.file(&format!("full.{jobs}")))["limit"].clone()).collect();
    for limit in &limits {
        assert_eq!(limit["processors"], 1, "all queues share one: {limit}");
        assert_eq!(limit["met"] == "cpu", number(&limit["cpu_busy"]) >= 0.9, "it says what its figures say: {limit}");
    }
    assert_eq!(limits.last().expect("a limit")["met"], "cpu", "{jobs:?} queues on each SSD: {limits:?}");
}
