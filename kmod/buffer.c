// SPDX-License-Identifier: GPL-2.0
/* Buffers: memory of a provider, behind an fd each. */

#include <linux/bvec.h>
#include <linux/cred.h>
#include <linux/dma-buf.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>

#include "internal.h"

/* What the processor moves between two looks at signals and at the provider */
#define BUFFER_STEP	SZ_64K

/* A run is no longer than a bio_vec can say, which has 32 bits for it. */
#define BUFFER_RUN	SZ_2G

/* Tells whether [offset, offset + length) lies within a buffer. */
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length)
{
	u64 end;

	return !check_add_overflow(offset, length, &end) && end <= buffer->length;
}

/* --- its runs --- */

/* Return: how many bytes its runs have. */
u64 buffer_end(const struct buffer *buffer)
{
	unsigned int last = buffer->count - 1;

	return buffer->count ? buffer->starts[last] + buffer->runs[last].bv_len : 0;
}

/* Makes room for so many runs, and for those that are longer than BUFFER_RUN. */
int buffer_reserve(struct buffer *buffer, unsigned int capacity)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;

	buffer->capacity = capacity + buffer->length / BUFFER_RUN;
	buffer->runs = kvmalloc_array(buffer->capacity, sizeof(*buffer->runs), gfp);
	buffer->starts = kvmalloc_array(buffer->capacity, sizeof(*buffer->starts), gfp);
	return buffer->runs && buffer->starts ? 0 : -ENOMEM;
}

/*
 * Puts pages at the end of a buffer that is being made: to its last run if they continue it.
 *
 * Return: false if there is no room.
 */
bool buffer_append(struct buffer *buffer, struct page *page, u64 length)
{
	u32 step;

	for (; length; length -= step, page += step >> PAGE_SHIFT) {
		struct bio_vec *run = buffer->runs + buffer->count - 1;

		step = min(length, BUFFER_RUN);
		if (buffer->count && page == run->bv_page + (run->bv_len >> PAGE_SHIFT) &&
		    step <= BUFFER_RUN - run->bv_len) {
			run->bv_len += step;
			continue;
		}
		if (buffer->count == buffer->capacity)
			return false;
		buffer->starts[buffer->count] = buffer_end(buffer);
		bvec_set_page(&buffer->runs[buffer->count++], page, step, 0);
	}
	return true;
}

/*
 * Sets @iter to a part of an entered buffer: to @part if it lies in one run, as the block layer is
 * faster with a bio_vec that is no longer than the I/O, or else to the runs themselves. No more of
 * them are given than a bio can count (bi_vcnt): pages enough for the longest I/O.
 *
 * Return: false if the memory is gone.
 */
bool buffer_iter(const struct buffer *buffer, struct iov_iter *iter, struct bio_vec *part,
		 unsigned int direction, u64 offset, u32 length)
{
	unsigned int count = READ_ONCE(buffer->count), from = 0, to = count;
	const struct bio_vec *run;

	if (!count)
		return false;
	while (to - from > 1) {
		unsigned int middle = from + (to - from) / 2;

		if (buffer->starts[middle] <= offset)
			from = middle;
		else
			to = middle;
	}
	run = buffer->runs + from;
	offset -= buffer->starts[from];
	if (offset + length <= run->bv_len) {
		bvec_set_page(part, run->bv_page + (offset >> PAGE_SHIFT), length,
			      offset_in_page(offset));
		iov_iter_bvec(iter, direction, part, 1, length);
		return true;
	}
	count = min(count - from, P2PDMA_USER_MAX_LENGTH / PAGE_SIZE + 1);
	iov_iter_bvec(iter, direction, run, count, length);
	iter->iov_offset = offset;
	return true;
}

/* --- making and ending --- */

/*
 * Whose memory may be had. A graphics driver's pool is the memory of other processes, in use; what
 * it exports is not, but nothing is attached to devices that nobody gave to p2pdma.
 */
static int buffer_check_device(struct pci_dev *pdev, bool exported)
{
	struct device *dev = &pdev->dev;

	device_lock_assert(dev);
	if (!device_is_bound(dev))
		return -ENODEV;
	if (exported)
		return rcu_access_pointer(pdev->p2pdma) ? 0 : -ENXIO;
	if (dev->driver != &donor_driver.driver && strcmp(dev->driver->name, "nvme"))
		return -EACCES;
	return pci_has_p2pmem(pdev) ? 0 : -ENODEV;
}

