//! Made from `kmod/uapi/p2pdma_user.h`; `tests/header.rs` says how to make it anew.

pub const P2PDMA_USER_TYPE: u32 = 187;
pub const P2PDMA_USER_MAJOR: u32 = 1;
pub const P2PDMA_USER_MAX_LENGTH: u32 = 67108864;
pub const P2PDMA_USER_FEATURE_ALLOC: u32 = 1;
pub const P2PDMA_USER_FEATURE_REGISTER: u32 = 2;
pub const P2PDMA_USER_QUEUE_P2PDMA: u32 = 1;
pub const P2PDMA_USER_ACCESS_READ: u32 = 1;
pub const P2PDMA_USER_ACCESS_WRITE: u32 = 2;
pub const P2PDMA_USER_COPY_IN: u32 = 1;
pub const P2PDMA_USER_COPY_OUT: u32 = 2;
pub const P2PDMA_USER_IO_BUFFERED: u32 = 1;
pub const P2PDMA_USER_RESULT_BUFFERED: u32 = 1073741824;
pub type __u8 = ::core::ffi::c_uchar;
pub type __u16 = ::core::ffi::c_ushort;
pub type __s32 = ::core::ffi::c_int;
pub type __u32 = ::core::ffi::c_uint;
pub type __u64 = ::core::ffi::c_ulonglong;
/** struct p2pdma_user_address - the address of a PCI function
 @domain: PCI domain; above 0xffff behind Intel VMD
 @bus: bus number
 @devfn: device number in bits 7 to 3, function in bits 2 to 0
 @reserved: must be 0*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_address {
    pub domain: __u32,
    pub bus: __u8,
    pub devfn: __u8,
    pub reserved: __u16,
}
/** struct p2pdma_user_info - ioctl(device, P2PDMA_USER_INFO)
 @size: sizeof(struct p2pdma_user_info)
 @flags: must be 0
 @out_major: %P2PDMA_USER_MAJOR of the module
 @out_max_length: most bytes of one I/O and of one COPY
 @out_features: the ways to make a buffer, P2PDMA_USER_FEATURE_*

 Tells what this module can do.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_info {
    pub size: __u32,
    pub flags: __u32,
    pub out_major: __u32,
    pub out_max_length: __u32,
    pub out_features: __u64,
}
/** struct p2pdma_user_distance - ioctl(device, P2PDMA_USER_DISTANCE)
 @size: sizeof(struct p2pdma_user_distance)
 @flags: must be 0
 @provider: the device whose memory is used; it need not give any yet
 @client: the device that does the DMA
 @out_distance: what pci_p2pdma_distance() says; -1: there is no route
 @reserved: must be 0

 Asks the running kernel, as it is now, for its verdict on two devices.

 ENODEV: one of the two does not exist.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_distance {
    pub size: __u32,
    pub flags: __u32,
    pub provider: p2pdma_user_address,
    pub client: p2pdma_user_address,
    pub out_distance: __s32,
    pub reserved: __u32,
}
/** struct p2pdma_user_queue - ioctl(device, P2PDMA_USER_QUEUE)
 @size: sizeof(struct p2pdma_user_queue)
 @flags: must be 0
 @fd: an open block device
 @out_features: %P2PDMA_USER_QUEUE_P2PDMA: the device's queue takes peer memory
	(BLK_FEAT_PCI_P2PDMA in include/linux/blkdev.h)

 EBADF: @fd is not open. ENOTBLK: it is not a block device.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_queue {
    pub size: __u32,
    pub flags: __u32,
    pub fd: __s32,
    pub out_features: __u32,
}
/** struct p2pdma_user_alloc - ioctl(device, P2PDMA_USER_ALLOC)
 @size: sizeof(struct p2pdma_user_alloc)
 @flags: must be 0
 @provider: a device that gives memory: an NVMe controller with a memory buffer (CMB), or a device
	bound to this module
 @length: how many bytes; rounded up to pages
 @out_length: how many bytes the buffer has
 @out_fd: the buffer, close-on-exec
 @reserved: must be 0

 Takes memory from a provider's pool. It is contiguous, and zero.

 ENODEV: no such device, or no driver is bound to it, or it publishes no memory. EACCES: its
 driver is another than nvme or this module's: what its pool hands out may be in use by others.
 ENOSPC: the pool has no free run of this length. EDQUOT: the user would hold more than root
 allows by the module's parameter user_bytes (which CAP_SYS_RESOURCE overrides). EINTR: the caller
 was killed.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_alloc {
    pub size: __u32,
    pub flags: __u32,
    pub provider: p2pdma_user_address,
    pub length: __u64,
    pub out_length: __u64,
    pub out_fd: __s32,
    pub reserved: __u32,
}
/** struct p2pdma_user_register - ioctl(device, P2PDMA_USER_REGISTER)
 @size: sizeof(struct p2pdma_user_register)
 @flags: must be 0
 @provider: the device whose memory it is
 @fd: a dma-buf of that memory
 @out_fd: the buffer, close-on-exec; it keeps the memory where it is
 @out_length: how many bytes the buffer has

 Makes a buffer of memory that another driver exports. Its content is left as it is. If the
 dma-buf was opened for reading only, the buffer can only be read: its pairs have no
 %P2PDMA_USER_ACCESS_READ, and COPY_IN answers EBADF.

 EBADF: @fd is not open. EINVAL: it is not a dma-buf. ENODEV: no such device, or no driver is
 bound to it. ENXIO: the BAR has no pages: root writes the device's address to the driver's
 attribute provide. EXDEV: the memory does not lie, in whole pages, in one BAR of @provider: it is
 another device's, or its driver moved it to the host's memory when it was asked to keep it in
 place. ETIMEDOUT: the driver did not finish moving or clearing it for 10 seconds. EINTR: the
 caller was killed. Else what that driver says.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_register {
    pub size: __u32,
    pub flags: __u32,
    pub provider: p2pdma_user_address,
    pub fd: __s32,
    pub out_fd: __s32,
    pub out_length: __u64,
}
/** struct p2pdma_user_stats - ioctl(device, P2PDMA_USER_STATS)
 @size: sizeof(struct p2pdma_user_stats)
 @flags: must be 0
 @out_buffers: buffers that exist
 @out_bytes: bytes of them
 @out_pairs: pairs that exist
 @out_in_flight: I/O that has begun and whose DMA may not have ended

 Counts what all users together hold. When nobody uses the module, all are 0.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_stats {
    pub size: __u32,
    pub flags: __u32,
    pub out_buffers: __u64,
    pub out_bytes: __u64,
    pub out_pairs: __u64,
    pub out_in_flight: __u64,
}
/** struct p2pdma_user_bind - ioctl(buffer, P2PDMA_USER_BIND)
 @size: sizeof(struct p2pdma_user_bind)
 @flags: must be 0
 @fd: a block device, or a regular file on ext4 or xfs, opened with O_DIRECT
 @out_fd: the pair, close-on-exec; it pins the buffer and the open file
 @out_access: P2PDMA_USER_ACCESS_*, as the file and the dma-buf were opened
 @out_memory_align: offsets in the buffer must be multiples of this
 @out_offset_align: positions and lengths must be multiples of this
 @out_distance: the kernel's distance from the memory to the storage; for what root named, the
	largest

 Binds a buffer to an open file, and checks here, once, whether data may go between the two. Later
 changes of the file's flags have no effect. Not noticed are those of the storage: a file that is
 emptied and made an xfs real-time file lies on a device whose route nobody looked at; checksums
 that root, or a rescan of the drive, switches on again are slow.

 EBADF: @fd is not open. EINVAL: it is not a regular file or block device, or was opened without
 O_DIRECT or with O_APPEND. EOPNOTSUPP: no direct I/O: the file system is another than ext4 and
 xfs, or does none for this file (data=journal, inline data, encryption, verity, DAX, ext4 without
 extents, xfs real-time), or the processor computes checksums of the data (a namespace with
 protection information, unless integrity/read_verify and write_generate are 0), or the queue does
 not take peer memory (other transports; md, dm and multipath heads unless root named what lies
 below them in the driver's attribute stack; targets of dm that may sleep, encryption among them),
 or the machine encrypts its memory or bounces all DMA. EREMOTEIO: the kernel has no route between
 the two devices, or to one of those that root named. ENODEV: the provider is gone.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_bind {
    pub size: __u32,
    pub flags: __u32,
    pub fd: __s32,
    pub out_fd: __s32,
    pub out_access: __u32,
    pub out_memory_align: __u32,
    pub out_offset_align: __u32,
    pub out_distance: __s32,
}
/** struct p2pdma_user_copy - ioctl(buffer, P2PDMA_USER_COPY)
 @size: sizeof(struct p2pdma_user_copy)
 @flags: must be 0
 @direction: %P2PDMA_USER_COPY_IN or %P2PDMA_USER_COPY_OUT
 @length: how many bytes, 1 to %P2PDMA_USER_MAX_LENGTH
 @offset: where in the buffer; any byte
 @address: where in the caller's memory

 Copies by the processor. On an error an unknown part has been copied.

 EINVAL: not within the buffer. EBADF: the memory may only be read. EFAULT: @address is not the
 caller's memory. EINTR: the caller was killed. ENODEV: the provider is gone.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_copy {
    pub size: __u32,
    pub flags: __u32,
    pub direction: __u32,
    pub length: __u32,
    pub offset: __u64,
    pub address: __u64,
}
/** struct p2pdma_user_io - ioctl(pair, P2PDMA_USER_IO)
 @size: sizeof(struct p2pdma_user_io)
 @flags: must be 0
 @op: %P2PDMA_USER_READ or %P2PDMA_USER_WRITE
 @length: how many bytes, up to %P2PDMA_USER_MAX_LENGTH
 @offset: where in the buffer
 @position: where in the file
 @out_length: bytes transferred; fewer than @length at the end of the file
 @out_flags: %P2PDMA_USER_IO_BUFFERED: the file system went through the page cache, so that the
	processor copied the data

 Does one transfer and waits for it. Everything about alignment, bounds and errors is as for
 &struct p2pdma_user_cmd.*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_io {
    pub size: __u32,
    pub flags: __u32,
    pub op: __u32,
    pub length: __u32,
    pub offset: __u64,
    pub position: __u64,
    pub out_length: __u32,
    pub out_flags: __u32,
}
/** struct p2pdma_user_cmd - IORING_OP_URING_CMD on a pair, sqe->cmd
 @position: where in the file
 @length: how many bytes, up to %P2PDMA_USER_MAX_LENGTH
 @flags: must be 0

 sqe->fd is the pair (IOSQE_FIXED_FILE is welcome), sqe->cmd_op is %P2PDMA_USER_READ or
 %P2PDMA_USER_WRITE, and sqe->addr is the offset in the buffer. All other fields of the command
 must be 0, the second half of a 128-byte SQE included.

 The result is the number of bytes, with %P2PDMA_USER_RESULT_BUFFERED added where the file system
 went through the page cache; of a write this is not seen where another process dirtied the same
 pages by a mapping meanwhile. It is below the length at the end of the file; that does not break
 an IOSQE_IO_LINK chain. An operation cannot be cancelled: DMA cannot be called back.

 Behind another in a chain, or with IOSQE_IO_DRAIN, Linux 6.12 reads a command only when its turn
 comes: set IOSQE_ASYNC as well, or leave the entry of the queue alone until it has completed.

 What a driver exports may lie scattered in its BAR, in runs of pages. I/O that goes over a border
 of runs needs an offset that is a multiple of out_offset_align. Contiguous memory has a border
 every 2 GiB.

 EOPNOTSUPP: an unknown cmd_op, or a field that must be 0 is not. EBADF: the file, or the dma-buf,
 was not opened for this direction. EINVAL: not within the buffer, or not aligned as BIND said.
 ENODEV: the provider is gone; the file is as it was. EREMOTEIO: the route is gone, or root took
 back what was named below a stack. Else what the file says, as for a pread() or pwrite(): EIO,
 ENOSPC, EFBIG...*/
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct p2pdma_user_cmd {
    pub position: __u64,
    pub length: __u32,
    pub flags: __u32,
}
