// SPDX-License-Identifier: GPL-2.0
/*
 * Routes: whether DMA goes between memory and storage. It is asked when a pair is made and, since
 * what is plugged in or out or reconfigured may change the answer, again by the first I/O after
 * each event of the PCI bus. Of what the bus does not tell, say setpci, root does:
 *
 *	echo 1 > /sys/bus/pci/drivers/p2pdma_user/refresh
 *
 * A stacked block device (md, dm, the head of a multipath) does not tell its members. Root names
 * it, and the NVMe functions below it, each of which needs a route then:
 *
 *	echo 9:0=0000:01:00.0,0000:02:00.0 > /sys/bus/pci/drivers/p2pdma_user/stack
 *	echo 9:0= > /sys/bus/pci/drivers/p2pdma_user/stack
 *
 * takes it back. Nothing here finds out about a member that was not named: where it has no route
 * its transfers fail or, behind an IOMMU that disagrees with the kernel, are lost. Where an array
 * of md needs the data itself (RAID 4 to 6) the processor reads it from the device, slowly.
 */

#include <linux/cc_platform.h>
#include <linux/string.h>
#include <linux/swiotlb.h>

#include "internal.h"

/* Of all stacks together; as many as one read of the attribute can list */
#define ROUTE_MEMBERS	128

/* One function below a stack */
struct route_member {
	dev_t disk;
	u64 sequence;	/* of the disk: its number is used again for others */
	struct p2pdma_user_address client;
};

static DEFINE_MUTEX(route_lock);
/* By route_lock; the members of a disk are neighbours */
static struct route_member route_members[ROUTE_MEMBERS];
static unsigned int route_count;

/* Grows with each event after which a route may be another */
atomic_t route_generation = ATOMIC_INIT(0);

/* Makes all pairs ask again. */
void route_refresh(void)
{
	atomic_inc_return_release(&route_generation);
}

/*
 * Where all DMA of a device is bounced, the kernel's nvme driver requeues peer memory for ever;
 * where memory is encrypted, addresses of BARs that go through the host bridge get the encryption
 * bit (phys_to_dma()).
 */
static bool route_is_encumbered(struct device *client)
{
	while (client && !dev_is_pci(client))
		client = client->parent;
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT) ||
	       (client && is_swiotlb_force_bounce(client));
}

static int route_distance(struct pci_dev *provider, struct device *client)
{
	int distance = pci_p2pdma_distance(provider, client, false);

	if (route_is_encumbered(client))
		return -EOPNOTSUPP;
	return distance < 0 ? -EREMOTEIO : distance;
}

/*
 * Those targets of device mapper that let the processor read the data, for encryption or checksums,
 * do not promise not to sleep (DM_TARGET_NOWAIT), nor does what lies on them; nor do thin volumes,
 * snapshots, mirrors and dm-multipath. Return: the largest distance to a function below a stack, or
 * a negative errno.
 */
static int route_distance_to_stack(struct pci_dev *provider, struct gendisk *disk)
{
	const struct route_member *member;
	int distance = -EOPNOTSUPP, rc;

	if (!(disk->queue->limits.features & BLK_FEAT_NOWAIT))
		return distance;
	guard(mutex)(&route_lock);
	for (member = route_members; member < route_members + route_count; member++) {
		struct pci_dev *client __free(pci_dev_put) = NULL;

		if (member->disk != disk_devt(disk) || member->sequence != disk->diskseq)
			continue;
		client = call_device(&member->client);
		rc = client ? route_distance(provider, &client->dev) : -EREMOTEIO;
		if (rc < 0)
			return rc;
		distance = max(distance, rc);
	}
	return distance;
}

/* Return: the kernel's distance from a buffer to its storage as it is now, or a negative errno. */
int route_check(struct pair *pair)
{
	int generation = atomic_read_acquire(&route_generation), distance;
	struct pci_dev *provider = pair->buffer->provider;
	struct gendisk *disk = pair->bdev->bd_disk;

	if (!buffer_enter(pair->buffer))
		return -ENODEV;
	distance = blk_queue_pci_p2pdma(disk->queue) ?
		   route_distance(provider, disk_to_dev(disk)) :
		   route_distance_to_stack(provider, disk);
	buffer_leave(pair->buffer);
	if (distance >= 0)
		WRITE_ONCE(pair->generation, generation);
	return distance;
}

/* --- root's switches --- */

