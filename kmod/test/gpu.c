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
 * the CPU's window into the memory, for comparing; GPU_EXPORT gives a dma-buf,
 * made as the parameters are at that time. Once the device is unbound, an open
 * node and what was exported answer ENODEV.
 */

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
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

static bool gpu_move;
module_param_named(move, gpu_move, bool, 0644);
MODULE_PARM_DESC(move, "a dynamic dma-buf moves to the host's memory when it is pinned, as amdgpu does it");

static uint gpu_segment;
module_param_named(segment, gpu_segment, uint, 0644);
MODULE_PARM_DESC(segment, "bytes of an entry of a scatter list, a multiple of the page size; 0 (default): one entry");

static uint gpu_gap;
module_param_named(gap, gpu_gap, uint, 0644);
MODULE_PARM_DESC(gap, "bytes of the BAR between two entries, a multiple of the page size");

static bool gpu_reverse;
module_param_named(reverse, gpu_reverse, bool, 0644);
MODULE_PARM_DESC(reverse, "the entries come in the reverse order");

static bool gpu_unaligned;
module_param_named(unaligned, gpu_unaligned, bool, 0644);
MODULE_PARM_DESC(unaligned, "entries begin 512 bytes behind their page");

static bool gpu_readonly;
module_param_named(readonly, gpu_readonly, bool, 0644);
MODULE_PARM_DESC(readonly, "a dma-buf is opened for reading only, as DRM exports without DRM_RDWR");

/* What there is now of each, and what there still was when a device was unbound */
static int gpu_attached, gpu_pinned, gpu_mapped, gpu_left;
module_param_named(attached, gpu_attached, int, 0444);
module_param_named(pinned, gpu_pinned, int, 0444);
module_param_named(mapped, gpu_mapped, int, 0444);
module_param_named(left, gpu_left, int, 0444);
static DEFINE_MUTEX(gpu_count_lock);

#define GPU_BAR		2

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

/**
 * struct gpu_buffer - an exported piece of memory
 * @pdev: the device, with a reference
 * @start: its physical address
 * @length: in bytes
 * @segment: bytes of an entry
 * @stride: from the beginning of an entry to that of its neighbour in the BAR
 * @reverse: the entries come in the reverse order
 * @ram: where it goes when it is pinned; NULL if it stays
 */
struct gpu_buffer {
	struct pci_dev *pdev;
	phys_addr_t start;
	size_t length;
	size_t segment;
	size_t stride;
	bool reverse;
	void *ram;
};

static void gpu_count(int *of, int change)
{
	mutex_lock(&gpu_count_lock);
	*of += change;
	mutex_unlock(&gpu_count_lock);
}

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
	gpu_count(&gpu_attached, 1);
	return 0;
}

static void gpu_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	gpu_count(&gpu_attached, -1);
}

static int gpu_pin(struct dma_buf_attachment *attachment)
{
	if (READ_ONCE(gpu_refuse_pin))
		return -EBUSY;
	gpu_count(&gpu_pinned, 1);
	return 0;
}

static void gpu_unpin(struct dma_buf_attachment *attachment)
{
	gpu_count(&gpu_pinned, -1);
}

/*
 * Where nothing translates, the address is that of the bus, as with NVIDIA's skip_iommu. To map it
 * would make the kernel's DMA debugging object: it allows no second mapping of the same memory,
 * which the SSD's is while a dma-buf stays mapped.
 */
static bool gpu_translates(struct device *dev)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain && domain->type != IOMMU_DOMAIN_IDENTITY;
}

static dma_addr_t gpu_map_piece(struct device *dev, phys_addr_t start, size_t length,
				enum dma_data_direction direction)
{
	if (!gpu_translates(dev))
		return start;
	return dma_map_resource(dev, start, length, direction, DMA_ATTR_SKIP_CPU_SYNC);
}

static void gpu_unmap_entries(struct dma_buf_attachment *attachment, struct sg_table *table,
			      unsigned int count, enum dma_data_direction direction)
{
	struct scatterlist *entry;
	unsigned int i;

	if (!gpu_translates(attachment->dev))
		return;
	for_each_sg(table->sgl, entry, count, i)
		dma_unmap_resource(attachment->dev, sg_dma_address(entry), sg_dma_len(entry),
				   direction, DMA_ATTR_SKIP_CPU_SYNC);
}

static int gpu_map_entries(struct dma_buf_attachment *attachment, struct sg_table *table,
			   enum dma_data_direction direction)
{
	struct gpu_buffer *buffer = attachment->dmabuf->priv;
	phys_addr_t start = buffer->ram ? virt_to_phys(buffer->ram) : buffer->start;
	struct scatterlist *entry;
	unsigned int i;

	for_each_sgtable_sg(table, entry, i) {
		unsigned int at = buffer->reverse ? table->nents - 1 - i : i;
		size_t length = min(buffer->segment, buffer->length - at * buffer->segment);
		dma_addr_t address = gpu_map_piece(attachment->dev, start + at * buffer->stride,
						   length, direction);

		if (gpu_translates(attachment->dev) &&
		    dma_mapping_error(attachment->dev, address)) {
			gpu_unmap_entries(attachment, table, i, direction);
			return -EIO;
		}
		sg_set_page(entry, NULL, length, 0);
		sg_dma_address(entry) = address;
		sg_dma_len(entry) = length;
	}
	return 0;
}

