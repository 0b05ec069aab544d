// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers: memory of a device, its provider, behind an fd each; and what happens to them when that
 * device is about to lose its driver.
 *
 * memunmap_pages() in mm/memremap.c, a device-managed action of p2pdma, waits until all of a pool
 * is free, for ever if need be; and a driver that exported memory takes that away when it is
 * unbound. So the bus is listened to: before the driver hears of it, no new I/O begins, what is
 * under way ends, and the memory is given back. From then on the buffers answer ENODEV.
 */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/dma-buf.h>
#include <linux/overflow.h>
#include <linux/pm_runtime.h>
#include <linux/sizes.h>
#include <linux/user_namespace.h>

#include "internal.h"

/* A run is no longer than a bio_vec can say, which has 32 bits for it. */
#define BUFFER_RUN	SZ_2G

static unsigned long buffer_user_bytes;
module_param_named(user_bytes, buffer_user_bytes, ulong, 0644);
MODULE_PARM_DESC(user_bytes, "Most bytes that one user may ALLOC; 0 (default): no limit");

/* All that have, or get, memory, and whose users are killed; and how many there are */
static DEFINE_MUTEX(buffer_lock);
static LIST_HEAD(buffer_list);
static u64 buffer_count, buffer_bytes;

static DECLARE_WAIT_QUEUE_HEAD(buffer_idle_wait);

/* --- its runs --- */

/* Tells whether [offset, offset + length) lies within a buffer. */
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length)
{
	u64 end;

	return !check_add_overflow(offset, length, &end) && end <= buffer->length;
}

/* Return: how many bytes its runs have. */
u64 buffer_end(const struct buffer *buffer)
{
	unsigned int last = buffer->count - 1;

	return buffer->count ? buffer->starts[last] + buffer->runs[last].bv_len : 0;
}

/* Makes room for so many runs, and for those that are longer than BUFFER_RUN. */
int buffer_reserve(struct buffer *buffer, unsigned int capacity)
{
	const size_t each = sizeof(*buffer->runs) + sizeof(*buffer->starts);

	buffer->capacity = capacity + buffer->length / BUFFER_RUN;
	buffer->runs = kvmalloc_array(buffer->capacity, each, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	buffer->starts = (u64 *)(buffer->runs + buffer->capacity);
	return buffer->runs ? 0 : -ENOMEM;
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

/* --- its memory --- */

/*
 * Whose memory may be had. A graphics driver's pool is the memory of other processes, in use; what
 * it exports is not, but nothing is attached to devices that nobody gave to p2pdma.
 */
static int buffer_check_provider(struct pci_dev *provider, bool exported)
{
	struct device *dev = &provider->dev;

	device_lock_assert(dev);
	if (!device_is_bound(dev))
		return -ENODEV;
	if (exported)
		return rcu_access_pointer(provider->p2pdma) ? 0 : -ENXIO;
	if (dev->driver != &donor_driver.driver && strcmp(dev->driver->name, "nvme"))
		return -EACCES;
	return pci_has_p2pmem(provider) ? 0 : -ENODEV;
}

/* Memory of the provider's pool. The kernel does not clear it: what the last user left is there. */
static int buffer_take(struct buffer *buffer)
{
	void *memory = pci_alloc_p2pmem(buffer->provider, buffer->length);
	int rc;

	if (!memory)
		return -ENOSPC;
	/* Only now: a length that no pool has must not decide how large the table is */
	rc = buffer_reserve(buffer, 1);
	if (rc) {
		pci_free_p2pmem(buffer->provider, memory, buffer->length);
		return rc;
	}
	buffer_append(buffer, virt_to_page(memory), buffer->length);
	return 0;
}

static int buffer_fill(struct buffer *buffer, struct dma_buf *dmabuf)
{
	int rc;

	if (!buffer_enter(buffer))
		return -ENODEV;
	rc = dmabuf ? dmabuf_take(buffer, dmabuf) : buffer_take(buffer);
	if (rc)
		buffer->count = 0;
	buffer_leave(buffer);
	return rc || dmabuf ? rc : copy_zeroes(buffer);
}

/* Gives the memory back, if it is still there, when nobody uses it and nobody begins to. */
static void buffer_drop(struct buffer *buffer)
{
	if (buffer->attachment)
		dmabuf_drop(buffer);
	else if (buffer->count)
		pci_free_p2pmem(buffer->provider, page_address(buffer->runs->bv_page),
				buffer->length);
	WRITE_ONCE(buffer->count, 0);
}

/* --- the list --- */

static bool buffer_is_over_limit(const struct buffer *buffer)
{
	u64 limit = READ_ONCE(buffer_user_bytes), sum = buffer->length;
	const struct buffer *other;

	if (!limit || !uid_valid(buffer->owner))
		return false;
	list_for_each_entry(other, &buffer_list, entry)
		if (uid_eq(other->owner, buffer->owner))
			sum = size_add(sum, other->length);
	return sum > limit && !capable(CAP_SYS_RESOURCE);
}

/* From here on the provider, which is locked and so stays bound meanwhile, is awake. */
static int buffer_list_add(struct buffer *buffer, bool exported)
{
	struct device *dev = &buffer->provider->dev;
	int rc;

	guard(device)(dev);
	rc = buffer_check_provider(buffer->provider, exported) ?: pm_runtime_resume_and_get(dev);
	if (rc)
		return rc;
	guard(mutex)(&buffer_lock);
	if (buffer_is_over_limit(buffer)) {
		pm_runtime_put(dev);
		return -EDQUOT;
	}
	list_add(&buffer->entry, &buffer_list);
	buffer_count++;
	buffer_bytes += buffer->length;
	return 0;
}

/* In any context. */
static void buffer_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct buffer, users)->idle);
	wake_up_all(&buffer_idle_wait);
}

