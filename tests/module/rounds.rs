//! Many rounds of everything, from four threads at once.
//!
//! | variable | holds |
//! |---|---|
//! | `P2PDMA_ROUNDS` | how many rounds, of all threads together (400) |
//! | `P2PDMA_SEED` | of the random numbers (by the clock); the kernel's log has it too, for when it dies |

use std::{fs::File, thread};

use p2pdma_sys::*;

use crate::{
    data::AREA,
    files::file_on_ext4,
    gpu::{Layout, StandIn, held, register},
    log::note,
    objects::*,
    random::{Random, seed},
    ring::{Request, Ring},
};

const THREADS: usize = 4;
/// What a thread has of each file to itself.
const SHARE: usize = AREA / THREADS;
/// What memory of another drive has to be aligned to here: QEMU gets there through a bounce of one page, and drops what of that
/// is no whole block (`dma_blk_cb` in its `softmmu/dma-helpers.c`).
const BLOCK: usize = 512;
const LONGEST: usize = 256 * KIB;

struct Round<'a> {
    random: &'a mut Random,
    files: &'a [File],
    thread: usize,
    /// Whose memory is registered; without, memory is allocated.
    gpu: Option<&'a StandIn>,
}

impl Round<'_> {
    fn any(&mut self, end: usize, step: usize) -> usize {
        self.random.below((end / step) as u64) as usize * step
    }

    /// Memory, a pair, some bytes written and read back elsewhere, and the end of it all in any order.
    fn run(&mut self) {
        let longest = if self.random.percent(10) { LONGEST } else { 32 * KIB };
        let length = 4 * KIB + self.any(longest, 512);
        let (buffer, step) = self.memory(2 * length + 4096);
        let file = self.any(self.files.len(), 1);
        let file = &self.files[file];
        let pair = buffer.bind(file).expect("a pair");
        let position = (self.thread * SHARE + self.any(SHARE - length, 512)) as u64;
        let from = self.any(2048, step);
        let to = from + length + self.any(2048, step);

        let wanted = pattern(self.random.below(u64::MAX), length);
        buffer.write(from, &wanted).expect("copied");
        self.transfer(&pair, Request { op: P2PDMA_USER_WRITE, offset: from, position, length });
        if self.random.percent(30) {
            assert!(host_read(file, position, length) == wanted, "the file at {position}");
        }
        self.transfer(&pair, Request { op: P2PDMA_USER_READ, offset: to, position, length });
        assert!(buffer.read(to, length).expect("copied") == wanted, "the buffer at {to}");
        self.end(buffer, pair, position, length);
    }

    /// And what places in it have to be a multiple of.
    fn memory(&mut self, length: usize) -> (Buffer, usize) {
        if let Some(gpu) = self.gpu {
            let start = self.thread * (64 * MIB / THREADS) + self.any(8 * MIB, 4 * KIB);
            let dmabuf = gpu.export(start, length.next_multiple_of(4 * KIB)).expect("a dma-buf");
            return (register(device("GPU"), &dmabuf).expect("a buffer"), BLOCK);
        }
        let (role, step) = if self.random.percent(90) { ("GPU", 4) } else { ("CMB", BLOCK) };
        (Buffer::of(device(role), length).expect("room for four"), step)
    }

    fn transfer(&mut self, pair: &Pair, request: Request) {
        let Request { op, offset, position, length } = request;
        let result = if self.random.percent(50) {
            pair.io(op, offset, position, length).map(|(bytes, _)| bytes as usize)
        } else {
            Ok(Ring::new(pair).one(&request.entry(0)) as usize)
        };
        assert_eq!(result, Ok(length), "{request:?}");
    }

    /// One time in three with a read under way. Nobody waits for it, but where the next round may have the same part of the BAR.
    fn end(&mut self, buffer: Buffer, pair: Pair, position: u64, length: usize) {
        match self.random.below(3_u8) {
            0 => drop((buffer, pair)),
            1 => drop((pair, buffer)),
            _ => {
                let mut ring = Ring::new(&pair);
                ring.push(&Request { op: P2PDMA_USER_READ, offset: 0, position, length }.entry(0));
                ring.submit();
                drop((buffer, pair));
                if self.gpu.is_some() {
                    assert_eq!(ring.wait().1, length as i32);
                }
            }
        }
    }
}

fn rounds(gpu: Option<&StandIn>) {
    let (rounds, seed) = (setting("P2PDMA_ROUNDS", 400), seed());
    note(&format!("rounds: P2PDMA_SEED={seed}"));
    let files = [ssd(), file_on_ext4("rounds")];
    let start = std::time::Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (mut random, files) = (Random::new(seed + thread as u64), &files);
            scope.spawn(move || {
                for _ in 0..rounds.div_ceil(THREADS as u64) {
                    Round { random: &mut random, files, thread, gpu }.run();
                }
            });
        }
    });
    say(&format!("rounds: {rounds} in {} s, P2PDMA_SEED={seed}", start.elapsed().as_secs()));
}

#[test]
fn rounds_of_everything_from_four_threads_leave_nothing() {
    let _alone = alone();
    rounds(None);
}

/// In runs of 16 KiB, each a page away from the next.
#[test]
fn rounds_of_everything_with_registered_memory_leave_nothing() {
    let _alone = alone();
    let gpu = StandIn::provided();
    let layout = Layout { segment: 16 * KIB, gap: 4 * KIB, reverse: false };
    let _parameters = layout.set();
    rounds(Some(&gpu));
    eventually("the return of all memory", || held() == [0; 4]);
}
