// SPDX-License-Identifier: GPL-2.0
/*
 * Ioctls by table: the one place that reads and writes their arguments. A handler gets a copy in
 * the kernel and changes that. What it makes becomes visible last, when nothing can fail any more.
 */

#include <linux/anon_inodes.h>
#include <linux/sizes.h>

#include "internal.h"

/* When an argument grows, its first size has to be kept beside the new one. */
static const struct call_op {
	unsigned int number;
	const struct file_operations *on;	/* the kind of fd that has this call */
	u8 size;	/* of the argument; 8 bits, as the copy has 256 bytes */
	int (*run)(struct call *call);
} call_ops[] = {
	{ P2PDMA_USER_INFO, &main_fops, sizeof(struct p2pdma_user_info), main_info },
	{ P2PDMA_USER_DISTANCE, &main_fops, sizeof(struct p2pdma_user_distance), main_distance },
	{ P2PDMA_USER_QUEUE, &main_fops, sizeof(struct p2pdma_user_queue), main_queue },
	{ P2PDMA_USER_ALLOC, &main_fops, sizeof(struct p2pdma_user_alloc), buffer_alloc },
	{ P2PDMA_USER_REGISTER, &main_fops, sizeof(struct p2pdma_user_register), buffer_register },
	{ P2PDMA_USER_STATS, &main_fops, sizeof(struct p2pdma_user_stats), main_stats },
	{ P2PDMA_USER_BIND, &buffer_fops, sizeof(struct p2pdma_user_bind), pair_bind },
	{ P2PDMA_USER_COPY, &buffer_fops, sizeof(struct p2pdma_user_copy), copy_ioctl },
	{ P2PDMA_USER_IO, &pair_fops, sizeof(struct p2pdma_user_io), io_ioctl },
};

/* Return: the device with a reference, or NULL. */
struct pci_dev *call_device(const struct p2pdma_user_address *address)
{
	return pci_get_domain_bus_and_slot(address->domain, address->bus, address->devfn);
}

/*
 * Makes the file of a new object, whose release takes over the object. An inode of its own lets
 * security modules tell it from other anonymous files.
 */
int call_open(struct call *call, const char *name, const struct file_operations *fops, void *object)
{
	struct file *file;
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	file = anon_inode_create_getfile(name, fops, object, O_RDWR, NULL);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	call->made = file;
	call->fd = fd;
	return 0;
}

/* What all arguments begin with is their size, as the caller was compiled, and flags. */
static int call_read(const struct call_op *op, u32 *args, const void __user *from)
{
	u32 size;
	int rc;

	if (get_user(size, (const u32 __user *)from))
		return -EFAULT;
	if (size < op->size)
		return -EINVAL;
	if (size > SZ_4K)
		return -E2BIG;
	rc = copy_struct_from_user(args, op->size, from, size);
	if (rc)
		return rc;
	return args[1] ? -EOPNOTSUPP : 0;
}

/* Errors are as in uapi/p2pdma_user.h. */
long call_ioctl(struct file *filp, unsigned int number, unsigned long arg)
{
	const struct call_op *op = call_ops;
	u64 args[256 / sizeof(u64)] = {};
	struct call call = { .on = filp, .args = args };
	void __user *user = (void __user *)arg;
	int rc;

	while (op->number != number || op->on != filp->f_op)
		if (++op == call_ops + ARRAY_SIZE(call_ops))
			return -ENOTTY;
	rc = call_read(op, (u32 *)args, user) ?: op->run(&call);
	if (!rc && copy_to_user(user, args, op->size))
		rc = -EFAULT;
	if (!call.made)
		return rc;
	if (!rc) {
		fd_install(call.fd, call.made);
		return 0;
	}
	put_unused_fd(call.fd);
	fput(call.made);
	return rc;
}
