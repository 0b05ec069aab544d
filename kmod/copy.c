// SPDX-License-Identifier: GPL-2.0
/* The processor's ways into the memory of a buffer, in steps. */

#include <linux/io.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "internal.h"

/* What is moved between two looks at signals and at the provider */
#define COPY_STEP	SZ_64K

/* Between two steps: neither the machine nor a killed caller waits. */
int copy_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* Between any runs and the kernel's @data, or zeroes into the runs where that is NULL */
static int copy_step(struct buffer *buffer, u64 at, void *data, size_t length, bool in)
{
	const struct bio_vec *run;
	size_t skip, done, step;
	struct iov_iter iter;
	struct bio_vec part;
	int rc = -ENODEV;

	if (!buffer_enter(buffer))
		return rc;
	if (!buffer_iter(buffer, &iter, &part, in ? ITER_SOURCE : ITER_DEST, at, length))
		goto leave;
	run = iter.bvec;
	skip = iter.iov_offset;
	for (done = 0; done < length; done += step, run++, skip = 0) {
		void *memory = page_address(run->bv_page) + run->bv_offset + skip;

		step = min(run->bv_len - skip, length - done);
		if (!data)
			memset_io((void __iomem *)memory, 0, step);
		else if (in)
			memcpy_toio((void __iomem *)memory, data + done, step);
		else
			memcpy_fromio(data + done, (void __iomem *)memory, step);
	}
	rc = 0;
leave:
	buffer_leave(buffer);
	return rc;
}

int copy_zeroes(struct buffer *buffer)
{
	u64 at;
	int rc = 0;

	for (at = 0; !rc && at < buffer->length; at += COPY_STEP) {
		rc = copy_step(buffer, at, NULL, min(buffer->length - at, COPY_STEP), true);
		rc = rc ?: copy_pause();
	}
	return rc;
}

/*
 * COPY. Through a bounce, so that no page fault of the caller, which may last as long as it
 * pleases, happens while the buffer is entered.
 */
int copy_ioctl(struct call *call)
{
	struct p2pdma_user_copy *args = call->args;
	bool in = args->direction == P2PDMA_USER_COPY_IN;
	struct buffer *buffer = call->on->private_data;
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
	bounce = kvmalloc(min(args->length, COPY_STEP), GFP_KERNEL_ACCOUNT);
	if (!bounce)
		return -ENOMEM;
	for (done = 0; !rc && done < args->length; done += step) {
		void __user *user = u64_to_user_ptr(args->address + done);

		step = min(args->length - done, COPY_STEP);
		if (in && copy_from_user(bounce, user, step))
			rc = -EFAULT;
		rc = rc ?: copy_step(buffer, args->offset + done, bounce, step, in);
		if (!in && !rc && copy_to_user(user, bounce, step))
			rc = -EFAULT;
		rc = rc ?: copy_pause();
	}
	kvfree(bounce);
	return rc;
}
