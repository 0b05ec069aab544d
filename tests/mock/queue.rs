//! A queue's own limits, and its end.

use std::time::Duration;

use p2pdma::{
    Error,
    machine::{
        Access, Machine, Mock,
        mock::{Cpu, Fault},
    },
    memory::{HostMemory, Provider},
    storage::File,
    transfer::{Count, Counters, Options, Queue},
};

use crate::{SSD, address, contents, host_read, peer, queue, switch};

#[test]
fn a_full_queue_says_so_and_goes_on_after_a_wait() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for _ in 0..8 {
        queue.read(&pair, 0, memory.all()).unwrap();
    }
    assert!(matches!(queue.read(&pair, 0, memory.all()), Err(Error::QueueFull(_))));
    queue.wait().unwrap().complete().unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
}

#[test]
fn no_two_operations_that_fly_share_a_name_or_a_place() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let id = queue.read(&pair, 0, memory.all()).unwrap();
        assert!(names.insert(id));
        assert!(id.place() < 8);
        assert_eq!(queue.wait().unwrap().operation(), id);
    }
}

#[test]
fn waiting_for_nothing_is_an_error_and_no_hang() {
    assert!(matches!(queue(&switch()).wait(), Err(Error::Invalid(_))));
}

#[test]
fn a_queue_dropped_in_flight_keeps_memory_and_file_until_the_end() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4 << 20).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for index in 0..8 {
        let part = memory.slice(index << 19..(index + 1) << 19).unwrap();
        queue.read(&pair, 0, part).unwrap();
    }
    queue.submit().unwrap();
    drop((memory, file, pair));
    drop(queue);
    let pool = Provider::find(&machine, address("0000:05:00.0")).unwrap().pool().unwrap();
    assert_eq!(pool.available, pool.size, "all of it went back");
}

#[test]
fn a_queue_may_move_to_another_thread() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    let moved = std::thread::spawn(move || queue.wait().map(|receipt| receipt.bytes()));
    assert_eq!(moved.join().unwrap().unwrap(), 4096);
}

#[test]
fn a_deadline_without_end_is_cut_and_panics_nowhere() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = Queue::new(&machine, Options::default().deadline(Duration::MAX)).unwrap();
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes(), 4096);
}

#[test]
fn a_write_that_was_never_started_does_not_start_when_the_queue_is_dropped() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let before = host_read(&mut queue(&machine), &file, 0, 4096);
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.write(&pair, 0, memory.all()).unwrap();
    drop(queue);
    assert_eq!(host_read(&mut crate::queue(&machine), &file, 0, 4096), before);
    drop(memory);
    let pool = Provider::find(&machine, address("0000:05:00.0")).unwrap().pool().unwrap();
    assert_eq!(pool.available, pool.size, "the pair keeps no memory, and the queue kept none");
}

#[test]
fn a_queue_lets_go_of_files_and_works_on_any_number_in_turn() {
    let machine = switch();
    let memory = peer(&machine, 512).unwrap();
    let mut queue = queue(&machine);
    for _ in 0..600 {
        let file = File::open(&machine, SSD, Access::Read).unwrap();
        let pair = queue.bind_host(&file).unwrap();
        let again = queue.bind_host(&file).unwrap();
        queue.unbind(again).unwrap();
        let host = HostMemory::allocate(512).unwrap();
        queue.read(&pair, 0, host.all()).unwrap();
        assert_eq!(queue.wait().unwrap().bytes_host(), 512, "a second pair keeps the file");
    }
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 512);
    queue.unbind(pair).unwrap();
}

/// The kernel looks the file up when the operation starts: its place in the table is nobody else's until then.
#[test]
fn an_operation_keeps_its_file_though_its_pair_is_gone_and_another_is_bound() {
    let machine = switch();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let first = File::open(&machine, SSD, Access::Read).unwrap();
    let expected = host_read(&mut crate::queue(&machine), &first, 8192, 4096);
    let pair = queue.bind(&first, &memory).unwrap();
    queue.read(&pair, 8192, memory.all()).unwrap();
    queue.unbind(pair).unwrap();
    let second = blank(&machine);
    let other = queue.bind(&second, &memory).unwrap();
    assert_eq!(other.file().path(), second.path());
    while queue.in_flight() > 0 {
        queue.wait().unwrap().complete().unwrap();
    }
    assert_eq!(contents(&memory), expected);
}

#[test]
fn a_checkpoint_is_written_and_synced_both_ways() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::ReadWrite).unwrap();
    let provider = Provider::find(&machine, address("0000:05:00.0")).unwrap();
    let (mapped, buffer) = (provider.allocate(4096).unwrap(), provider.allocate_buffer(4096).unwrap());
    let mut queue = queue(&machine);
    let pairs = [&mapped, &buffer].map(|memory| queue.bind(&file, memory).unwrap());
    queue.write_through(&pairs[0], 0, mapped.all()).unwrap();
    assert_eq!(queue.wait().unwrap().bytes_direct(), 4096);
    let refused = queue.write_through(&pairs[1], 4096, buffer.all()).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)) && refused.to_string().contains("sync the file"), "{refused}");
    queue.write(&pairs[1], 4096, buffer.all()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
    let id = queue.sync(&file).unwrap();
    let receipt = queue.wait().unwrap();
    assert_eq!((receipt.operation(), receipt.bytes(), receipt.to_string().as_str()), (id, 0, "sync"));
    assert_eq!(receipt.complete().unwrap(), 0);
    assert_eq!(host_read(&mut queue, &file, 0, 8192), [0; 8192]);
}

#[test]
fn counters_are_read_by_others_and_outlive_the_queue_in_the_machines_sum() {
    let mut mock = Mock::one_switch(Cpu::AmdZen).unwrap();
    mock.fault(1, Fault::Errno(5)).fault(2, Fault::Short(512));
    let machine = Machine::mock(mock);
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut first = queue(&machine);
    let pair = first.bind(&file, &memory).unwrap();
    for _ in 0..3 {
        first.read(&pair, 0, memory.all()).unwrap();
        let _ = first.wait().unwrap();
    }
    let counters = first.counters();
    let count = std::thread::spawn(move || counters.read()).join().unwrap();
    assert_eq!((count.operations, count.failed, count.short, count.bytes_direct), (3, 1, 1, 4608));
    let mut second = queue(&machine);
    host_read(&mut second, &file, 0, 4096);
    drop(first);
    let sum = Counters::of_machine(&machine);
    assert_eq!((sum.operations, sum.bytes_direct, sum.bytes_host), (4, 4608, 4096));
    assert_eq!(Counters::of_machine(&switch()), Count::default(), "a machine counts its own");
}

#[test]
fn a_rings_descriptor_tells_of_an_end() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    queue.submit().unwrap();
    let mut polled = [rustix::event::PollFd::new(&queue, rustix::event::PollFlags::IN)];
    let soon = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut polled, Some(&soon)).unwrap(), 1);
    assert_eq!(queue.poll().unwrap().bytes(), 4096);
}

/// The other SSD, its start zeroed.
fn blank(machine: &Machine) -> File {
    let file = File::open(machine, "/dev/nvme1n1", Access::ReadWrite).expect("blank");
    let mut queue = queue(machine);
    let pair = queue.bind_host(&file).expect("blank");
    queue.write(&pair, 0, HostMemory::allocate(65_536).expect("blank").all()).expect("blank");
    assert_eq!(queue.wait().expect("blank").complete().expect("blank"), 65_536);
    file
}
