// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_user.ko: peer-to-peer DMA for user space, on Linux 6.12.
 *
 *	donor.c		gives a BAR to the kernel's p2pdma
 *	device.c	/dev/p2pdma_user: questions, and where buffers come from
 *	provider.c	the devices whose memory is used, and their unbinding
 *	buffer.c	a run of such memory, behind an fd
 *	pair.c		a buffer bound to an open file, behind an fd; all policy
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

static int __init main_init(void)
{
	int rc = io_init();

	if (rc)
		return rc;
	rc = misc_register(&device_node);
	if (rc)
		goto exit_io;
	rc = pci_register_driver(&donor_driver);
	if (rc)
		goto exit_device;
	return 0;

exit_device:
	misc_deregister(&device_node);
exit_io:
	io_exit();
	return rc;
}

static void __exit main_exit(void)
{
	pci_unregister_driver(&donor_driver);
	misc_deregister(&device_node);
	io_exit();
}

module_init(main_init);
module_exit(main_exit);

MODULE_DESCRIPTION("Peer-to-peer DMA for user space");
MODULE_LICENSE("GPL");
