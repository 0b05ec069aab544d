//! A machine of which only facts are left.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    io,
    os::fd::BorrowedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Backing, MachineKind, Module, NotRecorded, Seam, Snapshot,
    facts::Facts,
    file::{Access, FileFacts, OpenFile, memfd, not_allocated, not_opened},
    ring::{Ring, Setup},
};
use crate::{Error, Refusal, Result, control, pci::Address};

/// Answers from a snapshot, and keeps account of what it could not answer.
#[derive(Debug)]
pub(super) struct Recorded {
    snapshot: Snapshot,
    missing: Mutex<BTreeSet<String>>,
}

impl Recorded {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, missing: Mutex::default() }
    }

    fn note<T>(&self, path: &str, answer: io::Result<T>) -> io::Result<T> {
        if answer.as_ref().is_err_and(NotRecorded::is) {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        }
        answer
    }
}

/// Where a provider's memory is opened.
pub(super) fn allocate(provider: Address) -> String {
    format!("/sys/bus/pci/devices/{provider}/p2pmem/allocate")
}

/// What a recording cannot do. The cure is to look, or to go where the machine is.
fn only_facts(thing: impl std::fmt::Display, what: &str) -> Error {
    let cause = format!("{what} on a recorded machine, of which only facts are left");
    Error::NotAllowed(Refusal::new(thing, cause, "run this on the machine itself; a recording can only be looked at"))
}

impl Seam for Recorded {
    fn kind(&self) -> MachineKind {
        MachineKind::Recorded
    }

    fn facts(&self) -> &dyn Facts {
        self
    }

    fn open(&self, path: &Path, _access: Access) -> Result<OpenFile> {
        Err(only_facts(path.display(), "no file can be opened"))
    }

    /// What was not recorded could be opened.
    fn may_open(&self, path: &Path) -> Result<()> {
        match self.snapshot.opened(&path.to_string_lossy()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(not_opened(path, error)),
            _ => Ok(()),
        }
    }

    /// Of no length it only asks whether the memory could be opened; a recorder remembers that.
    fn backing(&self, provider: Address, length: usize) -> Result<Backing> {
        let path = allocate(provider);
        match self.snapshot.read(&path) {
            Ok(_) if length == 0 => return Ok(Backing { fd: memfd(c"p2pdma recorded", 0)?, lease: None }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(not_allocated(&path, error));
            }
            _ => {}
        }
        Err(only_facts(provider, "no memory can be allocated"))
    }

    fn module(self: Arc<Self>) -> Result<Module> {
        match self.snapshot.read(control::NODE) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(control::no_node(error)),
            _ => Err(only_facts(control::NODE, "the module cannot be asked")),
        }
    }

    fn cached(&self, _file: BorrowedFd<'_>, _range: std::ops::Range<u64>) -> Option<u64> {
        None
    }

    fn ring(&self, _setup: Setup) -> Result<Box<dyn Ring>> {
        Err(only_facts("queue", "no data can be moved"))
    }

    fn missing(&self) -> Vec<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Facts for Recorded {
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>> {
        self.note(path, self.snapshot.read(path))
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        self.note(path, self.snapshot.size(path))
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.note(path, self.snapshot.link(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.note(path, self.snapshot.list(path))
    }

    fn opened(&self, path: &str) -> io::Result<FileFacts> {
        self.note(path, self.snapshot.opened(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn recorded() -> Machine {
        let mut snapshot = Snapshot::partial();
        snapshot.file("/sys/a", "1\n").refused("/sys/gone", libc::ENOENT);
        Machine::recorded(snapshot)
    }

    #[test]
    fn what_needs_the_machine_itself_is_not_allowed_and_says_so() {
        let machine = recorded();
        let refused = [
            machine.open(Path::new("/dev/nvme0n1"), Access::Read).map(drop),
            machine.backing("0000:01:00.0".parse().unwrap(), 4096).map(drop),
            machine.ring(Setup { depth: 8, single_issuer: false }).map(drop),
            machine.module().map(drop),
        ];
        for refused in refused.map(Result::unwrap_err) {
            assert!(matches!(refused, Error::NotAllowed(_)));
            assert!(refused.to_string().contains("recorded machine"), "{refused}");
            assert!(refused.to_string().contains("run this on the machine itself"), "{refused}");
        }
        assert_eq!(machine.kind(), MachineKind::Recorded);
    }

    #[test]
    fn what_it_could_not_answer_is_on_account_and_what_it_could_is_not() {
        let machine = recorded();
        assert_eq!(machine.facts().number("/sys/a"), Some(1));
        assert_eq!(machine.facts().text("/sys/gone/below"), None);
        assert_eq!(machine.missing(), Vec::<String>::new());
        assert_eq!((machine.facts().text("/sys/b"), machine.facts().text("/sys/b")), (None, None));
        assert_eq!(machine.missing(), ["/sys/b"]);
    }
}