static struct sg_table *gpu_map(struct dma_buf_attachment *attachment,
				enum dma_data_direction direction)
{
	struct gpu_buffer *buffer = attachment->dmabuf->priv;
	struct sg_table *table;
	int rc;

	if (READ_ONCE(gpu_fail_map))
		return ERR_PTR(-ENOMEM);
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return ERR_PTR(-ENOMEM);
	rc = sg_alloc_table(table, DIV_ROUND_UP(buffer->length, buffer->segment), GFP_KERNEL);
	if (rc)
		goto free_table;
	rc = gpu_map_entries(attachment, table, direction);
	if (rc)
		goto free_entries;
	gpu_count(&gpu_mapped, 1);
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
	gpu_count(&gpu_mapped, -1);
}

static void gpu_buffer_free(struct gpu_buffer *buffer)
{
	if (buffer->ram)
		free_pages_exact(buffer->ram, buffer->length);
	pci_dev_put(buffer->pdev);
	kfree(buffer);
}

static void gpu_release(struct dma_buf *dmabuf)
{
	gpu_buffer_free(dmabuf->priv);
}

static const struct dma_buf_ops gpu_static_ops = {
	.attach		= gpu_attach,
	.detach		= gpu_detach,
	.map_dma_buf	= gpu_map,
	.unmap_dma_buf	= gpu_unmap,
	.release	= gpu_release,
};

static const struct dma_buf_ops gpu_dynamic_ops = {
	.attach		= gpu_attach,
	.detach		= gpu_detach,
	.pin		= gpu_pin,
	.unpin		= gpu_unpin,
	.map_dma_buf	= gpu_map,
	.unmap_dma_buf	= gpu_unmap,
	.release	= gpu_release,
};

static struct gpu_buffer *gpu_buffer_new(struct gpu *gpu, u64 offset, u64 length)
{
	u64 size = pci_resource_len(gpu->pdev, GPU_BAR);
	struct gpu_buffer *buffer;
	u64 reach;

	if (!length || !PAGE_ALIGNED(offset | length) || offset > size || length > size)
		return ERR_PTR(-EINVAL);
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->pdev = pci_dev_get(gpu->pdev);
	buffer->start = pci_resource_start(gpu->pdev, GPU_BAR) + offset;
	buffer->start += READ_ONCE(gpu_unaligned) ? 512 : 0;
	buffer->length = length;
	buffer->segment = PAGE_ALIGN(READ_ONCE(gpu_segment)) ?: length;
	buffer->stride = buffer->segment + PAGE_ALIGN(READ_ONCE(gpu_gap));
	buffer->reverse = READ_ONCE(gpu_reverse);
	reach = length + (length - 1) / buffer->segment * (buffer->stride - buffer->segment);
	if (reach > size - offset) {
		gpu_buffer_free(buffer);
		return ERR_PTR(-EINVAL);
	}
	if (READ_ONCE(gpu_dynamic) && READ_ONCE(gpu_move)) {
		buffer->ram = alloc_pages_exact(length, GFP_KERNEL);
		if (!buffer->ram) {
			gpu_buffer_free(buffer);
			return ERR_PTR(-ENOMEM);
		}
	}
	return buffer;
}

static struct dma_buf *gpu_export(struct gpu *gpu, u64 offset, u64 length)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct gpu_buffer *buffer = gpu_buffer_new(gpu, offset, length);
	struct dma_buf *dmabuf;

	if (IS_ERR(buffer))
		return ERR_CAST(buffer);
	info.ops = READ_ONCE(gpu_dynamic) ? &gpu_dynamic_ops : &gpu_static_ops;
	info.size = length;
	info.flags = O_CLOEXEC | (READ_ONCE(gpu_readonly) ? O_RDONLY : O_RDWR);
	info.priv = buffer;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		gpu_buffer_free(buffer);
	return dmabuf;
}

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

/* What no driver may do with pinned memory, and what a reset may do all the same */
static int gpu_announce_move(int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	dma_resv_lock(dmabuf->resv, NULL);
	dma_buf_move_notify(dmabuf);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return 0;
}

static long gpu_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct p2pdma_test_gpu_export export;
	struct gpu *gpu = file->private_data;
	struct dma_buf *dmabuf;
	int fd;

	if (command == P2PDMA_TEST_GPU_MOVE)
		return gpu_announce_move(argument);
	if (command != P2PDMA_TEST_GPU_EXPORT)
		return -ENOTTY;
	if (copy_from_user(&export, (void __user *)argument, sizeof(export)))
		return -EFAULT;
	guard(rwsem_read)(&gpu->alive);
	if (!gpu->window)
		return -ENODEV;
	dmabuf = gpu_export(gpu, export.offset, export.length);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
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
	return gpu->window ? 0 : -ENOMEM;
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
	return 0;

put:
	kref_put(&gpu->kref, gpu_free);
	return rc;
}

static void gpu_remove(struct pci_dev *pdev)
{
	struct gpu *gpu = pci_get_drvdata(pdev);

	gpu_count(&gpu_left, gpu_attached + gpu_pinned + gpu_mapped);
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
