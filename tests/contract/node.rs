//! What the device node answers.

use std::fs;

use p2pdma::{
    machine::{Access, module::Features},
    pci::Address,
};

use crate::{MIB, World, errno, held, pattern, reopened};

const NOWHERE: Address = Address { domain: 0xffff_fff0, bus: 0, device: 0, function: 0 };

#[test]
fn the_module_says_what_it_can_do() {
    let world = World::new();
    let info = world.module().info().expect("it answers");
    assert_eq!((info.major, u64::from(info.max_length)), (1, 64 * MIB));
    assert!(info.features.contains(Features::ALLOC));
}

#[test]
fn distances_are_the_kernels() {
    let world = World::new();
    let module = world.module();
    let route = std::env::var("P2PDMA_ROUTE").as_deref() != Ok("no");
    assert_eq!(module.distance(world.gpu, world.gpu).expect("it answers"), Some(0));
    assert_eq!(module.distance(world.gpu, world.ssd).expect("it answers"), route.then_some(4));
    assert_eq!(errno(module.distance(NOWHERE, world.ssd)), libc::ENODEV);
    assert_eq!(errno(module.distance(world.gpu, NOWHERE)), libc::ENODEV);
}

#[test]
fn a_queue_is_asked_of_block_devices_alone() {
    let world = World::new();
    let (module, ssd) = (world.module(), world.file(Access::Read));
    assert!(module.queue(&ssd).expect("it answers"));
    assert_eq!(errno(module.queue(fs::File::open("/proc/self/exe").expect("a file"))), libc::ENOTBLK);
    assert_eq!(errno(module.queue(fs::File::open("/dev/null").expect("a file"))), libc::ENOTBLK);
    let path = reopened(&ssd, fs::File::options().read(true), libc::O_PATH);
    assert_eq!(errno(module.queue(path)), libc::EBADF);
}

#[test]
fn alloc_gives_whole_pages_of_zeroes_and_refuses_by_its_table() {
    let world = World::new();
    let module = world.module();
    assert_eq!(errno(module.alloc(world.gpu, 0)), libc::EINVAL);
    assert_eq!(errno(module.alloc(world.gpu, u64::MAX)), libc::EINVAL);
    assert_eq!(errno(module.alloc(world.gpu, i64::MAX as u64)), libc::EINVAL);
    assert_eq!(errno(module.alloc(world.gpu, 65 * MIB)), libc::ENOSPC);
    assert_eq!(errno(module.alloc(NOWHERE, 4096)), libc::ENODEV);
    assert_eq!(errno(module.alloc(world.ssd, 4096)), libc::ENODEV, "it has no memory");
    let page = module.alloc(world.gpu, 1).expect("a page");
    assert_eq!(page.length(), 4096);
    page.write(0, &pattern(1, 4096)).expect("copied");
    assert_eq!(errno(module.alloc(world.gpu, 64 * MIB)), libc::ENOSPC, "a page is taken");
    drop(page);
    let all = module.alloc(world.gpu, 64 * MIB).expect("all of it");
    assert_eq!(errno(module.alloc(world.gpu, 1)), libc::ENOSPC);
    let mut bytes = vec![1; 8 << 20];
    all.read(0, &mut bytes).expect("copied");
    assert!(bytes.iter().all(|&byte| byte == 0), "whatever its last user left");
}

#[test]
fn register_takes_nothing_that_is_no_dma_buf() {
    let world = World::new();
    let module = world.module();
    if !module.info().expect("it answers").features.contains(Features::REGISTER) {
        assert_eq!(errno(module.register(world.gpu, fs::File::open("/dev/null").expect("a file"))), libc::ENOTTY);
        return;
    }
    assert_eq!(errno(module.register(world.gpu, fs::File::open("/dev/null").expect("a file"))), libc::EINVAL);
    assert_eq!(errno(module.register(world.gpu, world.file(Access::Read))), libc::EINVAL);
}

#[test]
fn all_that_is_held_is_counted_until_it_is_given_back() {
    let world = World::new();
    let module = world.module();
    assert_eq!(held(&module), (0, 0, 0, 0));
    let first = module.alloc(world.gpu, 4097).expect("two pages");
    let second = module.alloc(world.gpu, MIB).expect("a buffer");
    assert_eq!(held(&module), (2, 8192 + MIB, 0, 0));
    drop(first);
    assert_eq!(held(&module), (1, MIB, 0, 0));
    drop(second);
    assert_eq!(held(&module), (0, 0, 0, 0));
}
