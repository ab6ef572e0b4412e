// SPDX-License-Identifier: GPL-2.0-only
/* A link's life as a device on the auxiliary bus, whose driver is this module as well. */
#include <linux/idr.h>
#include <linux/jiffies.h>
#include <linux/pm.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "accounting.h"
#include "debugfs.h"
#include "link.h"
#include "pacing.h"
#include "queue.h"

static DEFINE_IDA(link_numbers);

static void free_link(struct ivshmem_link *link)
{
	ivshmem_pool_destroy(&link->pool);
	kfree(link);
}

static void release_link(struct device *dev)
{
	struct ivshmem_link *link = ivshmem_link_of(dev);

	ida_free(&link_numbers, link->adev.id);
	free_link(link);
	atomic64_dec(&ivshmem_accounting.links);
}

static unsigned int own_vectors(const struct ivshmem_function *function, const struct ivshmem_entry *entry)
{
	if (entry->frontend_vector >= function->vectors)
		return 0;
	return min_t(unsigned int, entry->frontend_vectors, function->vectors - entry->frontend_vector);
}

/* Runs as a work, since taking a device away may wait for its I/O. */
static void removal(struct work_struct *work)
{
	struct ivshmem_link *link = container_of(work, struct ivshmem_link, removal);

	auxiliary_device_delete(&link->adev);
	xa_erase(&link->function->links, link->index);
	auxiliary_device_uninit(&link->adev);
}

static struct ivshmem_link *make_link(struct ivshmem_function *function, unsigned int index,
				      const struct ivshmem_entry *entry)
{
	struct ivshmem_link *link = kzalloc(sizeof(*link), GFP_KERNEL);

	if (!link)
		return NULL;
	if (ivshmem_pool_init(&link->pool)) {
		kfree(link);
		return NULL;
	}
	link->function = function;
	link->index = index;
	link->entry = *entry;
	link->state_table = function->region + entry->offset;
	link->window = link->state_table + entry->state_table_size;
	link->vectors = own_vectors(function, entry);
	mutex_init(&link->life);
	mutex_init(&link->registers);
	mutex_init(&link->table);
	spin_lock_init(&link->event_lock);
	spin_lock_init(&link->standin_lock);
	spin_lock_init(&link->placement.lock);
	INIT_DELAYED_WORK(&link->watch, ivshmem_watch);
	INIT_WORK(&link->registration, ivshmem_registration);
	INIT_WORK(&link->removal, removal);
	INIT_WORK(&link->pacing, ivshmem_pacing);
	return link;
}

int ivshmem_link_create(struct ivshmem_function *function, unsigned int index, const struct ivshmem_entry *entry)
{
	struct ivshmem_link *link = make_link(function, index, entry);
	int number, error;

	if (!link)
		return -ENOMEM;
	number = ida_alloc(&link_numbers, GFP_KERNEL);
	if (number < 0) {
		free_link(link);
		return number;
	}
	link->adev.id = number;
	link->adev.name = "link";
	link->adev.dev.parent = &function->pdev->dev;
	link->adev.dev.release = release_link;
	error = auxiliary_device_init(&link->adev);
	if (error) {
		ida_free(&link_numbers, number);
		free_link(link);
		return error;
	}
	atomic64_inc(&ivshmem_accounting.links);
	error = xa_err(xa_store(&function->links, index, link, GFP_KERNEL));
	if (!error)
		error = auxiliary_device_add(&link->adev);
	if (error) {
		xa_erase(&function->links, index);
		auxiliary_device_uninit(&link->adev);
	}
	return error;
}

