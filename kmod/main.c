// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_user.ko: peer-to-peer DMA for user space, on Linux 6.12.
 *
 *	donor.c		gives BARs to the kernel's p2pdma
 *	device.c	/dev/p2pdma_user: questions, and where buffers come from
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

#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "internal.h"

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
		donor_end(pdev);
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
	rc = misc_register(&device_node);
	if (rc)
		goto unregister;
	rc = donor_init();
	if (rc)
		goto exit_device;
	return 0;

exit_device:
	misc_deregister(&device_node);
unregister:
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
exit_io:
	io_exit();
	return rc;
}

static void __exit main_exit(void)
{
	donor_exit();
	misc_deregister(&device_node);
	bus_unregister_notifier(&pci_bus_type, &main_bus_events);
	io_exit();
}

module_init(main_init);
module_exit(main_exit);

MODULE_DESCRIPTION("Peer-to-peer DMA for user space");
MODULE_LICENSE("GPL");
