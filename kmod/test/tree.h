/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI tree made of memory: what its parts know of one another.
 *
 *	tree		an open file: functions, host bridges, answers (tree.c)
 *	  function	the config space of one PCI function
 *	  host		a host bridge, as the PCI core sees it (host.c)
 *	verdict		what the kernel says of a pair (verdict.c)
 */
#ifndef P2PDMA_TEST_TREE_H
#define P2PDMA_TEST_TREE_H

#include <linux/completion.h>
#include <linux/ioport.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/seq_buf.h>
#include <linux/xarray.h>

/* A PCI function's address. A domain may have all 32 bits but the sign. */
struct tree_address {
	u32 domain;
	u8 bus;
	u8 devfn;
};

/**
 * struct tree_function - a PCI function
 * @size: of its config space: 256 or 4096
 * @config: the config space; what is behind @size reads as ones
 */
struct tree_function {
	unsigned int size;
	u8 config[] __counted_by(size);
};

/**
 * struct tree - everything that one open file of the device has made
 * @lock: held by each write and read; protects all below
 * @functions: config spaces by tree_index(). The PCI core reads them without
 *	@lock; none is replaced or freed while a host bridge is there
 * @hosts: the host bridges, the newest first: it may lie below an older one
 * @answers: what was asked and not yet read
 */
struct tree {
	struct mutex lock; /* see above */
	struct xarray functions;
	struct list_head hosts;
	struct seq_buf answers;
};

/**
 * struct tree_host - a host bridge
 * @tree: what it belongs to
 * @link: in the tree's list
 * @sysdata: what x86 keeps of a root bus; the PCI core's way back to here
 * @buses: the numbers of its buses
 * @root: its root bus
 * @released: nobody holds anything of it any more
 */
struct tree_host {
	struct tree *tree;
	struct list_head link;
	struct pci_sysdata sysdata;
	struct resource buses;
	struct pci_bus *root;
	struct completion released;
};

/* Where a function's config space is found */
static inline unsigned long tree_index(u32 domain, u8 bus, u8 devfn)
{
	return (unsigned long)domain << 16 | PCI_DEVID(bus, devfn);
}

int tree_host_add(struct tree *tree, const struct tree_address *first,
		  u8 last_bus, const struct tree_address *below);
void tree_host_remove(struct tree_host *host);

int verdict_ask(const struct tree_address *provider,
		const struct tree_address *client, bool verbose,
		int *distance, int *map_type);
int verdict_init(void);
void verdict_exit(void);

#endif
