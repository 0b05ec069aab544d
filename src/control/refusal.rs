//! The errno tables of the module's header, in words: what kind of no, why, and what to do.

use std::{fmt, io};

use super::{MAJOR, NODE};
use crate::{Error, Refusal, SyscallError, error::grant};

type Kind = fn(Refusal) -> Error;

/// What the module means when it answers `error` to a call about `thing`.
pub(crate) fn refuse(thing: impl fmt::Display, error: SyscallError) -> Error {
    let errno = error.source.raw_os_error().unwrap_or(0);
    let known: Option<(Kind, &str, &str)> = match error.call {
        "P2PDMA_USER_ALLOC" => alloc(errno),
        "P2PDMA_USER_REGISTER" => register(errno),
        "P2PDMA_USER_BIND" => bind(errno),
        _ => None,
    };
    if let Some((kind, cause, cure)) = known {
        return kind(Refusal::new(thing, cause, cure));
    }
    let (cause, cure) = any(error.call, errno);
    Error::Io { refusal: Refusal::new(thing, cause, cure), source: error }
}

fn alloc(errno: i32) -> Option<(Kind, &'static str, &'static str)> {
    Some(match errno {
        libc::EINVAL => (Error::Invalid, "the length is out of range", "ask for at least one byte"),
        libc::ENODEV => (
            Error::NotFound,
            "no such device, or its driver gives no memory to peers",
            "name an SSD with a CMB, or give a spare device to the p2pdma_user driver by driver_override",
        ),
        libc::EACCES => (
            Error::ForeignProvider,
            "its pool belongs to another driver, which may use it already",
            "allocate from a device of the nvme or p2pdma_user driver, or register a dma-buf of that driver's",
        ),
        libc::ENOSPC => {
            (Error::PoolExhausted, "its pool has no free run of that length", "ask for less, or free other allocations")
        }
        libc::EDQUOT => (
            Error::PoolExhausted,
            "this user would hold more than root allows",
            "free other allocations, or have root raise /sys/module/p2pdma_user/parameters/user_bytes",
        ),
        _ => return None,
    })
}

fn register(errno: i32) -> Option<(Kind, &'static str, &'static str)> {
    Some(match errno {
        libc::EBADF | libc::EINVAL => {
            (Error::Invalid, "the descriptor is no dma-buf", "export the memory as a dma-buf by its driver's call")
        }
        libc::ENODEV => (Error::NotFound, "no such device, or no driver is bound to it", "see `p2pbench topo`"),
        libc::ENXIO => (
            Error::NotAllowed,
            "its memory is not yet known to the kernel's p2pdma",
            "have root write its address to /sys/bus/pci/drivers/p2pdma_user/provide",
        ),
        libc::EXDEV => (
            Error::Invalid,
            "the dma-buf does not lie in one BAR of this device: it is another's, or its driver moved it to the host",
            "name the device whose memory it is, and have its driver export memory that stays on the device",
        ),
        _ => return None,
    })
}

fn bind(errno: i32) -> Option<(Kind, &'static str, &'static str)> {
    Some(match errno {
        libc::EBADF => (Error::Invalid, "the file is not open for input or output", "open it without O_PATH"),
        libc::EINVAL => (
            Error::Invalid,
            "not a regular file or block device, or opened without O_DIRECT or with O_APPEND",
            "open a file on ext4 or xfs, or an NVMe block device, with O_DIRECT",
        ),
        libc::EOPNOTSUPP => (
            Error::NoDirectIo,
            "the kernel does no direct I/O between it and peer memory (filesystem, block stack, or encrypted host memory)",
            "use ext4 or xfs on an NVMe namespace; see `p2pbench explain`",
        ),
        libc::EREMOTEIO => {
            (Error::NoRoute, "the kernel has no route between the two devices", "see `p2pbench explain`")
        }
        _ => return None,
    })
}

/// What every call may answer.
fn any(call: &str, errno: i32) -> (String, &'static str) {
    let (cause, cure) = match errno {
        libc::ENODEV => ("its memory has gone: the provider was unbound", "bind it again and allocate anew"),
        libc::EREMOTEIO => ("the route has gone: the topology or its ACS bits changed", "see `p2pbench topo`"),
        libc::ENOTTY | libc::E2BIG | libc::EOPNOTSUPP => (
            "the p2pdma_user module that is loaded does not know this call",
            "load the module of this library's version",
        ),
        libc::EINTR => ("it was interrupted", "try again"),
        _ => return (format!("{call} failed"), "see what the kernel log says"),
    };
    (cause.to_owned(), cure)
}

/// The device node cannot be opened.
pub(crate) fn no_node(source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => {
            let cause = "the p2pdma_user module is not loaded";
            Error::NotAllowed(Refusal::new(NODE, cause, "have root load it: `modprobe p2pdma_user`"))
        }
        Some(libc::EACCES | libc::EPERM) => {
            Error::NotAllowed(Refusal::new(NODE, "this user may not open it", grant(NODE, "rw")))
        }
        _ => Error::syscall("open", NODE, source, "see what the kernel log says"),
    }
}

/// The module is one whose contract is another.
pub(crate) fn other_version(major: u32) -> Error {
    let cause = format!("the p2pdma_user module that is loaded has version {major}, and this library needs {MAJOR}");
    Error::NotAllowed(Refusal::new(NODE, cause, "load the module of this library's version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(call: &'static str, errno: i32) -> Error {
        refuse("thing", SyscallError { call, source: io::Error::from_raw_os_error(errno) })
    }

    #[test]
    fn each_line_of_the_tables_is_a_kind_with_a_cure() {
        assert!(matches!(refused("P2PDMA_USER_ALLOC", libc::EACCES), Error::ForeignProvider(_)));
        assert!(matches!(refused("P2PDMA_USER_ALLOC", libc::ENOSPC), Error::PoolExhausted(_)));
        assert!(matches!(refused("P2PDMA_USER_ALLOC", libc::ENODEV), Error::NotFound(_)));
        assert!(matches!(refused("P2PDMA_USER_REGISTER", libc::ENXIO), Error::NotAllowed(_)));
        assert!(matches!(refused("P2PDMA_USER_REGISTER", libc::EXDEV), Error::Invalid(_)));
        assert!(matches!(refused("P2PDMA_USER_BIND", libc::EOPNOTSUPP), Error::NoDirectIo(_)));
        assert!(matches!(refused("P2PDMA_USER_BIND", libc::EREMOTEIO), Error::NoRoute(_)));
        let gone = refused("P2PDMA_USER_COPY", libc::ENODEV);
        assert!(matches!(gone, Error::Io { .. }) && gone.to_string().contains("the provider was unbound"), "{gone}");
        assert!(refused("P2PDMA_USER_INFO", libc::ENOTTY).to_string().contains("load the module"));
    }

    #[test]
    fn without_the_module_or_its_rights_one_line_says_what_to_do() {
        let line = |errno| no_node(io::Error::from_raw_os_error(errno)).to_string();
        assert!(line(libc::ENOENT).contains("modprobe p2pdma_user"));
        assert!(line(libc::EACCES).contains("`chgrp GROUP /dev/p2pdma_user && "));
        assert!(other_version(7).to_string().contains("version 7"));
        for line in [line(libc::ENOENT), line(libc::EACCES), line(libc::EIO), other_version(7).to_string()] {
            assert!(line.starts_with(NODE) && line.lines().count() == 1, "{line}");
        }
    }
}
