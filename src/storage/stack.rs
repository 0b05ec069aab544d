//! Everything below a file.

use std::collections::BTreeSet;

use super::{Layer, LayerKind};
use crate::pci::Address;

/// The layers below a file or block device, as a tree with one top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    top: Layer,
}

impl Stack {
    pub(super) fn new(top: Layer) -> Self {
        Self { top }
    }

    /// The uppermost layer: the filesystem of a file, or the block device itself.
    #[must_use]
    pub fn top(&self) -> &Layer {
        &self.top
    }

    /// All layers, each before those below it, with its depth.
    #[must_use]
    pub fn layers(&self) -> Vec<(usize, &Layer)> {
        fn walk<'a>(layer: &'a Layer, depth: usize, layers: &mut Vec<(usize, &'a Layer)>) {
            layers.push((depth, layer));
            layer.below.iter().for_each(|below| walk(below, depth + 1, layers));
        }
        let mut layers = Vec::new();
        walk(&self.top, 0, &mut layers);
        layers
    }

    /// The NVMe functions at the bottom: the clients of every transfer, each once, sorted.
    #[must_use]
    pub fn functions(&self) -> Vec<Address> {
        let functions = self.layers().into_iter().filter_map(|(_, layer)| match layer.kind {
            LayerKind::Namespace(function) | LayerKind::Controller { function, .. } => Some(function),
            _ => None,
        });
        functions.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The innermost filesystem: the one that does the I/O. Below an overlay, that of the layer which holds the file.
    #[must_use]
    pub fn filesystem(&self) -> Option<&super::Mount> {
        let layers = self.layers().into_iter().take_while(|(_, layer)| !layer.is_block());
        let mounts = layers.filter_map(|(_, layer)| match &layer.kind {
            LayerKind::Filesystem(mount) => Some(mount),
            _ => None,
        });
        mounts.last()
    }

    /// The block devices whose queues a mapping of peer memory meets first: those right below the filesystem, where a
    /// partition stands for the whole device.
    ///
    /// Kernel: `bio_iov_iter_get_pages` asks the queue of the bio's device (block/bio.c); `bd_queue` of a partition is
    /// that of its disk.
    #[must_use]
    pub fn queues(&self) -> Vec<&Layer> {
        fn first<'a>(layer: &'a Layer, queues: &mut Vec<&'a Layer>) {
            match layer.kind {
                LayerKind::Filesystem(_) | LayerKind::Partition => {
                    layer.below.iter().for_each(|below| first(below, queues));
                }
                _ => queues.push(layer),
            }
        }
        let mut queues = Vec::new();
        first(&self.top, &mut queues);
        queues
    }
}