static struct buffer *buffer_find_idle(const struct list_head *revoked)
{
	struct buffer *buffer;

	list_for_each_entry(buffer, revoked, entry)
		if (completion_done(&buffer->idle))
			return buffer;
	return NULL;
}

/*
 * A device is about to lose its driver. Its lock is held, so it gets no more buffers. Whoever
 * closes one of them waits for it, but not for the others.
 */
void buffer_revoke(struct pci_dev *provider)
{
	struct buffer *buffer, *next;
	LIST_HEAD(revoked);

	scoped_guard(mutex, &buffer_lock)
		list_for_each_entry_safe(buffer, next, &buffer_list, entry)
			if (buffer->provider == provider) {
				percpu_ref_kill(&buffer->users);
				list_move(&buffer->entry, &revoked);
			}
	while (!list_empty(&revoked)) {
		wait_event(buffer_idle_wait, (buffer = buffer_find_idle(&revoked)));
		list_del(&buffer->entry);
		buffer_drop(buffer);
		pm_runtime_put(&provider->dev);
		complete(&buffer->revoked);
	}
}

void buffer_stats(struct p2pdma_user_stats *stats)
{
	guard(mutex)(&buffer_lock);
	stats->out_buffers = buffer_count;
	stats->out_bytes = buffer_bytes;
}

/* --- making and ending --- */

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

/* One that is in no list */
static void buffer_destroy(struct buffer *buffer)
{
	percpu_ref_exit(&buffer->users);
	pci_dev_put(buffer->provider);
	kvfree(buffer->runs);
	kfree(buffer);
}

/* Without the lock of the provider, as a slow probe or reset holds it. */
static void buffer_free(struct buffer *buffer)
{
	bool revoked;

	if (buffer_enter(buffer)) {
		buffer_drop(buffer);
		buffer_leave(buffer);
	}
	scoped_guard(mutex, &buffer_lock) {
		buffer_count--;
		buffer_bytes -= buffer->length;
		revoked = percpu_ref_is_dying(&buffer->users);
		if (!revoked)
			list_del(&buffer->entry);
	}
	if (revoked)
		wait_for_completion(&buffer->revoked);
	else
		pm_runtime_put(&buffer->provider->dev);
	buffer_destroy(buffer);
}

static int buffer_release(struct inode *inode, struct file *filp)
{
	buffer_free(filp->private_data);
	return 0;
}

const struct file_operations buffer_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = call_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = buffer_release,
};

/* Of @dmabuf if there is one, else of the provider's pool */
static int buffer_open(struct call *call, struct pci_dev *provider, struct dma_buf *dmabuf,
		       u64 length)
{
	struct buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	int rc;

	if (!buffer)
		return -ENOMEM;
	buffer->provider = pci_dev_get(provider);
	buffer->length = length;
	buffer->owner = dmabuf ? INVALID_UID : buffer_owner();
	buffer->readonly = dmabuf && !(dmabuf->file->f_mode & FMODE_WRITE);
	init_completion(&buffer->idle);
	init_completion(&buffer->revoked);
	rc = percpu_ref_init(&buffer->users, buffer_idle, 0, GFP_KERNEL_ACCOUNT) ?:
	     buffer_list_add(buffer, dmabuf);
	if (rc) {
		buffer_destroy(buffer);
		return rc;
	}
	rc = buffer_fill(buffer, dmabuf) ?:
	     call_open(call, "[p2pdma_user_buffer]", &buffer_fops, buffer);
	if (rc)
		buffer_free(buffer);
	return rc;
}

/* ALLOC */
int buffer_alloc(struct call *call)
{
	struct p2pdma_user_alloc *args = call->args;
	struct pci_dev *provider __free(pci_dev_put) = call_device(&args->provider);
	int rc;

	if (args->reserved || args->provider.reserved)
		return -EOPNOTSUPP;
	if (!args->length || args->length > LONG_MAX - PAGE_SIZE)
		return -EINVAL;
	args->out_length = PAGE_ALIGN(args->length);
	rc = provider ? buffer_open(call, provider, NULL, args->out_length) : -ENODEV;
	args->out_fd = call->fd;
	return rc;
}

/* REGISTER */
int buffer_register(struct call *call)
{
	struct p2pdma_user_register *args = call->args;
	struct pci_dev *provider __free(pci_dev_put) = call_device(&args->provider);
	struct dma_buf *dmabuf;
	int rc;

	if (args->provider.reserved)
		return -EOPNOTSUPP;
	dmabuf = dma_buf_get(args->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	args->out_length = dmabuf->size;
	rc = provider ? buffer_open(call, provider, dmabuf, args->out_length) : -ENODEV;
	args->out_fd = call->fd;
	dma_buf_put(dmabuf);
	return rc;
}