/* Memory of the provider's pool. The kernel does not clear it: what the last user left is there. */
static int buffer_take(struct buffer *buffer)
{
	struct pci_dev *pdev = buffer->provider->pdev;
	void *memory = pci_alloc_p2pmem(pdev, buffer->length);
	int rc;

	if (!memory)
		return -ENOSPC;
	/* Only now: a length that no pool has must not decide how large the table is */
	rc = buffer_reserve(buffer, 1);
	if (rc) {
		pci_free_p2pmem(pdev, memory, buffer->length);
		return rc;
	}
	buffer_append(buffer, virt_to_page(memory), buffer->length);
	return 0;
}

/* Gives the memory back, if it is still there, when nobody uses it and nobody begins to. */
void buffer_drop(struct buffer *buffer)
{
	if (buffer->attachment)
		dmabuf_drop(buffer);
	else if (buffer->count)
		pci_free_p2pmem(buffer->provider->pdev, page_address(buffer->runs->bv_page),
				buffer->length);
	WRITE_ONCE(buffer->count, 0);
}

static void buffer_free(struct buffer *buffer)
{
	if (provider_enter(buffer->provider)) {
		buffer_drop(buffer);
		provider_leave(buffer->provider);
	}
	provider_remove(buffer);
	kvfree(buffer->starts);
	kvfree(buffer->runs);
	kfree(buffer);
}

static int buffer_fill(struct buffer *buffer, struct dma_buf *dmabuf)
{
	int rc = -ENODEV;

	if (!provider_enter(buffer->provider))
		return rc;
	rc = dmabuf ? dmabuf_take(buffer, dmabuf) : buffer_take(buffer);
	if (rc)
		buffer->count = 0;
	provider_leave(buffer->provider);
	return rc;
}

/*
 * Who is charged. Whoever makes a user namespace is all the users that it maps, so that subordinate
 * ids are no way round the limit; those of a container that root made are users as any.
 */
static kuid_t buffer_owner(void)
{
	const struct user_namespace *ns = current_user_ns();
	kuid_t owner = current_uid();

	for (; ns->parent && !uid_eq(ns->owner, GLOBAL_ROOT_UID); ns = ns->parent)
		owner = ns->owner;
	return owner;
}

/* Of @dmabuf if there is one, else of the device's pool */
static struct buffer *buffer_new(struct pci_dev *pdev, struct dma_buf *dmabuf, u64 length)
{
	struct buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	int rc;

	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->length = length;
	buffer->owner = dmabuf ? INVALID_UID : buffer_owner();
	buffer->readonly = dmabuf && !(dmabuf->file->f_mode & FMODE_WRITE);
	scoped_guard(device, &pdev->dev)
		rc = buffer_check_device(pdev, dmabuf) ?: provider_add(pdev, buffer);
	if (rc) {
		kfree(buffer);
		return ERR_PTR(rc);
	}
	rc = buffer_fill(buffer, dmabuf);
	if (rc) {
		buffer_free(buffer);
		return ERR_PTR(rc);
	}
	return buffer;
}

/* --- the processor's ways into the memory --- */

/* Between one run and the kernel's @data, or zeroes into the run where that is NULL */
static void buffer_move(void *memory, void *data, size_t length, bool in)
{
	if (!data)
		memset_io((void __iomem *)memory, 0, length);
	else if (in)
		memcpy_toio((void __iomem *)memory, data, length);
	else
		memcpy_fromio(data, (void __iomem *)memory, length);
}

/* Moves up to BUFFER_STEP bytes, of any runs. */
static int buffer_step(struct buffer *buffer, u64 at, void *data, size_t length, bool in)
{
	int rc = -ENODEV;
	struct iov_iter iter;
	struct bio_vec part;

	if (!provider_enter(buffer->provider))
		return rc;
	if (buffer_iter(buffer, &iter, &part, in ? ITER_SOURCE : ITER_DEST, at, length)) {
		const struct bio_vec *run = iter.bvec;
		size_t skip = run->bv_offset + iter.iov_offset, done, step;

		for (done = 0; done < length; done += step, run++, skip = 0) {
			step = min(run->bv_offset + run->bv_len - skip, length - done);
			buffer_move(page_address(run->bv_page) + skip, data ? data + done : NULL,
				    step, in);
		}
		rc = 0;
	}
	provider_leave(buffer->provider);
	return rc;
}

