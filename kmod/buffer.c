// SPDX-License-Identifier: GPL-2.0
/* Buffers: runs of a provider's memory, each behind an fd of its own. */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

/* What the processor moves between two looks at signals and at the provider */
#define BUFFER_STEP	SZ_64K

static unsigned long buffer_user_bytes;
module_param_named(user_bytes, buffer_user_bytes, ulong, 0644);
MODULE_PARM_DESC(user_bytes, "Most bytes of peer memory that one user may hold; 0 (default): no limit");

/* Tell whether [offset, offset + length) lies within a buffer. */
bool buffer_holds(const struct buffer *buffer, u64 offset, u64 length)
{
	u64 end;

	return !check_add_overflow(offset, length, &end) && end <= buffer->length;
}

/* --- making and ending --- */

/*
 * Whose pool may be handed out. A graphics driver's pool is the memory of other processes, in use.
 */
static int buffer_check_device(struct pci_dev *pdev)
{
	struct device *dev = &pdev->dev;

	device_lock_assert(dev);
	if (!device_is_bound(dev) || !pci_has_p2pmem(pdev))
		return -ENODEV;
	if (dev->driver != &donor_driver.driver && strcmp(dev->driver->name, "nvme"))
		return -EACCES;
	return 0;
}

static bool buffer_is_over_limit(u64 length)
{
	u64 limit = READ_ONCE(buffer_user_bytes);
	u64 sum;

	if (!limit)
		return false;
	if (!check_add_overflow(provider_bytes_of(current_uid()), length, &sum) && sum <= limit)
		return false;
	return !capable(CAP_SYS_RESOURCE);
}

/* Under the provider's device_lock: the pool cannot vanish. */
static int buffer_take(struct buffer *buffer)
{
	struct provider *provider = buffer->provider;

	guard(mutex)(&provider_lock);
	if (buffer_is_over_limit(buffer->length))
		return -EDQUOT;
	buffer->memory = pci_alloc_p2pmem(provider->pdev, buffer->length);
	if (!buffer->memory)
		return -ENOSPC;
	list_add(&buffer->entry, &provider->buffers);
	return 0;
}

static struct buffer *buffer_new(struct pci_dev *pdev, u64 length)
{
	struct buffer *buffer;
	int rc;

	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->length = length;
	buffer->owner = current_uid();

	device_lock(&pdev->dev);
	rc = buffer_check_device(pdev);
	if (rc)
		goto unlock;
	buffer->provider = provider_get(pdev);
	rc = PTR_ERR_OR_ZERO(buffer->provider);
	if (rc)
		goto unlock;
	rc = buffer_take(buffer);
	device_unlock(&pdev->dev);
	if (!rc)
		return buffer;

	provider_put(buffer->provider);
	goto free_buffer;
unlock:
	device_unlock(&pdev->dev);
free_buffer:
	kfree(buffer);
	return ERR_PTR(rc);
}

static void buffer_free(struct buffer *buffer)
{
	struct provider *provider = buffer->provider;

	mutex_lock(&provider_lock);
	list_del(&buffer->entry);
	if (buffer->memory)
		pci_free_p2pmem(provider->pdev, buffer->memory, buffer->length);
	mutex_unlock(&provider_lock);
	provider_put(provider);
	kfree(buffer);
}

/* --- the processor's ways into the memory --- */

/*
 * Moves up to BUFFER_STEP bytes between a buffer and the kernel's @data, or zeroes into the buffer
 * where that is NULL.
 */
static int buffer_step(struct buffer *buffer, u64 at, void *data, size_t length, bool in)
{
	void __iomem *memory;

	if (!provider_enter(buffer->provider))
		return -ENODEV;
	memory = (void __iomem *)(buffer->memory + at);
	if (!data)
		memset_io(memory, 0, length);
	else if (in)
		memcpy_toio(memory, data, length);
	else
		memcpy_fromio(data, memory, length);
	provider_leave(buffer->provider);
	return 0;
}

/* Between two steps: neither the machine nor a killed caller waits. */
static int buffer_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* The kernel does not clear pools: what the last user left is still there. */
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

/* ALLOC */
int buffer_alloc(struct call *call)
{
	struct p2pdma_user_alloc *args = call->args;
	struct buffer *buffer;
	struct pci_dev *pdev;
	int rc;

	if (args->reserved || args->provider.reserved)
		return -EOPNOTSUPP;
	if (!args->length || args->length > LONG_MAX - PAGE_SIZE)
		return -EINVAL;
	pdev = provider_device(&args->provider);
	if (!pdev)
		return -ENODEV;
	buffer = buffer_new(pdev, PAGE_ALIGN(args->length));
	pci_dev_put(pdev);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	rc = buffer_scrub(buffer) ?:
	     call_open(call, "[p2pdma_user_buffer]", &buffer_fops, buffer);
	if (rc) {
		buffer_free(buffer);
		return rc;
	}
	args->out_length = buffer->length;
	args->out_fd = call->fd;
	return 0;
}
