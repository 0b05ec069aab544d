//! Completions that come later than the kernel gives them.

use crate::machine::ring::Completion;

/// Operations that end at a later `enter`, and those of them that the kernel is done with.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// By tag, at which one.
    expected: Vec<(u64, u32)>,
    kept: Vec<(u32, Completion)>,
}

impl Late {
    /// An operation was taken.
    pub(super) fn expect(&mut self, tag: u64, enters: u32) {
        self.expected.push((tag, enters.max(1)));
    }

    /// Keeps the completion of such an operation; gives back any other.
    pub(super) fn keep(&mut self, completion: Completion) -> Option<Completion> {
        let Some(index) = self.expected.iter().position(|&(tag, _)| tag == completion.tag) else {
            return Some(completion);
        };
        let (_, enters) = self.expected.swap_remove(index);
        self.kept.push((enters, completion));
        None
    }

    /// An `enter`: gives what ends with it.
    pub(super) fn tick(&mut self) -> Vec<Completion> {
        self.kept.iter_mut().for_each(|(enters, _)| *enters -= 1);
        let (over, kept) = self.kept.drain(..).partition(|&(enters, _)| enters == 0);
        self.kept = kept;
        let over: Vec<_> = over;
        over.into_iter().map(|(_, completion)| completion).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
