//! Queues for one thread.

use std::{
    thread,
    time::{Duration, Instant},
};

use p2pdma::{
    Error,
    machine::{Access, Machine},
    storage::File,
    transfer::{Options, Queue},
};

use crate::{SSD, contents, host_read, peer, switch};

fn queue(machine: &Machine) -> Queue {
    let options = Options::default().depth(8).deadline(Duration::from_secs(10)).single_issuer();
    Queue::new(machine, options).expect("a queue")
}

#[test]
fn its_reads_bring_what_the_host_reads() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 8192, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
    assert_eq!(contents(&memory), host_read(&mut queue, &file, 8192, 4096));
}

#[test]
fn whoever_polls_hears_of_an_end_that_nobody_waited_for() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    let id = queue.read(&pair, 0, memory.all()).unwrap();
    queue.submit().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let receipt = std::iter::repeat_with(|| queue.poll()).take_while(|_| Instant::now() < end).flatten().next();
    assert_eq!(receipt.map(|receipt| receipt.operation()), Some(id));
}

#[test]
fn while_nothing_flies_it_moves_to_another_thread_and_its_pairs_with_it() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    for _ in 0..3 {
        queue = thread::scope(|scope| {
            let there = scope.spawn(|| {
                queue.read(&pair, 0, memory.all()).unwrap();
                queue.wait().unwrap().complete().unwrap();
                queue
            });
            there.join().unwrap()
        });
    }
    queue.read(&pair, 0, memory.all()).unwrap();
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
}

#[test]
fn while_operations_fly_another_thread_is_refused_and_nothing_is_lost() {
    let machine = switch();
    let file = File::open(&machine, SSD, Access::Read).unwrap();
    let memory = peer(&machine, 4096).unwrap();
    let mut queue = queue(&machine);
    let pair = queue.bind(&file, &memory).unwrap();
    queue.read(&pair, 0, memory.all()).unwrap();
    queue.submit().unwrap();
    let refused = thread::scope(|scope| {
        let there = scope.spawn(|| {
            [
                queue.wait().map(drop),
                queue.submit(),
                queue.read(&pair, 0, memory.all()).map(drop),
                queue.sync(&file).map(drop),
            ]
        });
        there.join().unwrap()
    });
    for refused in refused {
        let Err(Error::Invalid(refusal)) = refused else { panic!("{refused:?}") };
        assert!(refusal.to_string().contains("another thread took the operations that fly"), "{refusal}");
    }
    assert_eq!(queue.wait().unwrap().complete().unwrap(), 4096);
}
