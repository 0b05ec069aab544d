// SPDX-License-Identifier: GPL-2.0
/*
 * What the running kernel says of a pair: the distance by its exported
 * function; the map type, which nothing exports, by watching what
 * calc_map_type_and_dist() in drivers/pci/p2pdma.c returns meanwhile.
 */

#include <linux/kprobes.h>
#include <linux/pci-p2pdma.h>

#include "tree.h"

/* One question at a time: protects the two below */
static DEFINE_MUTEX(verdict_lock);
/* Who asks now. Read by verdict_seen() in whichever task calls the function. */
static struct task_struct *verdict_asker;
/* enum pci_p2pdma_map_type, or 0 if the function was not seen to return */
static int verdict_map_type;

static int verdict_seen(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (READ_ONCE(verdict_asker) == current)
		verdict_map_type = (int)regs_return_value(regs);
	return 0;
}

static struct kretprobe verdict_probe = {
	.kp.symbol_name	= "calc_map_type_and_dist",
	.handler	= verdict_seen,
};

static void verdict_of(struct pci_dev *provider, struct pci_dev *client,
		       bool verbose, int *distance, int *map_type)
{
	mutex_lock(&verdict_lock);
	verdict_map_type = 0;
	WRITE_ONCE(verdict_asker, current);
	*distance = pci_p2pdma_distance(provider, &client->dev, verbose);
	WRITE_ONCE(verdict_asker, NULL);
	*map_type = verdict_map_type;
	mutex_unlock(&verdict_lock);
}

/**
 * verdict_ask() - ask the kernel about a pair of PCI functions
 * @provider: whose memory would be used; it need not have any
 * @client: who would read and write it
 * @verbose: let the kernel say in its log what is in the way
 * @distance: what pci_p2pdma_distance() answers
 * @map_type: 1 not supported, 2 bus address, 3 through the host bridge
 *
 * Return: 0, or -ENODEV if one of them is not there.
 */
int verdict_ask(const struct tree_address *provider,
		const struct tree_address *client, bool verbose,
		int *distance, int *map_type)
{
	struct pci_dev *from, *to;
	int rc = -ENODEV;

	from = pci_get_domain_bus_and_slot(provider->domain, provider->bus, provider->devfn);
	to = pci_get_domain_bus_and_slot(client->domain, client->bus, client->devfn);
	if (from && to) {
		verdict_of(from, to, verbose, distance, map_type);
		rc = 0;
	}
	pci_dev_put(to);
	pci_dev_put(from);
	return rc;
}

int verdict_init(void)
{
	return register_kretprobe(&verdict_probe);
}

void verdict_exit(void)
{
	unregister_kretprobe(&verdict_probe);
}
