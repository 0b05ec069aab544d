//! What an operation's end means for its part and its piece.

use std::time::Duration;

use super::{
    Mover,
    part::{Part, Step},
    pump::lost,
};
use crate::{
    Error, Result,
    machine::Direction,
    memory::HostSlice,
    transfer::{
        plan::Reason,
        receipt::Receipt,
        summary::{Failure, Summary},
    },
};

/// How often an operation that the kernel had no means for is tried again.
const TRIES: u32 = 8;

/// The first pause before that; each is twice as long as the one before, together 13 ms.
const PAUSE: Duration = Duration::from_micros(50);

impl Mover {
    /// An operation has ended: its part goes on, is over, or has failed.
    pub(super) fn end(&mut self, receipt: Receipt, summaries: &mut [Summary]) -> Result<()> {
        let Some(mut part) = self.landed(&receipt) else { return Ok(()) };
        if part.run != self.run {
            self.let_go(&part);
            return Ok(());
        }
        let Some(errno) = receipt.errno() else { return self.advance(part, &receipt, summaries) };
        let summary = &mut summaries[part.piece];
        if matches!(errno, libc::EAGAIN | libc::EINTR) && part.tries < TRIES {
            std::thread::sleep(PAUSE * 2_u32.pow(part.tries));
            part.tries += 1;
            summary.retries += 1;
            return self.issue(part);
        }
        summary.fail(Failure { call: receipt.call(), errno, way: receipt.way() });
        self.let_go(&part);
        Ok(())
    }

    /// Goes on where an operation fell short, as long as each moves a block.
    fn advance(&mut self, mut part: Part, receipt: &Receipt, summaries: &mut [Summary]) -> Result<()> {
        let summary = &mut summaries[part.piece];
        let reached = part.done + receipt.bytes();
        let resumed = part.resume_at(reached);
        let again = !part.is_over(reached) && resumed > part.done;
        if part.step == Step::Direct {
            let now = part.within(if again { resumed } else { reached });
            let bytes = now - part.within(part.done);
            if receipt.is_buffered() {
                self.causes.said(&part.lane, Reason::PageCache);
                summary.bounced(Reason::PageCache, bytes);
            } else {
                summary.went_direct(receipt.evidence(), bytes);
            }
        }
        if again {
            part.done = resumed;
            summary.retries += 1;
            return self.issue(part);
        }
        self.conclude(part, reached, summaries)
    }

    /// A step is over, or does not get any further.
    fn conclude(&mut self, part: Part, reached: u64, summaries: &mut [Summary]) -> Result<()> {
        let bytes = part.within(reached);
        match part.step {
            Step::Direct => {}
            Step::Fetch if !self.deliver(&part, bytes, summaries) => return Ok(()),
            Step::Fetch => {}
            Step::Patch if part.is_over(reached) => return self.store(part, summaries),
            // What was to be written back could not be read: nothing of it is written.
            Step::Patch => {
                self.over(&part, 0, summaries);
                return Ok(());
            }
            Step::Store => summaries[part.piece].bounced(part.reason, bytes),
            Step::Exact => {
                part.lane.forget_pages(part.base, part.length);
                summaries[part.piece].bounced(part.reason, bytes);
            }
        }
        self.over(&part, bytes, summaries);
        Ok(())
    }

    /// The blocks are in the stage. Now for the request's bytes.
    fn store(&mut self, mut part: Part, summaries: &mut [Summary]) -> Result<()> {
        if !self.fill(&part, summaries) {
            return Ok(());
        }
        (part.step, part.done) = (Step::Store, 0);
        self.issue(part)
    }

    /// Ends a part of which so many bytes moved; if some are missing, the piece stops there.
    fn over(&mut self, part: &Part, bytes: u64, summaries: &mut [Summary]) {
        if part.direction == Direction::Write && bytes > 0 {
            part.lane.reached(part.base + part.head + bytes);
        }
        summaries[part.piece].stopped |= bytes < part.bytes;
        self.let_go(part);
    }

    fn stage(&self, part: &Part, from: u64, to: u64) -> Result<HostSlice> {
        let (staging, stage) = self.staging.as_ref().zip(part.stage).ok_or_else(|| lost(part))?;
        staging.slice(stage, from, to)
    }

    /// Copies the request's bytes from peer memory into the stage. If that fails the part is over.
    pub(super) fn fill(&mut self, part: &Part, summaries: &mut [Summary]) -> bool {
        let copied = self.stage(part, part.head, part.head + part.bytes).and_then(|stage| match &self.staging {
            Some(staging) => staging.copier.to_host(&part.memory, &stage),
            None => Err(lost(part)),
        });
        copied.map_err(|error| self.not_copied(part, &error, summaries)).is_ok()
    }

    /// Copies what arrived in the stage to peer memory. If that fails the part is over.
    fn deliver(&mut self, part: &Part, bytes: u64, summaries: &mut [Summary]) -> bool {
        let copied = self.stage(part, part.head, part.head + bytes).and_then(|stage| match &self.staging {
            Some(staging) => staging.copier.to_peer(&stage, &part.memory),
            None => Err(lost(part)),
        });
        match copied {
            Ok(()) => summaries[part.piece].bounced(part.reason, bytes),
            Err(ref error) => self.not_copied(part, error, summaries),
        }
        copied.is_ok()
    }

    /// The provider has gone, most likely: that is this piece's failure, and no other's.
    fn not_copied(&mut self, part: &Part, error: &Error, summaries: &mut [Summary]) {
        let (call, errno) = match error {
            Error::Io { source, .. } => (source.call, source.source.raw_os_error().unwrap_or(libc::EIO)),
            _ => ("copy", libc::EIO),
        };
        summaries[part.piece].fail(Failure { call, errno, way: part.lane.way() });
        self.let_go(part);
    }
}
