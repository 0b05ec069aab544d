// SPDX-License-Identifier: GPL-2.0
/* /dev/p2pdma_user: what the kernel knows and sysfs does not tell, and where buffers come from. */

#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>

#include "internal.h"

static int device_info(struct call *call)
{
	struct p2pdma_user_info *args = call->args;

	args->out_major = P2PDMA_USER_MAJOR;
	args->out_max_length = P2PDMA_USER_MAX_LENGTH;
	args->out_features = P2PDMA_USER_FEATURE_ALLOC | P2PDMA_USER_FEATURE_REGISTER;
	return 0;
}

static int device_distance(struct call *call)
{
	struct p2pdma_user_distance *args = call->args;
	struct pci_dev *provider, *client;
	int rc = -ENODEV;

	if (args->reserved || args->provider.reserved || args->client.reserved)
		return -EOPNOTSUPP;
	provider = provider_device(&args->provider);
	client = provider_device(&args->client);
	if (provider && client) {
		args->out_distance = pci_p2pdma_distance(provider, &client->dev, false);
		rc = 0;
	}
	pci_dev_put(client);
	pci_dev_put(provider);
	return rc;
}

static int device_queue(struct call *call)
{
	struct p2pdma_user_queue *args = call->args;
	struct file *file = fget(args->fd);
	struct block_device *bdev;
	int rc = -ENOTBLK;

	if (!file)
		return -EBADF;
	if (S_ISBLK(file_inode(file)->i_mode)) {
		bdev = I_BDEV(file->f_mapping->host);
		args->out_features = blk_queue_pci_p2pdma(bdev_get_queue(bdev)) ?
				     P2PDMA_USER_QUEUE_P2PDMA : 0;
		rc = 0;
	}
	fput(file);
	return rc;
}

static int device_stats(struct call *call)
{
	struct p2pdma_user_stats *args = call->args;

	args->out_buffers = 0;
	args->out_bytes = 0;
	provider_count(args);
	args->out_pairs = pair_count();
	args->out_in_flight = io_in_flight();
	return 0;
}

static const struct call_op device_ops[] = {
	CALL_OP(P2PDMA_USER_INFO, p2pdma_user_info, device_info, false),
	CALL_OP(P2PDMA_USER_DISTANCE, p2pdma_user_distance, device_distance, false),
	CALL_OP(P2PDMA_USER_QUEUE, p2pdma_user_queue, device_queue, false),
	CALL_OP(P2PDMA_USER_ALLOC, p2pdma_user_alloc, buffer_alloc, true),
	CALL_OP(P2PDMA_USER_REGISTER, p2pdma_user_register, buffer_register, true),
	CALL_OP(P2PDMA_USER_STATS, p2pdma_user_stats, device_stats, false),
};

static long device_ioctl(struct file *filp, unsigned int number, unsigned long arg)
{
	return call_dispatch(device_ops, ARRAY_SIZE(device_ops), filp, number, arg);
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* Not for everybody: peer memory is scarce, and whose it is only root knows. */
struct miscdevice device_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &device_fops,
	.mode = 0660,
};
