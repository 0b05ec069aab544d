// SPDX-License-Identifier: GPL-2.0
/*
 * Ioctls by table: the one place that reads and writes their arguments.
 *
 * A handler gets a copy in the kernel and changes that. Whatever it makes becomes visible last, by
 * fd_install(), when nothing can fail any more.
 */

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "internal.h"

/* What all arguments begin with */
struct call_header {
	u32 size;
	u32 flags;
};

static int call_read(const struct call_op *op, struct call_header *args,
		     const void __user *from, u32 size)
{
	int rc;

	if (size < op->size)
		return -EINVAL;
	if (size > SZ_4K)
		return -E2BIG;
	rc = copy_struct_from_user(args, op->size, from, size);
	if (rc)
		return rc;
	return args->flags ? -EOPNOTSUPP : 0;
}

/* Gives the caller the answer and, if there is one, the new file. */
static int call_answer(const struct call_op *op, struct call *call, void __user *to)
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

/*
 * Makes the file of a new object, whose release takes over the object. An inode of its own lets
 * security modules tell it from other anonymous files.
 */
int call_open(struct call *call, const char *name, const struct file_operations *fops, void *object)
{
	struct file *file = anon_inode_create_getfile(name, fops, object, O_RDWR, NULL);

	if (IS_ERR(file))
		return PTR_ERR(file);
	call->file = file;
	return 0;
}

/* Finds and runs the handler of an ioctl; errors are as in uapi/p2pdma_user.h. */
long call_dispatch(const struct call_op *op, size_t count, struct file *filp,
		   unsigned int number, unsigned long arg)
{
	const struct call_op *end = op + count;
	u64 args[256 / sizeof(u64)] = {};
	void __user *user = (void __user *)arg;
	struct call call = { .object = filp->private_data, .filp = filp, .args = args };
	u32 size;
	int rc;

	while (op->number != number)
		if (++op == end)
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
