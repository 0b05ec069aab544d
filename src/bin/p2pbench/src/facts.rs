//! What every report says of the machine it comes from.

use p2pdma::machine::Machine;
use serde::Serialize;

/// Which machine, which kernel, which module.
#[derive(Debug, Serialize)]
pub(crate) struct MachineFacts {
    pub(crate) kind: String,
    pub(crate) kernel: Option<String>,
    /// `p2pdma_user`'s version, `loaded` where it tells none; `null` where it is not loaded.
    pub(crate) module: Option<String>,
}

impl MachineFacts {
    /// What `module` says of one that tells no version.
    pub(crate) const NO_VERSION: &str = "loaded";

    pub(crate) fn of(machine: &Machine) -> Self {
        let facts = machine.facts();
        let module = facts.list("/sys/module/p2pdma_user").ok();
        let version = || facts.text("/sys/module/p2pdma_user/version").unwrap_or_else(|| Self::NO_VERSION.into());
        Self {
            kind: machine.kind().to_string(),
            kernel: facts.text("/proc/sys/kernel/osrelease"),
            module: module.map(|_| version()),
        }
    }

    /// The first line of what people read.
    pub(crate) fn headline(&self) -> String {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        let module = self.module.as_ref().map_or(String::new(), |module| format!(", p2pdma_user {module}"));
        format!("p2pbench {}, machine: {}, Linux {kernel}{module}", env!("CARGO_PKG_VERSION"), self.kind)
    }
}
