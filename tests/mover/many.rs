//! Calls of many pieces: several files, several providers, both directions, with gaps and overlaps between them.

use p2pdma::{
    Error,
    machine::{
        Access, Direction, Machine,
        mock::{Cpu, Fault, Function, Port},
    },
    memory::{Copier, Provider},
    storage::File,
    transfer::{Mover, Options, Piece, Policy, Queue, Summary},
};

use crate::ground::*;

const OTHER: &str = "/data/more";

/// Two files and a device; the second file is read while the first is written, with every fault at every operation.
fn call(policy: Policy, fault: Option<(u64, Fault)>) {
    let mut mock = mock(Cpu::AmdZen, &bytes(10_000, 0));
    mock.file(OTHER, "/dev/nvme0n1", &bytes(9000, 5)).expect("a file");
    if let Some((operation, fault)) = fault {
        mock.fault(operation, fault);
    }
    let machine = Machine::mock(mock);
    let [first, second] = [FILE, OTHER].map(|path| File::open(&machine, path, Access::ReadWrite).expect("a file"));
    let memory = Provider::find(&machine, provider()).and_then(|it| it.allocate(65_536)).expect("memory");
    Copier::new().and_then(|mut copier| copier.write(&bytes(65_536, 100), &memory.all())).expect("a copy");
    let mover =
        Mover::new(Queue::new(&machine, Options::default().depth(4).deadline(DEADLINE)).expect("a queue"), policy);
    let mut mover = match policy {
        Policy::DirectOnly => mover,
        _ => mover.with_copier(Copier::new().expect("a copier"), 8192).expect("stages"),
    };
    let lanes = [&first, &second].map(|file| mover.bind(file, &memory).expect("a lane"));
    let odd = if policy == Policy::DirectOnly { 0 } else { 100 };
    // Which file, which way, where, how much, where in memory. Gaps lie between the pieces of a file.
    let shape: [(usize, Direction, usize, usize, usize); 4] = [
        (0, Direction::Write, 512 + odd, 2048, 0),
        (1, Direction::Read, odd, 4096, 8192),
        (0, Direction::Read, 5120 + odd, 1024, 16_384),
        (1, Direction::Write, 6144 + odd, 1536, 24_576),
    ];
    let slices =
        shape.map(|(.., length, start)| memory.slice(start + odd % 4..start + odd % 4 + length).expect("a slice"));
    let pieces: Vec<_> = shape
        .iter()
        .zip(&slices)
        .map(|(&(lane, direction, offset, ..), memory)| Piece {
            direction,
            lane: &lanes[lane],
            offset: offset as u64,
            memory,
        })
        .collect();
    let mut summaries = Vec::new();
    let end = mover.run(&pieces, &mut summaries);
    assert!(end.is_ok() && summaries.iter().all(adds_up), "{policy} {fault:?}: {end:?} {summaries:?}");
    drop((mover, pieces));
    let mut files = [bytes(10_000, 0), bytes(9000, 5)];
    let mut expected = bytes(65_536, 100);
    for (&(file, direction, offset, length, start), summary) in shape.iter().zip(&summaries) {
        assert!(summary.errno().is_some() || summary.bytes() == length as u64, "{policy} {fault:?}: {summary:?}");
        let (in_file, in_memory) = (offset..offset + length, start..start + length);
        match direction {
            Direction::Read => expected[in_memory].copy_from_slice(&files[file][in_file]),
            Direction::Write => files[file][in_file].copy_from_slice(&expected[in_memory]),
        }
    }
    // Of one that failed more may have moved than is told: of it only what lies outside is compared.
    let failed = summaries.iter().position(|summary| summary.errno().is_some());
    let after = [on_file(&machine, FILE), on_file(&machine, OTHER)];
    let memory = in_memory(&memory);
    let is_failed = |number: usize, at: usize, of_file: Option<usize>| {
        let (file, direction, offset, length, start) = shape[number];
        let range = if of_file.is_some() { offset..offset + length } else { start..start + length };
        let its = of_file.map_or(direction == Direction::Read, |it| it == file && direction == Direction::Write);
        Some(number) == failed && its && range.contains(&at)
    };
    let spared = |at: usize, of_file: Option<usize>| (0..4).any(|number| is_failed(number, at, of_file));
    for (file, (after, expected)) in after.iter().zip(&files).enumerate() {
        assert!(
            (0..after.len()).all(|at| after[at] == expected[at] || spared(at, Some(file))),
            "{policy} {fault:?}: {file}"
        );
        assert_eq!(after.len(), expected.len());
    }
    assert!((0..memory.len()).all(|at| memory[at] == expected[at] || spared(at, None)), "{policy} {fault:?}: memory");
}

#[test]
fn many_files_and_both_directions_in_one_call_with_every_fault_under_every_policy() {
    for policy in [Policy::DirectOnly, Policy::PreferDirect, Policy::BounceOnly] {
        call(policy, None);
        for operation in 0..12 {
            for fault in [Fault::Short(512), Fault::Late(2), Fault::Errno(libc::EIO), Fault::Errno(libc::EAGAIN)] {
                call(policy, Some((operation, fault)));
            }
        }
    }
}

#[test]
fn memory_of_two_providers_is_never_mixed() {
    let mut mock = mock(Cpu::AmdZen, &bytes(10_000, 0));
    let (port, second) = (at("0000:00:03.0"), at("0000:03:00.0"));
    mock.function(&Function::port(port, None, Port::Root));
    mock.provider(second, Some(port), 1 << 20);
    let machine = Machine::mock(mock);
    let file = File::open(&machine, FILE, Access::Read).expect("a file");
    let find = |address| Provider::find(&machine, address).expect("a provider");
    let [one, two] = [provider(), second].map(|address| find(address).allocate(4096).expect("memory"));
    let buffers = [0, 1].map(|_| find(provider()).allocate_buffer(4096).expect("a buffer"));
    let mut mover = Mover::new(Queue::new(&machine, Options::default()).expect("a queue"), Policy::DirectOnly);
    for (bound, other) in [(&one, &two), (&two, &one), (&one, &buffers[0]), (&buffers[0], &buffers[1])] {
        let lane = mover.bind(&file, bound).expect("a lane");
        let refused = lane.plan(Policy::DirectOnly, Direction::Read, 0, &other.all()).expect_err("another's memory");
        assert!(matches!(refused, Error::Invalid(_)) && refused.to_string().contains("another provider"), "{refused}");
        let pieces = [bound.all(), other.all()];
        let pieces = [0, 1].map(|at| Piece { direction: Direction::Read, lane: &lane, offset: 0, memory: &pieces[at] });
        let mut summaries: Vec<Summary> = Vec::new();
        assert!(mover.run(&pieces, &mut summaries).is_err() && summaries.is_empty(), "nothing of the call moves");
        assert!(mover.read(&lane, 0, &bound.all()).and_then(Summary::complete).is_ok());
    }
}
