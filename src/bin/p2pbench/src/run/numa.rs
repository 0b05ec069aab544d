//! On which processors the threads of a queue work.

use std::{io, num::NonZero, sync::Arc, thread::available_parallelism};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use p2pdma::{
    Refusal,
    machine::{Machine, MachineKind},
    storage::File,
};
use serde::Serialize;

use crate::{cli::Numa, failure::Failure};

/// The processors of a node.
#[derive(Debug, Clone)]
pub(super) struct Pin(Arc<CpuSet>);

/// While it lives the thread works on other processors than it did.
#[derive(Debug)]
pub(super) struct Pinned(CpuSet);

/// What `--numa` came to, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Placement {
    pub(super) source: String,
    node: Option<u32>,
    /// As the kernel lists them; `null` where the threads work anywhere.
    cpus: Option<String>,
    /// Why they do; `null` where they do not.
    reason: Option<String>,
}

impl Placement {
    fn anywhere(file: &File, node: Option<u32>, reason: &str) -> Self {
        Self { source: file.to_string(), node, cpus: None, reason: Some(reason.into()) }
    }

    /// Below a table: `--numa, /dev/nvme0n1: node 0 (0-31)`, or what came of it.
    pub(super) fn text(&self) -> String {
        let node = self.node.map_or("no node".into(), |node| format!("node {node}"));
        let rest = match (&self.cpus, &self.reason) {
            (Some(cpus), _) => format!(" ({cpus})"),
            (None, reason) => format!(", not pinned: {}", reason.as_deref().unwrap_or_default()),
        };
        format!("--numa, {}: {node}{rest}", self.source)
    }
}

/// Where the threads of a source work.
pub(super) fn place(machine: &Machine, numa: Numa, file: &File) -> Result<(Placement, Option<Pin>), Failure> {
    let node = match numa {
        Numa::Node(node) => Some(node),
        Numa::Auto => near(machine, file),
    };
    let Some(number) = node else {
        return Ok((
            Placement::anywhere(file, None, "the kernel names no one node for the SSDs below the source"),
            None,
        ));
    };
    if machine.kind() != MachineKind::Host {
        return Ok((Placement::anywhere(file, node, "a mock machine has no processors of its own"), None));
    }
    let wrong = |cause: String, cure: &str| Failure::Usage(Refusal::new(format!("--numa {number}"), cause, cure));
    let list = machine.facts().text(&format!("/sys/devices/system/node/node{number}/cpulist"));
    let list = list.ok_or_else(|| wrong("no such node".into(), "see /sys/devices/system/node"))?;
    let set =
        processors(&list).ok_or_else(|| wrong(format!("its processors cannot be read: {list:?}"), "use another"))?;
    let pin = Pin(Arc::new(set));
    pin.enter()?;
    Ok((Placement { source: file.to_string(), node, cpus: Some(list), reason: None }, Some(pin)))
}

/// The node of all SSDs below the file, if it is one.
fn near(machine: &Machine, file: &File) -> Option<u32> {
    let facts = machine.facts();
    let directory = |function| facts.link(&format!("/sys/bus/pci/devices/{function}")).ok();
    let node = |function| facts.number(&format!("{}/numa_node", directory(function)?));
    let nodes: Option<Vec<u64>> = file.stack().functions().into_iter().map(node).collect();
    let nodes = nodes?;
    let first = *nodes.first()?;
    u32::try_from(first).ok().filter(|_| nodes.iter().all(|&node| node == first))
}

/// `0-3,8` as the kernel writes it; `None` where it is not that, or no processor at all.
fn processors(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (first..=last).try_for_each(|processor| set.set(processor)).ok()?;
    }
    Some(set)
}

/// How many processors threads with these pins have among them; a thread without one has those of this process.
pub(super) fn processors_of<'a>(pins: impl Iterator<Item = Option<&'a Pin>>) -> usize {
    let mut all = CpuSet::new();
    for pin in pins {
        let Some(Pin(set)) = pin else { return available_parallelism().map_or(usize::MAX, NonZero::get) };
        let has = (0..CpuSet::count()).filter(|&processor| set.is_set(processor) == Ok(true));
        has.for_each(|processor| {
            // It came out of such a set.
            let _ = all.set(processor);
        });
    }
    (0..CpuSet::count()).filter(|&processor| all.is_set(processor) == Ok(true)).count()
}

impl Pin {
    /// Moves this thread there.
    pub(super) fn enter(&self) -> Result<Pinned, Failure> {
        let failed = |errno| {
            let cause = format!("the kernel gives none of its processors: {}", io::Error::from(errno));
            Failure::Operation(Refusal::new("--numa", cause, "use a node that this process may run on"))
        };
        let before = sched_getaffinity(Pid::from_raw(0)).map_err(failed)?;
        sched_setaffinity(Pid::from_raw(0), &self.0).map_err(failed)?;
        Ok(Pinned(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It ran there before.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read_as_the_kernel_writes_it() {
        let set = processors("0-2,5").unwrap();
        let has: Vec<usize> = (0..8).filter(|&processor| set.is_set(processor) == Ok(true)).collect();
        assert_eq!(has, [0, 1, 2, 5]);
        assert!(["", "x", "0-", "99999999"].iter().all(|list| processors(list).is_none()));
    }

    #[test]
    fn pinned_threads_have_the_processors_of_their_nodes_and_no_more() {
        let pin = |list| Pin(Arc::new(processors(list).unwrap()));
        let (first, second) = (pin("0-2,5"), pin("5-6"));
        assert_eq!(processors_of([Some(&first), Some(&second)].into_iter()), 5);
        let all = available_parallelism().unwrap().get();
        assert_eq!(processors_of([Some(&first), None].into_iter()), all);
    }

    #[test]
    fn a_thread_goes_there_and_comes_back() {
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let first = (0..CpuSet::count()).find(|&processor| before.is_set(processor) == Ok(true)).unwrap();
        let pin = Pin(Arc::new(processors(&first.to_string()).unwrap()));
        let pinned = pin.enter().unwrap();
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), *pin.0);
        drop(pinned);
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