/* Return: how many characters the address has that @text begins with, or a negative errno. */
int route_parse_address(const char *text, struct p2pdma_user_address *address)
{
	unsigned int bus, device, function;
	int end;

	if (sscanf(text, "%x:%x:%x.%x%n", &address->domain, &bus, &device, &function, &end) != 4 ||
	    bus > 0xff || device > 0x1f || function > 7)
		return -EINVAL;
	address->bus = bus;
	address->devfn = PCI_DEVFN(device, function);
	return end;
}

/* Learns which disk has @member's number now. */
static int route_find_disk(struct route_member *member)
{
	struct file *file __free(fput) = bdev_file_open_by_dev(member->disk, BLK_OPEN_READ,
							       NULL, NULL);
	struct gendisk *disk;

	if (IS_ERR(file))
		return PTR_ERR(file);
	disk = file_bdev(file)->bd_disk;
	member->sequence = disk->diskseq;
	return disk_devt(disk) != member->disk || blk_queue_pci_p2pdma(disk->queue) ? -EINVAL : 0;
}

/* Return: how many functions @text names, written to @members, or a negative errno. */
static int route_parse_members(const char *text, struct route_member *members)
{
	int count = 0, end;

	for (; !sysfs_streq(text, ""); count++) {
		struct pci_dev *pdev __free(pci_dev_put) = NULL;

		if (count == ROUTE_MEMBERS)
			return -ENOSPC;
		members[count].disk = members[0].disk;
		members[count].sequence = members[0].sequence;
		end = route_parse_address(text, &members[count].client);
		if (end < 0)
			return end;
		pdev = call_device(&members[count].client);
		if (!pdev || pdev->class != PCI_CLASS_STORAGE_EXPRESS)
			return -ENODEV;
		text += end;
		text += *text == ',';
	}
	return count;
}

/* Replaces what was said of a disk by what @members say, which has room for all. */
static int route_set(struct route_member *members, int count)
{
	const dev_t disk = members->disk;
	unsigned int i;

	guard(mutex)(&route_lock);
	for (i = 0; i < route_count; i++) {
		if (route_members[i].disk == disk)
			continue;
		if (count == ROUTE_MEMBERS)
			return -ENOSPC;
		members[count++] = route_members[i];
	}
	memcpy(route_members, members, count * sizeof(*members));
	route_count = count;
	return 0;
}

/* What is taken back is taken back whether or not the disk still exists. */
static int route_parse(const char *text, struct route_member *members)
{
	unsigned int major, minor;
	int end = 0, rc = 0;

	if (sscanf(text, "%u:%u=%n", &major, &minor, &end) != 2 || !end ||
	    major > MAJOR(~0U) || minor > MINORMASK)
		return -EINVAL;
	members->disk = MKDEV(major, minor);
	text += end;
	if (!sysfs_streq(text, ""))
		rc = route_find_disk(members);
	rc = rc ?: route_parse_members(text, members);
	return rc < 0 ? rc : route_set(members, rc);
}

static ssize_t stack_store(struct device_driver *driver, const char *text, size_t length)
{
	struct route_member *members __free(kfree) = kcalloc(ROUTE_MEMBERS, sizeof(*members),
							     GFP_KERNEL);
	int rc = members ? route_parse(text, members) : -ENOMEM;

	if (rc) {
		pr_err("stack: (%d) not MAJOR:MINOR=ADDRESS,..., of a whole block device that takes no peer memory by itself and at most %d NVMe functions below it: %s\n",
		       rc, ROUTE_MEMBERS, text);
		return rc;
	}
	route_refresh();
	return length;
}

static ssize_t stack_show(struct device_driver *driver, char *text)
{
	const struct route_member *member;
	dev_t last = 0;
	int at = 0;

	guard(mutex)(&route_lock);
	for (member = route_members; member < route_members + route_count; member++) {
		if (member->disk == last)
			at += sysfs_emit_at(text, at, ",");
		else
			at += sysfs_emit_at(text, at, "%s%u:%u=", at ? "\n" : "",
					    MAJOR(member->disk), MINOR(member->disk));
		at += sysfs_emit_at(text, at, "%04x:%02x:%02x.%x", member->client.domain,
				    member->client.bus, PCI_SLOT(member->client.devfn),
				    PCI_FUNC(member->client.devfn));
		last = member->disk;
	}
	return at + (at ? sysfs_emit_at(text, at, "\n") : 0);
}

struct driver_attribute driver_attr_stack = __ATTR_RW_MODE(stack, 0600);

static ssize_t refresh_store(struct device_driver *driver, const char *text, size_t length)
{
	if (!sysfs_streq(text, "1"))
		return -EINVAL;
	route_refresh();
	return length;
}
DRIVER_ATTR_WO(refresh);
