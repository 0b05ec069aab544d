//! What is worth a line in a log: why bytes bounced, once for each cause, and what nobody may overlook. All of it goes to
//! [`tracing`](https://docs.rs/tracing), with the feature of that name; without it nothing is kept and nothing is looked at.

use super::{
    lane::Lane,
    plan::{Plan, Reason},
};
use crate::{Refusal, storage::File};

#[cfg(feature = "tracing")]
/// Causes that one mover tells apart: enough for a machine's pairs, and no leak where files come and go.
const MOST: usize = 256;

/// The causes that were said. A mover that bounces a million heads says so once; its summaries count each.
#[derive(Debug, Default)]
pub(super) struct Causes {
    #[cfg(feature = "tracing")]
    said: Vec<(Reason, Option<Refusal>)>,
}

#[cfg(feature = "tracing")]
impl Causes {
    /// Looks at a plan before it is executed.
    pub(super) fn note(&mut self, lane: &Lane, plan: &Plan) {
        plan.reasons().into_iter().flatten().for_each(|reason| self.said(lane, reason));
    }

    /// Bytes bounce, or have bounced, for this reason. Where it is the verdict's, each verdict is a cause of its own.
    pub(super) fn said(&mut self, lane: &Lane, reason: Reason) {
        let why = lane.refused().filter(|_| reason == Reason::Verdict);
        let known = self.said.iter().any(|(said, because)| *said == reason && because.as_ref() == why);
        if known || self.said.len() >= MOST {
            return;
        }
        self.said.push((reason, why.cloned()));
        let why = why.map(tracing::field::display);
        tracing::warn!(file = %lane.file(), %reason, why, "bytes go through host memory");
    }
}

#[cfg(not(feature = "tracing"))]
#[expect(clippy::unused_self, reason = "with the feature it keeps what was said")]
impl Causes {
    pub(super) fn note(&mut self, _lane: &Lane, _plan: &Plan) {}

    pub(super) fn said(&mut self, _lane: &Lane, _reason: Reason) {}
}

/// A queue was dropped while operations flew that did not end: they, their memory and their files stay for ever.
pub(super) fn leaked(operations: usize) {
    #[cfg(feature = "tracing")]
    tracing::error!(operations, "a queue was leaked: its operations have not ended by the deadline");
    let _ = operations;
}

/// Nothing ended within a queue's deadline.
pub(super) fn late(refusal: &Refusal) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%refusal, "a deadline is over");
    let _ = refusal;
}

/// A route does not do what it says.
pub(super) fn disproved(refusal: &Refusal) {
    #[cfg(feature = "tracing")]
    tracing::error!(%refusal, "a route was disproved");
    let _ = refusal;
}

/// The page cache of a file grew while its bytes were to go direct.
pub(super) fn suspect(file: &File) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%file, "the page cache of a file grew: bytes that are said to have gone direct may have been copied");
    let _ = file;
}
