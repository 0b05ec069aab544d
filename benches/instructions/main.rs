//! What an operation costs in instructions, in a guest, beside fio: the lanes of `beside_fio`, counted by a plugin of the
//! emulator. Unlike a time it hardly depends on what else the machine does: where operations are many, two runs differ by 1 to
//! 3 %. Where they are few, at 1 MiB or on a machine that is busy elsewhere, what a program's start costs now and then shows.
//!
//! `cargo build --release --workspace --examples && cargo bench --bench instructions [-- [CELL]]`, where CELL is a part of a
//! cell's name. An instruction is no time: a cache miss, a write to a device and an addition count alike. It shows where the
//! work is, not how fast it is done.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

#[path = "../beside_fio/figures.rs"]
mod figures;
mod profile;

use std::{path::Path, process::Command};

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
const SHOWN: usize = 12;

fn main() {
    // cargo adds `--bench`.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let share = TempDir::new().expect("a directory to share");
    let cells: Vec<usize> = (0..CELLS.len()).filter(|&index| CELLS[index].0.contains(&wanted)).collect();
    count(&cells, share.path());
    println!(
        "instructions an operation, user space and kernel, in an emulated guest; interrupts and idling of its one processor included"
    );
    let symbols = Symbols::load(&share.path().join("kallsyms"));
    for cell in cells {
        report(cell, share.path(), &symbols);
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
    script += "cat /proc/kallsyms >$P2PDMA_SHARE/kallsyms\nfill 64\nmark begin\n";
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

fn report(cell: usize, share: &Path, symbols: &Symbols) {
    let profiles = LANES.map(|lane| Profile::load(share, lane, cell, symbols));
    println!("\n{}", CELLS[cell].0);
    for (lane, profile) in LANES.iter().zip(&profiles) {
        let (user, kernel) = profile.totals();
        let of_fio = (user + kernel) / profiles[0].totals_sum();
        println!("  {lane:9} {user:8.0} + {kernel:8.0}   {of_fio:.3} of fio's");
    }
    for (one, other) in [(1, 2), (0, 1)] {
        println!("  where {} and {} differ most:", LANES[one], LANES[other]);
        for (function, one, other) in profiles[one].differences(&profiles[other]).into_iter().take(SHOWN) {
            println!("  {one:9.0} {other:9.0}  {function}");
        }
    }
}
