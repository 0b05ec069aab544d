//! The library's queue beside a bare io_uring loop and beside fio, on this machine: reads of 4 KiB of a file into host memory,
//! 64 in flight, turn by turn, each round beginning with another lane.
//!
//! `cargo bench --bench ring [-- [--write FILE] [ROUNDS [SECONDS]]]`. Of the device's reads the ratios of throughput count. Out
//! of the page cache a read ends while it is submitted: there the difference to the bare loop is what the library costs an
//! operation. FILE takes the table as Markdown (benches/RESULTS.md). Exit code 1 when a limit is missed.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod bare;
#[path = "../beside_fio/figures.rs"]
mod figures;
#[path = "../beside_fio/ratio.rs"]
mod ratio;
#[path = "../beside_fio/results.rs"]
mod results;

use std::{
    fs,
    io::Write,
    os::fd::AsFd,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use nix::time::ClockId;
use p2pdma::{
    machine::{Access, Machine},
    memory::{HostMemory, HostSlice},
    storage::File,
    transfer::{Options, Queue},
};
use tempfile::TempDir;

use ratio::Ratio;

const BLOCK: usize = 4096;
const DEPTH: u32 = 64;
const SPAN_MIB: usize = 256;

/// Operations a second of one turn of a lane; a second of the thread's processor time where nothing is waited for.
type Lane = fn(&Path, How, Duration) -> f64;

/// How the file is read.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// By `O_DIRECT`.
    Direct,
    /// Out of the page cache, where all of it is.
    Cached,
}

/// Median throughput by fio's, of the device's reads.
const LEAST_BESIDE_FIO: f64 = 0.98;
/// Median CPU time of an operation over the bare loop's, in nanoseconds.
const MOST_OVER_BARE: f64 = 100.0;
/// Pairs of turns below which nothing is judged.
const ENOUGH: usize = 9;

fn main() -> ExitCode {
    let (write, arguments) = results::arguments();
    let rounds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(21);
    let time = Duration::from_secs(arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1));
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on this machine's disk");
    let path = directory.path().join("data");
    fill(&path);
    let (device, beside_fio) = from_the_device(&path, rounds, time);
    fs::read(&path).expect("the file, into the page cache");
    let (cached, over_bare) = from_the_page_cache(&path, rounds, time);
    let verdict = verdict(rounds, beside_fio, over_bare);
    let rows = format!("| reads of 4 KiB, depth {DEPTH}; median and 95 % interval | |\n|---|---|\n{device}{cached}");
    let section = format!("{}\n\n{rows}\n{}", conditions(rounds, time), verdict.clone().unwrap_or_else(|lines| lines));
    println!("{section}");
    if let Some(file) = write {
        results::write(Path::new(&file), "The queue beside a bare io_uring loop and fio, on a host", &section);
    }
    if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// That all was met, or a line for each limit that was not.
fn verdict(rounds: usize, beside_fio: f64, over_bare: f64) -> Result<String, String> {
    let mut missed = String::new();
    if rounds < ENOUGH {
        missed += &format!("- MISSED: {rounds} rounds are too few to judge by: {ENOUGH} at least\n");
    }
    // What is no number meets nothing.
    let (meets_fio, meets_bare) = (beside_fio >= LEAST_BESIDE_FIO, over_bare <= MOST_OVER_BARE);
    if !meets_fio {
        missed += &format!("- MISSED: queue / fio: {beside_fio:.3} is below {LEAST_BESIDE_FIO}\n");
    }
    if !meets_bare {
        missed += &format!("- MISSED: {over_bare:.0} ns over the bare loop are more than {MOST_OVER_BARE}\n");
    }
    if missed.is_empty() { Ok("Every limit was met.\n".to_owned()) } else { Err(missed) }
}

/// What it ran on, and how.
fn conditions(rounds: usize, time: Duration) -> String {
    let said = |program, arguments: &[&str]| results::says(program, arguments).expect("a version");
    let processor = fs::read_to_string("/proc/cpuinfo").expect("the processor");
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |name| name.1);
    let (kernel, fio) = (said("uname", &["-r"]), said("fio", &["--version"]));
    format!(
        "{}. Linux {kernel}, {processor}, {fio}. {rounds} rounds of {time:?} a lane, interleaved; the first is left out.",
        results::provenance()
    )
}

/// Rows, and the median of the queue's throughput by fio's.
fn from_the_device(path: &Path, rounds: usize, time: Duration) -> (String, f64) {
    let [ours, bare, fio] = turns(path, How::Direct, [queue, bare::turn, fio], rounds, time);
    let of_fio = Ratio::paired(&ours, &fio, |rate| *rate);
    let of_bare = Ratio::paired(&ours, &bare, |rate| *rate);
    let rows = format!(
        "| O_DIRECT, operations a second: queue / fio | {of_fio} |\n\
         | O_DIRECT, operations a second: queue / bare loop | {of_bare} |\n"
    );
    (rows, of_fio.median)
}

