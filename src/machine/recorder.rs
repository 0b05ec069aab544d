//! Remembers what a machine was asked, and what it answered.

use std::{
    borrow::Cow,
    io,
    os::fd::BorrowedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Backing, Machine, MachineKind, Module, Seam, Snapshot,
    facts::Facts,
    file::{Access, FileFacts, OpenFile},
    recorded::allocate,
    redact::redact,
    ring::{Ring, Setup},
    snapshot::{Answer, Answers},
};
use crate::{Error, Result, control, pci::Address};

/// Wraps a machine, and remembers all facts that are read through it, to look at elsewhere.
///
/// What is remembered is what was read, never what was concluded: a decoder that is mended later judges an old
/// recording anew.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, Recorder, Snapshot, mock::Cpu}, topology::Topology};
///
/// let recorder = Recorder::new(&Machine::mock(Mock::one_switch(Cpu::AmdZen)?));
/// let live = Topology::scan(recorder.machine())?;
/// let text = recorder.snapshot().to_string();
///
/// let recorded = Machine::recorded(text.parse::<Snapshot>()?); // on another machine, in another year
/// assert_eq!(Topology::scan(&recorded)?.devices().count(), live.devices().count());
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    tape: Arc<Tape>,
    machine: Machine,
}

impl Recorder {
    /// A recorder of `machine`. It has remembered nothing yet.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        let tape = Arc::new(Tape { machine: machine.clone(), asked: Mutex::new(Snapshot::partial()) });
        Self { machine: Machine { id: machine.id(), seam: tape.clone() }, tape }
    }

    /// The machine, in all ways as it was; whoever asks this one is overheard.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What was asked so far, with its latest answers, redacted: serial numbers, UUIDs and names that tell which
    /// machine it is are replaced. What was equal still is, and what was different still is.
    ///
    /// Of `/proc/cpuinfo` the first processor is kept.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        redact(self.tape.asked.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[derive(Debug)]
struct Tape {
    machine: Machine,
    asked: Mutex<Snapshot>,
}

impl Tape {
    /// Remembers an answer; gives it on. What a recording could not answer stays unasked.
    fn remember<T: Clone>(
        &self,
        path: &str,
        answer: io::Result<T>,
        place: fn(&mut Answers) -> &mut Option<Answer<T>>,
    ) -> io::Result<T> {
        let answer_or_errno = match &answer {
            Ok(value) => Some(Ok(value.clone())),
            Err(error) => error.raw_os_error().map(Err),
        };
        // No path of a machine is another: they cannot be written down.
        let is_path = path.starts_with('/') && !path.contains('\0');
        if let Some(answer) = answer_or_errno.filter(|_| is_path) {
            *place(self.asked.lock().unwrap_or_else(PoisonError::into_inner).at(path)) = Some(answer);
        }
        answer
    }
}

impl Facts for Tape {
    fn read(&self, path: &str) -> io::Result<Cow<'_, [u8]>> {
        let bytes = self.machine.facts().read(path).map(Cow::into_owned);
        self.remember(path, bytes, |answers| &mut answers.read).map(Cow::Owned)
    }

    fn size(&self, path: &str) -> io::Result<u64> {
        self.remember(path, self.machine.facts().size(path), |answers| &mut answers.size)
    }

    fn link(&self, path: &str) -> io::Result<String> {
        self.remember(path, self.machine.facts().link(path), |answers| &mut answers.link)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.remember(path, self.machine.facts().list(path), |answers| &mut answers.list)
    }

    fn opened(&self, path: &str) -> io::Result<FileFacts> {
        self.remember(path, self.machine.facts().opened(path).map(Box::new), |answers| &mut answers.open)
            .map(|facts| *facts)
    }
}

impl Seam for Tape {
    fn kind(&self) -> MachineKind {
        self.machine.kind()
    }

    fn facts(&self) -> &dyn Facts {
        self
    }

    fn open(&self, path: &Path, access: Access) -> Result<OpenFile> {
        self.machine.open(path, access)
    }

