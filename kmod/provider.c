// SPDX-License-Identifier: GPL-2.0
/*
 * Providers: devices from whose pools there are buffers, and what happens to these when such a
 * device loses its driver.
 *
 * memunmap_pages() in mm/memremap.c, a device-managed action of p2pdma, waits until all of the pool
 * is free, for ever if need be. So with the first buffer an action of ours is added to the device.
 * It is younger, hence runs before p2pdma's, lets no new I/O begin, waits for what is under way,
 * and gives the memory back. From then on the buffers answer ENODEV.
 *
 * The action goes away with the last buffer. Buffers pin the module, so that none of this is left
 * when it is unloaded.
 */

#include <linux/device.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>

#include "internal.h"

/* See internal.h */
DEFINE_MUTEX(provider_lock);
static LIST_HEAD(provider_list);

/* Return: the device with a reference, or NULL. */
struct pci_dev *provider_device(const struct p2pdma_user_address *address)
{
	return pci_get_domain_bus_and_slot(address->domain, address->bus,
					   address->devfn);
}

/* In any context. */
static void provider_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct provider, users)->idle);
}

/* The device-managed action, under the device's lock. */
static void provider_revoke(void *data)
{
	struct provider *provider = data;
	struct buffer *buffer;

	percpu_ref_kill(&provider->users);
	wait_for_completion(&provider->idle);
	guard(mutex)(&provider_lock);
	list_for_each_entry(buffer, &provider->buffers, entry) {
		pci_free_p2pmem(provider->pdev, buffer->memory, buffer->length);
		buffer->memory = NULL;
	}
	provider->revoked = true;
}

static struct provider *provider_new(struct pci_dev *pdev)
{
	struct provider *provider;
	int rc = -ENOMEM;

	provider = kzalloc(sizeof(*provider), GFP_KERNEL_ACCOUNT);
	if (!provider)
		return ERR_PTR(-ENOMEM);
	rc = percpu_ref_init(&provider->users, provider_idle, 0, GFP_KERNEL);
	if (rc)
		goto free_provider;
	rc = devm_add_action(&pdev->dev, provider_revoke, provider);
	if (rc)
		goto exit_users;
	kref_init(&provider->kref);
	init_completion(&provider->idle);
	INIT_LIST_HEAD(&provider->buffers);
	provider->pdev = pci_dev_get(pdev);
	guard(mutex)(&provider_lock);
	list_add(&provider->entry, &provider_list);
	return provider;

exit_users:
	percpu_ref_exit(&provider->users);
free_provider:
	kfree(provider);
	return ERR_PTR(rc);
}

/*
 * Takes the device's lock even where nothing is to be removed: an unbind that still executes
 * provider_revoke() has ended then.
 */
static void provider_free(struct kref *kref)
{
	struct provider *provider = container_of(kref, struct provider, kref);
	struct device *dev = &provider->pdev->dev;

	mutex_lock(&provider_lock);
	list_del(&provider->entry);
	mutex_unlock(&provider_lock);

	device_lock(dev);
	if (!provider->revoked)
		devm_remove_action(dev, provider_revoke, provider);
	device_unlock(dev);

	percpu_ref_exit(&provider->users);
	pci_dev_put(provider->pdev);
	kfree(provider);
}

/* The one that dies meanwhile in provider_free() is not found. */
static struct provider *provider_find(struct pci_dev *pdev)
{
	struct provider *provider;

	guard(mutex)(&provider_lock);
	list_for_each_entry(provider, &provider_list, entry)
		if (provider->pdev == pdev && !provider->revoked &&
		    kref_get_unless_zero(&provider->kref))
			return provider;
	return NULL;
}

/*
 * Finds or makes what stands for a device, to be put by provider_put(). The caller holds the
 * device's lock, so that it stays bound and nobody else makes a second one.
 */
struct provider *provider_get(struct pci_dev *pdev)
{
	device_lock_assert(&pdev->dev);
	return provider_find(pdev) ?: provider_new(pdev);
}

/* Takes the device's lock, so the caller must hold neither it nor ours. */
void provider_put(struct provider *provider)
{
	kref_put(&provider->kref, provider_free);
}

/* How much a user holds, of all providers. */
u64 provider_bytes_of(kuid_t owner)
{
	struct provider *provider;
	struct buffer *buffer;
	u64 bytes = 0;

	lockdep_assert_held(&provider_lock);
	list_for_each_entry(provider, &provider_list, entry)
		list_for_each_entry(buffer, &provider->buffers, entry)
			if (uid_eq(buffer->owner, owner))
				bytes += buffer->length;
	return bytes;
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
