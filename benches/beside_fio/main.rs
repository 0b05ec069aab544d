//! p2pbench beside fio, in a guest, into ivshmem: the same SSD, the same memory, turn by turn.
//!
//! The guest is emulated, so a figure is a ratio of the two in one run and nothing else. It boots the guest itself:
//! `cargo build --release --workspace && cargo bench --bench beside_fio [-- ROUNDS SECONDS]`.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// What is measured, each way round.
struct Cell {
    name: &'static str,
    rw: &'static str,
    block: &'static str,
    depth: u32,
}

const CELLS: [Cell; 4] = [
    Cell { name: "1 MiB read, depth 8", rw: "read", block: "1M", depth: 8 },
    Cell { name: "1 MiB write, depth 8", rw: "write", block: "1M", depth: 8 },
    Cell { name: "4 KiB random read, depth 16", rw: "randread", block: "4k", depth: 16 },
    Cell { name: "4 KiB random write, depth 16", rw: "randwrite", block: "4k", depth: 16 },
];

/// Bytes of the SSD that are worked on; filled first, as a hole of the image would cost nothing to read.
const SPAN: &str = "256M";

fn main() {
    // cargo adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let (rounds, seconds) = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(2));
    let share = TempDir::new().expect("a directory to share");
    measure(rounds, seconds, share.path());
    println!("p2pbench / fio, medians of {rounds} pairs, in an emulated guest: ratios only");
    println!("{:30} {:>10} {:>22}", "", "throughput", "lowest .. highest");
    for (index, cell) in CELLS.iter().enumerate() {
        println!("{}", report(cell, index, rounds, share.path()));
    }
}

/// p2pbench with the options of a cell.
const FUNCTIONS: &str = r#"
ours() {
	p2pbench run --source $SOURCE --peer $PEER --rw $RW --block $BLOCK --depth $DEPTH --span $SPAN --destructive --json "$@"
}
"#;

/// Every cell, every round: both programs, each first in every other round.
fn measure(rounds: u32, seconds: u32, share: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = std::env::current_exe().expect("this program");
    let programs = programs.ancestors().nth(2).expect("target/release");
    let job = root.join("benches/beside_fio/job.fio");
    let mut script = format!("set -e\nPATH={}:$PATH\n", programs.display());
    script += &format!("export SOURCE=$P2PDMA_SSD PEER=$P2PDMA_GPU_ADDRESS SPAN={SPAN} SECONDS_EACH={seconds}\n");
    script += FUNCTIONS;
    script += "dd if=/dev/zero bs=1M count=256 status=none | tr '\\0' 'x' | dd of=$SOURCE bs=1M iflag=fullblock oflag=direct status=none\n";
    for (index, Cell { rw, block, depth, .. }) in CELLS.iter().enumerate() {
        script += &format!("export RW={rw} BLOCK={block} DEPTH={depth}\n");
        for round in 0..=rounds {
            let ours = format!("ours --seconds $SECONDS_EACH >$P2PDMA_SHARE/ours.{index}.{round}\n");
            let theirs = format!("fio --output-format=json {} >$P2PDMA_SHARE/fio.{index}.{round}\n", job.display());
            script += &if round % 2 == 0 { ours + &theirs } else { theirs + &ours };
        }
    }
    let status = Command::new(root.join("tests/vm/run"))
        .args(["--topology", "switch", "--timeout", "3000", "--share"])
        .arg(share)
        .args(["--", "bash", "-c", &script])
        .status()
        .expect("tests/vm/run");
    assert!(status.success(), "the guest said {status}");
}

/// The first round warms up and does not count.
fn report(cell: &Cell, index: usize, rounds: u32, share: &Path) -> String {
    let document = |name: &str, round: u32| -> Value {
        let text = std::fs::read_to_string(share.join(format!("{name}.{index}.{round}"))).expect("a result");
        serde_json::from_str(&text).expect("JSON")
    };
    let ratio = |round: u32| ours(&document("ours", round)) / fio(&document("fio", round), cell);
    let mut ratios: Vec<f64> = (1..=rounds).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let spread = format!("{:.3} .. {:.3}", ratios[0], ratios[ratios.len() - 1]);
    format!("{:30} {:>10.3} {:>22}", cell.name, median(&ratios), spread)
}

fn median(sorted: &[f64]) -> f64 {
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Bytes a second.
fn ours(document: &Value) -> f64 {
    let row = &document["rows"][0];
    assert_eq!(row["bytes"], row["bytes_direct"], "all of it direct");
    number(&row["bytes_per_second"])
}

/// Bytes a second.
fn fio(document: &Value, cell: &Cell) -> f64 {
    let side = if cell.rw.ends_with("write") { "write" } else { "read" };
    number(&document["jobs"][0][side]["bw_bytes"])
}
