// SPDX-License-Identifier: GPL-2.0
/*
 * The donor gives a BAR to drivers/pci/p2pdma.c where the device's own driver does not. The BAR
 * gets struct pages, and the device the sysfs directory p2pmem/. Root names the device, in one of
 * two ways.
 *
 *	echo p2pdma_user > /sys/bus/pci/devices/ADDRESS/driver_override
 *	echo ADDRESS > /sys/bus/pci/drivers_probe
 *
 * makes this module the driver. The memory is for whoever may ask, by ALLOC, or by mapping
 * p2pmem/allocate.
 *
 *	echo ADDRESS [BAR] > /sys/bus/pci/drivers/p2pdma_user/provide
 *
 * makes pages for a device that is bound to another driver, a GPU's, and stays so. Its memory is
 * in use: the pool is claimed as a whole and "allocate" removed. Only REGISTER leads to it.
 *
 * All of it is device-managed, and ends when the device loses its driver. A claim ends with this
 * module too. The pages then stay, and another load of the module may claim them again.
 *
 * udev hears of it by a change event of the PCI device: P2PDMA_USER=provider, P2PDMA_USER=none.
 */

#include <linux/kobject.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/sizes.h>

#include "internal.h"

/* What pages are made for in one piece: PAGES_PER_SUBSECTION on x86 and arm64 */
#define DONOR_ALIGN	SZ_2M

static int donor_bar = -1;
module_param_named(bar, donor_bar, int, 0444);
MODULE_PARM_DESC(bar, "BAR to give, 0 to 5; -1 (default): the largest that can be given");

static void donor_announce(struct pci_dev *pdev, bool provides)
{
	char *event = provides ? "P2PDMA_USER=provider" : "P2PDMA_USER=none";
	char *envp[] = { event, NULL };	/* not const: kobject_uevent_env() takes it so */

	kobject_uevent_env(&pdev->dev.kobj, KOBJ_CHANGE, envp);
}

/* --- which BAR --- */

/*
 * pagemap_range() in mm/memremap.c looks at the first and the last page only. A foreign mapping
 * between them would have its bookkeeping overwritten, so every piece is looked at here.
 */
static bool donor_has_pages(struct pci_dev *pdev, int bar)
{
	resource_size_t at = pci_resource_start(pdev, bar);

	for (; at < pci_resource_end(pdev, bar); at += DONOR_ALIGN) {
		struct dev_pagemap *pagemap = get_dev_pagemap(PHYS_PFN(at), NULL);

		put_dev_pagemap(pagemap);
		if (pagemap)
			return true;
	}
	return false;
}

/* Whether an earlier load of this module made the pages: nothing else takes "allocate" away. */
static bool donor_left_pages(struct pci_dev *pdev)
{
	struct kernfs_node *group = sysfs_get_dirent(pdev->dev.kobj.sd, "p2pmem");
	struct kernfs_node *allocate = group ? sysfs_get_dirent(group, "allocate") : NULL;

	sysfs_put(allocate);
	sysfs_put(group);
	return group && !allocate;
}

/*
 * Asks in advance what the kernel would answer with a WARN or a bare errno: check_pfn_span() and
 * mhp_range_allowed() in mm/memory_hotplug.c, pagemap_range(). Return: cause and cure in words, or
 * NULL if the BAR can be given.
 */
static const char *donor_refusal(struct pci_dev *pdev, int bar)
{
	struct range reach = mhp_get_pluggable_range(true);
	resource_size_t start = pci_resource_start(pdev, bar);
	resource_size_t len = pci_resource_len(pdev, bar);
	int other;

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
	if (donor_left_pages(pdev)) {
		/* What will be claimed is all of the pool */
		for (other = 0; other < PCI_STD_NUM_BARS; other++)
			if (other != bar && donor_has_pages(pdev, other))
				return "another BAR was provided before; name that one";
		return NULL;
	}
	if (donor_has_pages(pdev, bar))
		return "another driver has made pages for it; REGISTER may work as it is";
	if (rcu_access_pointer(pdev->p2pdma))
		return "its driver gives memory to p2pdma itself; REGISTER may work as it is";
	return NULL;
}

/* Return: @bar, or the largest that can be given; a negative errno after a line in the log. */
static int donor_choose_bar(struct pci_dev *pdev, int bar)
{
	int from = bar < 0 ? 0 : bar, to = bar < 0 ? PCI_STD_NUM_BARS - 1 : bar, best = -EINVAL;

	if (bar >= PCI_STD_NUM_BARS) {
		pci_err(pdev, "BAR %d: there are BARs 0 to 5; choose one of them\n", bar);
		return -EINVAL;
	}
	for (bar = from; bar <= to; bar++)
		if (!donor_refusal(pdev, bar) &&
		    (best < 0 || pci_resource_len(pdev, bar) > pci_resource_len(pdev, best)))
			best = bar;
	for (bar = from; bar <= to && best < 0; bar++)
		if (from == to || pci_resource_len(pdev, bar))
			pci_err(pdev, "BAR %d %pR cannot be given: %s\n", bar,
				&pdev->resource[bar], donor_refusal(pdev, bar));
	if (best < 0 && from != to)
		pci_err(pdev, "it has no BAR that can be given; choose another device\n");
	return best;
}

