//! p2pbench beside fio, in a guest, into ivshmem: the same SSD, turn by turn, on both of p2pbench's ways.
//!
//! The guest is emulated, so a figure is a ratio of two programs in one run and nothing else. It boots the guest itself:
//! `cargo build --release --workspace && cargo bench --bench beside_fio [-- [--write FILE] [ROUNDS [SECONDS [CELL]]]]`, where
//! CELL is a part of a cell's name, and FILE takes the table as Markdown (benches/RESULTS.md). Exit code 1 when a limit of
//! limits.rs is missed; each missed one is printed.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod figures;
mod limits;
mod ratio;
mod results;
mod turn;

use std::{
    fmt::Write,
    path::Path,
    process::{Command, ExitCode},
};

use tempfile::TempDir;

use limits::Compared;
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

const CELLS: [Cell; 10] = [
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
];

/// Programs and their memory. fio-host is what the same SSD does with memory of the host.
const LANES: [&str; 4] = ["fio", "p2pmem", "module", "fio-host"];

/// Which lane is held against which.
const PAIRS: [(&str, &str); 4] = [("p2pmem", "fio"), ("module", "fio"), ("module", "p2pmem"), ("module", "fio-host")];

/// How to read a throughput that says less than the CPU time beside it.
const WHY: &str = "
Each lane has one thread. Where it keeps less than one CPU busy it waits for the SSD, which the emulator runs beside the guest: what
such a lane saves shows as CPU time and hardly as throughput. By function it stands under \"Instructions an operation\".

";

/// Bytes of the SSD that are worked on; filled first, as a hole of the image would cost nothing to read.
const SPAN: &str = "256M";

fn main() -> ExitCode {
    let (write, arguments) = results::arguments();
    let number = |index: usize, default| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seconds) = (number(0, 15), number(1, 1));
    let wanted = arguments.get(2).map_or("", String::as_str);
    let cells: Vec<&Cell> = CELLS.iter().filter(|cell| cell.name.contains(wanted)).collect();
    let share = TempDir::new().expect("a directory to share");
    measure(&cells, rounds, seconds, share.path());
    let compare = |(index, cell)| compare(cell, index, rounds, share.path());
    let compared: Vec<Compared> = cells.into_iter().enumerate().flat_map(compare).collect();
    let missed = limits::missed(&compared, rounds as usize);
    let section = section(&compared, &missed, &conditions(rounds, seconds, share.path()));
    println!("{section}");
    if let Some(file) = write {
        results::write(Path::new(&file), "Beside fio, in the guest", &section);
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every cell, every round: all lanes, beginning with another one each time. The first round warms up.
fn measure(cells: &[&Cell], rounds: u32, seconds: u32, share: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bench = root.join("benches/beside_fio");
    let programs = std::env::current_exe().expect("this program");
    let programs = programs.ancestors().nth(2).expect("target/release");
    let mut script = format!("set -e\nPATH={}:$PATH\n. {}/guest.sh\n", programs.display(), bench.display());
    script += &format!("export JOB={}/job.fio SPAN={SPAN} SECONDS_EACH={seconds}\n", bench.display());
    script += "uname -r >$P2PDMA_SHARE/kernel; accelerator >$P2PDMA_SHARE/accelerator; fill 256\n";
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

/// The pairs of lanes in one cell.
fn compare(cell: &Cell, index: usize, rounds: u32, share: &Path) -> Vec<Compared> {
    let turns = |lane: &str| -> Vec<Turn> { (1..=rounds).map(|round| Turn::load(share, lane, index, round)).collect() };
    let compare = |lanes: (&'static str, &'static str)| {
        let (one, other) = (turns(lanes.0), turns(lanes.1));
        let throughput = Ratio::paired(&one, &other, |turn| turn.operations_per_second);
        let cpu = Ratio::paired(&one, &other, |turn| turn.cpu_per_operation);
        let busy = |turns: &[Turn]| Ratio::of(turns.iter().map(Turn::busy).collect()).median;
        Compared { cell: cell.name, lanes, throughput, cpu, busy: (busy(&one), busy(&other)) }
    };
    PAIRS.into_iter().map(compare).collect()
}

/// What it ran on, and how.
fn conditions(rounds: u32, seconds: u32, share: &Path) -> String {
    let kernel = std::fs::read_to_string(share.join("kernel")).expect("the guest's kernel");
    let said = |program, arguments: &[&str]| results::says(program, arguments).expect("a version");
    let (qemu, fio) = (said("qemu-system-x86_64", &["--version"]), said("fio", &["--version"]));
    let accelerator = std::fs::read_to_string(share.join("accelerator")).expect("the guest's accelerator");
    format!(
        "{}. Guest: Linux {}, {qemu}, {}, {fio}. {rounds} rounds of {seconds} s a lane, interleaved, no warm-up within a turn; \
         the first round is left out.",
        results::provenance(),
        kernel.trim(),
        accelerator.trim()
    )
}

/// Markdown: a table that a terminal shows as one too.
fn section(compared: &[Compared], missed: &[String], conditions: &str) -> String {
    let mut text = format!(
        "**Emulation: ratios only.** No figure here is a speed of hardware.\n\n{conditions}\n\n\
         | {:28} | {:17} | {:23} | {:23} | {:11} |\n|{}|{}|{}|{}|{}|\n",
        "cell",
        "lanes",
        "throughput (95 %)",
        "CPU an operation (95 %)",
        "CPUs busy",
        "-".repeat(30),
        "-".repeat(19),
        "-".repeat(25),
        "-".repeat(25),
        "-".repeat(13),
    );
    for Compared { cell, lanes: (one, other), throughput, cpu, busy } in compared {
        let (lanes, busy) = (format!("{one} / {other}"), format!("{:.2} / {:.2}", busy.0, busy.1));
        writeln!(text, "| {cell:28} | {lanes:17} | {throughput:23} | {cpu:23} | {busy:11} |").expect("a string grows");
    }
    text += WHY;
    missed.iter().for_each(|line| writeln!(text, "- MISSED: {line}").expect("a string grows"));
    if missed.is_empty() { text + "Every limit was met.\n" } else { text }
}
