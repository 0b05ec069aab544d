//! Routes that do what they say, and routes that lie.

use std::time::Duration;

use p2pdma::{
    Error,
    machine::{
        Access, Direction, Machine, Mock,
        mock::{Cpu, Fault},
    },
    memory::{Copier, PeerMemory, Provider},
    storage::File,
    transfer::{Mover, Policy, Prover},
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

/// A machine whose kernel has other rules, on which nobody knows whether the host bridge lets traffic pass.
fn unknown(access: Access, faults: &[(u64, Fault)]) -> (Machine, File, PeerMemory) {
    let mut mock = Mock::root_ports(Cpu::AmdZen).expect("a mock machine");
    mock.facts_mut().file("/proc/sys/kernel/osrelease", "6.15.0\n");
    for &(operation, fault) in faults {
        mock.fault(operation, fault);
    }
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, access).expect("a file");
    let memory =
        Provider::find(&machine, address("0000:02:00.0")).and_then(|provider| provider.allocate(8192)).expect("memory");
    (machine, file, memory)
}

#[test]
fn an_unknown_route_is_bound_when_it_was_proved_each_way_that_the_file_is_open_for() {
    let (machine, file, memory) = unknown(Access::Read, &[]);
    let refused = queue(&machine).bind(&file, &memory).unwrap_err();
    assert!(matches!(refused, Error::NotAllowed(_)) && refused.to_string().contains("--verify"), "{refused}");
    Prover::new(&machine, &file, &memory).unwrap().read(0).unwrap();
    assert!(queue(&machine).bind(&file, &memory).is_ok());
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    assert!(matches!(queue(&machine).bind(&file, &memory), Err(Error::NotAllowed(_))), "to write is not proved");
    Prover::new(&machine, &file, &memory).unwrap().write(0).unwrap();
    assert!(queue(&machine).bind(&file, &memory).is_ok());
}

#[test]
fn a_route_that_was_disproved_is_bound_no_more_whatever_the_kernel_says() {
    for (machine, file, memory) in [liar(Way::P2pmem, Direction::Read), liar(Way::Module, Direction::Read)] {
        assert!(queue(&machine).bind(&file, &memory).is_ok());
        let mut prover = Prover::new(&machine, &file, &memory).unwrap();
        assert!(matches!(prover.read(0), Err(Error::Disproved(_))));
        assert!(matches!(queue(&machine).bind(&file, &memory), Err(Error::Disproved(_))));
        assert!(matches!(
            Mover::new(queue(&machine), Policy::DirectOnly).bind(&file, &memory),
            Err(Error::Disproved(_))
        ));
        let mover = Mover::new(queue(&machine), Policy::PreferDirect);
        let mut mover = mover.with_copier(Copier::new().unwrap(), 65_536).unwrap();
        let lane = mover.bind(&file, &memory).unwrap();
        assert_eq!(mover.read(&lane, 0, &memory.all()).unwrap().bytes_whole(), 8192, "it bounces");
        prover.read(0).unwrap();
        assert!(queue(&machine).bind(&file, &memory).is_ok(), "it lied once");
    }
}

#[test]
fn a_prover_goes_on_when_what_was_late_has_ended() {
    let (machine, file, memory) = unknown(Access::Read, &[(1, Fault::Late(4))]);
    let mut prover = Prover::new(&machine, &file, &memory).unwrap().deadline(Duration::ZERO);
    let late = std::iter::repeat_with(|| prover.read(0)).take_while(|proof| matches!(proof, Err(Error::Deadline(_))));
    assert!(late.count() >= 2, "the operation of the first proof keeps the others waiting");
    let proved = std::iter::repeat_with(|| prover.read(0)).take(1000).any(|proof| proof.is_ok());
    assert!(proved && Prover::knows(&file, memory.provider(), Direction::Read));
}

/// Of the array.
const MEMBERS: [&str; 2] = [SSD, "/dev/nvme1n1"];