/* pci_p2pdma_add_resource() needs the device's lock and does not take it. */
static int donor_give(struct pci_dev *pdev, int bar)
{
	int rc;

	device_lock_assert(&pdev->dev);
	rc = pci_p2pdma_add_resource(pdev, bar, 0, 0);
	if (rc)
		pci_err(pdev, "BAR %d %pR was not accepted (%d): its pages take 1/64 of its size in host memory; free some, or see the lines above\n",
			bar, &pdev->resource[bar], rc);
	return rc;
}

/* --- devices of other drivers --- */

/* All of a device's pool, for nobody; a resource of the device */
struct donor_claim {
	void *memory;
	size_t length;
};

static void donor_unclaim(struct device *dev, void *resource)
{
	struct donor_claim *claim = resource;

	pci_free_p2pmem(to_pci_dev(dev), claim->memory, claim->length);
	donor_announce(to_pci_dev(dev), false);
}

static int donor_claim(struct pci_dev *pdev, int bar)
{
	struct donor_claim *claim = devres_alloc(donor_unclaim, sizeof(*claim), GFP_KERNEL);

	if (!claim)
		return -ENOMEM;
	claim->length = pci_resource_len(pdev, bar);
	claim->memory = pci_alloc_p2pmem(pdev, claim->length);
	if (!claim->memory) {
		devres_free(claim);
		pci_err(pdev, "BAR %d %pR: a part of it is taken already; end the programs that use p2pmem/allocate\n",
			bar, &pdev->resource[bar]);
		return -EBUSY;
	}
	devres_add(&pdev->dev, claim);
	donor_announce(pdev, true);
	return 0;
}

/* The unbinding of a device would wait for its claim for ever, if that outlived this module. */
void donor_exit(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		if (!rcu_access_pointer(pdev->p2pdma))
			continue;
		scoped_guard(device, &pdev->dev)
			devres_release(&pdev->dev, donor_unclaim, NULL, NULL);
	}
}

static int donor_provide(struct pci_dev *pdev, int bar)
{
	struct attribute allocate = { .name = "allocate" };
	int rc;

	guard(device)(&pdev->dev);
	if (!device_is_bound(&pdev->dev)) {
		/* Pages would be in the way of every driver: really_probe() in drivers/base/dd.c */
		pci_err(pdev, "provide: no driver is bound to it; bind the one that exports its memory\n");
		return -ENODEV;
	}
	if (devres_find(&pdev->dev, donor_unclaim, NULL, NULL)) {
		pci_err(pdev, "provide: it is a provider already; nothing is to be done\n");
		return -EEXIST;
	}
	bar = donor_choose_bar(pdev, bar);
	if (bar < 0)
		return bar;
	rc = donor_has_pages(pdev, bar) ? 0 : donor_give(pdev, bar);
	/* Also where that failed: what there is of a pool is ours, for the next attempt */
	sysfs_remove_file_from_group(&pdev->dev.kobj, &allocate, "p2pmem");
	return rc ?: donor_claim(pdev, bar);
}

static ssize_t provide_store(struct device_driver *driver, const char *text, size_t length)
{
	struct pci_dev *pdev __free(pci_dev_put) = NULL;
	struct p2pdma_user_address address;
	int bar = donor_bar, end = route_parse_address(text, &address);

	if (end < 0 || (text[end] == ' ' ? kstrtoint(text + end + 1, 10, &bar) :
				!sysfs_streq(text + end, ""))) {
		pr_err("provide: \"%s\" is not ADDRESS [BAR], as in 0000:01:00.0 2\n", text);
		return -EINVAL;
	}
	pdev = call_device(&address);
	if (!pdev) {
		pr_err("provide: there is no device %s; see lspci -D\n", text);
		return -ENODEV;
	}
	return donor_provide(pdev, bar) ?: length;
}
static DRIVER_ATTR_WO(provide);

/* --- the driver --- */

static int donor_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int bar, rc;

	/* By driver_override the id is a wildcard; new_id would take all devices alike */
	if (id->vendor != PCI_ANY_ID)
		return -ENODEV;
	bar = donor_choose_bar(pdev, donor_bar);
	if (bar < 0)
		return bar;
	rc = pcim_enable_device(pdev);
	if (rc) {
		pci_err(pdev, "it cannot be enabled (%d); see the lines above\n", rc);
		return rc;
	}
	rc = pcim_request_region(pdev, bar, KBUILD_MODNAME);
	if (rc) {
		pci_err(pdev, "BAR %d %pR is in use (%d); /proc/iomem names the user\n", bar,
			&pdev->resource[bar], rc);
		return rc;
	}
	rc = donor_give(pdev, bar);
	if (rc)
		return rc;
	/* Lets the kernel's own users find it, drivers/nvme/target among them */
	pci_p2pmem_publish(pdev, true);
	donor_announce(pdev, true);
	return 0;
}

static void donor_remove(struct pci_dev *pdev)
{
	donor_announce(pdev, false);
}

static struct attribute *donor_attrs[] = {
	&driver_attr_provide.attr,
	&driver_attr_refresh.attr,
	&driver_attr_stack.attr,
	NULL
};
ATTRIBUTE_GROUPS(donor);

struct pci_driver donor_driver = {
	.name	= KBUILD_MODNAME,
	.probe	= donor_probe,
	.remove	= donor_remove,
	.groups	= donor_groups,
};
