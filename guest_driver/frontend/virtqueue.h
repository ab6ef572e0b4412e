/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue (virtio 1.4, 2.7) in the hands of a polling driver: one chain at a time, always from descriptor 0 on.
 * That is slow, and small enough to be seen through.
 */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"

struct segment {
	uint64_t offset;	/* in the window */
	uint32_t length;
	bool writable;		/* by the device */
};

struct virtqueue {
	struct device *device;
	uint32_t index;
	uint16_t size;
	uint16_t device_vector;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint16_t avail_index;
	uint16_t used_index;
	uint32_t writable;	/* bytes of the chain that is out */
};

/* Set queue `index` up and enable it, in the host's ring block where there is one. */
void virtqueue_setup(struct virtqueue *queue, struct device *device, uint32_t index);

/* Make a chain available, and ring if the device wants that. */
void virtqueue_post(struct virtqueue *queue, const struct segment *segments, unsigned int count);

/* Whether the chain came back; `written`: bytes the device put into it. */
bool virtqueue_returned(struct virtqueue *queue, uint32_t *written);

/* Wait for that; fails when it takes too long. */
uint32_t virtqueue_wait(struct virtqueue *queue);

#endif