/// A virtual machine that may lose what goes by bus addresses, with an array over two SSDs that root has named to the module.
fn array(faults: &[(u64, Fault)]) -> (Machine, PeerMemory) {
    let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a mock machine");
    let array = mock.raid0(&MEMBERS).expect("an array");
    assert_eq!(array.to_str(), Some("/dev/md0"));
    let facts = mock.facts_mut();
    facts.file("/sys/bus/pci/drivers/p2pdma_user/stack", "9:0=0000:03:00.0,0000:04:00.0\n");
    facts.file("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\ncpu family\t: 23\nflags\t\t: fpu hypervisor\n");
    for (number, ssd) in ["0000:02:00.0/0000:03:00.0", "0000:02:01.0/0000:04:00.0"].into_iter().enumerate() {
        let group = format!("/sys/kernel/iommu_groups/{number}");
        let ssd = format!("/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/{ssd}");
        facts.file(format!("{group}/type"), "DMA-FQ\n").symlink(format!("{ssd}/iommu_group"), group);
    }
    for &(operation, fault) in faults {
        mock.fault(operation, fault);
    }
    let machine = Machine::mock(mock);
    let provider = Provider::find(&machine, address("0000:05:00.0")).expect("a provider");
    let memory = provider.allocate_buffer(8192).expect("a buffer");
    (machine, memory)
}

fn prove_alone(machine: &Machine, ssd: &str, memory: &PeerMemory) -> p2pdma::Result<()> {
    let file = File::open(machine, ssd, Access::Read).expect("a file");
    Prover::new(machine, &file, memory).expect("a prover").read(0)
}

/// Each member of an array is on a route of its own: one that was proved says nothing of the other.
#[test]
fn an_array_is_bound_when_the_route_of_every_member_was_proved() {
    let (machine, memory) = array(&[]);
    let md = File::open(&machine, "/dev/md0", Access::Read).unwrap();
    let refused = |why: &str| {
        let refused = queue(&machine).bind(&md, &memory).unwrap_err();
        assert!(
            matches!(refused, Error::NotAllowed(_)) && refused.to_string().contains("--verify"),
            "{why}: {refused}"
        );
        assert!(!Prover::knows(&md, memory.provider(), Direction::Read), "{why}");
    };
    refused("nothing was proved");
    prove_alone(&machine, "/dev/nvme0n1", &memory).unwrap();
    refused("the first alone");
    Prover::new(&machine, &md, &memory).unwrap().read(0).unwrap();
    refused("a block of the array lies on one of the two, and nobody knows which");
    prove_alone(&machine, "/dev/nvme1n1", &memory).unwrap();
    assert!(Prover::knows(&md, memory.provider(), Direction::Read));
    let pair = queue(&machine).bind(&md, &memory).unwrap();
    assert_eq!(pair.provider(), Some(memory.provider()));
}

#[test]
fn an_array_is_not_bound_while_the_route_of_a_member_was_disproved() {
    for (place, function) in ["0000:03:00.0", "0000:04:00.0"].into_iter().enumerate() {
        // Each proof reads by the host, and then direct: the second of its two operations.
        let (machine, memory) = array(&[(2 * place as u64 + 1, Fault::Lie)]);
        let md = File::open(&machine, "/dev/md0", Access::Read).unwrap();
        let proofs = MEMBERS.map(|ssd| prove_alone(&machine, ssd, &memory));
        assert!(proofs.iter().enumerate().all(|(at, proof)| proof.is_err() == (at == place)), "{proofs:?}");
        let refused = queue(&machine).bind(&md, &memory).unwrap_err();
        assert!(matches!(refused, Error::Disproved(_)) && refused.to_string().contains(function), "{refused}");
        prove_alone(&machine, MEMBERS[place], &memory).unwrap();
        assert!(queue(&machine).bind(&md, &memory).is_ok(), "it lied once");
    }
}

#[test]
fn a_lie_through_an_array_may_be_that_of_any_member() {
    let (machine, memory) = array(&[(1, Fault::Lie)]);
    let md = File::open(&machine, "/dev/md0", Access::Read).unwrap();
    assert!(matches!(Prover::new(&machine, &md, &memory).unwrap().read(0), Err(Error::Disproved(_))));
    for ssd in MEMBERS {
        let file = File::open(&machine, ssd, Access::Read).unwrap();
        assert!(matches!(queue(&machine).bind(&file, &memory), Err(Error::Disproved(_))), "{ssd}");
        prove_alone(&machine, ssd, &memory).unwrap();
    }
    assert!(queue(&machine).bind(&md, &memory).is_ok());
}

#[test]
fn an_array_takes_no_mapped_memory() {
    let (machine, _) = array(&[]);
    let md = File::open(&machine, "/dev/md0", Access::Read).unwrap();
    let memory = Provider::find(&machine, address("0000:05:00.0")).unwrap().allocate(8192).unwrap();
    let refused = queue(&machine).bind(&md, &memory).unwrap_err();
    assert!(matches!(refused, Error::NoDirectIo(_)) && refused.to_string().contains("md0 (md raid0)"), "{refused}");
}
