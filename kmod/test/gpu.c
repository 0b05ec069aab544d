// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for a GPU driver, for tests: it owns a PCI device with memory
 * behind a BAR, and exports pieces of that memory as dma-bufs of the shape in
 * which NVIDIA's driver and amdgpu export theirs: scatter lists without pages,
 * their addresses from dma_map_resource() for the importer's device
 * (nv-dmabuf.c; drivers/gpu/drm/amd/amdgpu/amdgpu_vram_mgr.c).
 *
 *	echo p2pdma_test_gpu > /sys/bus/pci/devices/ADDRESS/driver_override
 *	echo ADDRESS > /sys/bus/pci/drivers_probe
 *
 * makes /dev/p2pdma_test_gpu-ADDRESS. Reading and writing it at a position is
 * the CPU's window into the memory, for comparing; GPU_EXPORT gives a dma-buf.
 */

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "gpu.h"

MODULE_IMPORT_NS(DMA_BUF);

static bool gpu_dynamic;
module_param_named(dynamic, gpu_dynamic, bool, 0644);
MODULE_PARM_DESC(dynamic, "export with pin and unpin, as amdgpu; without (default), always pinned, as NVIDIA");

static bool gpu_refuse_pin;
module_param_named(refuse_pin, gpu_refuse_pin, bool, 0644);
MODULE_PARM_DESC(refuse_pin, "a dynamic dma-buf cannot be pinned");

static bool gpu_fail_map;
module_param_named(fail_map, gpu_fail_map, bool, 0644);
MODULE_PARM_DESC(fail_map, "mapping a dma-buf fails with -ENOMEM");

static uint gpu_segment;
module_param_named(segment, gpu_segment, uint, 0644);
MODULE_PARM_DESC(segment, "bytes of an entry of a scatter list, a multiple of the page size; 0 (default): one entry");

static int gpu_mapped;
module_param_named(mapped, gpu_mapped, int, 0444);
MODULE_PARM_DESC(mapped, "how many mappings of dma-bufs there are now (read only)");
static DEFINE_MUTEX(gpu_mapped_lock);

#define GPU_BAR		2

/**
 * struct gpu - a device, from probe to remove
 * @pdev: the device
 * @window: its BAR, for the CPU
 * @device: its node; the node's open files keep this module, not the device:
 *	do not unbind while one is open
 */
struct gpu {
	struct pci_dev *pdev;
	void __iomem *window;
	struct miscdevice device;
};

/**
 * struct gpu_buffer - an exported piece of memory
 * @pdev: the device, with a reference
 * @start: its physical address
 * @length: of the piece, in bytes
 */
struct gpu_buffer {
	struct pci_dev *pdev;
	phys_addr_t start;
	size_t length;
};

/*
 * NVIDIA refuses importers that cannot do peer-to-peer; amdgpu would move the
 * memory to the host for them.
 */
static int gpu_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	struct gpu_buffer *buffer = dmabuf->priv;

	if (attachment->importer_ops && !attachment->peer2peer)
		return -EOPNOTSUPP;
	if (pci_p2pdma_distance(buffer->pdev, attachment->dev, false) < 0)
		return -EOPNOTSUPP;
	return 0;
}

static int gpu_pin(struct dma_buf_attachment *attachment)
{
	return READ_ONCE(gpu_refuse_pin) ? -EBUSY : 0;
}

static void gpu_unpin(struct dma_buf_attachment *attachment)
{
}

static void gpu_count(int change)
{
	mutex_lock(&gpu_mapped_lock);
	gpu_mapped += change;
	mutex_unlock(&gpu_mapped_lock);
}

static void gpu_unmap_entries(struct dma_buf_attachment *attachment, struct sg_table *table,
			      unsigned int count, enum dma_data_direction direction)
{
	struct scatterlist *entry;
	unsigned int i;

	for_each_sg(table->sgl, entry, count, i)
		dma_unmap_resource(attachment->dev, sg_dma_address(entry), sg_dma_len(entry),
				   direction, DMA_ATTR_SKIP_CPU_SYNC);
}

static int gpu_map_entries(struct dma_buf_attachment *attachment, struct sg_table *table,
			   size_t segment, enum dma_data_direction direction)
{
	struct gpu_buffer *buffer = attachment->dmabuf->priv;
	struct scatterlist *entry;
	size_t offset = 0;
	unsigned int i;

	for_each_sgtable_sg(table, entry, i) {
		size_t length = min(segment, buffer->length - offset);
		dma_addr_t address = dma_map_resource(attachment->dev, buffer->start + offset,
						      length, direction, DMA_ATTR_SKIP_CPU_SYNC);

		if (dma_mapping_error(attachment->dev, address)) {
			gpu_unmap_entries(attachment, table, i, direction);
			return -EIO;
		}
		sg_set_page(entry, NULL, length, 0);
		sg_dma_address(entry) = address;
		sg_dma_len(entry) = length;
		offset += length;
	}
	return 0;
}

static struct sg_table *gpu_map(struct dma_buf_attachment *attachment,
				enum dma_data_direction direction)
{
	struct gpu_buffer *buffer = attachment->dmabuf->priv;
	size_t segment = PAGE_ALIGN(READ_ONCE(gpu_segment)) ?: buffer->length;
	struct sg_table *table;
	int rc;

