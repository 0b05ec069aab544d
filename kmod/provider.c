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

/* Providers and their buffers. Lists change only under the lock of the device as well. */
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
	struct provider *provider = kzalloc(sizeof(*provider), GFP_KERNEL_ACCOUNT);
	int rc;

	if (!provider)
		return ERR_PTR(-ENOMEM);
	rc = percpu_ref_init(&provider->users, provider_idle, 0, GFP_KERNEL);
	if (rc) {
		kfree(provider);
		return ERR_PTR(rc);
	}
	init_completion(&provider->idle);
	INIT_LIST_HEAD(&provider->buffers);
	provider->pdev = pci_dev_get(pdev);
	/* No guard(): the labels below would lie in its scope, and a goto end what never began */
	mutex_lock(&provider_lock);
	list_add(&provider->entry, &provider_list);
	mutex_unlock(&provider_lock);
	return provider;
}

static void provider_free(struct provider *provider)
{
	mutex_lock(&provider_lock);
	list_del(&provider->entry);
	mutex_unlock(&provider_lock);
	percpu_ref_exit(&provider->users);
	pci_dev_put(provider->pdev);
	kfree(provider);
}

static struct provider *provider_find(struct pci_dev *pdev)
{
	struct provider *provider;

	device_lock_assert(&pdev->dev);
	guard(mutex)(&provider_lock);
	list_for_each_entry(provider, &provider_list, entry)
		if (provider->pdev == pdev && !provider->revoked)
			return provider;
	return NULL;
}

/* Finds or makes what stands for a device. The caller holds the device's lock until it puts it. */
struct provider *provider_get(struct pci_dev *pdev)
{
	return provider_find(pdev) ?: provider_new(pdev);
}

/* Ends a provider that is good for nothing any more. */
void provider_put(struct provider *provider)
{
	if (list_empty(&provider->buffers) && !provider->claim)
		provider_free(provider);
}

/* A device is about to lose its driver, or this module; its lock is held. */
void provider_revoke(struct pci_dev *pdev)
{
	struct provider *provider = provider_find(pdev);
	struct buffer *buffer;

	if (!provider)
		return;
	percpu_ref_kill(&provider->users);
	wait_for_completion(&provider->idle);
	list_for_each_entry(buffer, &provider->buffers, entry) {
		buffer_drop(buffer);
		pm_runtime_put(&pdev->dev);
	}
	if (provider->claim)
		donor_unclaim(provider);
	provider->revoked = true;
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
		device_lock(&pdev->dev);
		provider_revoke(pdev);
		device_unlock(&pdev->dev);
		pci_dev_put(pdev);
	}
}

static bool provider_is_over_limit(const struct buffer *buffer)
{
	u64 limit = READ_ONCE(provider_user_bytes), sum = buffer->length;
	const struct provider *provider;
	const struct buffer *other;

	lockdep_assert_held(&provider_lock);
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
	provider_put(provider);
	return rc;
}

/* Undoes provider_add(). When it returns, no revocation looks at the buffer any more. */
void provider_remove(struct buffer *buffer)
{
	struct provider *provider = buffer->provider;
	struct pci_dev *pdev = pci_dev_get(provider->pdev);

	device_lock(&pdev->dev);
	mutex_lock(&provider_lock);
	list_del(&buffer->entry);
	mutex_unlock(&provider_lock);
	if (!provider->revoked)
		pm_runtime_put(&pdev->dev);
	provider_put(provider);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
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
