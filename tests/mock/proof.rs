//! Routes that do what they say, and routes that lie.

use p2pdma::{
    Error,
    machine::{
        Access, Direction, Machine, Mock,
        mock::{Cpu, Fault},
    },
    memory::{PeerMemory, Provider},
    storage::File,
    transfer::Prover,
    verdict::Way,
};

use crate::{SSD, address, contents, queue};

/// A file and memory of a machine on which the second operation lies: the first is the host's, to know what to expect.
fn liar(way: Way, direction: Direction) -> (Machine, File, PeerMemory) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a mock machine");
    mock.fault(1, Fault::Lie);
    let machine = Machine::mock(mock);
    let access = if direction == Direction::Read { Access::Read } else { Access::ReadWrite };
    let file = File::open(&machine, SSD, access).expect("a file");
    let provider = Provider::find(&machine, address("0000:05:00.0")).expect("a provider");
    let memory = if way == Way::P2pmem { provider.allocate(8192) } else { provider.allocate_buffer(8192) };
    (machine, file, memory.expect("memory"))
}

fn prove(prover: &mut Prover, direction: Direction) -> p2pdma::Result<()> {
    if direction == Direction::Read { prover.read(4096) } else { prover.write(4096) }
}

#[test]
fn a_machine_that_lies_is_caught_and_one_that_does_not_is_remembered() {
    for way in Way::ALL {
        for direction in [Direction::Read, Direction::Write] {
            let (machine, file, memory) = liar(way, direction);
            let mut prover = Prover::new(&machine, &file, &memory).unwrap();
            let caught = prove(&mut prover, direction).unwrap_err();
            assert!(matches!(caught, Error::Disproved(_)), "{way:?} {direction}: {caught}");
            assert!(caught.to_string().contains("differ in 8192 of 8192 bytes"), "{caught}");
            assert!(!Prover::knows(&file, memory.provider(), direction));
            prove(&mut prover, direction).unwrap();
            assert!(Prover::knows(&file, memory.provider(), direction), "it lied once");
            let written = Prover::knows(&file, memory.provider(), Direction::Write);
            assert_eq!(written, direction == Direction::Write, "to write is more than to read");
            assert!(Prover::knows(&file, memory.provider(), Direction::Read), "what was written was read back");
        }
    }
}

/// Why a proof is needed: nothing else sees it.
#[test]
fn a_lie_looks_like_success() {
    let (machine, file, memory) = liar(Way::P2pmem, Direction::Read);
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for half in [0..4096, 4096..8192] {
        queue.read(&pair, 0, memory.slice(half).unwrap()).unwrap();
        assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
    }
    let (arrived, missed) = (contents(&memory)[..4096].to_vec(), contents(&memory)[4096..].to_vec());
    assert_eq!((arrived == [0; 4096], missed == [0; 4096]), (false, true));
}

#[test]
fn what_was_proved_once_is_forgotten_when_it_fails() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.fault(3, Fault::Lie);
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = Provider::find(&machine, address("0000:05:00.0")).unwrap().allocate(8192).unwrap();
    let mut prover = Prover::new(&machine, &file, &memory).unwrap();
    prover.read(0).unwrap();
    assert!(Prover::knows(&file, memory.provider(), Direction::Read));
    assert!(matches!(prover.read(0), Err(Error::Disproved(_))));
    assert!(!Prover::knows(&file, memory.provider(), Direction::Read));
}
