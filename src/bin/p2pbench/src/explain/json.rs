//! The explanation as programs read it.

use p2pdma::{
    storage::{Evidence, Layer, LayerKind, Limits, Source},
    topology::RULES,
    verdict::{Finding, Way},
};
use serde::Serialize;

use super::Explained;
use crate::{facts::MachineFacts, topo::json::Pair};

/// Everything. The keys are a contract with scripts: others may be added, none renamed.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    schema: &'static str,
    machine: MachineFacts,
    /// The kernel whose rules were applied.
    rules: &'static str,
    source: String,
    peer: String,
    /// `yes`, `no` or `unknown`: of the way by p2pmem, as the exit code is.
    answer: &'static str,
    ways: Ways,
    dio_alignment: Option<Alignment>,
    /// One for each NVMe function below the source.
    routes: Vec<Pair>,
    /// Top down, each before those below it.
    stack: Vec<StackLayer>,
    /// The heaviest first.
    findings: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Ways {
    p2pmem: &'static str,
    module: &'static str,
}

#[derive(Debug, Serialize)]
struct Alignment {
    memory: u32,
    offset: u32,
}

#[derive(Debug, Serialize)]
struct StackLayer {
    depth: usize,
    name: String,
    kind: &'static str,
    /// In words: `md raid0`.
    what: String,
    /// `259:0`, of a block device.
    number: Option<String>,
    /// Of a namespace.
    function: Option<String>,
    /// Of a filesystem.
    options: Option<String>,
    /// Whether peer memory passes it untouched; `null`: cannot be told.
    passes: Option<bool>,
    limits: Option<QueueLimits>,
    evidence: Vec<Seen>,
}

/// In bytes; `null`: cannot be read.
#[derive(Debug, Serialize)]
struct QueueLimits {
    logical_block: Option<u64>,
    memory_alignment: Option<u64>,
    max_request: Option<u64>,
    max_hardware_request: Option<u64>,
    max_segments: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Found {
    what: &'static str,
    /// `no`, `unknown` or `warning`.
    severity: &'static str,
    /// Those it concerns: `p2pmem`, `module`.
    ways: Vec<&'static str>,
    thing: String,
    cause: String,
    cure: String,
    evidence: Vec<Seen>,
}

#[derive(Debug, Serialize)]
struct Seen {
    path: String,
    value: String,
}

impl Document {
    pub(super) fn new(explained: &Explained<'_>) -> Self {
        let Explained { machine, source, verdict, .. } = explained;
        let way = |way| verdict.way(way).as_str();
        Self {
            schema: "p2pbench.explain/1",
            machine: MachineFacts::of(machine),
            rules: RULES,
            source: source.to_string(),
            peer: verdict.provider().to_string(),
            answer: verdict.answer().as_str(),
            ways: Ways { p2pmem: way(Way::P2pmem), module: way(Way::Module) },
            dio_alignment: alignment(source),
            routes: verdict.routes().iter().map(Pair::new).collect(),
            stack: source.stack().layers().into_iter().map(|(depth, layer)| StackLayer::new(depth, layer)).collect(),
            findings: verdict.findings().map(Found::new).collect(),
        }
    }
}

fn alignment(source: &Source) -> Option<Alignment> {
    source.dio_alignment().map(|dio| Alignment { memory: dio.memory, offset: dio.offset })
}

impl StackLayer {
    fn new(depth: usize, layer: &Layer) -> Self {
        let (function, options) = match &layer.kind {
            LayerKind::Namespace(function) | LayerKind::Controller { function, .. } => {
                (Some(function.to_string()), None)
            }
            LayerKind::Filesystem(mount) => (None, Some(mount.options.clone())),
            _ => (None, None),
        };
        Self {
            depth,
            name: layer.name.clone(),
            kind: layer.word(),
            what: layer.what(),
            number: layer.number.map(|number| number.to_string()),
            function,
            options,
            passes: layer.passes(),
            limits: layer.is_block().then(|| QueueLimits::new(layer.limits)),
            evidence: layer.evidence.iter().map(Seen::new).collect(),
        }
    }
}

impl QueueLimits {
    fn new(limits: Limits) -> Self {
        Self {
            logical_block: limits.logical_block,
            memory_alignment: limits.memory_alignment,
            max_request: limits.max_request,
            max_hardware_request: limits.max_hardware_request,
            max_segments: limits.max_segments,
        }
    }
}

impl Found {
    fn new(finding: &Finding) -> Self {
        Self {
            what: finding.what.as_str(),
            severity: finding.severity.as_str(),
            ways: finding.ways.iter().map(|way| way.as_str()).collect(),
            thing: finding.refusal.thing.clone(),
            cause: finding.refusal.cause.clone(),
            cure: finding.refusal.cure.clone(),
            evidence: finding.evidence.iter().map(Seen::new).collect(),
        }
    }
}

impl Seen {
    fn new(evidence: &Evidence) -> Self {
        Self { path: evidence.path.clone(), value: evidence.value.clone() }
    }
}
