// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_user.ko: peer-to-peer DMA for user space, on Linux 6.12. Here are its device node and its
 * beginning and end; internal.h says what is in the other files.
 *
 * Of what it uses, later kernels changed: io_uring's task work callbacks (6.18), the reference
 * count of idle peer pages (6.15), which nothing here relies on, and bios of mixed memory (6.17),
 * of which there are none here.
 */

#include <linux/miscdevice.h>

#include "internal.h"

int main_info(struct call *call)
{
	struct p2pdma_user_info *args = call->args;

	args->out_major = P2PDMA_USER_MAJOR;
	args->out_max_length = P2PDMA_USER_MAX_LENGTH;
	args->out_features = P2PDMA_USER_FEATURE_ALLOC | P2PDMA_USER_FEATURE_REGISTER;
	return 0;
}

int main_distance(struct call *call)
{
	struct p2pdma_user_distance *args = call->args;
	struct pci_dev *provider __free(pci_dev_put) = call_device(&args->provider);
	struct pci_dev *client __free(pci_dev_put) = call_device(&args->client);

	if (args->reserved || args->provider.reserved || args->client.reserved)
		return -EOPNOTSUPP;
	if (!provider || !client)
		return -ENODEV;
	args->out_distance = pci_p2pdma_distance(provider, &client->dev, false);
	return 0;
}

int main_queue(struct call *call)
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

int main_stats(struct call *call)
{
	struct p2pdma_user_stats *args = call->args;

	buffer_stats(args);
	args->out_pairs = atomic_long_read(&pair_count);
	args->out_in_flight = io_in_flight();
	return 0;
}

const struct file_operations main_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = call_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* Not for everybody: peer memory is scarce, and whose it is only root knows. */
static struct miscdevice main_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &main_fops,
	.mode = 0660,
};

/*
 * A device that loses its driver is locked here. None loses it, nor what is device-managed, without
 * having been here first: __device_release_driver() in drivers/base/dd.c.
 */
static int main_bus_event(struct notifier_block *block, unsigned long event, void *device)
{
	if (event == BUS_NOTIFY_UNBIND_DRIVER)
		buffer_revoke(to_pci_dev(device));
	else
		route_refresh();
	return NOTIFY_DONE;
}

static struct notifier_block main_bus_events = { .notifier_call = main_bus_event };

static void main_unregister(void)
{
	pci_unregister_driver(&donor_driver);
	donor_exit();
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
	io_exit();
}

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
		goto unregister_notifier;
	/* Last: a module that somebody has opened already cannot fail any more */
	rc = misc_register(&main_node);
	if (rc)
		main_unregister();
	return rc;

unregister_notifier:
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
exit_io:
	io_exit();
	return rc;
}
module_init(main_init);

static void __exit main_exit(void)
{
	misc_deregister(&main_node);
	main_unregister();
}
module_exit(main_exit);

MODULE_DESCRIPTION("Peer-to-peer DMA for user space");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
