//! The ground on which the movers move: a machine with a file and peer memory, what is asked for on it, and what both hold then.

use std::{ops::Range, time::Duration};

use p2pdma::{
    machine::{
        Access, Direction, Machine, Mock,
        mock::{Cpu, Fault, Function, Port},
    },
    memory::{Copier, HostMemory, PeerMemory, Provider},
    pci::Address,
    storage::File,
    transfer::{Lane, Mover, Options, Piece, Policy, Queue, Summary},
    verdict::Way,
};

pub(crate) const FILE: &str = "/data/tensors";
pub(crate) const SSD: &str = "/dev/nvme0n1";
/// A piece's share of the memory.
pub(crate) const SHARE: usize = 32_768;
pub(crate) const PIECES: usize = 4;
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const SOON: Duration = Duration::from_millis(50);

pub(crate) fn at(address: &str) -> Address {
    address.parse().expect("an address")
}

pub(crate) fn provider() -> Address {
    at("0000:02:00.0")
}

/// An SSD and peer memory, each below a root port, and a file on the SSD.
pub(crate) fn mock(cpu: Cpu, content: &[u8]) -> Mock {
    let mut mock = Mock::new(cpu);
    let ports = ["0000:00:01.0", "0000:00:02.0"].map(at);
    for port in ports {
        mock.function(&Function::port(port, None, Port::Root));
    }
    let ssd = mock.ssd(at("0000:01:00.0"), Some(ports[0]), 65_536).expect("an SSD");
    mock.provider(provider(), Some(ports[1]), 1 << 20);
    mock.file(FILE, ssd, content).expect("a file");
    mock
}

/// Bytes that are not zero and tell their place.
pub(crate) fn bytes(length: usize, salt: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + at / 256 + salt) % 255 + 1).expect("a byte")).collect()
}

/// Where files and memory are, and what moves between them.
pub(crate) struct Ground {
    pub machine: Machine,
    pub file: File,
    pub memory: PeerMemory,
    pub mover: Mover,
    pub lane: Lane,
}

/// How a ground is laid.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub path: &'static str,
    pub content: Vec<u8>,
    pub cpu: Cpu,
    pub way: Way,
    pub policy: Policy,
    pub depth: u32,
    pub budget: usize,
    pub deadline: Duration,
    pub faults: Vec<(u64, Fault)>,
}

impl Default for Plot {
    fn default() -> Self {
        let (content, faults) = (bytes(10_000, 0), Vec::new());
        let (cpu, way, policy) = (Cpu::AmdZen, Way::P2pmem, Policy::PreferDirect);
        Self { path: FILE, content, cpu, way, policy, depth: 4, budget: 8192, deadline: DEADLINE, faults }
    }
}

impl Plot {
    pub(crate) fn lay(&self) -> Ground {
        let mut mock = mock(self.cpu, &self.content);
        for &(operation, fault) in &self.faults {
            mock.fault(operation, fault);
        }
        let machine = Machine::mock(mock);
        let file = File::open(&machine, self.path, Access::ReadWrite).expect("a file");
        let provider = Provider::find(&machine, provider()).expect("a provider");
        let memory = match self.way {
            Way::P2pmem => provider.allocate(SHARE * PIECES),
            Way::Module => provider.allocate_buffer(SHARE * PIECES),
        };
        let memory = memory.expect("memory");
        Copier::new().and_then(|mut copier| copier.write(&bytes(SHARE * PIECES, 100), &memory.all())).expect("a copy");
        let options = Options::default().depth(self.depth).deadline(self.deadline);
        let mover = Mover::new(Queue::new(&machine, options).expect("a queue"), self.policy);
        let mut mover = match self.policy {
            Policy::DirectOnly => mover,
            _ => mover.with_copier(Copier::new().expect("a copier"), self.budget).expect("stages"),
        };
        let lane = mover.bind(&file, &memory).expect("a lane");
        Ground { machine, file, memory, mover, lane }
    }
}

/// So many bytes of a file, of which each piece has the range between two cuts.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub direction: Direction,
    pub cuts: Vec<u64>,
    /// Where in its share of the memory each piece begins.
    pub shift: usize,
}

