//! Many pairs of one machine.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

use super::{Finding, Verdict, access, memory, module, platform::Platform, queue, ring, route, storage};
use crate::{
    Result,
    machine::{Machine, Module},
    pci::Address,
    storage::Source,
    topology::Topology,
};

/// Judges pairs of one machine; what does not depend on the pair is read once.
///
/// ```
/// use p2pdma::{machine::{Machine, Mock, mock::Cpu}, storage::Source, topology::Topology, verdict::{Answer, Judge}};
/// let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen)?);
/// let topology = Topology::scan(&machine)?;
/// let judge = Judge::new(&machine, &topology);
/// for client in topology.clients() {
///     let source = judge.source(&Source::of_function(&machine, client.address)?);
///     for provider in topology.providers() {
///         assert_eq!(source.with_memory(provider.address)?.answer(), Answer::Yes);
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
    memory: RefCell<BTreeMap<Address, Option<Arc<Finding>>>>,
    /// Of this process, once somebody asked.
    ring: OnceCell<Option<Arc<Finding>>>,
    /// The module, or why this process cannot use it.
    module: OnceCell<Result<Module, Option<Arc<Finding>>>>,
}

impl<'a> Judge<'a> {
    /// Reads what of the whole machine decides. `topology` is that of `machine`.
    #[must_use]
    pub fn new(machine: &'a Machine, topology: &'a Topology) -> Self {
        Self {
            machine,
            topology,
            platform: Platform::read(machine.facts()),
            memory: RefCell::default(),
            ring: OnceCell::new(),
            module: OnceCell::new(),
        }
    }

    /// As [`Verdict::judge`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) when `provider` or an NVMe function below the source is not in the topology.
    pub fn judge(&self, source: &Source, provider: Address) -> Result<Verdict> {
        self.source(source).judge(provider)
    }

    /// Looks at a source, to judge it with many providers.
    #[must_use]
    pub fn source(&self, source: &Source) -> JudgedSource<'_> {
        JudgedSource {
            judge: self,
            source: source.clone(),
            access: OnceCell::new(),
            word: OnceCell::new(),
            functions: source.stack().functions(),
            findings: storage::findings(source).into_iter().map(Arc::new).collect(),
        }
    }

    fn memory(&self, provider: Address) -> Option<Arc<Finding>> {
        let mut memory = self.memory.borrow_mut();
        memory.entry(provider).or_insert_with(|| memory::finding(self.machine, provider).map(Arc::new)).clone()
    }
}

/// A source that was looked at. Comes from [`Judge::source`].
#[derive(Debug)]
pub struct JudgedSource<'a> {
    judge: &'a Judge<'a>,
    source: Source,
    /// Of this process, once somebody asked.
    access: OnceCell<Option<Arc<Finding>>>,
    /// Of the running kernel on its queue, once somebody asked.
    word: OnceCell<Option<queue::Word>>,
    functions: Vec<Address>,
    findings: Vec<Arc<Finding>>,
}

impl JudgedSource<'_> {
    /// As [`Verdict::judge`].
    ///
    /// # Errors
    ///
    /// Those of [`Judge::judge`].
    pub fn judge(&self, provider: Address) -> Result<Verdict> {
        let Judge { topology, platform, .. } = self.judge;
        let mut routes = Vec::with_capacity(self.functions.len());
        let mut findings = self.findings.clone();
        for client in &self.functions {
            let route = topology.route(provider, *client)?;
            findings.extend(route::findings(topology, &route, platform).map(Arc::new));
            routes.push(route);
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok(Verdict { provider, routes, findings })
    }

    /// As [`Self::judge`] and [`Verdict::and_memory`]; each provider is asked once.
    ///
    /// # Errors
    ///
    /// Those of [`Judge::judge`].
    pub fn with_memory(&self, provider: Address) -> Result<Verdict> {
        let Judge { machine, ring, module, .. } = self.judge;
        let mut verdict = self.judge(provider)?;
        let ring = ring.get_or_init(|| ring::finding(machine).map(Arc::new));
        let access = self.access.get_or_init(|| access::finding(machine, &self.source).map(Arc::new));
        verdict.findings.extend([access.clone(), self.judge.memory(provider), ring.clone()].into_iter().flatten());
        let module = module.get_or_init(|| module::open(machine));
        let word = self.word.get_or_init(|| module.as_ref().ok().and_then(|module| queue::ask(module, &self.source)));
        verdict.ask(&self.source, module, word.as_ref());
        Ok(verdict)
    }
}
