// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for a GPU driver, for tests: it owns a PCI device with memory
 * behind a BAR, and exports pieces of that memory as dma-bufs (gpu_export.c).
 *
 *	echo p2pdma_test_gpu > /sys/bus/pci/devices/ADDRESS/driver_override
 *	echo ADDRESS > /sys/bus/pci/drivers_probe
 *
 * makes /dev/p2pdma_test_gpu-ADDRESS. Reading and writing it at a position is
 * the CPU's window into the memory, for comparing; GPU_EXPORT gives a dma-buf,
 * made as the parameters are at that time. Once the device is unbound, an open
 * node and what was exported answer ENODEV.
 */

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "gpu.h"
#include "gpu_export.h"

MODULE_IMPORT_NS(DMA_BUF);

static bool gpu_own_pool;
module_param_named(own_pool, gpu_own_pool, bool, 0644);
MODULE_PARM_DESC(own_pool, "a device that is bound has its BAR given to p2pdma by this driver");

/**
 * struct gpu - a device, as long as its node is open
 * @kref: one from probe to remove, one for each open file
 * @alive: protects @window
 * @pdev: the device, with a reference
 * @window: its BAR, for the CPU; NULL after remove
 * @device: its node
 */
struct gpu {
	struct kref kref;
	struct rw_semaphore alive;
	struct pci_dev *pdev;
	void __iomem *window;
	struct miscdevice device;
};

static void gpu_free(struct kref *kref)
{
	struct gpu *gpu = container_of(kref, struct gpu, kref);

	pci_dev_put(gpu->pdev);
	kfree(gpu->device.name);
	kfree(gpu);
}

/* The misc device core holds its lock, and leaves the miscdevice in private_data. */
static int gpu_open(struct inode *inode, struct file *file)
{
	struct gpu *gpu = container_of(file->private_data, struct gpu, device);

	kref_get(&gpu->kref);
	file->private_data = gpu;
	return 0;
}

static int gpu_close(struct inode *inode, struct file *file)
{
	struct gpu *gpu = file->private_data;

	kref_put(&gpu->kref, gpu_free);
	return 0;
}

static int gpu_export_fd(struct gpu *gpu, const void __user *argument)
{
	struct p2pdma_test_gpu_export export;
	struct dma_buf *dmabuf;
	int fd;

	if (copy_from_user(&export, argument, sizeof(export)))
		return -EFAULT;
	guard(rwsem_read)(&gpu->alive);
	if (!gpu->window)
		return -ENODEV;
	dmabuf = gpu_export(gpu->pdev, export.offset, export.length);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static long gpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct gpu *gpu = file->private_data;

	switch (command) {
	case P2PDMA_TEST_GPU_EXPORT:
		return gpu_export_fd(gpu, (const void __user *)argument);
	case P2PDMA_TEST_GPU_MOVE:
		return gpu_announce_move(argument);
	case P2PDMA_TEST_GPU_FINISH:
		return gpu_finish(argument);
	case P2PDMA_TEST_GPU_AWAKE:
		return atomic_read(&gpu->pdev->dev.power.usage_count);
	default:
		return -ENOTTY;
	}
}

static loff_t gpu_llseek(struct file *file, loff_t offset, int whence)
{
	struct gpu *gpu = file->private_data;

	return fixed_size_llseek(file, offset, whence, pci_resource_len(gpu->pdev, GPU_BAR));
}

/* How much of @len at @pos is in the BAR, and in one page: what is copied at once */
static size_t gpu_piece(struct gpu *gpu, loff_t pos, size_t len)
{
	resource_size_t size = pci_resource_len(gpu->pdev, GPU_BAR);

	if (pos < 0 || pos >= size)
		return 0;
	return min3(len, (size_t)(size - pos), (size_t)(PAGE_SIZE - offset_in_page(pos)));
}

