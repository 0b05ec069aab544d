//! Keeps a queue full of the parts of a call.

use super::{
    Mover, Piece,
    part::{Part, Step},
};
use crate::{
    Error, Refusal, Result,
    machine::Direction,
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
        (self.active, self.padded) = (0, false);
        pieces.iter().for_each(|piece| piece.lane.witness().begin(|| self.queue.cached(piece.lane.file())));
        let moved = self.move_all(pieces, summaries);
        if moved.is_err() {
            self.drain(summaries);
        }
        for (piece, summary) in pieces.iter().zip(summaries).filter(|(_, summary)| summary.direct > 0) {
            let look = || self.queue.cached(piece.lane.file());
            piece.lane.witness().end(self.run, false, look).into_iter().for_each(|sight| summary.seen(sight));
        }
        let cut = if self.padded { cut_padding(pieces) } else { Ok(()) };
        moved.and(cut)
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
        place && stage && !self.flying.iter().flatten().any(|other| other.undoes(part))
    }

    fn start(&mut self, mut part: Part, summaries: &mut [Summary]) -> Result<()> {
        self.active += 1;
        if let (Some(staging), true) = (&mut self.staging, part.step != Step::Direct) {
            part.stage = staging.take();
        }
        if part.step == Step::Store && !self.fill(&part, summaries) {
            return Ok(());
        }
        self.issue(part)
    }

    /// Hands its next operation to the queue.
    pub(super) fn issue(&mut self, part: Part) -> Result<()> {
        match part.issue(&mut self.queue, self.staging.as_ref()) {
            Ok(id) => {
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
        self.flying.get_mut(receipt.operation().place())?.take()
    }
}

/// Cuts files to the length that was written, where blocks were padded. A file that goes on behind the padding is another
/// writer's as well, and is left alone: what follows the bytes there are zeroes, as in any gap.
fn cut_padding(pieces: &[Piece<'_>]) -> Result<()> {
    let writes = || pieces.iter().filter(|piece| piece.direction == Direction::Write);
    for Piece { lane, .. } in writes() {
        let file = lane.file();
        let same = writes().map(|piece| piece.lane).filter(|lane| lane.file().same(file));
        let end = same.map(super::Lane::end).max().unwrap_or(0);
        let padded = end.next_multiple_of(lane.block());
        if !file.is_block_device() && padded > end && file.end()? == padded {
            file.truncate(end)?;
        }
    }
    Ok(())
}

/// What no plan leads to.
pub(super) fn lost(part: &Part) -> Error {
    let cause = format!("no way for {} bytes at {}", part.bytes, part.base + part.head);
    Error::Invalid(Refusal::new(part.lane.file(), cause, "report this as an error of the library"))
}

#[cfg(test)]
mod tests {
    use crate::{
        machine::{
            Access, Machine, Mock,
            mock::{Cpu, Function, Port},
        },
        memory::Provider,
        storage::File,
        transfer::{Mover, Policy, Queue},
    };

    use super::*;

    fn file(machine: &Machine) -> File {
        File::open(machine, "/data/shards", Access::ReadWrite).expect("a file")
    }

    #[test]
    fn padding_is_cut_and_what_another_writer_put_behind_it_is_not() {
        let mut mock = Mock::new(Cpu::AmdZen);
        let [port, ssd, peer] =
            ["0000:00:01.0", "0000:01:00.0", "0000:02:00.0"].map(|at| at.parse().expect("an address"));
        mock.function(&Function::port(port, None, Port::Root));
        let ssd = mock.ssd(ssd, Some(port), 65_536).expect("an SSD");
        mock.provider(peer, Some(port), 1 << 20);
        mock.file("/data/shards", ssd, &[1; 1000]).expect("a file");
        let machine = Machine::mock(mock);
        let memory = Provider::find(&machine, peer).and_then(|provider| provider.allocate(4096)).expect("memory");
        let mut mover = Mover::new(Queue::new(&machine, Default::default()).expect("a queue"), Policy::DirectOnly);
        let lane = mover.bind(&file(&machine), &memory).expect("a lane");
        let slice = memory.all();
        let piece = [Piece { lane: &lane, direction: Direction::Write, offset: 0, memory: &slice }];
        let other = file(&machine);
        // ftruncate also makes a file longer.
        for (long, left) in [(1024, 1000), (1000, 1000), (9000, 9000)] {
            other.truncate(long).expect("room");
            cut_padding(&piece).expect("cut");
            assert_eq!(other.end().expect("an end"), left, "it had {long}");
        }
    }
}
