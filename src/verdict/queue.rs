//! What the running kernel says of the queue below a source. It knows whether that takes mapped peer memory; facts only let it be
//! inferred from what the device is.

use std::sync::Arc;

use super::finding::{Finding, Severity, Way, What};
use crate::{
    Refusal,
    machine::{Access, Module},
    storage::{Evidence, Source},
};

/// The kernel's own word.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// As explanations name it: `nvme0n1 (0000:03:00.0)`.
    layer: String,
    device: String,
    takes: bool,
}

/// Asks the module about the queue, where this user may open the device. A source on several queues lies on a filesystem that
/// has its own reasons (btrfs).
pub(super) fn ask(module: &Module, source: &Source) -> Option<Word> {
    let [layer] = source.stack().queues()[..] else { return None };
    layer.number?;
    let device = format!("/dev/{}", layer.name.replace('!', "/"));
    let opened = source.machine().open(device.as_ref(), Access::Read).ok()?;
    let takes = module.queue(&opened.fd).ok()?;
    Some(Word { layer: layer.to_string(), device, takes })
}

/// Puts the kernel's word in the place of what was inferred, where the two differ.
pub(super) fn settle(word: &Word, source: &Source, findings: &mut Vec<Arc<Finding>>) {
    let inferred = findings.iter_mut().find(|finding| finding.what == What::QueueRefuses);
    match (inferred, word.takes) {
        (Some(finding), true) => *finding = Arc::new(word.takes_it(finding)),
        (None, false) => findings.push(Arc::new(word.refuses(source))),
        _ => {}
    }
}

impl Word {
    fn evidence(&self) -> Evidence {
        let said = if self.takes { "takes peer memory" } else { "takes no peer memory" };
        Evidence::new(format!("P2PDMA_USER_QUEUE {}", self.device), said)
    }

    /// A later kernel may let stacks inherit what 6.12 does not.
    fn takes_it(&self, finding: &Finding) -> Finding {
        let cause = format!(
            "the running kernel says that the queue of {} takes peer memory; by the rules of 6.12 it would not",
            self.layer
        );
        let refusal = Refusal {
            cause,
            cure: "prove the route by a transfer (`p2pbench run --verify`)".to_owned(),
            ..finding.refusal.clone()
        };
        let seen: Vec<_> = finding.evidence.iter().cloned().chain([self.evidence()]).collect();
        Finding::new(What::QueueRefuses, Severity::Warning, refusal).only(Way::P2pmem).seen(seen)
    }

    /// The driver sets the feature where the DMA operations of its function know peer memory: `nvme_pci_supports_pci_p2pdma`
    /// (drivers/nvme/host/pci.c), `dma_pci_p2pdma_supported` (kernel/dma/mapping.c). Without that no way leads there.
    fn refuses(&self, source: &Source) -> Finding {
        let cause = format!(
            "it lies on {}, and the running kernel says that its queue takes no peer memory: its driver, or the DMA operations of this \
             machine, know none",
            self.layer
        );
        let refusal = Refusal::new(
            source,
            cause,
            "use an NVMe SSD by the nvme driver, on a machine without DMA operations of its own (Xen)",
        );
        Finding::new(What::QueueRefuses, Severity::No, refusal).seen([self.evidence()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, Mock, mock::Cpu};

    fn word(takes: bool) -> Word {
        Word { layer: "nvme0n1 (0000:03:00.0)".to_owned(), device: "/dev/nvme0n1".to_owned(), takes }
    }

    fn source() -> Source {
        let machine = Machine::mock(Mock::one_switch(Cpu::AmdZen).expect("a machine"));
        Source::of_block_device(&machine, "/dev/nvme0n1").expect("an SSD")
    }

    #[test]
    fn the_kernels_no_outweighs_what_the_device_is() {
        let mut findings = Vec::new();
        settle(&word(true), &source(), &mut findings);
        assert!(findings.is_empty(), "it agrees");
        settle(&word(false), &source(), &mut findings);
        let found = &findings[0];
        assert_eq!((found.what, found.severity, found.ways.len()), (What::QueueRefuses, Severity::No, 2));
        assert_eq!(found.evidence[0].to_string(), "P2PDMA_USER_QUEUE /dev/nvme0n1 = takes no peer memory");
    }

    #[test]
    fn the_kernels_yes_outweighs_the_rules_of_6_12() {
        let inferred =
            Finding::new(What::QueueRefuses, Severity::No, Refusal::new("x", "it lies on md0", "use another"));
        let mut findings = vec![Arc::new(inferred.only(Way::P2pmem))];
        settle(&word(false), &source(), &mut findings);
        assert_eq!(findings[0].severity, Severity::No, "it agrees");
        settle(&word(true), &source(), &mut findings);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warning), "{findings:?}");
        assert!(!findings[0].is_in(Way::P2pmem));
    }

    #[test]
    fn the_module_of_a_machine_is_asked_about_the_device_below() {
        let source = source();
        let module = source.machine().module().expect("a module");
        let word = ask(&module, &source).expect("an answer");
        assert!(word.takes && word.device == "/dev/nvme0n1", "{word:?}");
    }
}
