/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of p2pdma_user.ko know of one another.
 *
 * Lifetime is a chain of references, each object pinning the one below:
 *
 *	pair (fd) --> target file
 *	    `-------> buffer (fd) --> provider --> pci_dev
 *
 * The memory alone does not obey it: when the provider is unbound, it goes back to its pool while
 * the objects stay. Whoever touches memory, by DMA or by the processor, does so between
 * provider_enter() and provider_leave().
 */
#ifndef _P2PDMA_USER_INTERNAL_H
#define _P2PDMA_USER_INTERNAL_H

#include <linux/cleanup.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/percpu-refcount.h>
#include <linux/uidgid.h>

#include "uapi/p2pdma_user.h"

#ifndef CONFIG_PCI_P2PDMA
#error "this kernel lacks CONFIG_PCI_P2PDMA; build for one that has it"
#endif

struct bio_vec;
struct buffer;
struct dma_buf;
struct dma_buf_attachment;
struct io_uring_cmd;
struct iov_iter;
struct provider;
struct sg_table;

/* --- call.c: ioctls by table --- */

/* One ioctl under way */
struct call {
	void *object;		/* the private_data of the fd it came by */
	struct file *filp;	/* that file */
	void *args;		/* the kernel's copy of the argument */
	int fd;			/* for a handler that makes an fd: the number, reserved */
	struct file *file;	/* where such a handler leaves the file to be installed */
};

/*
 * One entry of an object's table. Handlers see no user memory, and no flags, since none exist yet.
 * When an argument grows, its first size has to be kept beside the new one.
 */
struct call_op {
	unsigned int number;
	u8 size;	/* of the argument; 8 bits, as the dispatcher's buffer has 256 bytes */
	bool makes_fd;
	int (*run)(struct call *call);
};

#define CALL_OP(number, args, run, makes_fd) { number, sizeof(struct args), makes_fd, run }

int call_open(struct call *call, const char *name, const struct file_operations *fops,
	      void *object);
long call_dispatch(const struct call_op *op, size_t count, struct file *filp,
		   unsigned int number, unsigned long arg);

/* --- donor.c: BARs for p2pdma --- */

extern struct pci_driver donor_driver;

void donor_announce(struct pci_dev *pdev, bool provides);
void donor_unclaim(struct provider *provider);

/* --- provider.c: a device whose memory is used --- */

/* A device of whose memory there are buffers, or whose pool is claimed */
struct provider {
	struct pci_dev *pdev;
	struct percpu_ref users;	/* of the memory, see provider_enter() */
	struct completion idle;		/* users was killed and has become zero */
	struct list_head entry;		/* in the list of providers */
	struct list_head buffers;
	unsigned int holders;		/* buffers, the claim, and who is looking */
	bool revoked;			/* all of its memory is given back */
	void *claim;			/* by the device's lock: all of its pool, for nobody */
	size_t claim_length;
};

int provider_parse(const char *text, struct p2pdma_user_address *address);
struct pci_dev *provider_device(const struct p2pdma_user_address *address);
struct provider *provider_get(struct pci_dev *pdev);
void provider_put(struct provider *provider);
int provider_add(struct pci_dev *pdev, struct buffer *buffer);
void provider_remove(struct buffer *buffer);
void provider_revoke(struct pci_dev *pdev);
void provider_exit(void);
void provider_count(struct p2pdma_user_stats *stats);

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

/* --- buffer.c: memory of a provider --- */

/* What a buffer fd stands for */
struct buffer {
	struct provider *provider;
	struct list_head entry;		/* in provider->buffers */
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

int buffer_alloc(struct call *call);
int buffer_register(struct call *call);
int buffer_reserve(struct buffer *buffer, unsigned int capacity);
bool buffer_append(struct buffer *buffer, struct page *page, u64 length);
u64 buffer_end(const struct buffer *buffer);
void buffer_drop(struct buffer *buffer);
int buffer_pause(void);
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length);
bool buffer_iter(const struct buffer *buffer, struct iov_iter *iter, struct bio_vec *part,
		 unsigned int direction, u64 offset, u32 length);

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

int pair_bind(struct call *call);
u64 pair_count(void);

/* --- route.c: whether DMA goes between the two --- */

extern atomic_t route_generation;
extern struct driver_attribute driver_attr_stack, driver_attr_refresh;

void route_refresh(void);
int route_check(struct pair *pair);

/* --- io.c: the data path --- */

int io_init(void);
void io_exit(void);
int io_ioctl(struct call *call);
int io_command(struct io_uring_cmd *cmd, unsigned int issue_flags);
u64 io_in_flight(void);

#endif /* _P2PDMA_USER_INTERNAL_H */
