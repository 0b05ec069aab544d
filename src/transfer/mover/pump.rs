//! Keeps a queue full of the parts of a call.

use super::{
    Mover, Piece,
    part::{Part, Step},
};
use crate::{
    Error, Refusal, Result,
    transfer::{plan::Way, receipt::Receipt, summary::Summary},
};

/// The next byte of a call that no part has yet.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    piece: usize,
    at: u64,
}

impl Cursor {
    fn piece(pieces: &[Piece<'_>], piece: usize) -> Self {
        Self { piece, at: pieces.get(piece).map_or(0, |piece| piece.offset) }
    }
}

impl Mover {
    /// Executes the plans of `pieces`.
    pub(super) fn pump(&mut self, pieces: &[Piece<'_>], summaries: &mut [Summary]) -> Result<()> {
        self.run += 1;
        self.active = 0;
        let moved = self.move_all(pieces, summaries);
        if moved.is_err() {
            self.drain(summaries);
        }
        if let Err(Error::Deadline(_)) = moved {
            summaries.iter_mut().for_each(Summary::cut_off);
        }
        for (piece, summary) in pieces.iter().zip(summaries).filter(|(_, summary)| summary.direct > 0) {
            let sight = piece.lane.direct().and_then(|pair| self.queue.sight(pair, self.run));
            sight.into_iter().for_each(|sight| summary.seen(sight));
        }
        moved
    }

    fn move_all(&mut self, pieces: &[Piece<'_>], summaries: &mut [Summary]) -> Result<()> {
        let mut cursor = Cursor::piece(pieces, 0);
        loop {
            while self.start_next(pieces, summaries, &mut cursor)? {}
            if self.active == 0 && cursor.piece >= pieces.len() {
                return Ok(());
            }
            // Nothing is waited for that does not fly: a stage that is not free is held by a part in flight.
            let receipt = self.queue.wait()?;
            self.end(receipt, summaries)?;
        }
    }

    /// After an error that is not an operation's own: what flies ends first, if it does by the deadline.
    fn drain(&mut self, summaries: &mut [Summary]) {
        while self.active > 0 {
            let Ok(receipt) = self.queue.wait() else { return };
            // The first error is the one that is told.
            let _ = self.end(receipt, summaries);
        }
    }

    /// Starts the part at the cursor, or steps over what is over. False when it must wait for something to end.
    fn start_next(&mut self, pieces: &[Piece<'_>], summaries: &mut [Summary], cursor: &mut Cursor) -> Result<bool> {
        let Some((piece, plan)) = pieces.get(cursor.piece).zip(self.plans.get(cursor.piece)) else { return Ok(false) };
        let summary = &mut summaries[cursor.piece];
        if cursor.at >= plan.end() || summary.has_stopped() {
            *cursor = Cursor::piece(pieces, cursor.piece + 1);
            return Ok(true);
        }
        let segment = plan.segment(cursor.at);
        if segment.way == Way::End {
            summary.end += segment.bytes;
            cursor.at += segment.bytes;
            return Ok(true);
        }
        let part = Part::new(piece, &segment, self.staging.as_ref().map_or(0, |staging| staging.size as u64))?;
        if !self.has_room_for(&part) {
            return Ok(false);
        }
        cursor.at += part.bytes;
        self.start(Part { run: self.run, piece: cursor.piece, ..part }, summaries)?;
        Ok(true)
    }

    fn has_room_for(&self, part: &Part) -> bool {
        let stage = part.step == Step::Direct || self.staging.as_ref().is_some_and(|staging| staging.has_room());
        let place = self.queue.in_flight() < self.queue.depth();
        place && stage && !self.is_undone(part)
    }

    /// Whether a part must wait for another. Most need not ask all that fly: what reads disturbs nobody, and whole blocks
    /// disturb only those that are read to be written back.
    fn is_undone(&self, part: &Part) -> bool {
        let ask = part.writes() && (part.rewrites() || self.rewriting > 0);
        ask && self.flying.iter().flatten().any(|other| other.undoes(part))
    }

    fn start(&mut self, mut part: Part, summaries: &mut [Summary]) -> Result<()> {
        self.active += 1;
        if let (Some(staging), true) = (&mut self.staging, part.step != Step::Direct) {
            part.stage = staging.take();
        }
        if matches!(part.step, Step::Store | Step::Exact) && !self.fill(&part, summaries) {
            return Ok(());
        }
        self.issue(part)
    }

    /// Hands its next operation to the queue.
    pub(super) fn issue(&mut self, part: Part) -> Result<()> {
        match part.issue(&mut self.queue, self.staging.as_ref()) {
            Ok(id) => {
                self.rewriting += usize::from(part.rewrites());
                self.flying[id.place()] = Some(part);
                Ok(())
            }
            Err(error) => {
                self.let_go(&part);
                Err(error)
            }
        }
    }

    /// A part is over.
    pub(super) fn let_go(&mut self, part: &Part) {
        if part.run == self.run {
            self.active = self.active.saturating_sub(1);
        }
        if let (Some(staging), Some(stage)) = (&mut self.staging, part.stage) {
            staging.give(stage);
        }
    }

    /// Of an operation that an earlier call gave up, only the stage is left.
    pub(super) fn forget(&mut self, receipt: &Receipt) {
        if let Some(part) = self.landed(receipt) {
            self.let_go(&part);
        }
    }

    pub(super) fn landed(&mut self, receipt: &Receipt) -> Option<Part> {
        let part = self.flying.get_mut(receipt.operation().place())?.take()?;
        self.rewriting -= usize::from(part.rewrites());
        Some(part)
    }
}

/// What no plan leads to.
pub(super) fn lost(part: &Part) -> Error {
    let cause = format!("no way for {} bytes at {}", part.bytes, part.base + part.head);
    Error::Invalid(Refusal::new(part.lane.file(), cause, "report this as an error of the library"))
}