/* Between two steps: neither the machine nor a killed caller waits. */
int buffer_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static int buffer_scrub(struct buffer *buffer)
{
	u64 at;
	int rc;

	for (at = 0; at < buffer->length; at += BUFFER_STEP) {
		rc = buffer_step(buffer, at, NULL, min(buffer->length - at, BUFFER_STEP), true);
		rc = rc ?: buffer_pause();
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * Through a bounce, so that no page fault of the caller, which may last as long as it pleases,
 * happens while the provider is entered.
 */
static int buffer_copy_step(struct buffer *buffer, bool in, u64 at, void __user *user,
			    void *bounce, size_t length)
{
	int rc;

	if (in && copy_from_user(bounce, user, length))
		return -EFAULT;
	rc = buffer_step(buffer, at, bounce, length, in);
	if (rc)
		return rc;
	if (!in && copy_to_user(user, bounce, length))
		return -EFAULT;
	return buffer_pause();
}

static int buffer_copy(struct call *call)
{
	struct p2pdma_user_copy *args = call->args;
	bool in = args->direction == P2PDMA_USER_COPY_IN;
	struct buffer *buffer = call->object;
	void *bounce;
	u32 done, step;
	int rc = 0;

	if (!in && args->direction != P2PDMA_USER_COPY_OUT)
		return -EINVAL;
	if (!args->length || args->length > P2PDMA_USER_MAX_LENGTH ||
	    !buffer_holds(buffer, args->offset, args->length))
		return -EINVAL;
	if (in && buffer->readonly)
		return -EBADF;
	bounce = kvmalloc(min(args->length, BUFFER_STEP), GFP_KERNEL_ACCOUNT);
	if (!bounce)
		return -ENOMEM;
	for (done = 0; done < args->length && !rc; done += step) {
		step = min(args->length - done, BUFFER_STEP);
		rc = buffer_copy_step(buffer, in, args->offset + done,
				      u64_to_user_ptr(args->address + done), bounce, step);
	}
	kvfree(bounce);
	return rc;
}

/* --- the fd --- */

static const struct call_op buffer_ops[] = {
	CALL_OP(P2PDMA_USER_BIND, p2pdma_user_bind, pair_bind, true),
	CALL_OP(P2PDMA_USER_COPY, p2pdma_user_copy, buffer_copy, false),
};

static long buffer_ioctl(struct file *filp, unsigned int number, unsigned long arg)
{
	return call_dispatch(buffer_ops, ARRAY_SIZE(buffer_ops), filp, number, arg);
}

static int buffer_release(struct inode *inode, struct file *filp)
{
	buffer_free(filp->private_data);
	return 0;
}

static const struct file_operations buffer_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = buffer_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = buffer_release,
};

static int buffer_open(struct call *call, struct buffer *buffer)
{
	int rc = call_open(call, "[p2pdma_user_buffer]", &buffer_fops, buffer);

	if (rc)
		buffer_free(buffer);
	return rc;
}

/* ALLOC */
int buffer_alloc(struct call *call)
{
	struct p2pdma_user_alloc *args = call->args;
	struct pci_dev *pdev __free(pci_dev_put) = provider_device(&args->provider);
	struct buffer *buffer;
	int rc;

	if (args->reserved || args->provider.reserved)
		return -EOPNOTSUPP;
	if (!args->length || args->length > LONG_MAX - PAGE_SIZE)
		return -EINVAL;
	if (!pdev)
		return -ENODEV;
	buffer = buffer_new(pdev, NULL, PAGE_ALIGN(args->length));
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	rc = buffer_scrub(buffer);
	if (rc) {
		buffer_free(buffer);
		return rc;
	}
	args->out_length = buffer->length;
	args->out_fd = call->fd;
	return buffer_open(call, buffer);
}

/* REGISTER */
int buffer_register(struct call *call)
{
	struct p2pdma_user_register *args = call->args;
	struct dma_buf *dmabuf;
	struct buffer *buffer;
	struct pci_dev *pdev;

	if (args->provider.reserved)
		return -EOPNOTSUPP;
	dmabuf = dma_buf_get(args->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	pdev = provider_device(&args->provider);
	buffer = pdev ? buffer_new(pdev, dmabuf, dmabuf->size) : ERR_PTR(-ENODEV);
	pci_dev_put(pdev);
	dma_buf_put(dmabuf);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	args->out_length = buffer->length;
	args->out_fd = call->fd;
	return buffer_open(call, buffer);
}
