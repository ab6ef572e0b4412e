// SPDX-License-Identifier: GPL-2.0-only
/*
 * When its device goes, Linux' console driver breaks its queues first, so that nobody goes on waiting for an answer. A
 * task that is just writing to the terminal then frees its characters, and leaves them in the ring. Later the driver
 * empties its rings, and takes what it finds for buffers of its own: it frees those characters once more, and whatever
 * they contain for pages and devices. Between the two it resets the device, and that is ours: so we take out of the
 * ring what is not the driver's.
 */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>

#include "link.h"
#include "orphans.h"
#include "queue.h"

/* Where the memory is that a ring's descriptors stand for, and what of the driver's was met on the way. */
struct contents {
	phys_addr_t *mapped;
	void **own;
	unsigned int mapped_count;
	unsigned int own_count;
};

/* The characters of a terminal are their own token. That of the driver's buffers is what describes them. */
static bool is_characters(const struct contents *contents, void *token)
{
	unsigned int i;

	for (i = 0; i < contents->mapped_count; i++)
		if (contents->mapped[i] == virt_to_phys(token))
			return true;
	return false;
}

static void take_out(struct ivshmem_queue *queue, struct contents *contents)
{
	void *token;

	while ((token = virtqueue_detach_unused_buf(queue->vq)))
		if (!is_characters(contents, token))
			contents->own[contents->own_count++] = token;
		else
			queue->link->orphans++;
}

/* What the driver is to find again, as long as it finds it; the ring shows it to nobody any more. */
static void put_back(struct ivshmem_queue *queue, const struct contents *contents)
{
	struct scatterlist sg;
	unsigned int i;

	if (!contents->own_count)
		return;
	__virtqueue_unbreak(queue->vq);
	for (i = 0; i < contents->own_count; i++) {
		sg_init_table(&sg, 1);
		sg_set_page(&sg, ZERO_PAGE(0), 1, 0);
		virtqueue_add_outbuf(queue->vq, &sg, 1, contents->own[i], GFP_KERNEL);
	}
	__virtqueue_break(queue->vq);
}

static void sort_out(struct ivshmem_queue *queue)
{
	struct contents contents = {
		.mapped = kvcalloc(2 * queue->ring.size, sizeof(*contents.mapped), GFP_KERNEL),
		.own = kvcalloc(queue->ring.size, sizeof(*contents.own), GFP_KERNEL),
	};

	if (contents.mapped && contents.own) {
		contents.mapped_count = ivshmem_ring_originals(queue, contents.mapped);
		take_out(queue, &contents);
		put_back(queue, &contents);
	}
	kvfree(contents.mapped);
	kvfree(contents.own);
}

/* After a reset, when nothing is taken from the peer any more. Only broken queues: others have no orphans. */
void ivshmem_orphans_remove(struct ivshmem_link *link)
{
	bool waited = false;
	unsigned int i;

	if (link->entry.device_id != VIRTIO_ID_CONSOLE)
		return;
	mutex_lock(&link->table);
	for (i = 1; i < link->queue_count; i += 2) {
		struct ivshmem_queue *queue = &link->queues[i];

		if (!queue->vq || !queue->ring.size || !virtqueue_is_broken(queue->vq))
			continue;
		/* Who wrote when it was broken did so with interrupts off, and has gone afterwards. */
		if (!waited)
			synchronize_rcu();
		waited = true;
		sort_out(queue);
	}
	mutex_unlock(&link->table);
}
