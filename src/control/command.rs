//! A transfer as an io_uring command, `IORING_OP_URING_CMD`.

use p2pdma_sys::{P2PDMA_USER_READ, P2PDMA_USER_RESULT_BUFFERED, P2PDMA_USER_WRITE, p2pdma_user_cmd};

use super::{Direction, Moved, Transfer};

/// Set in the result of a command where the filesystem went through the page cache.
pub(crate) const BUFFERED: i32 = P2PDMA_USER_RESULT_BUFFERED as i32;

/// The parts of a submission entry that say what a pair is to do. All others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) op: u32,
    /// `sqe->addr`: where in the buffer.
    pub(crate) address: u64,
    /// `sqe->cmd`.
    pub(crate) payload: [u8; size_of::<p2pdma_user_cmd>()],
}

impl From<Transfer> for Command {
    fn from(transfer: Transfer) -> Self {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&transfer.position.to_ne_bytes());
        payload[8..12].copy_from_slice(&transfer.length.to_ne_bytes());
        Self { op: op(transfer.direction), address: transfer.offset, payload }
    }
}

/// What a transfer is, in the module's numbers.
pub(super) fn op(direction: Direction) -> u32 {
    match direction {
        Direction::Read => P2PDMA_USER_READ,
        Direction::Write => P2PDMA_USER_WRITE,
    }
}

impl Moved {
    /// The result of a system call: bytes, or a negative errno, which comes back as a positive one.
    pub(crate) fn of_call(result: i32) -> Result<Self, i32> {
        u32::try_from(result).map(|bytes| Self { bytes, buffered: false }).map_err(|_| result.saturating_neg())
    }

    /// The result of a command: bytes and a bit, or a negative errno, which comes back as a positive one.
    pub(crate) fn of_command(result: i32) -> Result<Self, i32> {
        match u32::try_from(result) {
            Ok(bits) => Ok(Self { bytes: bits & !P2PDMA_USER_RESULT_BUFFERED, buffered: result & BUFFERED != 0 }),
            Err(_) => Err(result.saturating_neg()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_payload_is_laid_out_as_the_header_says() {
        let transfer = Transfer { direction: Direction::Write, offset: 3, position: 0x1122_3344_5566, length: 0x77 };
        let Command { op, address, payload } = transfer.into();
        assert_eq!((op, address), (0xbb31, 3));
        let position = offset_of!(p2pdma_user_cmd, position);
        let length = offset_of!(p2pdma_user_cmd, length);
        assert_eq!(payload[position..position + 8], transfer.position.to_ne_bytes());
        assert_eq!(payload[length..length + 4], transfer.length.to_ne_bytes());
        assert_eq!(payload[offset_of!(p2pdma_user_cmd, flags)..], [0; 4]);
    }

    #[test]
    fn a_result_tells_bytes_the_page_cache_and_errnos_apart() {
        let moved = |bytes, buffered| Ok(Moved { bytes, buffered });
        assert_eq!(Moved::of_command(4096), moved(4096, false));
        assert_eq!(Moved::of_command(4096 | BUFFERED), moved(4096, true));
        assert_eq!(Moved::of_command(64 << 20), moved(64 << 20, false), "the longest is below the bit");
        assert_eq!(Moved::of_command(-libc::EIO), Err(libc::EIO));
        assert_eq!(Moved::of_command(i32::MIN), Err(i32::MAX));
    }
}