/// Rows, and the median of what the queue costs an operation over the bare loop, in nanoseconds.
fn from_the_page_cache(path: &Path, rounds: usize, time: Duration) -> (String, f64) {
    let [ours, bare] = turns(path, How::Cached, [queue, bare::turn], rounds, time);
    let of_bare = Ratio::paired(&ours, &bare, |rate| *rate);
    let over = ours.iter().zip(&bare).map(|(ours, bare)| 1e9 / ours - 1e9 / bare);
    let over = Ratio::of(over.collect());
    let rows = format!(
        "| page cache, operations a CPU second: queue / bare loop | {of_bare} |\n\
         | page cache, CPU ns an operation over the bare loop | {:.0} ({:.0} .. {:.0}) |\n",
        over.median, over.lowest, over.highest
    );
    (rows, over.median)
}

/// Data, as a hole would cost nothing to read, on the device and not in the page cache.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    (0..SPAN_MIB).for_each(|_| file.write_all(&[0x5a; 1 << 20]).expect("room on the disk"));
    file.sync_all().expect("the data on the device");
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    nix::fcntl::posix_fadvise(file.as_fd(), 0, 0, advice).expect("an empty page cache");
}

/// Every lane, every round; the first warms up.
fn turns<const N: usize>(path: &Path, how: How, lanes: [Lane; N], rounds: usize, time: Duration) -> [Vec<f64>; N] {
    let mut rates = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for turn in 0..N {
            let lane = (turn + round) % N;
            rates[lane].push(lanes[lane](path, how, time));
        }
    }
    rates.each_mut().map(|rates| rates.split_off(1))
}

fn queue(path: &Path, how: How, time: Duration) -> f64 {
    let machine = Machine::host();
    let file = File::open(&machine, path, Access::Read).expect("a file for direct I/O");
    let file = if how == How::Cached { file.buffered().expect("the same file, by the page cache") } else { file };
    let mut queue = Queue::new(&machine, Options::default().depth(DEPTH).single_issuer()).expect("a queue");
    let pair = queue.bind_host(&file).expect("a pair");
    let memory = HostMemory::allocate(BLOCK * DEPTH as usize).expect("memory");
    let slice = |index: usize| memory.slice(index * BLOCK..(index + 1) * BLOCK).expect("a part");
    let slices: Vec<HostSlice> = (0..DEPTH as usize).map(slice).collect();
    let mut next = slices.iter().cycle().zip(Offsets::default());
    rate(how, time, || {
        while queue.in_flight() < queue.depth() {
            let (slice, offset) = next.next().expect("there is no end");
            queue.read(&pair, offset, slice.clone()).expect("taken");
        }
        let mut receipt = Some(queue.wait().expect("one ends"));
        let mut ended = 0;
        while let Some(one) = receipt {
            one.complete().expect("a complete read");
            ended += 1;
            receipt = queue.poll();
        }
        ended
    })
}

/// fio, whatever it costs to start: it says itself how fast it was.
fn fio(path: &Path, _: How, time: Duration) -> f64 {
    let output = path.with_file_name("fio.json");
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/beside_fio/job.fio");
    let settings =
        [("SPAN", format!("{SPAN_MIB}M")), ("DEPTH", DEPTH.to_string()), ("SECONDS_EACH", time.as_secs().to_string())];
    let status = Command::new("fio")
        .args(["--output-format=json", "--output"])
        .args([&output, &job])
        .envs([("MEMORY", "mmap"), ("RW", "randread"), ("BLOCK", "4k")])
        .envs(settings)
        .env("SOURCE", path)
        .status()
        .expect("fio");
    assert!(status.success(), "fio said {status}");
    figures::figures(&output).0
}

/// Operations a second of a step that says how many it ended.
fn rate(how: How, time: Duration, mut step: impl FnMut() -> u64) -> f64 {
    let (start, start_of_work) = (Instant::now(), how.clock());
    let mut ended = 0;
    while start.elapsed() < time {
        ended += step();
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ended = ended as f64;
    ended / (how.clock() - start_of_work).as_secs_f64()
}

impl How {
    /// Time that passes, or this thread's time on a processor, which what else the machine does disturbs less.
    fn clock(self) -> Duration {
        let clock = match self {
            Self::Direct => ClockId::CLOCK_MONOTONIC,
            Self::Cached => ClockId::CLOCK_THREAD_CPUTIME_ID,
        };
        clock.now().expect("a clock").into()
    }
}

/// Offsets of blocks, all over the file, without end (xorshift).
struct Offsets(u64);

impl Default for Offsets {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Iterator for Offsets {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let blocks = (SPAN_MIB << 20) / BLOCK;
        Some(self.0 % blocks as u64 * BLOCK as u64)
    }
}
