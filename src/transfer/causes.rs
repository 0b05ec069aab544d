//! Why bytes bounced, said once for each cause.

use super::{
    lane::Lane,
    plan::{Plan, Reason, Way},
};

/// The causes that were said: to [`tracing`](https://docs.rs/tracing), with the feature of that name. A mover that bounces a
/// million heads says so once; its summaries count each.
#[derive(Debug, Default)]
pub(super) struct Causes {
    said: Vec<Reason>,
}

impl Causes {
    /// Looks at a plan before it is executed.
    pub(super) fn note(&mut self, lane: &Lane, plan: &Plan) {
        if plan.bytes().1 == 0 {
            return;
        }
        for segment in plan.segments() {
            match segment.way {
                Way::Bounce(reason) if !self.said.contains(&reason) => {
                    self.said.push(reason);
                    say(lane, reason);
                }
                _ => {}
            }
        }
    }
}

#[cfg(feature = "tracing")]
fn say(lane: &Lane, reason: Reason) {
    let why = lane.refused().map(tracing::field::display);
    tracing::warn!(file = %lane.file(), %reason, why, "bytes go through host memory");
}

#[cfg(not(feature = "tracing"))]
fn say(_lane: &Lane, _reason: Reason) {}