    fn backing(&self, provider: Address, length: usize) -> Result<Backing> {
        let backing = self.machine.backing(provider, length);
        // Whether this user may open it is a fact as well: `explain` asks so, with a length of 0.
        let opened = match &backing {
            Ok(_) => Some(Ok(Vec::new())),
            Err(Error::NotAllowed(_)) if self.kind() != MachineKind::Recorded => Some(Err(libc::EACCES)),
            Err(_) => None,
        };
        if let Some(opened) = opened {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.at(allocate(provider)).read = Some(opened);
        }
        backing
    }

    /// A refusal is a fact as well, as in [`Self::backing`].
    fn may_open(&self, path: &Path) -> Result<()> {
        let opened = self.machine.may_open(path);
        if let (Err(Error::NotAllowed(_)), Some(path)) = (&opened, path.to_str()) {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).at(path).open = Some(Err(libc::EACCES));
        }
        opened
    }

    fn module(self: Arc<Self>) -> Result<Module> {
        let module = self.machine.module();
        let refused = control::no_node(io::Error::from_raw_os_error(libc::EACCES));
        if module.as_ref().is_err_and(|error| error.refusal() == refused.refusal()) {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).at(control::NODE).read = Some(Err(libc::EACCES));
        }
        module
    }

    fn cached(&self, file: BorrowedFd<'_>, range: std::ops::Range<u64>) -> Option<u64> {
        self.machine.cached(file, range)
    }

    fn ring(&self, setup: Setup) -> Result<Box<dyn Ring>> {
        self.machine.ring(setup)
    }

    fn missing(&self) -> Vec<String> {
        self.machine.missing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::NotRecorded;

    /// A machine that can answer some questions and refuses others.
    fn original() -> Machine {
        let mut facts = Snapshot::partial();
        facts.file("/sys/a/value", "1\n").file_of_size("/sys/a/config", [0, 255], 4096);
        facts.symlink("/sys/b", "a").refused("/sys/a/secret", libc::EACCES).refused("/sys/c", libc::ENOENT);
        Machine::recorded(facts)
    }

    #[test]
    fn a_replay_answers_what_was_asked_as_it_was_answered() {
        let recorder = Recorder::new(&original());
        let ask = |facts: &dyn Facts| {
            let errno = |error: io::Error| error.raw_os_error();
            (
                ["/sys/a/value", "/sys/a/config", "/sys/a/secret", "/sys/c"]
                    .map(|path| facts.read(path).map(Cow::into_owned).map_err(errno)),
                ["/sys/a/config", "/sys/c"].map(|path| facts.size(path).map_err(errno)),
                ["/sys/b", "/sys/c"].map(|path| facts.link(path).map_err(errno)),
                ["/sys/a/secret", "/sys/c"].map(|path| facts.list(path).map_err(errno)),
            )
        };
        let live = ask(recorder.machine().facts());
        let replayed = Machine::recorded(recorder.snapshot().to_string().parse().unwrap());
        assert_eq!(ask(replayed.facts()), live);
        assert_eq!(replayed.missing(), Vec::<String>::new());
    }

    #[test]
    fn what_was_not_asked_is_unknown_and_not_absent() {
        let recorder = Recorder::new(&original());
        recorder.machine().facts().size("/sys/a/config").unwrap();
        let replayed = Machine::recorded(recorder.snapshot());
        for error in [replayed.facts().read("/sys/a/config").err(), replayed.facts().link("/sys/b").err()] {
            assert!(error.is_some_and(|error| NotRecorded::is(&error)));
        }
    }

    #[test]
    fn a_recording_of_a_recording_does_not_invent_answers() {
        let recorder = Recorder::new(&original());
        assert!(recorder.machine().facts().read("/sys/never/asked").is_err());
        assert!(recorder.snapshot().is_empty());
    }

    #[test]
    fn what_is_no_absolute_path_is_not_remembered() {
        let recorder = Recorder::new(&Machine::host());
        for path in ["relative", "", "/a\0b"] {
            assert!(recorder.machine().facts().read(path).is_err());
        }
        assert!(recorder.snapshot().is_empty());
    }
}
