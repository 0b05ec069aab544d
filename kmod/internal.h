/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of p2pdma_user.ko know of one another. Each object pins the one below it:
 *
 *	pair (fd) --> target file
 *	    `-------> buffer (fd) --> provider, a pci_dev
 *
 * The memory alone does not obey: when its provider is unbound it is given back, while the objects
 * stay. Whoever touches it, by DMA or by the processor, is between buffer_enter() and
 * buffer_leave().
 */
#ifndef _P2PDMA_USER_INTERNAL_H
#define _P2PDMA_USER_INTERNAL_H

#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/cleanup.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/percpu-refcount.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <linux/uio.h>
#include <linux/wait.h>

#include "uapi/p2pdma_user.h"

#ifndef CONFIG_PCI_P2PDMA
#error "this kernel lacks CONFIG_PCI_P2PDMA; build for one that has it"
#endif

struct dma_buf;
struct dma_buf_attachment;
struct io_uring_cmd;
struct sg_table;

/* --- call.c: ioctls by table --- */

/* One ioctl under way. Its handler sees no user memory, and no flags, since none exist yet. */
struct call {
	struct file *on;	/* what it came by */
	void *args;		/* the kernel's copy of the argument */
	struct file *made;	/* by call_open(), to be installed as */
	int fd;
};

int call_open(struct call *call, const char *name, const struct file_operations *fops,
	      void *object);
long call_ioctl(struct file *filp, unsigned int number, unsigned long arg);
struct pci_dev *call_device(const struct p2pdma_user_address *address);

/* --- main.c: the device --- */

extern const struct file_operations main_fops;

int main_info(struct call *call);
int main_distance(struct call *call);
int main_queue(struct call *call);
int main_stats(struct call *call);

/* --- buffer.c: memory of a provider --- */

/* What a buffer fd stands for */
struct buffer {
	struct pci_dev *provider;
	struct list_head entry;		/* in a list of all that have, or get, memory */
	struct percpu_ref users;	/* of the memory, see buffer_enter() */
	struct completion idle;		/* users was killed and has become zero */
	struct completion revoked;	/* by buffer_revoke(), which is done with it */
	struct bio_vec *runs;		/* the memory: stretches of whole pages, in order */
	u64 *starts;			/* offset in the buffer of each */
	unsigned int capacity;		/* for so many runs */
	unsigned int count;		/* of runs; 0: the memory is gone */
	u64 length;			/* in bytes */
	kuid_t owner;			/* who is charged; invalid if it is registered */
	bool readonly;			/* nothing may be written to it */
	struct dma_buf_attachment *attachment;	/* if it is registered */
	struct sg_table *table;		/* likewise */
};

extern const struct file_operations buffer_fops;

int buffer_alloc(struct call *call);
int buffer_register(struct call *call);
int buffer_reserve(struct buffer *buffer, unsigned int capacity);
bool buffer_append(struct buffer *buffer, struct page *page, u64 length);
u64 buffer_end(const struct buffer *buffer);
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length);
bool buffer_iter(const struct buffer *buffer, struct iov_iter *iter, struct bio_vec *part,
		 unsigned int direction, u64 offset, u32 length);
void buffer_revoke(struct pci_dev *provider);
void buffer_stats(struct p2pdma_user_stats *stats);

/* Keeps the memory in place until buffer_leave(); fails once it is to be given back */
static inline bool buffer_enter(struct buffer *buffer)
{
	return percpu_ref_tryget_live(&buffer->users);
}

/* May be called in any context */
static inline void buffer_leave(struct buffer *buffer)
{
	percpu_ref_put(&buffer->users);
}

/* --- copy.c: the processor's ways into it --- */

int copy_ioctl(struct call *call);
int copy_zeroes(struct buffer *buffer);
int copy_pause(void);

/* --- dmabuf.c: memory that another driver exports --- */

int dmabuf_take(struct buffer *buffer, struct dma_buf *dmabuf);
void dmabuf_drop(struct buffer *buffer);

/* --- pair.c: a buffer bound to an open file --- */

/* What a pair fd stands for; constant once made, but for the generation */
struct pair {
	struct buffer *buffer;		/* kept by buffer_file */
	struct file *buffer_file;
	struct file *target;		/* the storage */
	struct block_device *bdev;	/* below it; kept by target */
	int generation;			/* of the last look at the route */
	int ki_flags;			/* of every I/O, as the target's were at BIND */
	u32 access;			/* P2PDMA_USER_ACCESS_* */
	u32 memory_align;		/* of offsets in the buffer */
	u32 offset_align;		/* of positions and lengths */
	u32 nowait_length;		/* I/O up to here is told not to sleep */
};

extern const struct file_operations pair_fops;
extern atomic_long_t pair_count;

int pair_bind(struct call *call);

/* --- route.c: whether DMA goes between the two --- */

extern atomic_t route_generation;
extern struct driver_attribute driver_attr_stack, driver_attr_refresh;

void route_refresh(void);
int route_check(struct pair *pair);
int route_parse_address(const char *text, struct p2pdma_user_address *address);

/* --- io.c: the data path --- */

int io_init(void);
void io_exit(void);
int io_ioctl(struct call *call);
int io_command(struct io_uring_cmd *cmd, unsigned int issue_flags);
u64 io_in_flight(void);

/* --- donor.c: BARs for p2pdma --- */

extern struct pci_driver donor_driver;

void donor_exit(void);

#endif /* _P2PDMA_USER_INTERNAL_H */
