/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The contract of /dev/p2pdma_user: direct I/O between storage and the memory of PCI devices,
 * without that memory having a user address.
 *
 *	/dev/p2pdma_user --ALLOC or REGISTER--> buffer fd --BIND(file)--> pair fd
 *
 * Each fd pins the one below it. Closing the last reference to an object ends it after its I/O has
 * ended. The data path is IORING_OP_URING_CMD on a pair fd, see &struct p2pdma_user_cmd.
 *
 * Every argument begins with its own size, as the caller was compiled. A caller older than the
 * module is served; a newer one as well, as long as what the module does not know is zero. What a
 * call has to say it writes back into the same structure, into the fields that begin with out_, and
 * only on success.
 *
 * What every call may return:
 *
 *	ENOTTY		this kind of fd has no such call
 *	EINVAL		size is below that of the first version; a value is out
 *			of its range
 *	E2BIG		bytes that the module does not know are not zero, or
 *			size is above 4096
 *	EOPNOTSUPP	a flag that the module does not know is set, or a
 *			reserved field is not zero
 *	EFAULT		the structure cannot be read or written
 *	ENOMEM		the kernel has no memory for the object
 *
 * and what calls that return an fd may return as well: EMFILE, ENFILE.
 */
#ifndef _UAPI_P2PDMA_USER_H
#define _UAPI_P2PDMA_USER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define P2PDMA_USER_TYPE	0xBB

/* The numbers carry no sizes, since the structures do and may grow */
#define P2PDMA_USER_INFO	_IO(P2PDMA_USER_TYPE, 0x00)
#define P2PDMA_USER_DISTANCE	_IO(P2PDMA_USER_TYPE, 0x01)
#define P2PDMA_USER_QUEUE	_IO(P2PDMA_USER_TYPE, 0x02)
#define P2PDMA_USER_ALLOC	_IO(P2PDMA_USER_TYPE, 0x03)
#define P2PDMA_USER_STATS	_IO(P2PDMA_USER_TYPE, 0x04)
#define P2PDMA_USER_REGISTER	_IO(P2PDMA_USER_TYPE, 0x05)
#define P2PDMA_USER_BIND	_IO(P2PDMA_USER_TYPE, 0x10)
#define P2PDMA_USER_COPY	_IO(P2PDMA_USER_TYPE, 0x11)
#define P2PDMA_USER_IO		_IO(P2PDMA_USER_TYPE, 0x20)

/* What I/O does, in &p2pdma_user_io.op and in the cmd_op of an io_uring command */
#define P2PDMA_USER_READ	_IO(P2PDMA_USER_TYPE, 0x30) /* file to buffer */
#define P2PDMA_USER_WRITE	_IO(P2PDMA_USER_TYPE, 0x31) /* buffer to file */

/* The major number grows when an old caller can no longer be served */
#define P2PDMA_USER_MAJOR	1

/* The most bytes of one I/O and of one COPY */
#define P2PDMA_USER_MAX_LENGTH	0x4000000

/**
 * struct p2pdma_user_address - the address of a PCI function
 * @domain: PCI domain; above 0xffff behind Intel VMD
 * @bus: bus number
 * @devfn: device number in bits 7 to 3, function in bits 2 to 0
 * @reserved: must be 0
 */
struct p2pdma_user_address {
	__u32 domain;
	__u8 bus;
	__u8 devfn;
	__u16 reserved;
};

/* Bits of &p2pdma_user_info.out_features */
#define P2PDMA_USER_FEATURE_ALLOC	0x1
#define P2PDMA_USER_FEATURE_REGISTER	0x2

/**
 * struct p2pdma_user_info - ioctl(device, P2PDMA_USER_INFO)
 * @size: sizeof(struct p2pdma_user_info)
 * @flags: must be 0
 * @out_major: %P2PDMA_USER_MAJOR of the module
 * @out_max_length: most bytes of one I/O and of one COPY
 * @out_features: the ways to make a buffer, P2PDMA_USER_FEATURE_*
 *
 * Tells what this module can do.
 */
struct p2pdma_user_info {
	__u32 size;
	__u32 flags;
	__u32 out_major;
	__u32 out_max_length;
	__u64 out_features;
};

/**
 * struct p2pdma_user_distance - ioctl(device, P2PDMA_USER_DISTANCE)
 * @size: sizeof(struct p2pdma_user_distance)
 * @flags: must be 0
 * @provider: the device whose memory is used; it need not give any yet
 * @client: the device that does the DMA
 * @out_distance: what pci_p2pdma_distance() says; -1: there is no route
 * @reserved: must be 0
 *
 * Asks the running kernel, as it is now, for its verdict on two devices.
 *
 * ENODEV: one of the two does not exist.
 */
struct p2pdma_user_distance {
	__u32 size;
	__u32 flags;
	struct p2pdma_user_address provider;
	struct p2pdma_user_address client;
	__s32 out_distance;
	__u32 reserved;
};

/* Bits of &p2pdma_user_queue.out_features */
#define P2PDMA_USER_QUEUE_P2PDMA	0x1

