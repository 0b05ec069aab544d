// SPDX-License-Identifier: GPL-2.0
/*
 * A host bridge whose functions are arrays of bytes. The PCI core scans it as
 * it scans hardware, so sysfs, procfs and setpci are the real ones.
 */

#include <linux/slab.h>

#include "tree.h"

static struct tree_function *host_function(struct pci_bus *bus, unsigned int devfn)
{
	struct tree_host *host = container_of(bus->sysdata, struct tree_host, sysdata);

	return xa_load(&host->tree->functions,
		       tree_index(host->sysdata.domain, bus->number, devfn));
}

static int host_read(struct pci_bus *bus, unsigned int devfn, int where,
		     int size, u32 *value)
{
	struct tree_function *function = host_function(bus, devfn);
	int i;

	*value = ~0;
	if (!function)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (where + size > function->size)
		return PCIBIOS_SUCCESSFUL;
	for (i = size - 1; i >= 0; i--)
		*value = *value << 8 | READ_ONCE(function->config[where + i]);
	return PCIBIOS_SUCCESSFUL;
}

/*
 * Capabilities are plain memory, so that setpci can switch what it likes. In
 * the header only what the PCI core must be able to set can be set: a BAR that
 * keeps its 0 and a window that stays closed are none to the core.
 */
static bool host_is_writable(const struct tree_function *function, int at)
{
	bool is_bridge = (function->config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) ==
			 PCI_HEADER_TYPE_BRIDGE;

	switch (at) {
	case PCI_COMMAND ... PCI_COMMAND + 1:
	case PCI_CACHE_LINE_SIZE ... PCI_LATENCY_TIMER:
	case PCI_INTERRUPT_LINE:
		return true;
	case PCI_PRIMARY_BUS ... PCI_SEC_LATENCY_TIMER:
	case PCI_BRIDGE_CONTROL ... PCI_BRIDGE_CONTROL + 1:
		return is_bridge;
	default:
		return at >= PCI_STD_HEADER_SIZEOF;
	}
}

static int host_write(struct pci_bus *bus, unsigned int devfn, int where,
		      int size, u32 value)
{
	struct tree_function *function = host_function(bus, devfn);
	int i;

	if (!function)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (where + size > function->size)
		return PCIBIOS_SUCCESSFUL;
	for (i = 0; i < size; i++, value >>= 8)
		if (host_is_writable(function, where + i))
			WRITE_ONCE(function->config[where + i], value);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops host_ops = {
	.read	= host_read,
	.write	= host_write,
};

static void host_released(struct pci_host_bridge *bridge)
{
	struct tree_host *host = bridge->release_data;

	complete(&host->released);
}

/* Makes the root bus, below @parent if that is not NULL, and finds what is on it */
static int host_scan(struct tree_host *host, struct device *parent)
{
	struct pci_host_bridge *bridge;
	LIST_HEAD(resources);

	pci_add_resource(&resources, &host->buses);
	pci_lock_rescan_remove();
	host->root = pci_create_root_bus(parent, host->buses.start, &host_ops,
					 &host->sysdata, &resources);
	if (!host->root) {
		pci_unlock_rescan_remove();
		return -EEXIST;
	}
	bridge = to_pci_host_bridge(host->root->bridge);
	pci_set_host_bridge_release(bridge, host_released, host);
	pci_scan_child_bus(host->root);
	pci_bus_add_devices(host->root);
	pci_unlock_rescan_remove();
	return 0;
}

/**
 * tree_host_add() - make a host bridge and scan it
 * @tree: holds the functions below it
 * @first: domain and number of the root bus
 * @last_bus: the last bus number below it
 * @below: the function that it lies below, as VMD's does; or NULL
 *
 * Return: 0; -ENODEV if there is no @below; -EEXIST if the bus is known already.
 */
int tree_host_add(struct tree *tree, const struct tree_address *first,
		  u8 last_bus, const struct tree_address *below)
{
	struct pci_dev *parent = NULL;
	struct tree_host *host;
	int rc;

	lockdep_assert_held(&tree->lock);
	if (below) {
		parent = pci_get_domain_bus_and_slot(below->domain, below->bus, below->devfn);
		if (!parent)
			return -ENODEV;
	}
	host = kzalloc(sizeof(*host), GFP_KERNEL);
	if (!host) {
		rc = -ENOMEM;
		goto put_parent;
	}
	host->tree = tree;
	host->sysdata.domain = first->domain;
	host->sysdata.node = NUMA_NO_NODE;
	host->buses = (struct resource) {
		.name	= "memory-made PCI bus",
		.start	= first->bus,
		.end	= last_bus,
		.flags	= IORESOURCE_BUS,
	};
	init_completion(&host->released);
	rc = host_scan(host, parent ? &parent->dev : NULL);
	if (rc)
		kfree(host);
	else
		list_add(&host->link, &tree->hosts);
put_parent:
	pci_dev_put(parent);
	return rc;
}

/**
 * tree_host_remove() - take a host bridge and all below it away
 * @host: no longer valid afterwards
 *
 * Waits until nobody, say by an open file in sysfs, holds anything of it.
 */
void tree_host_remove(struct tree_host *host)
{
	struct pci_host_bridge *bridge = to_pci_host_bridge(host->root->bridge);

	list_del(&host->link);
	pci_lock_rescan_remove();
	pci_stop_root_bus(host->root);
	pci_remove_root_bus(host->root);
	pci_unlock_rescan_remove();
	/* The reference of pci_create_root_bus(), which pci_remove_root_bus() leaves */
	pci_free_host_bridge(bridge);
	wait_for_completion(&host->released);
	kfree(host);
}
