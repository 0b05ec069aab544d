/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of p2pdma_user.ko know of one another.
 *
 * Lifetime is a chain of references, each object pinning the one below:
 *
 *	pair (fd) --> target file
 *	    `-------> buffer (fd) --> provider --> pci_dev
 *
 * The memory alone does not obey it: when the provider is unbound, it goes
 * back to its pool while the objects stay. Whoever touches memory, by DMA or by
 * the processor, does so between provider_enter() and provider_leave().
 */
#ifndef _P2PDMA_USER_INTERNAL_H
#define _P2PDMA_USER_INTERNAL_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/percpu-refcount.h>
#include <linux/uidgid.h>

#include "uapi/p2pdma_user.h"

struct io_uring_cmd;

/* --- call.c: ioctls by table --- */

/**
 * struct call - one ioctl under way
 * @object: the private_data of the fd it came by
 * @filp: that file
 * @args: the kernel's copy of the argument
 * @fd: for a handler that makes an fd: the number, reserved
 * @file: where such a handler leaves the file that is to be installed
 */
struct call {
	void *object;
	struct file *filp;
	void *args;
	int fd;
	struct file *file;
};

/**
 * struct call_op - one entry of an object's table
 * @number: the ioctl
 * @size: of its argument; 8 bits, since the dispatcher's buffer has 256 bytes
 * @makes_fd: the handler needs &call.fd
 * @run: the handler; never sees user memory, and no flags, since none exist yet
 *
 * When an argument grows, its first size has to be kept beside the new one.
 */
struct call_op {
	unsigned int number;
	u8 size;
	bool makes_fd;
	int (*run)(struct call *call);
};

#define CALL_OP(_number, _struct, _run, _makes_fd) {	\
	.number = (_number),				\
	.size = sizeof(struct _struct),			\
	.makes_fd = (_makes_fd),			\
	.run = (_run),					\
}

long call_dispatch(const struct call_op *ops, size_t count, struct file *filp,
		   unsigned int number, unsigned long arg);

/* --- donor.c --- */

extern struct pci_driver donor_driver;

/* --- device.c: /dev/p2pdma_user --- */

int device_init(void);
void device_exit(void);

/* --- provider.c: a device whose memory is used --- */

/**
 * struct provider - a device from whose pool there are buffers
 * @kref: one for each buffer
 * @pdev: the device
 * @users: of the memory, see provider_enter()
 * @idle: @users was killed and has become zero
 * @entry: in the list of providers; by provider_lock
 * @buffers: &buffer.entry; by provider_lock
 * @revoked: the driver was unbound, the memory is back in the pool; by
 *	device_lock(&pdev->dev), and for readers by provider_lock as well
 */
struct provider {
	struct kref kref;
	struct pci_dev *pdev;
	struct percpu_ref users;
	struct completion idle;
	struct list_head entry;
	struct list_head buffers;
	bool revoked;
};

struct provider_totals {
	u64 buffers;
	u64 bytes;
};

/* Protects the lists of providers and buffers, and &buffer.memory of each */
extern struct mutex provider_lock;

struct pci_dev *provider_device(const struct p2pdma_user_address *address);
struct provider *provider_get(struct pci_dev *pdev);
void provider_put(struct provider *provider);
u64 provider_bytes_of(kuid_t owner);
struct provider_totals provider_totals(void);

/* Keeps the memory in place until provider_leave(); fails once it is gone */
static inline bool provider_enter(struct provider *provider)
{
	return percpu_ref_tryget_live(&provider->users);
}

/* May be called in any context */
static inline void provider_leave(struct provider *provider)
{
	percpu_ref_put(&provider->users);
}

/* --- buffer.c: a run of a provider's memory --- */

/**
 * struct buffer - what a buffer fd stands for
 * @provider: whose memory it is
 * @entry: in &provider.buffers
 * @memory: in the kernel's mapping of the BAR; NULL once revoked; stable
 *	between provider_enter() and provider_leave()
 * @length: in bytes, whole pages
 * @owner: who allocated it
 */
struct buffer {
	struct provider *provider;
	struct list_head entry;
	void *memory;
	u64 length;
	kuid_t owner;
};

int buffer_alloc(struct call *call);
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length);

/* --- pair.c: a buffer bound to an open file --- */

/**
 * struct pair - what a pair fd stands for; constant once made
 * @buffer: kept by a reference to @buffer_file
 * @buffer_file: the buffer's file
 * @target: the storage's file
 * @ki_flags: IOCB_* of every I/O, as the target's flags were at BIND
 * @access: P2PDMA_USER_ACCESS_*
 * @memory_align: of offsets in the buffer
 * @offset_align: of positions and lengths
 */
struct pair {
	struct buffer *buffer;
	struct file *buffer_file;
	struct file *target;
	int ki_flags;
	u32 access;
	u32 memory_align;
	u32 offset_align;
};

int pair_bind(struct call *call);
u64 pair_count(void);

/* --- io.c: the data path --- */

int io_init(void);
void io_exit(void);
int io_ioctl(struct call *call);
int io_command(struct io_uring_cmd *cmd, unsigned int issue_flags);
u64 io_in_flight(void);

#endif /* _P2PDMA_USER_INTERNAL_H */
