//! Memory that another driver exports, and providers that others' drivers have: REGISTER's table line by line.

use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    process::Command,
};

use p2pdma::{
    machine::{
        Access, Direction, Machine, Mock,
        mock::{Cpu, Function},
        module::{Module, Transfer},
    },
    pci::Address,
};

use crate::{MIB, World, errno, held, pattern};

const DRIVER: &str = "p2pdma_test_gpu";
const READ: Transfer = Transfer { direction: Direction::Read, offset: 512, position: 4096, length: 65_536 };

/// The GPU has a driver of its own, which exports the first MiB of it; `provided` says whether root made it a provider.
struct Gpu {
    dmabuf: OwnedFd,
    /// Gives the real one back to the donor, before the next test may begin.
    _driver: Option<StandIn>,
    world: World,
}

impl Gpu {
    fn new(provided: bool) -> Self {
        let world = World::new();
        if world.is_mock() {
            return Self::mocked(world, provided);
        }
        let driver = StandIn::new(world.gpu);
        if provided {
            fs::write("/sys/bus/pci/drivers/p2pdma_user/provide", world.gpu.to_string()).expect("provided");
        }
        Self { dmabuf: driver.export(MIB), _driver: Some(driver), world }
    }

    fn mocked(mut world: World, provided: bool) -> Self {
        let mut mock = Mock::one_switch(Cpu::AmdZen).expect("a mock machine");
        let port = Some("0000:02:02.0".parse().expect("an address"));
        // A new address, as a pool that a mock device once had it keeps.
        let gpu = if provided { world.gpu } else { "0000:06:00.0".parse().expect("an address") };
        let function = Function::provider(gpu, port, 64 * MIB);
        let p2pmem = if provided { function.p2pmem } else { None };
        mock.function(&Function { driver: Some(DRIVER.into()), p2pmem, ..function });
        mock.provider(world.other_provider(), port, MIB);
        let dmabuf = mock.export(gpu, MIB).expect("a mock GPU");
        (world.gpu, world.machine) = (gpu, Machine::mock(mock));
        Self { world, dmabuf, _driver: None }
    }

    fn module(&self) -> Module {
        self.world.module()
    }
}

#[test]
fn what_a_driver_exports_is_a_buffer_like_any_other() {
    let gpu = Gpu::new(true);
    let module = gpu.module();
    let buffer = module.register(gpu.world.gpu, &gpu.dmabuf).expect("a buffer");
    assert_eq!((buffer.length(), held(&module)), (MIB, (1, MIB, 0, 0)));
    let pair = buffer.bind(gpu.world.file(Access::ReadWrite)).expect("a pair");
    assert_eq!((pair.bound().distance, pair.bound().memory_alignment), (4, 4));
    let data = pattern(9, 65_536);
    buffer.write(512, &data).expect("copied");
    assert_eq!(pair.io(Transfer { direction: Direction::Write, ..READ }).expect("written").bytes, 65_536);
    buffer.write(0, &vec![0; 1 << 20]).expect("copied");
    assert_eq!(pair.io(READ).expect("read").bytes, 65_536);
    let mut back = vec![1; 65_536];
    buffer.read(512, &mut back).expect("copied");
    assert!(back == data);
    let other = module.register(gpu.world.gpu, &gpu.dmabuf).expect("the same memory once more");
    other.read(512, &mut back).expect("copied");
    assert!(back == data, "its content is left as it is");
}

#[test]
fn register_refuses_what_lies_elsewhere() {
    let gpu = Gpu::new(true);
    let (module, nowhere) = (gpu.module(), Address { domain: 0xffff_fff0, bus: 0, device: 0, function: 0 });
    assert_eq!(errno(module.register(nowhere, &gpu.dmabuf)), libc::ENODEV);
    assert_eq!(errno(module.register(gpu.world.ssd, &gpu.dmabuf)), libc::ENXIO, "the SSD has no pages");
    let other = gpu.world.other_provider();
    assert_eq!(errno(module.register(other, &gpu.dmabuf)), libc::EXDEV, "another provider's");
    assert_eq!(errno(module.alloc(gpu.world.gpu, 4096)), libc::EACCES, "what its pool hands out may be in use");
    assert_eq!(held(&module), (0, 0, 0, 0));
}

#[test]
fn register_refuses_what_root_has_not_provided() {
    let gpu = Gpu::new(false);
    let module = gpu.module();
    assert_eq!(errno(module.register(gpu.world.gpu, &gpu.dmabuf)), libc::ENXIO);
    assert_eq!(errno(module.alloc(gpu.world.gpu, 4096)), libc::EACCES, "whatever its driver has, it is not ours");
}

/// The real GPU under the driver of `kmod/test`, until it is dropped.
struct StandIn(Address);

impl StandIn {
    fn new(gpu: Address) -> Self {
        if !Path::new("/sys/module").join(DRIVER).exists() {
            let module =
                format!("{}/{DRIVER}.ko", std::env::var("P2PDMA_MODULES").expect("the guest names its modules"));
            assert!(Command::new("insmod").arg(module).status().expect("insmod").success());
        }
        bind(gpu, DRIVER);
        Self(gpu)
    }

    #[expect(unsafe_code, reason = "the stand-in's own call is a raw ioctl")]
    fn export(&self, length: u64) -> OwnedFd {
        let node =
            fs::File::options().read(true).write(true).open(format!("/dev/{DRIVER}-{}", self.0)).expect("its node");
        let (number, argument) = (1 << 30 | 16 << 16 | 0xb7 << 8 | 0x80, [0, length]);
        // SAFETY: the argument is the two numbers that the stand-in reads.
        let fd = unsafe { libc::ioctl(node.as_raw_fd(), number, argument.as_ptr()) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: it was made for us.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // A failed test has objects left that keep it.
        if std::thread::panicking() {
            return;
        }
        bind(self.0, "p2pdma_user");
    }
}

fn bind(gpu: Address, driver: &str) {
    let (device, address) = (format!("/sys/bus/pci/devices/{gpu}"), gpu.to_string());
    fs::write(format!("{device}/driver/unbind"), &address).expect("unbound");
    fs::write(format!("{device}/driver_override"), driver).expect("an override");
    fs::write("/sys/bus/pci/drivers_probe", &address).expect("bound");
}
