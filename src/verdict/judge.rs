//! Many pairs of one machine.

use std::{cell::RefCell, collections::BTreeMap};

use super::{Finding, Verdict, memory, platform::Platform, route, storage};
use crate::{Result, machine::Machine, pci::Address, storage::Source, topology::Topology};

/// Judges pairs of one machine; what does not depend on the pair is read once.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, storage::Source, topology::Topology, verdict::{Answer, Judge}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let topology = Topology::scan(&machine)?;
/// let judge = Judge::new(&machine, &topology);
/// for client in topology.clients() {
///     let source = Source::of_function(&machine, client.address)?;
///     for provider in topology.providers() {
///         assert_eq!(judge.with_memory(&source, provider.address)?.answer(), Answer::Yes);
///     }
/// }
/// # Ok::<(), p2pdma::Error>(())
/// ```
#[derive(Debug)]
pub struct Judge<'a> {
    machine: &'a Machine,
    topology: &'a Topology,
    platform: Platform,
    /// Of the providers that were asked for.
    memory: RefCell<BTreeMap<Address, Option<Finding>>>,
}

impl<'a> Judge<'a> {
    /// Reads what of the whole machine decides. `topology` is that of `machine`.
    #[must_use]
    pub fn new(machine: &'a Machine, topology: &'a Topology) -> Self {
        Self { machine, topology, platform: Platform::read(machine.facts()), memory: RefCell::default() }
    }

    /// As [`Verdict::judge`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when `provider` or an NVMe function below the source is not in the topology.
    pub fn judge(&self, source: &Source, provider: Address) -> Result<Verdict> {
        let functions = source.stack().functions().into_iter();
        let routes = functions.map(|client| self.topology.route(provider, client)).collect::<Result<Vec<_>>>()?;
        let mut findings = storage::findings(source);
        findings.extend(routes.iter().flat_map(|route| route::findings(self.topology, route, &self.platform)));
        findings.sort_by_key(|finding| finding.severity);
        Ok(Verdict { provider, routes, findings })
    }

    /// As [`Self::judge`] and [`Verdict::and_memory`]; each provider is asked once.
    ///
    /// # Errors
    ///
    /// Those of [`Self::judge`].
    pub fn with_memory(&self, source: &Source, provider: Address) -> Result<Verdict> {
        let mut verdict = self.judge(source, provider)?;
        let mut memory = self.memory.borrow_mut();
        let finding = memory.entry(provider).or_insert_with(|| memory::finding(self.machine, provider));
        verdict.findings.extend(finding.clone());
        verdict.findings.sort_by_key(|finding| finding.severity);
        Ok(verdict)
    }
}
