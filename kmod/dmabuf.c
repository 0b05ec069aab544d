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
#include <linux/module.h>

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

static int dmabuf_add_page(struct buffer *buffer, int bar, dma_addr_t address,
			   struct dev_pagemap **pagemap)
{
	phys_addr_t phys = dmabuf_phys(buffer->provider->pdev, bar, address);

	if (!phys)
		return -EXDEV;
	*pagemap = get_dev_pagemap(PHYS_PFN(phys), *pagemap);
	if (!*pagemap || (*pagemap)->type != MEMORY_DEVICE_PCI_P2PDMA)
		return -ENXIO;
	if (!buffer_append(buffer, pfn_to_page(PHYS_PFN(phys)), PAGE_SIZE))
		return -EXDEV;
	return buffer_pause();
}

/* Page by page: what is contiguous for the device behind an IOMMU need not be so in the BAR. */
static int dmabuf_add_entry(struct buffer *buffer, int bar, dma_addr_t address, size_t length)
{
	struct dev_pagemap *pagemap = NULL;
	dma_addr_t end = address + length;
	int rc = PAGE_ALIGNED(address | length) ? 0 : -EXDEV;

	for (; !rc && address < end; address += PAGE_SIZE)
		rc = dmabuf_add_page(buffer, bar, address, &pagemap);
	put_dev_pagemap(pagemap);
	return rc;
}

/* Learns the runs of what was mapped. */
static int dmabuf_add_entries(struct buffer *buffer)
{
	struct sg_table *table = buffer->table;
	struct scatterlist *entry;
	int i, rc, bar = 0;

	while (!dmabuf_phys(buffer->provider->pdev, bar, sg_dma_address(table->sgl)))
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

/*
 * What the driver still moves or clears is waited for: no longer than that may take, as an unbind
 * waits meanwhile.
 */
#define DMABUF_PATIENCE		(10 * HZ)

/* Pins and maps. */
static int dmabuf_pin(struct buffer *buffer)
{
	struct dma_buf_attachment *attachment = buffer->attachment;
	struct dma_resv *resv = attachment->dmabuf->resv;
	long rc;

	dma_resv_assert_held(resv);
	rc = dma_buf_pin(attachment);
	if (rc)
		return rc;
	buffer->table = dma_buf_map_attachment(attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(buffer->table)) {
		rc = PTR_ERR(buffer->table);
		goto unpin;
	}
	rc = dma_resv_wait_timeout(resv, DMA_RESV_USAGE_KERNEL, true, DMABUF_PATIENCE);
	if (rc > 0)
		return 0;
	rc = rc ?: -ETIMEDOUT;
	dma_buf_unmap_attachment(attachment, buffer->table, DMA_BIDIRECTIONAL);
unpin:
	dma_buf_unpin(attachment);
	return rc;
}

static void dmabuf_unpin(struct buffer *buffer)
{
	struct dma_buf_attachment *attachment = buffer->attachment;

	dma_resv_lock(attachment->dmabuf->resv, NULL);
	dma_buf_unmap_attachment(attachment, buffer->table, DMA_BIDIRECTIONAL);
	dma_buf_unpin(attachment);
	dma_resv_unlock(attachment->dmabuf->resv);
}

/* Gives a buffer its memory; the caller has entered the provider. */
int dmabuf_take(struct buffer *buffer, struct dma_buf *dmabuf)
{
	struct device *dev = &buffer->provider->pdev->dev;
	int rc;

	buffer->attachment = dma_buf_dynamic_attach(dmabuf, dev, &dmabuf_ops, buffer);
	if (IS_ERR(buffer->attachment)) {
		rc = PTR_ERR(buffer->attachment);
		goto no_attachment;
	}
	dma_resv_lock(dmabuf->resv, NULL);
	rc = dmabuf_pin(buffer);
	dma_resv_unlock(dmabuf->resv);
	if (rc)
		goto detach;
	rc = dmabuf_add_entries(buffer);
	if (rc)
		goto unpin;
	get_dma_buf(dmabuf);
	return 0;

unpin:
	dmabuf_unpin(buffer);
detach:
	dma_buf_detach(dmabuf, buffer->attachment);
no_attachment:
	buffer->attachment = NULL;
	return rc;
}

void dmabuf_drop(struct buffer *buffer)
{
	struct dma_buf *dmabuf = buffer->attachment->dmabuf;

	dmabuf_unpin(buffer);
	dma_buf_detach(dmabuf, buffer->attachment);
	dma_buf_put(dmabuf);
	buffer->attachment = NULL;
}
