//! Flags of an inode, as `lsattr` prints them.

use bitflags::bitflags;

bitflags! {
    /// What a filesystem says of one file (`FS_IOC_GETFLAGS`, uapi/linux/fs.h): those flags that decide about direct I/O.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct InodeFlags: u32 {
        /// Compressed (`FS_COMPR_FL`).
        const COMPRESSED = 0x0000_0004;
        /// Encrypted by fscrypt (`FS_ENCRYPT_FL`).
        const ENCRYPTED = 0x0000_0800;
        /// Its data go through ext4's journal (`FS_JOURNAL_DATA_FL`).
        const JOURNAL_DATA = 0x0000_4000;
        /// ext4 maps it by extents (`FS_EXTENT_FL`).
        const EXTENTS = 0x0008_0000;
        /// Sealed by fs-verity (`FS_VERITY_FL`).
        const VERITY = 0x0010_0000;
        /// Neither copied on write nor checksummed by btrfs (`FS_NOCOW_FL`).
        const NOCOW = 0x0080_0000;
        /// Its data lie in the inode (`FS_INLINE_DATA_FL`).
        const INLINE_DATA = 0x1000_0000;
    }
}
