//! p2pbench beside fio, in a guest, into ivshmem: the same SSD, turn by turn, on both of p2pbench's ways.
//!
//! The guest is emulated, so a figure is a ratio of two programs in one run and nothing else. It boots the guest itself:
//! `cargo build --release --workspace && cargo bench --bench beside_fio [-- [ROUNDS [SECONDS [CELL]]]]`, where CELL is a
//! part of a cell's name.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod figures;
mod ratio;
mod turn;

use std::{fmt::Write, path::Path, process::Command};

use tempfile::TempDir;

use ratio::Ratio;
use turn::Turn;

/// What is measured, each way round.
struct Cell {
    name: &'static str,
    rw: &'static str,
    block: &'static str,
    depth: u32,
}

const fn cell(name: &'static str, rw: &'static str, block: &'static str, depth: u32) -> Cell {
    Cell { name, rw, block, depth }
}

const CELLS: [Cell; 12] = [
    cell("1 MiB read, depth 8", "read", "1M", 8),
    cell("1 MiB write, depth 8", "write", "1M", 8),
    cell("1 MiB read, depth 32", "read", "1M", 32),
    cell("1 MiB write, depth 32", "write", "1M", 32),
    cell("4 KiB random read, depth 1", "randread", "4k", 1),
    cell("4 KiB random write, depth 1", "randwrite", "4k", 1),
    cell("4 KiB random read, depth 16", "randread", "4k", 16),
    cell("4 KiB random write, depth 16", "randwrite", "4k", 16),
    cell("4 KiB random read, depth 64", "randread", "4k", 64),
    cell("4 KiB random write, depth 64", "randwrite", "4k", 64),
    cell("64 KiB read, depth 16", "read", "64k", 16),
    cell("64 KiB write, depth 16", "write", "64k", 16),
];

/// Programs and their memory. fio-host is what the same SSD does with memory of the host.
const LANES: [&str; 4] = ["fio", "p2pmem", "module", "fio-host"];

/// Which lane is held against which.
const PAIRS: [(&str, &str); 4] = [("p2pmem", "fio"), ("module", "fio"), ("module", "p2pmem"), ("module", "fio-host")];

/// Bytes of the SSD that are worked on; filled first, as a hole of the image would cost nothing to read.
const SPAN: &str = "256M";

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |index: usize, default| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seconds) = (number(0, 9), number(1, 2));
    let wanted = arguments.get(2).map_or("", String::as_str);
    let cells: Vec<&Cell> = CELLS.iter().filter(|cell| cell.name.contains(wanted)).collect();
    let share = TempDir::new().expect("a directory to share");
    measure(&cells, rounds, seconds, share.path());
    println!("{rounds} rounds of {seconds} s a lane, in an emulated guest: ratios only");
    println!("{:30} {:20} {:>28} {:>28}", "", "", "throughput (95 % interval)", "CPU time an operation");
    for (index, cell) in cells.iter().enumerate() {
        print!("{}", report(cell, index, rounds, share.path()));
    }
}

/// Every cell, every round: all lanes, beginning with another one each time. The first round warms up.
fn measure(cells: &[&Cell], rounds: u32, seconds: u32, share: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bench = root.join("benches/beside_fio");
    let programs = std::env::current_exe().expect("this program");
    let programs = programs.ancestors().nth(2).expect("target/release");
    let mut script = format!("set -e\nPATH={}:$PATH\n. {}/guest.sh\n", programs.display(), bench.display());
    script += &format!("export JOB={}/job.fio SPAN={SPAN} SECONDS_EACH={seconds}\n", bench.display());
    script += "fill 256\n";
    for (index, Cell { rw, block, depth, .. }) in cells.iter().enumerate() {
        script += &format!("export RW={rw} BLOCK={block} DEPTH={depth}\n");
        for round in 0..=rounds {
            for turn in 0..LANES.len() {
                let lane = LANES[(turn + round as usize) % LANES.len()];
                script += &format!("turn {lane} {index} {round}; idle {lane} {index} {round}\n");
            }
        }
    }
    let status = Command::new(root.join("tests/vm/run"))
        .args(["--topology", "switch", "--timeout", "7200", "--share"])
        .arg(share)
        .args(["--", "bash", "-c", &script])
        .status()
        .expect("tests/vm/run");
    assert!(status.success(), "the guest said {status}");
}

fn report(cell: &Cell, index: usize, rounds: u32, share: &Path) -> String {
    let turns = |lane: &str| -> Vec<Turn> { (1..=rounds).map(|round| Turn::load(share, lane, index, round)).collect() };
    let mut lines = String::new();
    for (ours, base) in PAIRS {
        let (one, other) = (turns(ours), turns(base));
        let throughput = Ratio::paired(&one, &other, |turn| turn.operations_per_second);
        let cpu = Ratio::paired(&one, &other, |turn| turn.cpu_per_operation);
        let pair = format!("{ours} / {base}");
        writeln!(lines, "{:30} {pair:20} {throughput:>28} {cpu:>28}", cell.name).expect("a string grows");
    }
    lines
}
