// SPDX-License-Identifier: GPL-2.0-only
/* What there is to know about links, for people and tests. */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "accounting.h"
#include "debugfs.h"
#include "link.h"
#include "queue.h"

static struct dentry *root;

static const char *phase_name(const struct ivshmem_link *link)
{
	static const char *const names[] = {
		[PHASE_WAITING] = "waiting",
		[PHASE_GREETING] = "greeting",
		[PHASE_REGISTERING] = "registering",
		[PHASE_ONLINE] = "online",
		[PHASE_RENEWING] = "renewing",
	};

	if (READ_ONCE(link->removing))
		return "removing";
	return names[READ_ONCE(link->phase)];
}

static const char *presence_name(const struct ivshmem_link *link)
{
	static const char *const names[] = {
		[PRESENCE_ABSENT] = "absent",
		[PRESENCE_RESUMING] = "resuming",
		[PRESENCE_READY] = "ready",
	};

	return names[READ_ONCE(link->peer.presence)];
}

static void show_link(struct seq_file *file, const struct ivshmem_link *link)
{
	const struct ivshmem_header *header = &link->peer.header;

	seq_printf(file, "name %s\n", link->entry.name);
	seq_printf(file, "device_id %u\n", link->entry.device_id);
	seq_printf(file, "state %s\n", phase_name(link));
	seq_printf(file, "backend %s\n", presence_name(link));
	seq_printf(file, "backend_peer %u\n", link->entry.backend_peer);
	seq_printf(file, "revision %u\n", header->revision);
	seq_printf(file, "capabilities %#x\n", header->capabilities);
	seq_printf(file, "epoch %#llx\n", header->epoch);
	seq_printf(file, "incarnation %#llx\n", link->incarnation);
	seq_printf(file, "device_status %#x\n", link->status);
	seq_printf(file, "vectors %u\n", link->vectors);
	seq_printf(file, "registrations %u\n", link->registrations);
	seq_printf(file, "absences %u\n", link->absences);
	seq_printf(file, "absent_ms %u\n", ivshmem_peer_absence(link));
	seq_printf(file, "settled %llu\n", link->settled);
	seq_printf(file, "standin_passes %llu\n", link->standin_passes);
	seq_printf(file, "dropped %llu\n", link->dropped);
	seq_printf(file, "refused %llu\n", link->refused);
	seq_printf(file, "orphans %llu\n", link->orphans);
	seq_printf(file, "give_up %u\n", READ_ONCE(link->give_up));
	seq_printf(file, "absent_total_ms %llu\n", link->absent_total_ms);
}

static void show_pool(struct seq_file *file, struct ivshmem_link *link)
{
	const struct ivshmem_pool *pool = &link->pool;
	struct ivshmem_pool_counts counts;

	ivshmem_pool_count(pool, &counts);
	seq_printf(file, "window_bytes %llu\n", link->entry.rw_size);
	seq_printf(file, "pool_bytes %llu\n", pool->capacity);
	seq_printf(file, "granule_bytes %u\n", 1U << pool->granule_shift);
	seq_printf(file, "maps %llu\n", counts.maps);
	seq_printf(file, "unmaps %llu\n", counts.unmaps);
	seq_printf(file, "live %llu\n", counts.maps + counts.allocations - counts.unmaps - counts.frees);
	seq_printf(file, "bytes_live %lld\n", atomic64_read(&pool->used));
	seq_printf(file, "high_water %lld\n", atomic64_read(&pool->most_used));
	seq_printf(file, "map_failures %llu\n", counts.failures);
	seq_printf(file, "bytes_to_window %llu\n", counts.bytes_to_window);
	seq_printf(file, "bytes_from_window %llu\n", counts.bytes_from_window);
	seq_printf(file, "rings_adopted %llu\n", link->placement.adopted);
}

static void show_queues(struct seq_file *file, struct ivshmem_link *link)
{
	struct ivshmem_signals sum = link->done;
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++) {
		struct ivshmem_queue *queue = &link->queues[i];
		struct ivshmem_signals one = {
			.notifications = atomic64_read(&queue->notifications),
			.kicks = atomic64_read(&queue->kicks),
			.interrupts = READ_ONCE(queue->interrupts),
			.idle_interrupts = READ_ONCE(queue->idle_interrupts),
		};

		if (!queue->vq)
			continue;
		sum.notifications += one.notifications;
		sum.kicks += one.kicks;
		sum.interrupts += one.interrupts;
		sum.idle_interrupts += one.idle_interrupts;
		seq_printf(file, "queue%u size %u vector %u%s notifications %llu kicks %llu interrupts %llu idle %llu\n",
			   queue->index, virtqueue_get_vring_size(queue->vq), queue->vector,
			   queue->shared ? " shared" : "", one.notifications, one.kicks, one.interrupts,
			   one.idle_interrupts);
	}
	seq_printf(file, "queues %u\n", link->queue_count);
	mutex_unlock(&link->table);
	seq_printf(file, "notifications %llu\n", sum.notifications);
	seq_printf(file, "kicks %llu\n", sum.kicks);
	seq_printf(file, "interrupts %llu\n", sum.interrupts);
	seq_printf(file, "idle_interrupts %llu\n", sum.idle_interrupts);
	seq_printf(file, "config_interrupts %lld\n", atomic64_read(&link->config_interrupts));
}

static int state_show(struct seq_file *file, void *unused)
{
	struct ivshmem_link *link = file->private;

	show_link(file, link);
	show_pool(file, link);
	show_queues(file, link);
	seq_printf(file, "transactions %llu\n", link->transactions);
	seq_printf(file, "transaction_failures %llu\n", link->transaction_failures);
	seq_printf(file, "transaction_slowest_us %llu\n", link->transaction_slowest_us);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static int accounting_show(struct seq_file *file, void *unused)
{
	ivshmem_accounting_show(file);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(accounting);

void ivshmem_debugfs_open(void)
{
	root = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("accounting", 0444, root, NULL, &accounting_fops);
}

void ivshmem_debugfs_close(void)
{
	debugfs_remove_recursive(root);
}

void ivshmem_debugfs_add_link(struct ivshmem_link *link)
{
	link->debug = debugfs_create_dir(dev_name(&link->adev.dev), root);
	debugfs_create_file("state", 0444, link->debug, link, &state_fops);
}

/* Waits for readers. */
void ivshmem_debugfs_remove_link(struct ivshmem_link *link)
{
	debugfs_remove_recursive(link->debug);
	link->debug = NULL;
}