static ssize_t gpu_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	struct gpu *gpu = file->private_data;
	size_t piece = gpu_piece(gpu, *pos, len);
	void *copy = kmalloc(PAGE_SIZE, GFP_KERNEL);
	ssize_t rc = -ENODEV;

	if (!copy)
		return -ENOMEM;
	down_read(&gpu->alive);
	if (gpu->window) {
		memcpy_fromio(copy, gpu->window + *pos, piece);
		rc = piece;
	}
	up_read(&gpu->alive);
	if (rc > 0 && copy_to_user(to, copy, piece))
		rc = -EFAULT;
	if (rc > 0)
		*pos += piece;
	kfree(copy);
	return rc;
}

static ssize_t gpu_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	struct gpu *gpu = file->private_data;
	size_t piece = gpu_piece(gpu, *pos, len);
	ssize_t rc = -ENODEV;
	void *copy;

	if (len && !piece)
		return -ENOSPC;
	copy = memdup_user(from, piece);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	down_read(&gpu->alive);
	if (gpu->window) {
		memcpy_toio(gpu->window + *pos, copy, piece);
		*pos += piece;
		rc = piece;
	}
	up_read(&gpu->alive);
	kfree(copy);
	return rc;
}

static const struct file_operations gpu_fops = {
	.owner		= THIS_MODULE,
	.open		= gpu_open,
	.release	= gpu_close,
	.llseek		= gpu_llseek,
	.read		= gpu_read,
	.write		= gpu_write,
	.unlocked_ioctl	= gpu_ioctl,
};

static int gpu_map_window(struct gpu *gpu)
{
	struct pci_dev *pdev = gpu->pdev;
	int rc = pcim_enable_device(pdev);

	if (rc)
		return rc;
	pci_set_master(pdev);
	rc = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (rc)
		return rc;
	rc = pcim_request_region(pdev, GPU_BAR, KBUILD_MODNAME);
	if (rc)
		return rc;
	gpu->window = pcim_iomap(pdev, GPU_BAR, 0);
	if (!gpu->window)
		return -ENOMEM;
	return READ_ONCE(gpu_own_pool) ? pci_p2pdma_add_resource(pdev, GPU_BAR, 0, 0) : 0;
}

static int gpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct gpu *gpu;
	int rc;

	/* By driver_override alone */
	if (id->vendor != PCI_ANY_ID)
		return -ENODEV;
	gpu = kzalloc(sizeof(*gpu), GFP_KERNEL);
	if (!gpu)
		return -ENOMEM;
	kref_init(&gpu->kref);
	init_rwsem(&gpu->alive);
	gpu->pdev = pci_dev_get(pdev);
	rc = gpu_map_window(gpu);
	if (rc)
		goto put;
	gpu->device.minor = MISC_DYNAMIC_MINOR;
	gpu->device.fops = &gpu_fops;
	gpu->device.mode = 0600;
	gpu->device.name = kasprintf(GFP_KERNEL, KBUILD_MODNAME "-%s", pci_name(pdev));
	rc = gpu->device.name ? misc_register(&gpu->device) : -ENOMEM;
	if (rc)
		goto put;
	pci_set_drvdata(pdev, gpu);
	/* It may sleep as far as this driver is concerned; QEMU's device answers all the same. */
	pm_runtime_put_noidle(&pdev->dev);
	return 0;

put:
	kref_put(&gpu->kref, gpu_free);
	return rc;
}

static void gpu_remove(struct pci_dev *pdev)
{
	struct gpu *gpu = pci_get_drvdata(pdev);

	pm_runtime_get_noresume(&pdev->dev);
	gpu_count_left();
	misc_deregister(&gpu->device);
	down_write(&gpu->alive);
	gpu->window = NULL;
	up_write(&gpu->alive);
	kref_put(&gpu->kref, gpu_free);
}

static struct pci_driver gpu_driver = {
	.name	= KBUILD_MODNAME,
	.probe	= gpu_probe,
	.remove	= gpu_remove,
};
module_pci_driver(gpu_driver);

MODULE_DESCRIPTION("A stand-in for a GPU driver that exports dma-bufs, for tests");
MODULE_LICENSE("GPL");
