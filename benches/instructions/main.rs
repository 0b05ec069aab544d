//! What an operation costs in instructions, in a guest, beside fio: the lanes of `beside_fio`, counted by a plugin of the
//! emulator. Unlike a time it hardly depends on what else the machine does: where operations are many, two runs differ by 1 to
//! 3 %. Where they are few, at 1 MiB or on a machine that is busy elsewhere, what a program's start costs now and then shows.
//!
//! `cargo build --release --workspace --bins --examples && cargo bench --bench instructions [-- [--write FILE] [CELL]]`, where CELL is
//! a part of a cell's name, and FILE takes the tables as Markdown (benches/RESULTS.md). An instruction is no time: a cache miss, a write to a
//! device and an addition count alike. It shows where the work is, not how fast it is done.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

#[path = "../beside_fio/figures.rs"]
mod figures;
mod profile;
#[path = "../beside_fio/results.rs"]
mod results;

use std::{fmt::Write, path::Path, process::Command};

use tempfile::TempDir;

use profile::{Profile, Symbols};

/// A name, fio's word for what is done, bytes, and operations in flight.
const CELLS: [(&str, &str, &str, u32); 6] = [
    ("4 KiB random read, depth 1", "randread", "4k", 1),
    ("4 KiB random read, depth 16", "randread", "4k", 16),
    ("4 KiB random write, depth 16", "randwrite", "4k", 16),
    ("4 KiB random read, depth 64", "randread", "4k", 64),
    ("1 MiB read, depth 8", "read", "1M", 8),
    ("1 MiB write, depth 8", "write", "1M", 8),
];

const LANES: [&str; 4] = ["fio", "p2pmem", "module", "fio-host"];

/// Functions that are shown of two lanes: those in which they differ most.
const SHOWN: usize = 10;

fn main() {
    let (write, arguments) = results::arguments();
    let wanted = arguments.first().map_or("", String::as_str);
    let share = TempDir::new().expect("a directory to share");
    let cells: Vec<usize> = (0..CELLS.len()).filter(|&index| CELLS[index].0.contains(wanted)).collect();
    count(&cells, share.path());
    let symbols = Symbols::load(&share.path().join("kallsyms"));
    let profiles =
        cells.iter().map(|&cell| (CELLS[cell].0, LANES.map(|lane| Profile::load(share.path(), lane, cell, &symbols))));
    let profiles: Vec<_> = profiles.collect();
    let mut text = totals(&profiles, share.path());
    profiles.iter().for_each(|(cell, profiles)| text += &by_function(cell, profiles));
    println!("{text}");
    if let Some(file) = write {
        results::write(Path::new(&file), "Instructions an operation, in the guest", &text);
    }
}

/// Every lane of every cell twice, the second time for hardly any operation: what starting and ending a program costs.
fn count(cells: &[usize], share: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bench = root.join("benches/beside_fio");
    let programs = std::env::current_exe().expect("this program");
    let programs = programs.ancestors().nth(2).expect("target/release");
    let mut script = format!("set -e\nPATH={}:$PATH\n. {}/guest.sh\n", programs.display(), bench.display());
    script += &format!("export JOB={}/job.fio SPAN=64M SECONDS_EACH=2\n", bench.display());
    script += "cat /proc/kallsyms >$P2PDMA_SHARE/kallsyms; uname -r >$P2PDMA_SHARE/kernel\nfill 64\nmark begin\n";
    for &index in cells {
        let (_, rw, block, depth) = CELLS[index];
        script += &format!("export RW={rw} BLOCK={block} DEPTH={depth}\n");
        for lane in LANES {
            // The first makes what is made once.
            script += &format!("turn {lane} {index} warm; mark {lane}.{index}.warm\n");
            script += &format!("turn {lane} {index} 0; mark {lane}.{index}.0\n");
            script += &format!("idle {lane} {index} 0; mark {lane}.{index}.0.idle\n");
        }
    }
    let status = Command::new(root.join("tests/vm/run"))
        // One processor: what two do at once is not counted twice, and none spins for the other.
        .args(["--topology", "switch", "--append", "nokaslr maxcpus=1", "--timeout", "3600", "--plugin"])
        .arg(programs.join("examples/libcounter.so"))
        .arg("--share")
        .arg(share)
        .args(["--", "bash", "-c", &script])
        .status()
        .expect("tests/vm/run");
    assert!(status.success(), "the guest said {status}");
}

/// Markdown: what an operation takes on each lane.
fn totals(profiles: &[(&str, [Profile; 4])], share: &Path) -> String {
    let kernel = std::fs::read_to_string(share.join("kernel")).expect("the guest's kernel");
    let said = |program, arguments: &[&str]| results::says(program, arguments).expect("a version");
    let (qemu, fio) = (said("qemu-system-x86_64", &["--version"]), said("fio", &["--version"]));
    let mut text = format!(
        "**Emulation: counts of instructions, no times.** Interrupts and idling of the guest's one processor are in them.\n\n\
         {}. Guest: Linux {}, {qemu}, TCG, {fio}.\n\n\
         | {:28} | {:8} | user space | kernel  | by fio's |\n|{}|{}|-----------:|--------:|---------:|\n",
        results::provenance(),
        kernel.trim(),
        "cell",
        "lane",
        "-".repeat(30),
        "-".repeat(10)
    );
    for (cell, profiles) in profiles {
        for (lane, profile) in LANES.iter().zip(profiles) {
            let (user, kernel) = profile.totals();
            let of_fio = (user + kernel) / profiles[0].totals_sum();
            writeln!(text, "| {cell:28} | {lane:8} | {user:10.0} | {kernel:7.0} | {of_fio:8.3} |")
                .expect("a string grows");
        }
    }
    text
}

/// Markdown: the profile, of the lanes that are held against each other.
fn by_function(cell: &str, profiles: &[Profile; 4]) -> String {
    let mut text = String::new();
    for (one, other) in [(1, 2), (1, 0)] {
        let (left, right) = (LANES[one], LANES[other]);
        write!(
            text,
            "\n{cell}, where {left} and {right} differ most:\n\n| {:34} | {left:>8} | {right:>8} |\n",
            "function"
        )
        .expect("a string grows");
        text += &format!("|{}|---------:|---------:|\n", "-".repeat(36));
        for (function, one, other) in profiles[one].differences(&profiles[other]).into_iter().take(SHOWN) {
            writeln!(text, "| {function:34} | {one:8.0} | {other:8.0} |").expect("a string grows");
        }
    }
    text
}
