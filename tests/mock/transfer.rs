//! What moves, and what is refused.

use p2pdma::{
    Error, Result,
    machine::{Access, Machine, Mock, mock::Cpu},
    memory::{Copier, HostMemory},
    storage::File,
};

use crate::{SSD, address, contents, host_read, peer, queue, switch};

#[test]
fn what_is_read_direct_is_what_the_host_reads() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 1 << 20).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for index in 0..8 {
        let part = memory.slice(index * 131_072..(index + 1) * 131_072).unwrap();
        queue.read(&pair, 4096 + index as u64 * 131_072, part).unwrap();
    }
    let mut direct = 0;
    while queue.in_flight() > 0 {
        direct += queue.wait().unwrap().complete().unwrap();
    }
    assert_eq!(direct, 1 << 20);
    assert_eq!(contents(&memory), host_read(&mut queue, &file, 4096, 1 << 20));
}

#[test]
fn what_is_written_direct_is_what_the_host_reads() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let memory = peer(&machine, 65_536).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let pattern: Vec<u8> = (0..65_536_u32).map(|index| (index % 251) as u8 + 1).collect();
    Copier::new().unwrap().write(&pattern, &memory.all()).unwrap();
    queue.write(&pair, 512, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 65_536);
    assert_eq!(host_read(&mut queue, &file, 512, 65_536), pattern);
}

#[test]
fn a_file_lies_on_its_ssd_and_goes_the_same_way() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.file("/data/model", SSD, &[7; 8192]).unwrap();
    let machine = Machine::mock(mock);
    let file = File::open(&machine, "/data/model", Access::Read).unwrap();
    assert_eq!(file.stack().functions(), [address("0000:03:00.0")]);
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 8192);
    assert_eq!(contents(&memory), vec![7; 8192]);
}

#[test]
fn a_short_read_is_visible_and_never_complete() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, file.size() - 4096, memory.all()).unwrap();
    let receipt = queue.wait().unwrap();
    assert!(receipt.is_short());
    assert_eq!((receipt.requested(), receipt.bytes()), (8192, 4096));
    assert!(matches!(receipt.complete(), Err(Error::Io { .. })));
}

#[test]
fn misaligned_or_oversized_operations_are_refused_with_the_alignment_named() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 8192).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let refusal = |result: Result<_>| result.map(|_| ()).unwrap_err().to_string();
    assert!(refusal(queue.read(&pair, 100, memory.slice(..512).unwrap())).contains("512 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(..100).unwrap())).contains("512 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(2..514).unwrap())).contains("4 bytes"));
    assert!(refusal(queue.read(&pair, 0, memory.slice(..0).unwrap())).contains("0 bytes"));
    assert!(refusal(queue.write(&pair, 0, memory.slice(..512).unwrap())).contains("opened for reading"));
    assert!(queue.read(&pair, 0, memory.slice(4..516).unwrap()).is_ok(), "4-byte memory alignment is enough");
    assert_eq!(queue.wait().unwrap().bytes(), 512);
}

#[test]
fn a_pair_takes_neither_foreign_memory_nor_a_foreign_queue() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut first = queue(&machine);
    let mut second = queue(&machine);
    let pair = first.bind(&file, &memory).unwrap();
    let host = HostMemory::allocate(4096).unwrap();
    assert!(matches!(first.read(&pair, 0, host.all()), Err(Error::Invalid(_))));
    assert!(matches!(second.read(&pair, 0, memory.all()), Err(Error::Invalid(_))));
}

#[test]
fn memory_and_queue_of_two_machines_do_not_mix() {
    let (one, other) = (switch(), switch());
    let file = File::open(&one, SSD, Access::Read).unwrap();
    let foreign = peer(&other, 4096).unwrap();
    let mut queue = queue(&one);
    let refused = queue.bind(&file, &foreign).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)) && refused.to_string().contains("another machine"), "{refused}");
    let strange = File::open(&other, SSD, Access::Read).unwrap();
    assert!(queue.bind_host(&strange).unwrap_err().to_string().contains("another machine"));
    let pair = queue.bind(&file, &peer(&one, 4096).unwrap()).unwrap();
    assert!(matches!(queue.read(&pair, 0, foreign.all()), Err(Error::Invalid(_))), "the same address is not the same");
}

#[test]
fn absurd_offsets_are_refused_by_name() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for offset in [1 << 63, u64::MAX - 511, (1 << 63) - 512] {
        let refused = queue.read(&pair, offset, memory.all()).unwrap_err();
        assert!(refused.to_string().contains("out of range"), "{refused}");
    }
    assert!(matches!(HostMemory::allocate(0), Err(Error::Invalid(_))));
}

#[test]
fn a_buffered_file_gives_the_host_the_same_bytes_and_is_refused_for_peer_memory() {
    let machine = switch();
    let direct = File::open(&machine, SSD, Access::Read).unwrap();
    let buffered = direct.buffered().unwrap();
    assert!(buffered.is_buffered() && !direct.is_buffered());
    let mut queue = queue(&machine);
    assert_eq!(host_read(&mut queue, &buffered, 512, 8192), host_read(&mut queue, &direct, 512, 8192));
    let refused = queue.bind(&buffered, &peer(&machine, 4096).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::NoDirectIo(_)));
    let line = refused.to_string();
    for part in [SSD, "without O_DIRECT", "File::open"] {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn a_buffered_file_takes_writes_at_any_byte_if_the_direct_one_was_opened_for_them() {
    let machine = switch();
    let buffered = File::open(&machine, SSD, Access::ReadWrite).unwrap().buffered().unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind_host(&buffered).unwrap();
    let memory = HostMemory::allocate(4096).unwrap();
    memory.all().write(&[7; 4096]).unwrap();
    queue.write(&pair, 3, memory.slice(..5).unwrap()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 5);
    assert_eq!(host_read(&mut queue, &buffered, 3, 5), [7; 5]);
    let read_only = File::open(&machine, SSD, Access::Read).unwrap().buffered().unwrap();
    let pair = queue.bind_host(&read_only).unwrap();
    assert!(matches!(queue.write(&pair, 0, memory.all()), Err(Error::Invalid(_))));
}
