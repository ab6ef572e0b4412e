// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registering a link's virtio device and taking it away. Both may block as long as I/O does (a disk's partitions are
 * read while it is registered), so they run in a work of their own while the watch goes on looking.
 */
#include <linux/slab.h>
#include <linux/virtio.h>

#include "accounting.h"
#include "link.h"
#include "request_size.h"
#include "settle.h"

#define RETRY_MS 1000
#define VIRTIO_VENDOR 0x1af4

static void release_device(struct device *dev)
{
	kfree(container_of(dev_to_virtio(dev), struct ivshmem_device, vdev));
	atomic64_dec(&ivshmem_accounting.devices);
}

static struct ivshmem_device *make_device(struct ivshmem_link *link)
{
	struct ivshmem_device *device = kzalloc(sizeof(*device), GFP_KERNEL);

	if (!device)
		return NULL;
	atomic64_inc(&ivshmem_accounting.devices);
	device->link = link;
	device->vdev.dev.parent = &link->adev.dev;
	device->vdev.dev.release = release_device;
	device->vdev.config = &ivshmem_virtio_ops;
	device->vdev.id.device = link->entry.device_id;
	device->vdev.id.vendor = VIRTIO_VENDOR;
	ivshmem_mapping_adopt(&device->vdev);
	return device;
}

/* Some drivers (virtio_rng) do not unmap the buffer they had posted when they were taken away. */
static void close_pool(struct ivshmem_link *link)
{
	struct ivshmem_leftover leftover;

	ivshmem_pool_close(&link->pool, &leftover);
	atomic64_add(leftover.mappings, &ivshmem_accounting.mappings_reclaimed);
	atomic64_add(leftover.allocations, &ivshmem_accounting.coherent_reclaimed);
}

static int register_device(struct ivshmem_link *link)
{
	struct ivshmem_device *device;
	int error;

	error = ivshmem_pool_open(&link->pool, link->peer.header.size, link->entry.rw_size);
	if (error)
		return error;
	link->request_segments = 0;
	if (!ivshmem_request_fits(link)) {
		close_pool(link);
		return -ENOSPC;
	}
	device = make_device(link);
	if (!device) {
		close_pool(link);
		return -ENOMEM;
	}
	WRITE_ONCE(link->spoiled, false);
	WRITE_ONCE(link->distrust, NULL);
	link->status = 0;
	link->registered = device;
	error = register_virtio_device(&device->vdev);
	if (error) {
		link->registered = NULL;
		put_device(&device->vdev.dev);
		close_pool(link);
		return error;
	}
	link->registrations++;
	atomic64_inc(&ivshmem_accounting.registrations);
	return 0;
}

/* The caller holds link->life. */
void ivshmem_unregister(struct ivshmem_link *link)
{
	if (!link->registered)
		return;
	unregister_virtio_device(&link->registered->vdev);
	link->registered = NULL;
	close_pool(link);
}

static enum ivshmem_phase come_up(struct ivshmem_link *link)
{
	int error = register_device(link);

	if (!error)
		return PHASE_ONLINE;
	dev_err_ratelimited(&link->adev.dev, "the device could not be registered (%d); trying again\n", error);
	return PHASE_WAITING;
}

/* The device's epoch has ended, or its driver and its back-end do not agree any more. */
static void go_down(struct ivshmem_link *link)
{
	if (link->detached) {
		ivshmem_set_own_state(link, STATE_ABSENT);
		if (link->registered && !ivshmem_settle_knows(link))
			virtio_break_device(&link->registered->vdev);
	}
	ivshmem_unregister(link);
	ivshmem_set_own_state(link, STATE_ABSENT);
	ivshmem_choose_incarnation(link);
}

void ivshmem_registration(struct work_struct *work)
{
	struct ivshmem_link *link = container_of(work, struct ivshmem_link, registration);
	enum ivshmem_phase next;

	mutex_lock(&link->life);
	next = link->phase == PHASE_REGISTERING ? come_up(link) : PHASE_WAITING;
	if (next == PHASE_WAITING) {
		/* Not at once if the same back-end has just failed. */
		link->not_before = jiffies + (link->detached && !link->distrust ? 0 : msecs_to_jiffies(RETRY_MS));
		go_down(link);
	}
	WRITE_ONCE(link->phase, next);
	mutex_unlock(&link->life);
	ivshmem_watch_now(link);
}
