// SPDX-License-Identifier: GPL-2.0
/*
 * Ioctls by table: the one place that reads and writes their arguments.
 *
 * A handler gets a copy in the kernel and changes that. Whatever it makes
 * becomes visible last, by fd_install(), when nothing can fail any more.
 */

#include <linux/file.h>
#include <linux/mm.h>
#include <linux/uaccess.h>

#include "internal.h"

/* What all arguments begin with */
struct call_header {
	u32 size;
	u32 flags;
};

static const struct call_op *call_find(const struct call_op *ops, size_t count,
				       unsigned int number)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (ops[i].number == number)
			return &ops[i];
	return NULL;
}

static int call_read(const struct call_op *op, struct call_header *args,
		     const void __user *from, u32 size)
{
	int rc;

	if (size < op->size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	rc = copy_struct_from_user(args, op->size, from, size);
	if (rc)
		return rc;
	return args->flags ? -EOPNOTSUPP : 0;
}

/* Gives the caller the answer and, if there is one, the new file. */
static int call_answer(const struct call_op *op, struct call *call,
		       void __user *to)
{
	int rc = op->run(call);

	if (!rc && copy_to_user(to, call->args, op->size))
		rc = -EFAULT;
	if (!op->makes_fd)
		return rc;
	if (!rc) {
		fd_install(call->fd, call->file);
		return 0;
	}
	if (call->file)
		fput(call->file);
	put_unused_fd(call->fd);
	return rc;
}

/**
 * call_dispatch() - find and run the handler of an ioctl
 * @ops: the object's table
 * @count: its length
 * @filp: the file that the ioctl came by
 * @number: the ioctl
 * @arg: the user's address of the argument
 *
 * Return: 0, or a negative errno as in uapi/p2pdma_user.h.
 */
long call_dispatch(const struct call_op *ops, size_t count, struct file *filp,
		   unsigned int number, unsigned long arg)
{
	const struct call_op *op = call_find(ops, count, number);
	u64 args[256 / sizeof(u64)] = {};
	void __user *user = (void __user *)arg;
	struct call call = {
		.object = filp->private_data,
		.filp = filp,
		.args = args,
	};
	u32 size;
	int rc;

	if (!op)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	rc = call_read(op, (struct call_header *)args, user, size);
	if (rc)
		return rc;
	if (op->makes_fd) {
		call.fd = get_unused_fd_flags(O_CLOEXEC);
		if (call.fd < 0)
			return call.fd;
	}
	return call_answer(op, &call, user);
}
