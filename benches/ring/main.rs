//! The library's queue beside a bare io_uring loop and beside fio, on this machine: reads of 4 KiB of a file into host memory,
//! 64 in flight, turn by turn, each round beginning with another lane.
//!
//! `cargo bench --bench ring [-- [ROUNDS [SECONDS]]]`. Of the device's reads the ratios of throughput count. Out of the page
//! cache a read ends while it is submitted: there the difference to the bare loop is what the library costs an operation.
#![expect(clippy::expect_used, reason = "a measurement ends where its ground gives way")]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod bare;
#[path = "../beside_fio/figures.rs"]
mod figures;
#[path = "../beside_fio/ratio.rs"]
mod ratio;

use std::{
    fs,
    io::Write,
    os::fd::AsFd,
    path::Path,
    process::Command,
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

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let rounds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(21);
    let time = Duration::from_secs(arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1));
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on this machine's disk");
    let path = directory.path().join("data");
    fill(&path);
    println!("reads of 4 KiB, depth {DEPTH}, {rounds} rounds of {time:?} a lane; median and 95 % interval");
    from_the_device(&path, rounds, time);
    fs::read(&path).expect("the file, into the page cache");
    from_the_page_cache(&path, rounds, time);
}

fn from_the_device(path: &Path, rounds: usize, time: Duration) {
    let [ours, bare, fio] = turns(path, How::Direct, [queue, bare::turn, fio], rounds, time);
    println!("O_DIRECT, operations a second: queue / fio             {}", Ratio::paired(&ours, &fio, |rate| *rate));
    println!("O_DIRECT, operations a second: queue / bare loop       {}", Ratio::paired(&ours, &bare, |rate| *rate));
}

fn from_the_page_cache(path: &Path, rounds: usize, time: Duration) {
    let [ours, bare] = turns(path, How::Cached, [queue, bare::turn], rounds, time);
    println!("page cache, operations a CPU second: queue / bare loop {}", Ratio::paired(&ours, &bare, |rate| *rate));
    let mut over: Vec<f64> = ours.iter().zip(&bare).map(|(ours, bare)| 1e9 / ours - 1e9 / bare).collect();
    over.sort_by(f64::total_cmp);
    let (least, median, most) = (over[0], over[over.len() / 2], over[over.len() - 1]);
    println!("page cache, CPU ns an operation over the bare loop: median {median:.0}, {least:.0} to {most:.0}");
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
