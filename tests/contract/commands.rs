//! The data path, by a ring; and what is left of the objects when their provider loses its driver.

use std::{fs, time::Duration};

use p2pdma::{
    machine::{Access, Direction, module::Transfer},
    memory::{Copier, Provider},
    transfer::{Options, Queue},
};

use crate::{MIB, World, errno, pattern};

const READ: Transfer = Transfer { direction: Direction::Read, offset: 0, position: 0, length: 4096 };

fn queue(world: &World) -> Queue {
    Queue::new(&world.machine, Options::default().depth(8).deadline(Duration::from_secs(30))).expect("a queue")
}

#[test]
fn commands_move_the_bytes_that_ioctls_move() {
    let world = World::new();
    let memory = Provider::find(&world.machine, world.gpu).and_then(|gpu| gpu.allocate_buffer(1 << 20));
    let (memory, file) = (memory.expect("a buffer"), world.file(Access::ReadWrite));
    let (mut queue, mut copier) = (queue(&world), Copier::new().expect("a copier"));
    let pair = queue.bind(&file, &memory).expect("a pair");
    let data = pattern(6, 65_536);
    copier.write(&data, &memory.slice(12..).expect("a slice")).expect("copied");
    queue.write(&pair, 1024, memory.slice(12..65_548).expect("a slice")).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").complete().expect("whole"), 65_536);

    let buffer = world.module().alloc(world.gpu, MIB).expect("a buffer");
    let by_ioctl = buffer.bind(&file).expect("a pair");
    let read = Transfer { position: 1024, length: 65_536, ..READ };
    assert_eq!(by_ioctl.io(read).expect("read").bytes, 65_536);
    let mut back = vec![0; data.len()];
    buffer.read(0, &mut back).expect("copied");
    assert!(back == data, "written by a command, read by an ioctl");

    queue.read(&pair, 1024, memory.slice(131_076..196_612).expect("a slice")).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").complete().expect("whole"), 65_536);
    copier.read(&memory.slice(131_076..196_612).expect("a slice"), &mut back).expect("copied");
    assert!(back == data, "and by a command");
}

#[test]
fn a_provider_that_loses_its_driver_leaves_objects_that_say_enodev() {
    let world = World::losing_its_provider();
    let module = world.module();
    let buffer = module.alloc(world.gpu, MIB).expect("a buffer");
    let file = world.file(Access::Read);
    let pair = buffer.bind(&file).expect("a pair");
    assert_eq!(pair.io(READ).expect("read").bytes, 4096);
    let memory = Provider::find(&world.machine, world.gpu).and_then(|gpu| gpu.allocate_buffer(1 << 20));
    let memory = memory.expect("a buffer");
    let mut queue = queue(&world);
    let flying = queue.bind(&file, &memory).expect("a pair");
    let unbound = Unbound::new(&world);
    // On a mock machine, this is where it happens.
    queue.read(&flying, 0, memory.slice(..4096).expect("a slice")).expect("taken");
    assert_eq!(queue.wait().expect("a receipt").errno(), Some(libc::ENODEV));
    assert_eq!(errno(buffer.read(0, &mut [0])), libc::ENODEV);
    assert_eq!(errno(buffer.write(0, &[0])), libc::ENODEV);
    assert_eq!(errno(buffer.bind(&file)), libc::ENODEV);
    assert_eq!(errno(pair.io(READ)), libc::ENODEV);
    assert_eq!(errno(module.alloc(world.gpu, 4096)), libc::ENODEV);
    drop(unbound);
    assert_eq!(errno(buffer.read(0, &mut [0])), libc::ENODEV, "what its next driver has is other memory");
}

/// The real GPU without its driver; that of a mock machine loses it by the script.
struct Unbound(Option<String>);

impl Unbound {
    fn new(world: &World) -> Self {
        let address = (!world.is_mock()).then(|| world.gpu.to_string());
        if let Some(address) = &address {
            fs::write(format!("/sys/bus/pci/devices/{address}/driver/unbind"), address).expect("unbound");
        }
        Self(address)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if let Some(address) = &self.0 {
            fs::write("/sys/bus/pci/drivers_probe", address).expect("bound");
        }
    }
}
