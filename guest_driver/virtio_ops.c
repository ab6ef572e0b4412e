// SPDX-License-Identifier: GPL-2.0-only
/* The virtio transport's operations, except for queues. */
#include <linux/string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "orphans.h"
#include "queue.h"
#include "request_size.h"
#include "stragglers.h"
#include "transaction.h"
#include "virtqueue.h"
#include "window.h"

/* How often the configuration may seem to change in a row before a driver is no longer told: its loop must end. */
#define GENERATION_MOVES 64

/*
 * A device that cannot be told so must not ask a network driver to announce itself. Linux' own (6.1) does not look
 * whether it has a control queue for its answer, and ends in a BUG().
 */
static void withhold_announcement(struct virtio_device *vdev, unsigned int offset, u8 *buffer, unsigned int length)
{
	const unsigned int status = offsetof(struct virtio_net_config, status);

	if (vdev->id.device == VIRTIO_ID_NET && !__virtio_test_bit(vdev, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
	    offset <= status && length > status - offset)
		buffer[status - offset] &= ~VIRTIO_NET_S_ANNOUNCE;
}

/* A request that cannot get into the window would be tried for ever: request_size.c. */
static void bound_segments(struct virtio_device *vdev, unsigned int offset, u8 *buffer, unsigned int length)
{
	__le32 value;

	if (vdev->id.device != VIRTIO_ID_BLOCK || offset != offsetof(struct virtio_blk_config, seg_max) ||
	    length != sizeof(value))
		return;
	memcpy(&value, buffer, sizeof(value));
	value = cpu_to_le32(ivshmem_request_segments(ivshmem_link_of_vdev(vdev), le32_to_cpu(value)));
	memcpy(buffer, &value, sizeof(value));
}

/* Plain reads of the window: this and the next may run where nothing may sleep. */
static void get(struct virtio_device *vdev, unsigned int offset, void *buffer, unsigned int length)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	u32 end = link->peer.header.config_length;

	memset(buffer, 0, length);
	if (offset < end)
		memcpy(buffer, link->window + HEADER_CONFIG + offset, min_t(u32, length, end - offset));
	withhold_announcement(vdev, offset, buffer, length);
	bound_segments(vdev, offset, buffer, length);
}

/* A number that stays the same only while the configuration is settled and the same; but does not move for ever. */
static u32 generation(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	u32 now = shared_read32(link->window, HEADER_CONFIG_GENERATION);
	bool settled = !(now & 1);

	virt_rmb();
	if (settled && now == link->generation_seen) {
		link->generation_moves = 0;
		return link->generation_given;
	}
	if (link->generation_moves >= GENERATION_MOVES)
		return link->generation_given;
	link->generation_moves++;
	link->generation_seen = now;
	return ++link->generation_given;
}

static unsigned int part_size(unsigned int offset, unsigned int left)
{
	unsigned int size = 8;

	while (size > left || offset % size)
		size /= 2;
	return size;
}

/* Fields come whole, as the driver writes them; anything odd goes in aligned parts. */
static void set(struct virtio_device *vdev, unsigned int offset, const void *buffer, unsigned int length)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	bool whole = length == 1 || length == 2 || length == 4 || length == 8;

	if (offset > link->peer.header.config_length || length > link->peer.header.config_length - offset)
		return;
	mutex_lock(&link->registers);
	while (length) {
		unsigned int size = whole ? length : part_size(offset, length);
		__le64 value = 0;

		memcpy(&value, buffer, size);
		if (ivshmem_transact(link, HEADER_CONFIG + offset, size, le64_to_cpu(value)))
			break;
		offset += size;
		buffer += size;
		length -= size;
	}
	mutex_unlock(&link->registers);
}

