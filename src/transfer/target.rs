//! What operations of a pair move data from and to: a file, and on the module's way the buffer that it is bound to.

use std::{os::fd::AsFd, sync::Arc};

use crate::{
    Result, control,
    machine::{DioAlignment, Registrant, module},
    memory::{BufferId, PeerMemory},
    storage::File,
    verdict::{Verdict, Way},
};

/// What memory and file are aligned to where a filesystem does not say: enough for any block device.
const CAUTIOUS: DioAlignment = DioAlignment { memory: 4096, offset: 4096 };

/// A file, or a file bound to a buffer. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) file: File,
    pub(super) binding: Option<Arc<Binding>>,
    pub(super) alignment: DioAlignment,
}

/// A file bound to a buffer by the module.
#[derive(Debug)]
pub(super) struct Binding {
    buffer: BufferId,
    pair: module::Pair,
}

impl Target {
    /// For memory of this process, the host's or a provider's: the file alone.
    pub(super) fn file(file: &File) -> Self {
        Self { file: file.clone(), binding: None, alignment: file.dio_alignment().unwrap_or(CAUTIOUS) }
    }

    /// For a provider's memory, if the verdict is yes. Of a buffer the running kernel says so itself, and may know what facts do
    /// not tell: a route without the privilege to read it, and a stack that root has vouched for. What it does not look at,
    /// the verdict still decides.
    pub(super) fn peer(file: &File, memory: &PeerMemory, verdict: Verdict) -> Result<Self> {
        let (Some(buffer), Some(id)) = (memory.buffer(), memory.owner().buffer) else {
            verdict.require(Way::P2pmem)?;
            return Ok(Self::file(file));
        };
        let pair = match buffer.bind(file) {
            Ok(pair) => pair,
            Err(error) => return Err(verdict.explain(control::refuse(file, error))),
        };
        verdict.settled_by_kernel().require(Way::Module)?;
        let (bound, told) = (pair.bound(), file.dio_alignment());
        // The filesystem may ask for more than the module, if it is not to copy.
        let offset = bound.offset_alignment.max(told.map_or(0, |told| told.offset));
        let alignment = DioAlignment { memory: bound.memory_alignment, offset };
        Ok(Self { file: file.clone(), binding: Some(Arc::new(Binding { buffer: id, pair })), alignment })
    }

    /// Whether both are the same open file with the same buffer, or both without.
    pub(super) fn same(&self, other: &Self) -> bool {
        let buffer = |target: &Self| target.binding.as_ref().map(|binding| binding.buffer);
        self.file.same(&other.file) && buffer(self) == buffer(other)
    }

    pub(super) fn registrant(&self) -> Registrant<'_> {
        match &self.binding {
            Some(binding) => Registrant::Pair(&binding.pair),
            None => Registrant::File(self.file.as_fd()),
        }
    }
}
