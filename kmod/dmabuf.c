// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that another driver exports as a dma-buf. Drivers of GPUs give it as bare bus addresses,
 * without pages. It is attached to the device that owns it, which every driver accepts, pinned, and
 * mapped only to learn which part of the BAR it is. The pages of the BAR are p2pdma's: those that
 * root had made for it (donor.c), or the driver's own.
 *
 * No fence is left in it and its reservation lock is held only here, as file systems take locks
 * that memory management has to wait for with that lock held.
 */

#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/iommu.h>
#include <linux/memremap.h>
#include <linux/mm.h>

#include "internal.h"

MODULE_IMPORT_NS(DMA_BUF);

/* Never while it is pinned. A driver that does it all the same gets no new I/O. */
static void dmabuf_move_notify(struct dma_buf_attachment *attachment)
{
	struct buffer *buffer = attachment->importer_priv;

	WRITE_ONCE(buffer->count, 0);
}

static const struct dma_buf_attach_ops dmabuf_ops = {
	.allow_peer2peer = true,
	.move_notify = dmabuf_move_notify,
};

/* The address that the device has for its own memory, translated back; 0 if it is not in the BAR */
static phys_addr_t dmabuf_phys(struct pci_dev *pdev, int bar, dma_addr_t address)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&pdev->dev);
	phys_addr_t phys = address - pci_bus_address(pdev, bar) + pci_resource_start(pdev, bar);

	if (domain && domain->type != IOMMU_DOMAIN_IDENTITY)
		phys = iommu_iova_to_phys(domain, address);
	if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM) ||
	    phys < pci_resource_start(pdev, bar) || phys > pci_resource_end(pdev, bar))
		return 0;
	return phys;
}

/* Page by page: what is contiguous for the device behind an IOMMU need not be so in the BAR. */
static int dmabuf_add_entry(struct buffer *buffer, int bar, dma_addr_t address, size_t length)
{
	struct dev_pagemap *pagemap = NULL;
	dma_addr_t end = address + length;
	int rc = PAGE_ALIGNED(address | length) ? 0 : -EXDEV;

	for (; !rc && address < end; address += PAGE_SIZE) {
		unsigned long pfn = PHYS_PFN(dmabuf_phys(buffer->provider, bar, address));

		if (pfn)
			pagemap = get_dev_pagemap(pfn, pagemap);
		if (!pfn)
			rc = -EXDEV;
		else if (!pagemap || pagemap->type != MEMORY_DEVICE_PCI_P2PDMA)
			rc = -ENXIO;
		else if (!buffer_append(buffer, pfn_to_page(pfn), PAGE_SIZE))
			rc = -EXDEV;
		else
			rc = copy_pause();
	}
	put_dev_pagemap(pagemap);
	return rc;
}

/* Learns the runs of what was mapped. */
static int dmabuf_add_entries(struct buffer *buffer)
{
	struct sg_table *table = buffer->table;
	struct scatterlist *entry;
	int i, rc, bar = 0;

	while (!dmabuf_phys(buffer->provider, bar, sg_dma_address(table->sgl)))
		if (++bar == PCI_STD_NUM_BARS)
			return -EXDEV;
	rc = buffer_reserve(buffer, max(table->orig_nents, table->nents));
	if (rc)
		return rc;
	for_each_sgtable_dma_sg(table, entry, i) {
		rc = dmabuf_add_entry(buffer, bar, sg_dma_address(entry), sg_dma_len(entry));
		if (rc)
			return rc;
	}
	return buffer_end(buffer) < buffer->length ? -EXDEV : 0;
}

/* Learns what was mapped, when the driver has moved and cleared it. An unbind waits meanwhile. */
static int dmabuf_learn(struct buffer *buffer)
{
	struct dma_resv *resv = buffer->attachment->dmabuf->resv;
	long rc = dma_resv_wait_timeout(resv, DMA_RESV_USAGE_KERNEL, true, 10 * HZ);

	if (rc <= 0)
		return rc ?: -ETIMEDOUT;
	return dmabuf_add_entries(buffer);
}

/* Gives a buffer its memory; the caller has entered it. */
int dmabuf_take(struct buffer *buffer, struct dma_buf *dmabuf)
{
	struct dma_buf_attachment *attachment =
		dma_buf_dynamic_attach(dmabuf, &buffer->provider->dev, &dmabuf_ops, buffer);
	int rc;

	if (IS_ERR(attachment))
		return PTR_ERR(attachment);
	buffer->attachment = attachment;
	dma_resv_lock(dmabuf->resv, NULL);
	rc = dma_buf_pin(attachment);
	if (rc)
		goto unlock;
	buffer->table = dma_buf_map_attachment(attachment, DMA_BIDIRECTIONAL);
	rc = PTR_ERR_OR_ZERO(buffer->table);
	if (rc)
		goto unpin;
	rc = dmabuf_learn(buffer);
	if (!rc) {
		dma_resv_unlock(dmabuf->resv);
		get_dma_buf(dmabuf);
		return 0;
	}
	dma_buf_unmap_attachment(attachment, buffer->table, DMA_BIDIRECTIONAL);
unpin:
	dma_buf_unpin(attachment);
unlock:
	dma_resv_unlock(dmabuf->resv);
	dma_buf_detach(dmabuf, attachment);
	buffer->attachment = NULL;
	return rc;
}

void dmabuf_drop(struct buffer *buffer)
{
	struct dma_buf_attachment *attachment = buffer->attachment;
	struct dma_buf *dmabuf = attachment->dmabuf;

	dma_resv_lock(dmabuf->resv, NULL);
	dma_buf_unmap_attachment(attachment, buffer->table, DMA_BIDIRECTIONAL);
	dma_buf_unpin(attachment);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_detach(dmabuf, attachment);
	dma_buf_put(dmabuf);
	buffer->attachment = NULL;
}