	if (READ_ONCE(gpu_fail_map))
		return ERR_PTR(-ENOMEM);
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return ERR_PTR(-ENOMEM);
	rc = sg_alloc_table(table, DIV_ROUND_UP(buffer->length, segment), GFP_KERNEL);
	if (rc)
		goto free_table;
	rc = gpu_map_entries(attachment, table, segment, direction);
	if (rc)
		goto free_entries;
	gpu_count(1);
	return table;

free_entries:
	sg_free_table(table);
free_table:
	kfree(table);
	return ERR_PTR(rc);
}

static void gpu_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		      enum dma_data_direction direction)
{
	gpu_unmap_entries(attachment, table, table->nents, direction);
	sg_free_table(table);
	kfree(table);
	gpu_count(-1);
}

static void gpu_release(struct dma_buf *dmabuf)
{
	struct gpu_buffer *buffer = dmabuf->priv;

	pci_dev_put(buffer->pdev);
	kfree(buffer);
}

static const struct dma_buf_ops gpu_static_ops = {
	.attach		= gpu_attach,
	.map_dma_buf	= gpu_map,
	.unmap_dma_buf	= gpu_unmap,
	.release	= gpu_release,
};

static const struct dma_buf_ops gpu_dynamic_ops = {
	.attach		= gpu_attach,
	.pin		= gpu_pin,
	.unpin		= gpu_unpin,
	.map_dma_buf	= gpu_map,
	.unmap_dma_buf	= gpu_unmap,
	.release	= gpu_release,
};

static struct dma_buf *gpu_export(struct gpu *gpu, u64 offset, u64 length)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	u64 size = pci_resource_len(gpu->pdev, GPU_BAR);
	struct gpu_buffer *buffer;
	struct dma_buf *dmabuf;

	if (!length || !PAGE_ALIGNED(offset | length) || offset > size || length > size - offset)
		return ERR_PTR(-EINVAL);
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->pdev = pci_dev_get(gpu->pdev);
	buffer->start = pci_resource_start(gpu->pdev, GPU_BAR) + offset;
	buffer->length = length;
	info.ops = READ_ONCE(gpu_dynamic) ? &gpu_dynamic_ops : &gpu_static_ops;
	info.size = length;
	info.flags = O_CLOEXEC | O_RDWR;
	info.priv = buffer;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		pci_dev_put(buffer->pdev);
		kfree(buffer);
	}
	return dmabuf;
}

/* The misc device core leaves the miscdevice in private_data */
static struct gpu *gpu_of(struct file *file)
{
	return container_of(file->private_data, struct gpu, device);
}

static long gpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct p2pdma_test_gpu_export export;
	struct dma_buf *dmabuf;
	int fd;

	if (command != P2PDMA_TEST_GPU_EXPORT)
		return -ENOTTY;
	if (copy_from_user(&export, (void __user *)argument, sizeof(export)))
		return -EFAULT;
	dmabuf = gpu_export(gpu_of(file), export.offset, export.length);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static loff_t gpu_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence,
				 pci_resource_len(gpu_of(file)->pdev, GPU_BAR));
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
	struct gpu *gpu = gpu_of(file);
	size_t piece = gpu_piece(gpu, *pos, len);
	void *copy = kmalloc(PAGE_SIZE, GFP_KERNEL);
	ssize_t rc = piece;

	if (!copy)
		return -ENOMEM;
	memcpy_fromio(copy, gpu->window + *pos, piece);
	if (copy_to_user(to, copy, piece))
		rc = -EFAULT;
	else
		*pos += piece;
	kfree(copy);
	return rc;
}

static ssize_t gpu_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	struct gpu *gpu = gpu_of(file);
	size_t piece = gpu_piece(gpu, *pos, len);
	void *copy;

	if (len && !piece)
		return -ENOSPC;
	copy = memdup_user(from, piece);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	memcpy_toio(gpu->window + *pos, copy, piece);
	kfree(copy);
	*pos += piece;
	return piece;
}

static const struct file_operations gpu_fops = {
	.owner		= THIS_MODULE,
	.llseek		= gpu_llseek,
	.read		= gpu_read,
	.write		= gpu_write,
	.unlocked_ioctl	= gpu_ioctl,
};

static void gpu_deregister(void *device)
{
	misc_deregister(device);
}

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
	return gpu->window ? 0 : -ENOMEM;
}

static int gpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct gpu *gpu;
	int rc;

	/* By driver_override alone */
	if (id->vendor != PCI_ANY_ID)
		return -ENODEV;
	gpu = devm_kzalloc(&pdev->dev, sizeof(*gpu), GFP_KERNEL);
	if (!gpu)
		return -ENOMEM;
	gpu->pdev = pdev;
	rc = gpu_map_window(gpu);
	if (rc)
		return rc;
	gpu->device.minor = MISC_DYNAMIC_MINOR;
	gpu->device.fops = &gpu_fops;
	gpu->device.mode = 0600;
	gpu->device.name = devm_kasprintf(&pdev->dev, GFP_KERNEL, KBUILD_MODNAME "-%s",
					  pci_name(pdev));
	if (!gpu->device.name)
		return -ENOMEM;
	rc = misc_register(&gpu->device);
	if (rc)
		return rc;
	return devm_add_action_or_reset(&pdev->dev, gpu_deregister, &gpu->device);
}

static struct pci_driver gpu_driver = {
	.name	= KBUILD_MODNAME,
	.probe	= gpu_probe,
};
module_pci_driver(gpu_driver);

MODULE_DESCRIPTION("A stand-in for a GPU driver that exports dma-bufs, for tests");
MODULE_LICENSE("GPL");