/* The back-end came back as another peer, or with other vectors. */
void ivshmem_link_retarget(struct ivshmem_link *link, const struct ivshmem_entry *entry)
{
	unsigned int i;

	if (link->entry.backend_peer == entry->backend_peer && link->entry.backend_vector == entry->backend_vector &&
	    link->entry.backend_vectors == entry->backend_vectors)
		return;
	link->entry.backend_peer = entry->backend_peer;
	link->entry.backend_vector = entry->backend_vector;
	link->entry.backend_vectors = entry->backend_vectors;
	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++)
		WRITE_ONCE(link->queues[i].doorbell, ivshmem_doorbell(link, link->queues[i].device_vector));
	mutex_unlock(&link->table);
}

/* Asks for the removal; it is over when the link has left function->links. */
void ivshmem_link_remove(struct ivshmem_link *link)
{
	if (link->removal_queued)
		return;
	link->removal_queued = true;
	queue_work(ivshmem_life_queue, &link->removal);
}

static void say_hello(struct ivshmem_link *link)
{
	const struct ivshmem_entry *entry = &link->entry;

	dev_info_ratelimited(&link->adev.dev, "\"%s\": virtio device %u, window of %llu KiB, %u of %u vectors\n", entry->name,
		 entry->device_id, entry->rw_size >> 10, link->vectors, entry->frontend_vectors);
	if (!link->vectors || entry->backend_vector >= link->function->vectors)
		dev_warn_ratelimited(&link->adev.dev, "too few vectors (QEMU's vectors=%u): the device works, but slowly\n",
			 link->function->vectors);
	if (!ivshmem_peer_present(link))
		dev_info_ratelimited(&link->adev.dev, "waiting for a back-end\n");
}

/* Before there is an interrupt, which wakes the watch, and may come at once. */
static void begin(struct ivshmem_link *link)
{
	link->removing = false;
	link->detached = false;
	link->phase = PHASE_WAITING;
	link->not_before = jiffies;
	link->peer = (struct ivshmem_peer){ .absent_since = jiffies };
	link->transaction_sequence = get_random_u32();
	ivshmem_choose_incarnation(link);
}

static int link_probe(struct auxiliary_device *adev, const struct auxiliary_device_id *id)
{
	struct ivshmem_link *link = container_of(adev, struct ivshmem_link, adev);
	int error;

	/* Whoever used this link before us (a kernel that was reset or panicked) told nobody that it is gone. */
	ivshmem_set_own_state(link, STATE_ABSENT);
	error = ivshmem_mapping_attach(link);
	if (error)
		return error;
	begin(link);
	error = ivshmem_link_request_vector(link);
	if (error)
		return error;
	ivshmem_debugfs_add_link(link);
	say_hello(link);
	ivshmem_watch_now(link);
	return 0;
}

/* The watch stays on while the device goes: a back-end that returns meanwhile must find its driver waiting. */
static void link_remove(struct auxiliary_device *adev)
{
	struct ivshmem_link *link = container_of(adev, struct ivshmem_link, adev);

	WRITE_ONCE(link->removing, true);
	cancel_work_sync(&link->registration);
	mutex_lock(&link->life);
	ivshmem_unregister(link);
	mutex_unlock(&link->life);
	ivshmem_link_free_vector(link);
	cancel_delayed_work_sync(&link->watch);
	cancel_work_sync(&link->pacing);
	ivshmem_set_own_state(link, STATE_ABSENT);
	ivshmem_debugfs_remove_link(link);
}

/* The next kernel, if it comes without a reset of the machine, starts from a clean state. */
static void link_shutdown(struct auxiliary_device *adev)
{
	ivshmem_set_own_state(container_of(adev, struct ivshmem_link, adev), STATE_ABSENT);
}

static const struct auxiliary_device_id link_ids[] = {
	{ .name = KBUILD_MODNAME ".link" },
	{}
};

struct auxiliary_driver ivshmem_link_driver = {
	.name = "link",
	.id_table = link_ids,
	.probe = link_probe,
	.remove = link_remove,
	.shutdown = link_shutdown,
	.driver = {
		.pm = pm_sleep_ptr(&ivshmem_power_ops),
		.dev_groups = ivshmem_standin_groups,
	},
};
