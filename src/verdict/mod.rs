//! Whether a file's bytes can go direct to or from a provider's memory on Linux 6.12, and if not, why and what to do.
//!
//! The one place that asks: a queue before it binds, `p2pbench explain`, `run` and `check`. Everything here is known
//! before any I/O. Two refusals of the kernel have the same errno, `EREMOTEIO`, and are told apart here:
//! [`What::QueueRefuses`] (the block stack) and [`What::NoRoute`] (the devices).

mod access;
mod finding;
mod judge;
mod memory;
mod module;
mod platform;
mod queue;
mod ring;
mod route;
mod ssd;
mod stack;
mod storage;

use std::{mem::discriminant, sync::Arc};

use crate::{
    Error, Result,
    machine::Module,
    pci::Address,
    storage::Source,
    topology::{Route, Topology},
};

pub use finding::{Finding, Severity, Way, What};
pub use judge::{Judge, JudgedSource};

/// The answer for one pair of a file and a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel's rules say yes.
    Yes,
    /// They say no.
    No,
    /// Something that decides could not be read.
    Unknown,
}

impl Answer {
    /// `yes`, `no` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What stands between a file and a provider's memory.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, storage::Source, topology::Topology, verdict::{Answer, Verdict, What}};
/// let machine = Machine::mock(Mock::root_ports(Cpu::IntelUnlisted)?);
/// let source = Source::of_block_device(&machine, "/dev/nvme0n1")?;
/// let verdict = Verdict::judge(&Topology::scan(&machine)?, &source, "0000:02:00.0".parse()?)?;
/// assert_eq!(verdict.answer(), Answer::No);
/// assert_eq!(verdict.findings().next().map(|finding| finding.what), Some(What::NoRoute));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verdict {
    provider: Address,
    routes: Vec<Route>,
    /// Shared by the verdicts of one [`Judge`]: most findings are of the source or of the provider, few of the pair.
    findings: Vec<Arc<Finding>>,
}

impl Verdict {
    /// Judges one pair: storage, and the ways between the devices. Not whether the provider's memory could be had, since
    /// whoever binds has it already: see [`Self::and_memory`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when `provider` or an NVMe function below the source is not in `topology`.
    pub fn judge(topology: &Topology, source: impl AsRef<Source>, provider: Address) -> Result<Self> {
        let source = source.as_ref();
        Judge::new(source.machine(), topology).judge(source, provider)
    }

    /// Whether a transfer between `source` and host memory is what it was asked to be: direct I/O, or the page cache for a
    /// file that was opened for it. What a filesystem copies by CPU in spite of `O_DIRECT` must not pass for a bounce.
    ///
    /// # Errors
    ///
    /// [`Error::NoDirectIo`], with the cause.
    pub fn judge_host(source: impl AsRef<Source>) -> Result<()> {
        storage::silently_buffered(source.as_ref()).map_or(Ok(()), |finding| Err(finding.into()))
    }

    /// Judges also whether this process could open the storage, allocate the provider's memory, use the module and move anything:
    /// on a live machine it asks for each, and gives it back. Where the module can be used, the running kernel's answer takes the
    /// place of what could not be told about a route, and of what was inferred about the queue.
    #[must_use]
    pub fn and_memory(mut self, source: impl AsRef<Source>) -> Self {
        let machine = source.as_ref().machine();
        let found = [
            access::finding(machine, source.as_ref()),
            memory::finding(machine, self.provider),
            ring::finding(machine),
        ];
        self.findings.extend(found.into_iter().flatten().map(Arc::new));
        let module = module::open(machine);
        let word = module.as_ref().ok().and_then(|module| queue::ask(module, source.as_ref()));
        self.ask(source.as_ref(), &module, word.as_ref());
        self
    }

    /// Asks the running kernel about routes in doubt, if the module can be used, and takes its word on the queue; else says why it
    /// cannot.
    fn ask(&mut self, source: &Source, module: &Result<Module, Option<Arc<Finding>>>, word: Option<&queue::Word>) {
        match module {
            Ok(module) => module::settle(module, &mut self.routes, &mut self.findings),
            Err(finding) => self.findings.extend(finding.clone()),
        }
        word.into_iter().for_each(|word| queue::settle(word, source, &mut self.findings));
        self.findings.sort_by_key(|finding| finding.severity);
    }

    /// The answer for mapped peer memory.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.way(Way::P2pmem)
    }

    /// Yes, no or unknown for one way; a no outweighs an unknown.
    #[must_use]
    pub fn way(&self, way: Way) -> Answer {
        let severities = self.findings.iter().filter(|finding| finding.is_in(way)).map(|finding| finding.severity);
        match severities.min() {
            None | Some(Severity::Warning) => Answer::Yes,
            Some(Severity::No) => Answer::No,
            Some(Severity::Unknown) => Answer::Unknown,
        }
    }

    /// Everything in the way or worth knowing, the heaviest first.
    #[must_use]
    pub fn findings(&self) -> impl DoubleEndedIterator<Item = &Finding> + ExactSizeIterator {
        self.findings.iter().map(|finding| &**finding)
    }

    /// The provider whose memory it is about.
    #[must_use]
    pub fn provider(&self) -> Address {
        self.provider
    }

    /// The route from the first NVMe function; `None` where none lies under the source.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.routes.first()
    }

    /// The routes from all NVMe functions under the source.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Nothing when the answer for this way is yes.
    ///
    /// # Errors
    ///
    /// The finding that decides: [`Error::NoDirectIo`], [`Error::NoRoute`], or [`Error::NotAllowed`] when the answer is
    /// unknown. What cannot be known is not assumed.
    pub fn require(self, way: Way) -> Result<()> {
        let decides = self.findings.into_iter().find(|finding| finding.is_in(way));
        decides.map_or(Ok(()), |finding| Err(Arc::unwrap_or_clone(finding).into()))
    }

    /// Without what the running kernel has answered since, when the module bound a buffer to the file: that there is a route,
    /// that the queue takes peer memory, or that root has vouched for the stack. It cannot know what a hypervisor hides.
    pub(crate) fn settled_by_kernel(mut self) -> Self {
        let asked = [What::RouteUnknown, What::NoRoute, What::OtherKernel, What::StackUnknown];
        self.findings.retain(|finding| {
            finding.what != What::StackNotNamed
                && (finding.severity != Severity::Unknown || !asked.contains(&finding.what))
        });
        self
    }

    /// Without what a proof of the route answers.
    pub(crate) fn settled_by_proof(mut self) -> Self {
        self.findings.retain(|finding| finding.severity != Severity::Unknown || !finding.what.is_provable());
        self
    }

    /// What the module has refused, in more words: what the facts have against its way, or what they have against the other
    /// way that is the same kind of no; else its own words.
    pub(crate) fn explain(self, refused: Error) -> Error {
        let no = |finding: &&Finding| finding.severity == Severity::No;
        let same = |finding: &&Finding| discriminant(&Error::from((*finding).clone())) == discriminant(&refused);
        let findings = || self.findings().filter(no);
        let known = findings().find(|finding| finding.is_in(Way::Module)).or_else(|| findings().find(same));
        known.cloned().map_or(refused, Error::from)
    }
}

#[cfg(test)]
mod tests;
