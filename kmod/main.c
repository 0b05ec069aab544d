// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_user.ko: peer-to-peer DMA for user space, on Linux 6.12.
 *
 *	donor.c		gives BARs to the kernel's p2pdma
 *	provider.c	the devices whose memory is used, and their unbinding
 *	buffer.c	memory of such a device, behind an fd
 *	dmabuf.c	memory that another driver exports
 *	pair.c		a buffer bound to an open file, behind an fd
 *	route.c		whether DMA goes between the two; stacked devices
 *	io.c		the data path
 *	call.c		ioctls by table
 *
 * Of what it uses, later kernels changed: io_uring's task work callbacks (6.18), the reference
 * count of idle peer pages (6.15), which nothing here relies on, and bios of mixed memory (6.17),
 * of which there are none here.
 */

#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>

#include "internal.h"

/* --- /dev/p2pdma_user --- */

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
	struct pci_dev *provider __free(pci_dev_put) = provider_device(&args->provider);
	struct pci_dev *client __free(pci_dev_put) = provider_device(&args->client);

	if (args->reserved || args->provider.reserved || args->client.reserved)
		return -EOPNOTSUPP;
	if (!provider || !client)
		return -ENODEV;
	args->out_distance = pci_p2pdma_distance(provider, &client->dev, false);
	return 0;
}

static int device_queue(struct call *call)
{
	struct p2pdma_user_queue *args = call->args;
	struct file *file __free(fput) = fget(args->fd);

	if (!file)
		return -EBADF;
	if (!S_ISBLK(file_inode(file)->i_mode))
		return -ENOTBLK;
	args->out_features = blk_queue_pci_p2pdma(bdev_get_queue(file_bdev(file))) ?
			     P2PDMA_USER_QUEUE_P2PDMA : 0;
	return 0;
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
static struct miscdevice device_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &device_fops,
	.mode = 0660,
};

/* --- the module --- */

/*
 * A device that loses its driver is locked here. None loses it, nor what is device-managed, without
 * having been here first: __device_release_driver() in drivers/base/dd.c.
 */
static int main_bus_event(struct notifier_block *block, unsigned long event, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);

	switch (event) {
	case BUS_NOTIFY_UNBIND_DRIVER:
		provider_revoke(pdev);
		if (pdev->dev.driver == &donor_driver.driver)
			donor_announce(pdev, false);
		break;
	case BUS_NOTIFY_ADD_DEVICE:
	case BUS_NOTIFY_REMOVED_DEVICE:
	case BUS_NOTIFY_BOUND_DRIVER:
	case BUS_NOTIFY_UNBOUND_DRIVER:
		route_refresh();
	}
	return NOTIFY_DONE;
}

static struct notifier_block main_bus_events = { .notifier_call = main_bus_event };

static int __init main_init(void)
{
	int rc = io_init();

	if (rc)
		return rc;
	rc = bus_register_notifier(&pci_bus_type, &main_bus_events);
	if (rc)
		goto exit_io;
	rc = pci_register_driver(&donor_driver);
	if (rc)
		goto unregister;
	/* Last: a module that somebody has opened already cannot fail any more */
	rc = misc_register(&device_node);
	if (rc)
		goto exit_driver;
	return 0;

exit_driver:
	pci_unregister_driver(&donor_driver);
	provider_exit();
unregister:
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
exit_io:
	io_exit();
	return rc;
}

static void __exit main_exit(void)
{
	misc_deregister(&device_node);
	pci_unregister_driver(&donor_driver);
	provider_exit();
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
	io_exit();
}

module_init(main_init);
module_exit(main_exit);

MODULE_DESCRIPTION("Peer-to-peer DMA for user space");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
