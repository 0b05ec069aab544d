// SPDX-License-Identifier: GPL-2.0
/*
 * Providers: devices of whose memory there are buffers, and what happens to these when such a
 * device is about to lose its driver.
 *
 * memunmap_pages() in mm/memremap.c, a device-managed action of p2pdma, waits until all of a pool
 * is free, for ever if need be; and a driver that exported memory takes that away when it is
 * unbound. So the bus is listened to: before the driver hears of it, no new I/O begins, what is
 * under way ends, and the memory is given back. From then on the buffers answer ENODEV.
 */

#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/cred.h>
#include <linux/device.h>
#include <linux/moduleparam.h>
#include <linux/overflow.h>
#include <linux/pm_runtime.h>
#include <linux/slab.h>

#include "internal.h"

static unsigned long provider_user_bytes;
module_param_named(user_bytes, provider_user_bytes, ulong, 0644);
MODULE_PARM_DESC(user_bytes, "Most bytes that one user may ALLOC; 0 (default): no limit");

/* Providers, how many hold each, and their buffers; `revoked` likewise */
static DEFINE_MUTEX(provider_lock);
static LIST_HEAD(provider_list);

/* Return: the device with a reference, or NULL. */
struct pci_dev *provider_device(const struct p2pdma_user_address *address)
{
	return pci_get_domain_bus_and_slot(address->domain, address->bus, address->devfn);
}

/* Return: how many characters the address has that @text begins with, or a negative errno. */
int provider_parse(const char *text, struct p2pdma_user_address *address)
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

/* In any context. */
static void provider_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct provider, users)->idle);
}

static struct provider *provider_new(struct pci_dev *pdev)
{
	struct provider *provider __free(kfree) = kzalloc(sizeof(*provider), GFP_KERNEL_ACCOUNT);
	int rc;

	if (!provider)
		return ERR_PTR(-ENOMEM);
	rc = percpu_ref_init(&provider->users, provider_idle, 0, GFP_KERNEL);
	if (rc)
		return ERR_PTR(rc);
	init_completion(&provider->idle);
	INIT_LIST_HEAD(&provider->buffers);
	provider->pdev = pci_dev_get(pdev);
	list_add(&provider->entry, &provider_list);
	return no_free_ptr(provider);
}

void provider_put(struct provider *provider)
{
	guard(mutex)(&provider_lock);
	if (--provider->holders)
		return;
	list_del(&provider->entry);
	percpu_ref_exit(&provider->users);
	pci_dev_put(provider->pdev);
	kfree(provider);
}

static struct provider *provider_find(struct pci_dev *pdev)
{
	struct provider *provider;

	lockdep_assert_held(&provider_lock);
	list_for_each_entry(provider, &provider_list, entry)
		if (provider->pdev == pdev && !provider->revoked)
			return provider;
	return NULL;
}

/*
 * Finds or makes what stands for a device, which the caller holds locked: it stays bound.
 *
 * Return: it with a reference, or an ERR_PTR().
 */
struct provider *provider_get(struct pci_dev *pdev)
{
	struct provider *provider;

	device_lock_assert(&pdev->dev);
	guard(mutex)(&provider_lock);
	provider = provider_find(pdev) ?: provider_new(pdev);
	if (!IS_ERR(provider))
		provider->holders++;
	return provider;
}

/* Takes the memory from the buffers; whoever closes one waits for that. */
static void provider_drop_buffers(struct provider *provider)
{
	struct buffer *buffer;

	guard(mutex)(&provider_lock);
	list_for_each_entry(buffer, &provider->buffers, entry) {
		buffer_drop(buffer);
		pm_runtime_put(&provider->pdev->dev);
	}
	provider->revoked = true;
}

/* A device is about to lose its driver, or this module; its lock is held. */
void provider_revoke(struct pci_dev *pdev)
{
	struct provider *provider;

	scoped_guard(mutex, &provider_lock) {
		provider = provider_find(pdev);
		if (!provider)
			return;
		provider->holders++;
	}
	percpu_ref_kill(&provider->users);
	wait_for_completion(&provider->idle);
	provider_drop_buffers(provider);
	if (provider->claim) {
		donor_unclaim(provider);
		provider_put(provider);
	}
	provider_put(provider);
}

static struct pci_dev *provider_first_device(void)
{
	struct provider *provider;

	guard(mutex)(&provider_lock);
	provider = list_first_entry_or_null(&provider_list, struct provider, entry);
	return provider ? pci_dev_get(provider->pdev) : NULL;
}

/* When the module ends, nobody has buffers. A device may lose its driver at the same time. */
void provider_exit(void)
{
	struct pci_dev *pdev;

	while ((pdev = provider_first_device())) {
		scoped_guard(device, &pdev->dev)
			provider_revoke(pdev);
		pci_dev_put(pdev);
	}
}

static bool provider_is_over_limit(const struct buffer *buffer)
{
	u64 limit = READ_ONCE(provider_user_bytes), sum = buffer->length;
	const struct provider *provider;
	const struct buffer *other;

	if (!limit || !uid_valid(buffer->owner))
		return false;
	list_for_each_entry(provider, &provider_list, entry)
		list_for_each_entry(other, &provider->buffers, entry)
			if (uid_eq(other->owner, buffer->owner))
				sum = size_add(sum, other->length);
	return sum > limit && !capable(CAP_SYS_RESOURCE);
}

static int provider_list_buffer(struct provider *provider, struct buffer *buffer)
{
	guard(mutex)(&provider_lock);
	if (provider_is_over_limit(buffer))
		return -EDQUOT;
	list_add(&buffer->entry, &provider->buffers);
	buffer->provider = provider;
	return 0;
}

/* Puts a buffer under a device, which stays bound as the caller holds its lock, and awake. */
int provider_add(struct pci_dev *pdev, struct buffer *buffer)
{
	struct provider *provider = provider_get(pdev);
	int rc;

	if (IS_ERR(provider))
		return PTR_ERR(provider);
	rc = pm_runtime_resume_and_get(&pdev->dev);
	if (!rc) {
		rc = provider_list_buffer(provider, buffer);
		if (rc)
			pm_runtime_put(&pdev->dev);
	}
	if (rc)
		provider_put(provider);
	return rc;
}

/*
 * Undoes provider_add(), and drops the memory that could not be dropped before as a revocation had
 * begun; this waits for us then. Without the lock of the device, as a slow probe or reset holds it.
 */
void provider_remove(struct buffer *buffer)
{
	struct provider *provider = buffer->provider;

	scoped_guard(mutex, &provider_lock) {
		list_del(&buffer->entry);
		if (!provider->revoked) {
			buffer_drop(buffer);
			pm_runtime_put(&provider->pdev->dev);
		}
	}
	provider_put(provider);
}

/* For STATS */
void provider_count(struct p2pdma_user_stats *stats)
{
	struct provider *provider;
	struct buffer *buffer;

	guard(mutex)(&provider_lock);
	list_for_each_entry(provider, &provider_list, entry) {
		list_for_each_entry(buffer, &provider->buffers, entry) {
			stats->out_buffers++;
			stats->out_bytes += buffer->length;
		}
	}
}
