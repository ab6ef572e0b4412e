/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <inttypes.h>

#include "patience.h"
#include "report.h"

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u
#define STATUS_FAILED 128u
#define RESET_TRIES 8

static void await_idle(struct device *device)
{
	struct deadline deadline = patience_start();
	uint32_t word;

	while ((word = window_load32(&device->link->window, HEADER_TRANSACTION))) {
		link_check(device->link);
		if (!patience_nap(&deadline))
			fail("transaction 0x%08" PRIx32 " is not served: the back-end is there but stuck", word);
	}
}

static void store(const struct window *window, uint32_t offset, uint64_t value, uint32_t size)
{
	switch (size) {
	case 2:
		window_store16(window, offset, (uint16_t)value);
		return;
	case 4:
		window_store32(window, offset, (uint32_t)value);
		return;
	default:
		window_store64(window, offset, value);
	}
}

void device_write(struct device *device, uint32_t offset, uint64_t value, uint32_t size)
{
	struct link *link = device->link;
	uint32_t word = offset;

	if (link->capabilities & CAPABILITY_SIZED_TRANSACTIONS) {
		device->sequence = (device->sequence + 1) & 0xfff;
		word |= size << 16 | device->sequence << 20;
	}
	await_idle(device);
	store(&link->window, offset, value, size);
	window_store32(&link->window, HEADER_TRANSACTION, word);
	link_ring(link, link->config_vector);
	await_idle(device);
	/* A cleared word counts only if it was this back-end that cleared it. */
	link_check(link);
}

static uint32_t status(const struct device *device)
{
	return window_load32(&device->link->window, HEADER_DEVICE_STATUS) & 0xff;
}

static void add_status(struct device *device, uint32_t bits)
{
	device_write(device, HEADER_DEVICE_STATUS, (status(device) | bits) & ~STATUS_NEEDS_RESET, 4);
}

void device_check(struct device *device)
{
	link_check(device->link);
	if (status(device) & STATUS_NEEDS_RESET)
		fail("device status is 0x%" PRIx32 ": the device found an error of this driver", status(device));
}

void device_reset(struct device *device)
{
	for (unsigned int i = 0; i < RESET_TRIES; i++) {
		device_write(device, HEADER_DEVICE_STATUS, 0, 4);
		if (status(device) == 0)
			return;
	}
	fail("device status reads 0x%" PRIx32 " after a reset", status(device));
}

static uint64_t offered(struct device *device)
{
	uint64_t features = 0;

	for (uint32_t word = 0; word < 2; word++) {
		device_write(device, HEADER_DEVICE_FEATURES_SEL, word, 4);
		features |= (uint64_t)window_load32(&device->link->window, HEADER_DEVICE_FEATURES) << 32 * word;
	}
	return features;
}

static void negotiate(struct device *device, uint64_t wanted)
{
	const uint64_t needed = FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM;
	uint64_t features = offered(device);

	if ((features & needed) != needed) {
		add_status(device, STATUS_FAILED);
		fail("the device offers 0x%" PRIx64 ", without VERSION_1 and ACCESS_PLATFORM", features);
	}
	device->features = features & (wanted | needed | FEATURE_ORDER_PLATFORM);
	for (uint32_t word = 0; word < 2; word++) {
		device_write(device, HEADER_DRIVER_FEATURES_SEL, word, 4);
		device_write(device, HEADER_DRIVER_FEATURES, device->features >> 32 * word & 0xffffffff, 4);
	}
	add_status(device, STATUS_FEATURES_OK);
	if (!(status(device) & STATUS_FEATURES_OK)) {
		add_status(device, STATUS_FAILED);
		fail("the device refuses features 0x%" PRIx64, device->features);
	}
}

void device_start(struct device *device, struct link *link, uint64_t wanted)
{
	device->link = link;
	device->next_free = link->reserved;
	device->sequence = (uint32_t)link->incarnation & 0xfff;
	device_reset(device);
	add_status(device, STATUS_ACKNOWLEDGE);
	add_status(device, STATUS_DRIVER);
	negotiate(device, wanted);
}

void device_ready(struct device *device)
{
	add_status(device, STATUS_DRIVER_OK);
	device_check(device);
}

uint64_t device_config64(const struct device *device, uint32_t offset)
{
	unsigned char bytes[8];
	uint64_t value = 0;

	if (device->link->config_length < 8 || offset > device->link->config_length - 8)
		fail("the device has only %" PRIu32 " bytes of configuration", device->link->config_length);
	/* The fields read here never change while a device is in use, so the generation need not be looked at. */
	window_read(&device->link->window, HEADER_CONFIG + offset, bytes, sizeof(bytes));
	for (unsigned int i = 0; i < 8; i++)
		value |= (uint64_t)bytes[i] << 8 * i;
	return value;
}

uint64_t device_take(struct device *device, uint64_t length)
{
	uint64_t start = (device->next_free + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;

	if (start > device->link->window.length || length > device->link->window.length - start)
		fail("the window of 0x%" PRIx64 " bytes has no room for %" PRIu64 " more", device->link->window.length, length);
	device->next_free = start + length;
	return start;
}