/**
 * struct p2pdma_user_queue - ioctl(device, P2PDMA_USER_QUEUE)
 * @size: sizeof(struct p2pdma_user_queue)
 * @flags: must be 0
 * @fd: an open block device
 * @out_features: %P2PDMA_USER_QUEUE_P2PDMA: the device's queue takes peer memory
 *	(BLK_FEAT_PCI_P2PDMA in include/linux/blkdev.h)
 *
 * EBADF: @fd is not open. ENOTBLK: it is not a block device.
 */
struct p2pdma_user_queue {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 out_features;
};

/**
 * struct p2pdma_user_alloc - ioctl(device, P2PDMA_USER_ALLOC)
 * @size: sizeof(struct p2pdma_user_alloc)
 * @flags: must be 0
 * @provider: a device that gives memory: an NVMe controller with a memory buffer (CMB), or a device
 *	bound to this module
 * @length: how many bytes; rounded up to pages
 * @out_length: how many bytes the buffer has
 * @out_fd: the buffer, close-on-exec
 * @reserved: must be 0
 *
 * Takes memory from a provider's pool. It is contiguous, and zero.
 *
 * ENODEV: no such device, or no driver is bound to it, or it publishes no memory. EACCES: its
 * driver is another than nvme or this module's: what its pool hands out may be in use by others.
 * ENOSPC: the pool has no free run of this length. EDQUOT: the user would hold more than root
 * allows by the module's parameter user_bytes (which CAP_SYS_RESOURCE overrides). EINTR: the caller
 * was killed.
 */
struct p2pdma_user_alloc {
	__u32 size;
	__u32 flags;
	struct p2pdma_user_address provider;
	__u64 length;
	__u64 out_length;
	__s32 out_fd;
	__u32 reserved;
};

/**
 * struct p2pdma_user_register - ioctl(device, P2PDMA_USER_REGISTER)
 * @size: sizeof(struct p2pdma_user_register)
 * @flags: must be 0
 * @provider: the device whose memory it is
 * @fd: a dma-buf of that memory
 * @out_fd: the buffer, close-on-exec; it keeps the memory where it is
 * @out_length: how many bytes the buffer has
 *
 * Makes a buffer of memory that another driver exports. Its content is left as it is. If the
 * dma-buf was opened for reading only, the buffer can only be read: its pairs have no
 * %P2PDMA_USER_ACCESS_READ, and COPY_IN answers EBADF.
 *
 * EBADF: @fd is not open. EINVAL: it is not a dma-buf. ENODEV: no such device, or no driver is
 * bound to it. ENXIO: the BAR has no pages: root writes the device's address to the driver's
 * attribute provide. EXDEV: the memory does not lie, in whole pages, in one BAR of @provider: it is
 * another device's, or its driver moved it to the host's memory when it was asked to keep it in
 * place. ETIMEDOUT: the driver did not finish moving or clearing it for 10 seconds. EINTR: the
 * caller was killed. Else what that driver says.
 */
struct p2pdma_user_register {
	__u32 size;
	__u32 flags;
	struct p2pdma_user_address provider;
	__s32 fd;
	__s32 out_fd;
	__u64 out_length;
};

/**
 * struct p2pdma_user_stats - ioctl(device, P2PDMA_USER_STATS)
 * @size: sizeof(struct p2pdma_user_stats)
 * @flags: must be 0
 * @out_buffers: buffers that exist
 * @out_bytes: bytes of them
 * @out_pairs: pairs that exist
 * @out_in_flight: I/O that has begun and whose DMA may not have ended
 *
 * Counts what all users together hold. When nobody uses the module, all are 0.
 */
struct p2pdma_user_stats {
	__u32 size;
	__u32 flags;
	__u64 out_buffers;
	__u64 out_bytes;
	__u64 out_pairs;
	__u64 out_in_flight;
};

/* Bits of &p2pdma_user_bind.out_access */
#define P2PDMA_USER_ACCESS_READ		0x1
#define P2PDMA_USER_ACCESS_WRITE	0x2

/**
 * struct p2pdma_user_bind - ioctl(buffer, P2PDMA_USER_BIND)
 * @size: sizeof(struct p2pdma_user_bind)
 * @flags: must be 0
 * @fd: a block device, or a regular file on ext4 or xfs, opened with O_DIRECT
 * @out_fd: the pair, close-on-exec; it pins the buffer and the open file
 * @out_access: P2PDMA_USER_ACCESS_*, as the file and the dma-buf were opened
 * @out_memory_align: offsets in the buffer must be multiples of this
 * @out_offset_align: positions and lengths must be multiples of this
 * @out_distance: the kernel's distance from the memory to the storage; for what root named, the
 *	largest
 *
 * Binds a buffer to an open file, and checks here, once, whether data may go between the two. Later
 * changes of the file's flags have no effect. Not noticed are those of the storage: a file that is
 * emptied and made an xfs real-time file lies on a device whose route nobody looked at; checksums
 * that root, or a rescan of the drive, switches on again are slow.
 *
 * EBADF: @fd is not open. EINVAL: it is not a regular file or block device, or was opened without
 * O_DIRECT or with O_APPEND. EOPNOTSUPP: no direct I/O: the file system is another than ext4 and
 * xfs, or does none for this file (data=journal, inline data, encryption, verity, DAX, ext4 without
 * extents, xfs real-time), or the processor computes checksums of the data (a namespace with
 * protection information, unless integrity/read_verify and write_generate are 0), or the queue does
 * not take peer memory (other transports; md, dm and multipath heads unless root named what lies
 * below them in the driver's attribute stack; targets of dm that may sleep, encryption among them),
 * or the machine encrypts its memory or bounces all DMA. EREMOTEIO: the kernel has no route between
 * the two devices, or to one of those that root named. ENODEV: the provider is gone.
 */
