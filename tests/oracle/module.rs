//! The project's module as another who answers: DISTANCE, for every pair.
//!
//! # Safety
//!
//! Unsafe is the one ioctl: its argument is a structure on the stack, which says how large it is.
#![expect(unsafe_code, reason = "a raw system call is what is tested; the policy is above")]

use std::{fs::File, os::fd::AsRawFd};

use p2pdma::pci::Address;
use p2pdma_sys::{NODE, P2PDMA_USER_DISTANCE, p2pdma_user_address, p2pdma_user_distance};

pub(crate) struct Node(File);

impl Node {
    pub(crate) fn open() -> Self {
        Self(File::options().read(true).write(true).open(NODE).expect("p2pdma_user.ko, which tests/vm/run loads"))
    }

    /// The kernel's distance, by the module.
    pub(crate) fn distance(&self, provider: Address, client: Address) -> Option<u32> {
        let size = u32::try_from(size_of::<p2pdma_user_distance>()).expect("small");
        let (provider, client) = (named(provider), named(client));
        let mut args = p2pdma_user_distance { size, provider, client, ..Default::default() };
        // SAFETY: the module reads and writes as many bytes as the argument says it has.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), P2PDMA_USER_DISTANCE.into(), &raw mut args) };
        assert_eq!(result, 0, "DISTANCE: {}", std::io::Error::last_os_error());
        assert!(args.out_distance >= -1, "{}", args.out_distance);
        u32::try_from(args.out_distance).ok()
    }
}

fn named(address: Address) -> p2pdma_user_address {
    let Address { domain, bus, device, function } = address;
    p2pdma_user_address { domain, bus, devfn: device << 3 | function, reserved: 0 }
}