/* Kept here; what the device adds of its own accord is that it wants to be reset. */
static u8 get_status(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	u8 status = link->status;

	if (status && ivshmem_peer_is_ours(link))
		status |= shared_read32(link->window, HEADER_DEVICE_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
	return status;
}

/* An absent back-end has nothing to learn from bits that the next status brings along; nobody waits for that. */
static bool may_wait_for_later(const struct ivshmem_link *link, u8 status)
{
	return status == VIRTIO_CONFIG_S_ACKNOWLEDGE && !ivshmem_peer_present(link);
}

static void set_status(struct virtio_device *vdev, u8 status)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);

	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;	/* the device's to set, as get_status told the core */
	mutex_lock(&link->registers);
	if (!may_wait_for_later(link, status) && !READ_ONCE(link->detached) &&
	    !ivshmem_transact(link, HEADER_DEVICE_STATUS, sizeof(u32), status) &&
	    !(shared_read32(link->window, HEADER_DEVICE_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	WRITE_ONCE(link->status, status);
	mutex_unlock(&link->registers);
}

/* Ends with the device reset here, whether or not anybody is there to know. */
static void reset(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	bool ran = link->status & VIRTIO_CONFIG_S_DRIVER_OK;

	mutex_lock(&link->registers);
	ivshmem_transact_reset(link);
	WRITE_ONCE(link->status, 0);
	mutex_unlock(&link->registers);
	ivshmem_link_synchronize(link);
	ivshmem_orphans_remove(link);
	if (ran && vdev->id.device == VIRTIO_ID_CONSOLE)
		ivshmem_stragglers_await();
}

static u64 get_features(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	u64 features = 0;
	int word;

	mutex_lock(&link->registers);
	for (word = 1; word >= 0; word--) {
		if (ivshmem_transact(link, HEADER_DEVICE_FEATURES_SEL, sizeof(u32), word)) {
			features = 0;
			break;
		}
		features |= (u64)shared_read32(link->window, HEADER_DEVICE_FEATURES) << 32 * word;
	}
	link->event_index = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	mutex_unlock(&link->registers);
	return features;
}

/* The core clears transport bits it does not know of; those that are the transport's own affair come back. */
static void choose_transport_features(struct virtio_device *vdev)
{
	bool ring_reset = __virtio_test_bit(vdev, VIRTIO_F_RING_RESET);

	vring_transport_features(vdev);
	if (ring_reset)
		__virtio_set_bit(vdev, VIRTIO_F_RING_RESET);
#ifdef VIRTIO_F_NOTIFICATION_DATA
	__virtio_clear_bit(vdev, VIRTIO_F_NOTIFICATION_DATA);
#endif
}

static int finalize_features(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	int word, error = 0;
	u64 features;

	choose_transport_features(vdev);
	features = vdev->features;
	if (link->event_index) {
		/* Between the peer and us: the core is to notify us of everything, and we decide whom to ring. */
		features |= BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
		__virtio_clear_bit(vdev, VIRTIO_RING_F_EVENT_IDX);
	}
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1) || !__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM)) {
		dev_err(&link->adev.dev, "the back-end must offer VIRTIO_F_VERSION_1 and VIRTIO_F_ACCESS_PLATFORM\n");
		return -EINVAL;
	}
	mutex_lock(&link->registers);
	for (word = 1; word >= 0 && !error; word--) {
		error = ivshmem_transact(link, HEADER_DRIVER_FEATURES_SEL, sizeof(u32), word);
		if (!error)
			error = ivshmem_transact(link, HEADER_DRIVER_FEATURES, sizeof(u32),
						 lower_32_bits(features >> 32 * word));
	}
	mutex_unlock(&link->registers);
	return error;
}

static void synchronize_cbs(struct virtio_device *vdev)
{
	ivshmem_link_synchronize(ivshmem_link_of_vdev(vdev));
}

static const char *bus_name(struct virtio_device *vdev)
{
	return dev_name(vdev->dev.parent);
}

const struct virtio_config_ops ivshmem_virtio_ops = {
	.get = get,
	.set = set,
	.generation = generation,
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.find_vqs = ivshmem_find_vqs,
	.del_vqs = ivshmem_del_vqs,
	.synchronize_cbs = synchronize_cbs,
	.get_features = get_features,
	.finalize_features = finalize_features,
	.bus_name = bus_name,
	.disable_vq_and_reset = ivshmem_disable_vq,
	.enable_vq_after_reset = ivshmem_enable_vq,
};
