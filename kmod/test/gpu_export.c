// SPDX-License-Identifier: GPL-2.0
/*
 * The dma-bufs of the stand-in for a GPU driver: scatter lists without pages, their addresses from
 * dma_map_resource() for the importer's device, as NVIDIA's driver and amdgpu make theirs
 * (nv-dmabuf.c; drivers/gpu/drm/amd/amdgpu/amdgpu_vram_mgr.c).
 */

#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "gpu_export.h"

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

static bool gpu_busy;
module_param_named(busy, gpu_busy, bool, 0644);
MODULE_PARM_DESC(busy, "the memory of a dma-buf is being cleared, until P2PDMA_TEST_GPU_FINISH");

/* What there is now of each, and what there still was when a device was unbound */
static int gpu_attached, gpu_pinned, gpu_mapped, gpu_left;
module_param_named(attached, gpu_attached, int, 0444);
module_param_named(pinned, gpu_pinned, int, 0444);
module_param_named(mapped, gpu_mapped, int, 0444);
module_param_named(left, gpu_left, int, 0444);
static DEFINE_MUTEX(gpu_count_lock);

/**
 * struct gpu_buffer - an exported piece of memory
 * @pdev: the device, with a reference
 * @start: its physical address
 * @length: in bytes
 * @segment: bytes of an entry
 * @stride: from the beginning of an entry to that of its neighbour in the BAR
 * @reverse: the entries come in the reverse order
 * @ram: where it goes when it is pinned; NULL if it stays
 * @work: ends when the memory may be used; NULL if that is from the beginning on
 */
struct gpu_buffer {
	struct pci_dev *pdev;
	phys_addr_t start;
	size_t length;
	size_t segment;
	size_t stride;
	bool reverse;
	void *ram;
	struct dma_fence *work;
};

/* What the GPU does to its memory: nothing, but others wait for it. */
struct gpu_work {
	struct dma_fence fence;	/* the first, as its release frees it as what was allocated */
	spinlock_t lock;	/* the fence's */
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

static const char *gpu_work_name(struct dma_fence *fence)
{
	return KBUILD_MODNAME;
}

static const struct dma_fence_ops gpu_work_ops = {
	.get_driver_name	= gpu_work_name,
	.get_timeline_name	= gpu_work_name,
};

/* As amdgpu_bo_create() clears what it has allocated; a fence that all have to wait for */
static int gpu_begin_work(struct dma_buf *dmabuf)
{
	struct gpu_work *work = kzalloc(sizeof(*work), GFP_KERNEL);
	struct gpu_buffer *buffer = dmabuf->priv;
	int rc;

	if (!work)
		return -ENOMEM;
	spin_lock_init(&work->lock);
	dma_fence_init(&work->fence, &gpu_work_ops, &work->lock, dma_fence_context_alloc(1), 1);
	buffer->work = &work->fence;
	dma_resv_lock(dmabuf->resv, NULL);
	rc = dma_resv_reserve_fences(dmabuf->resv, 1);
	if (!rc)
		dma_resv_add_fence(dmabuf->resv, buffer->work, DMA_RESV_USAGE_KERNEL);
	dma_resv_unlock(dmabuf->resv);
	return rc;
}

static void gpu_buffer_free(struct gpu_buffer *buffer)
{
	if (buffer->work) {
		/* A fence ends in any case */
		dma_fence_signal(buffer->work);
		dma_fence_put(buffer->work);
	}
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

static struct gpu_buffer *gpu_buffer_new(struct pci_dev *pdev, u64 offset, u64 length)
{
	u64 size = pci_resource_len(pdev, GPU_BAR);
	struct gpu_buffer *buffer;
	u64 reach;

	if (!length || !PAGE_ALIGNED(offset | length) || offset > size || length > size)
		return ERR_PTR(-EINVAL);
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->pdev = pci_dev_get(pdev);
	buffer->start = pci_resource_start(pdev, GPU_BAR) + offset;
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

struct dma_buf *gpu_export(struct pci_dev *pdev, u64 offset, u64 length)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct gpu_buffer *buffer = gpu_buffer_new(pdev, offset, length);
	struct dma_buf *dmabuf;
	int rc;

	if (IS_ERR(buffer))
		return ERR_CAST(buffer);
	info.ops = READ_ONCE(gpu_dynamic) ? &gpu_dynamic_ops : &gpu_static_ops;
	info.size = length;
	info.flags = O_CLOEXEC | (READ_ONCE(gpu_readonly) ? O_RDONLY : O_RDWR);
	info.priv = buffer;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		gpu_buffer_free(buffer);
		return dmabuf;
	}
	rc = READ_ONCE(gpu_busy) ? gpu_begin_work(dmabuf) : 0;
	if (rc) {
		dma_buf_put(dmabuf);
		return ERR_PTR(rc);
	}
	return dmabuf;
}

/* What no driver may do with pinned memory, and what a reset may do all the same */
int gpu_announce_move(int fd)
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

/* Without the reservation's lock, which the one who waits holds */
int gpu_finish(int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);
	struct gpu_buffer *buffer;
	int rc = -EINVAL;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (dmabuf->ops == &gpu_static_ops || dmabuf->ops == &gpu_dynamic_ops) {
		buffer = dmabuf->priv;
		rc = buffer->work ? dma_fence_signal(buffer->work) : -EINVAL;
	}
	dma_buf_put(dmabuf);
	return rc;
}

/* A device is being unbound */
void gpu_count_left(void)
{
	gpu_count(&gpu_left, gpu_attached + gpu_pinned + gpu_mapped);
}
