// SPDX-License-Identifier: GPL-2.0
/*
 * The donor: a PCI driver that gives a BAR to the kernel's peer-to-peer DMA.
 *
 * Where no driver makes a device's memory known to drivers/pci/p2pdma.c, this
 * one does: a BAR gets struct pages, and with them the device gets the sysfs
 * directory p2pmem/, whose file "allocate" user space maps and does direct I/O
 * into. A device comes here only by name:
 *
 *	echo p2pdma_user > /sys/bus/pci/devices/ADDRESS/driver_override
 *	echo ADDRESS > /sys/bus/pci/drivers_probe
 *
 * There is no remove callback. All that probe takes is device-managed, and the
 * driver core gives it back in reverse order after unbinding; that waits until
 * the last I/O into the BAR has ended (memunmap_pages() in mm/memremap.c).
 */

#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/sizes.h>

#include "internal.h"

/* What pages are made for in one piece: PAGES_PER_SUBSECTION on x86 and arm64 */
#define DONOR_ALIGN	SZ_2M

static int donor_bar = -1;
module_param_named(bar, donor_bar, int, 0444);
MODULE_PARM_DESC(bar, "BAR to give, 0 to 5; -1 (default): the largest that can be given");

/**
 * donor_has_pages() - tell whether a part of a BAR has struct pages already
 * @pdev: the device
 * @bar: one of its memory BARs, aligned to %DONOR_ALIGN
 *
 * pagemap_range() in mm/memremap.c looks at the first and the last page only.
 * A foreign mapping between them would go unseen and have its bookkeeping
 * overwritten, so every piece is looked at here, before anything is done.
 *
 * Return: true if at least one page is mapped.
 */
static bool donor_has_pages(struct pci_dev *pdev, int bar)
{
	resource_size_t at = pci_resource_start(pdev, bar);
	resource_size_t end = pci_resource_end(pdev, bar);

	for (; at < end; at += DONOR_ALIGN) {
		struct dev_pagemap *pgmap = get_dev_pagemap(PHYS_PFN(at), NULL);

		if (pgmap) {
			put_dev_pagemap(pgmap);
			return true;
		}
	}
	return false;
}

/**
 * donor_refusal() - say why a BAR cannot be given
 * @pdev: the device
 * @bar: the number of a BAR, 0 to 5
 *
 * Asks in advance what the kernel would answer with a WARN and a bare -EINVAL
 * or -ENOMEM: check_pfn_span() and mhp_range_allowed() in mm/memory_hotplug.c,
 * pagemap_range() in mm/memremap.c.
 *
 * Return: cause and cure in words, or NULL if the BAR can be given.
 */
static const char *donor_refusal(struct pci_dev *pdev, int bar)
{
	struct range reach = mhp_get_pluggable_range(true);
	resource_size_t start = pci_resource_start(pdev, bar);
	resource_size_t len = pci_resource_len(pdev, bar);

	if (!len)
		return "the device does not have it; see lspci -v for those it has";
	if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM))
		return "it is an I/O port range; choose a memory BAR";
	if (!start || pci_resource_flags(pdev, bar) & IORESOURCE_UNSET)
		return "it has no address; enable above-4G decoding, or boot with pci=realloc";
	if (len < DONOR_ALIGN)
		return "it is smaller than 2 MiB, the least for pages; choose a larger BAR";
	if (!IS_ALIGNED(start | len, DONOR_ALIGN))
		return "it is not aligned to 2 MiB; boot with pci=resource_alignment=21@ADDRESS";
	if (start < reach.start || start + len - 1 > reach.end)
		return "it lies beyond the kernel's linear map; boot with nokaslr";
	if (donor_has_pages(pdev, bar))
		return "another driver has made pages for it; unload that driver";
	return NULL;
}

/* The largest memory BAR, and of those only what can be given if @can_be_given */
static int donor_largest_bar(struct pci_dev *pdev, bool can_be_given)
{
	resource_size_t most = 0;
	int bar, best = -ENODEV;

	for (bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
		if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM))
			continue;
		if (can_be_given && donor_refusal(pdev, bar))
			continue;
		if (pci_resource_len(pdev, bar) > most) {
			most = pci_resource_len(pdev, bar);
			best = bar;
		}
	}
	return best;
}

/**
 * donor_choose_bar() - find the BAR to give
 * @pdev: the device
 *
 * Where none can be given, the one that the operator most likely had in mind
 * is named in the log: the one asked for, else the largest.
 *
 * Return: its number, or a negative errno after one line in the log.
 */
static int donor_choose_bar(struct pci_dev *pdev)
{
	int bar = donor_bar;

	if (bar < -1 || bar >= PCI_STD_NUM_BARS) {
		dev_err(&pdev->dev, "BAR %d: PCI has BARs 0 to 5; load the module with another bar=\n",
			bar);
		return -EINVAL;
	}
	if (bar == -1)
		bar = donor_largest_bar(pdev, true);
	if (bar < 0)
		bar = donor_largest_bar(pdev, false);
	if (bar < 0) {
		dev_err(&pdev->dev, "no BAR to give: the device has no memory BAR; choose another device\n");
		return bar;
	}
	if (donor_refusal(pdev, bar)) {
		dev_err(&pdev->dev, "BAR %d %pR cannot be given: %s\n", bar,
			&pdev->resource[bar], donor_refusal(pdev, bar));
		return -EINVAL;
	}
	return bar;
}

/**
 * donor_probe() - give a BAR of a device to p2pdma
 * @pdev: the device; the driver core holds its lock, which
 *	pci_p2pdma_add_resource() needs and does not take
 * @id: what it was matched by
 *
 * Return: 0, or a negative errno after one line in the log.
 */
static int donor_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int bar, rc;

	/* By driver_override the id is a wildcard; new_id would take all devices alike */
	if (id->vendor != PCI_ANY_ID)
		return -ENODEV;
	if (!IS_ENABLED(CONFIG_PCI_P2PDMA)) {
		dev_err(&pdev->dev, "no BAR can be given: this kernel lacks CONFIG_PCI_P2PDMA; boot one that has it\n");
		return -EOPNOTSUPP;
	}
	bar = donor_choose_bar(pdev);
	if (bar < 0)
		return bar;
	rc = pcim_enable_device(pdev);
	if (rc) {
		dev_err(&pdev->dev, "BAR %d cannot be given: the device cannot be enabled (%d); see the lines above\n",
			bar, rc);
		return rc;
	}
	rc = pcim_request_region(pdev, bar, KBUILD_MODNAME);
	if (rc) {
		dev_err(&pdev->dev, "BAR %d %pR cannot be given: it is in use (%d); /proc/iomem names the user\n",
			bar, &pdev->resource[bar], rc);
		return rc;
	}
	rc = pci_p2pdma_add_resource(pdev, bar, 0, 0);
	if (rc) {
		dev_err(&pdev->dev, "BAR %d %pR was not accepted (%d): pages for it take 1/64 of its size in host memory; free some, or see the lines above\n",
			bar, &pdev->resource[bar], rc);
		return rc;
	}
	/* Lets the kernel's own users find it, drivers/nvme/target among them */
	pci_p2pmem_publish(pdev, true);
	return 0;
}

struct pci_driver donor_driver = {
	.name	= KBUILD_MODNAME,
	.probe	= donor_probe,
};