impl Job {
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        let narrow = |cut: u64| usize::try_from(cut).expect("a small number");
        self.cuts.windows(2).enumerate().map(move |(index, cuts)| {
            let (start, length) = (index * SHARE + self.shift, narrow(cuts[1] - cuts[0]));
            (narrow(cuts[0])..narrow(cuts[1]), start..start + length)
        })
    }

    pub(crate) fn run(&self, ground: &mut Ground) -> (p2pdma::Result<()>, Vec<Summary>) {
        let Ground { memory, mover, lane, .. } = ground;
        let slices: Vec<_> = self.ranges().map(|(_, range)| memory.slice(range).expect("a slice")).collect();
        let piece = |(memory, &offset)| Piece { direction: self.direction, lane: &*lane, offset, memory };
        let pieces: Vec<_> = slices.iter().zip(&self.cuts).map(piece).collect();
        let mut summaries = Vec::new();
        let end = mover.run(&pieces, &mut summaries);
        (end, summaries)
    }

    /// What file and memory hold when so many bytes of each piece have moved.
    pub(crate) fn model(&self, file: &mut Vec<u8>, memory: &mut [u8], moved: &[u64]) {
        for ((on_file, in_memory), &moved) in self.ranges().zip(moved).filter(|(_, moved)| **moved > 0) {
            let moved = usize::try_from(moved).expect("a small number");
            let (from, to) = (on_file.start, on_file.start + moved);
            let in_memory = in_memory.start..in_memory.start + moved;
            match self.direction {
                Direction::Read => memory[in_memory].copy_from_slice(&file[from..to]),
                Direction::Write => {
                    file.resize(file.len().max(to), 0);
                    file[from..to].copy_from_slice(&memory[in_memory]);
                }
            }
        }
    }
}

pub(crate) fn on_file(machine: &Machine, path: &str) -> Vec<u8> {
    let file = File::open(machine, path, Access::Read).expect("a file");
    let length = usize::try_from(file.size()).expect("a small number");
    if length == 0 {
        return Vec::new();
    }
    let buffered = file.buffered().expect("the same file");
    let host = HostMemory::allocate(length).expect("host memory");
    let mut queue = Queue::new(machine, Options::default()).expect("a queue");
    let pair = queue.bind_host(&buffered).expect("a pair");
    // A fault that no operation of the job met waits for this one; it comes once.
    let read = |queue: &mut Queue| {
        queue.read(&pair, 0, host.all()).expect("taken");
        queue.wait().expect("a receipt").bytes() == length as u64
    };
    assert!(read(&mut queue) || read(&mut queue));
    let mut bytes = vec![0; length];
    host.all().read(&mut bytes).expect("its bytes");
    bytes
}

pub(crate) fn in_memory(memory: &PeerMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    Copier::new().and_then(|mut copier| copier.read(&memory.all(), &mut bytes)).expect("a copy");
    bytes
}

pub(crate) fn moved(summaries: &[Summary]) -> Vec<u64> {
    summaries.iter().map(Summary::bytes).collect()
}

/// Direct, bounced and behind the end are all there is of a summary that is complete; none says more than was asked for.
pub(crate) fn adds_up(summary: &Summary) -> bool {
    let parts = summary.bytes_head() + summary.bytes_tail() + summary.bytes_whole() + summary.bytes_cached();
    let sums = summary.bytes() == summary.bytes_direct() + parts && parts == summary.bytes_bounced();
    let told =
        (summary.bytes_direct() > 0) == summary.evidence().is_some() && (parts > 0) == summary.reason().is_some();
    sums && told && summary.bytes() + summary.bytes_behind_end() <= summary.requested()
}

pub(crate) fn is_whole(summary: &Summary) -> bool {
    summary.errno().is_none() && summary.bytes() + summary.bytes_behind_end() == summary.requested()
}

pub(crate) fn assert_moved(job: &Job, plot: &Plot, ground: &Ground, summaries: &[Summary]) {
    let (mut file, mut memory) = (plot.content.clone(), bytes(SHARE * PIECES, 100));
    job.model(&mut file, &mut memory, &moved(summaries));
    assert!(on_file(&ground.machine, FILE) == file && in_memory(&ground.memory) == memory, "{job:?} {:?}", plot.faults);
}
