//! The only seam: where facts are read and who executes I/O.

mod facts;
mod host;
mod snapshot;

use std::sync::Arc;

pub use facts::Facts;
pub use snapshot::Snapshot;

/// A machine: this one, or a mock.
#[derive(Debug, Clone)]
pub struct Machine {
    facts: Arc<dyn Facts>,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn host() -> Self {
        Self { facts: Arc::new(host::HostFacts) }
    }

    /// What the machine says of itself.
    #[must_use]
    pub fn facts(&self) -> &dyn Facts {
        &*self.facts
    }
}
