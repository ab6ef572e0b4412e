/* SPDX-License-Identifier: MIT */
/* A virtio device behind a link's header: transactions, status, features, configuration (docs/protocol.md, 4 and 5). */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

#include "link.h"

#define FEATURE_VERSION_1 (1ull << 32)
#define FEATURE_ACCESS_PLATFORM (1ull << 33)
#define FEATURE_ORDER_PLATFORM (1ull << 36)

struct device {
	struct link *link;
	uint64_t features;
	uint64_t next_free;	/* in the window; buffers are never given back */
	uint32_t sequence;
};

/* Reset the device of a link that was brought up, and agree on features; `wanted`: device feature bits. */
void device_start(struct device *device, struct link *link, uint64_t wanted);

/* DRIVER_OK. */
void device_ready(struct device *device);

/* Status 0: the device lets go of everything. */
void device_reset(struct device *device);

/* One transaction of `size` bytes, and wait until it is served. */
void device_write(struct device *device, uint32_t offset, uint64_t value, uint32_t size);

/* Fails when the device asks for a reset or the back-end went away. */
void device_check(struct device *device);

uint64_t device_config64(const struct device *device, uint32_t offset);

/* Room for buffers in the window, from a line of its own on. */
uint64_t device_take(struct device *device, uint64_t length);

#endif