struct p2pdma_user_bind {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__s32 out_fd;
	__u32 out_access;
	__u32 out_memory_align;
	__u32 out_offset_align;
	__s32 out_distance;
};

/* Values of &p2pdma_user_copy.direction */
#define P2PDMA_USER_COPY_IN	1 /* user memory to buffer */
#define P2PDMA_USER_COPY_OUT	2 /* buffer to user memory */

/**
 * struct p2pdma_user_copy - ioctl(buffer, P2PDMA_USER_COPY)
 * @size: sizeof(struct p2pdma_user_copy)
 * @flags: must be 0
 * @direction: %P2PDMA_USER_COPY_IN or %P2PDMA_USER_COPY_OUT
 * @length: how many bytes, 1 to %P2PDMA_USER_MAX_LENGTH
 * @offset: where in the buffer; any byte
 * @address: where in the caller's memory
 *
 * Copies by the processor. On an error an unknown part has been copied.
 *
 * EINVAL: not within the buffer. EBADF: the memory may only be read. EFAULT: @address is not the
 * caller's memory. EINTR: the caller was killed. ENODEV: the provider is gone.
 */
struct p2pdma_user_copy {
	__u32 size;
	__u32 flags;
	__u32 direction;
	__u32 length;
	__u64 offset;
	__u64 address;
};

/* Bits of &p2pdma_user_io.out_flags */
#define P2PDMA_USER_IO_BUFFERED		0x1

/**
 * struct p2pdma_user_io - ioctl(pair, P2PDMA_USER_IO)
 * @size: sizeof(struct p2pdma_user_io)
 * @flags: must be 0
 * @op: %P2PDMA_USER_READ or %P2PDMA_USER_WRITE
 * @length: how many bytes, up to %P2PDMA_USER_MAX_LENGTH
 * @offset: where in the buffer
 * @position: where in the file
 * @out_length: bytes transferred; fewer than @length at the end of the file
 * @out_flags: %P2PDMA_USER_IO_BUFFERED: the file system went through the page cache, so that the
 *	processor copied the data
 *
 * Does one transfer and waits for it. Everything about alignment, bounds and errors is as for
 * &struct p2pdma_user_cmd.
 */
struct p2pdma_user_io {
	__u32 size;
	__u32 flags;
	__u32 op;
	__u32 length;
	__u64 offset;
	__u64 position;
	__u32 out_length;
	__u32 out_flags;
};

/**
 * struct p2pdma_user_cmd - IORING_OP_URING_CMD on a pair, sqe->cmd
 * @position: where in the file
 * @length: how many bytes, up to %P2PDMA_USER_MAX_LENGTH
 * @flags: must be 0
 *
 * sqe->fd is the pair (IOSQE_FIXED_FILE is welcome), sqe->cmd_op is %P2PDMA_USER_READ or
 * %P2PDMA_USER_WRITE, and sqe->addr is the offset in the buffer. All other fields of the command
 * must be 0, the second half of a 128-byte SQE included.
 *
 * The result is the number of bytes, with %P2PDMA_USER_RESULT_BUFFERED added where the file system
 * went through the page cache; of a write this is not seen where another process dirtied the same
 * pages by a mapping meanwhile. It is below the length at the end of the file; that does not break
 * an IOSQE_IO_LINK chain. An operation cannot be cancelled: DMA cannot be called back.
 *
 * Behind another in a chain, or with IOSQE_IO_DRAIN, Linux 6.12 reads a command only when its turn
 * comes: set IOSQE_ASYNC as well, or leave the entry of the queue alone until it has completed.
 *
 * What a driver exports may lie scattered in its BAR, in runs of pages. I/O that goes over a border
 * of runs needs an offset that is a multiple of out_offset_align. Contiguous memory has a border
 * every 2 GiB.
 *
 * EOPNOTSUPP: an unknown cmd_op, or a field that must be 0 is not. EBADF: the file, or the dma-buf,
 * was not opened for this direction. EINVAL: not within the buffer, or not aligned as BIND said.
 * ENODEV: the provider is gone; the file is as it was. EREMOTEIO: the route is gone, or root took
 * back what was named below a stack. Else what the file says, as for a pread() or pwrite(): EIO,
 * ENOSPC, EFBIG...
 */
struct p2pdma_user_cmd {
	__u64 position;
	__u32 length;
	__u32 flags;
};

#define P2PDMA_USER_RESULT_BUFFERED	0x40000000

#endif /* _UAPI_P2PDMA_USER_H */
