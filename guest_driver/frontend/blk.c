/* SPDX-License-Identifier: MIT */
/* Block device (virtio 1.4, 5.2): one sector at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "hex.h"
#include "report.h"
#include "sha256.h"
#include "virtqueue.h"

#define SECTOR 512u
#define TYPE_IN 0u
#define TYPE_OUT 1u
#define TYPE_FLUSH 4u
#define FEATURE_FLUSH (1ull << 9)

struct disk {
	struct device device;
	struct virtqueue queue;
	uint64_t header;	/* buffers in the window */
	uint64_t data;
	uint64_t status;
};

static void start(struct disk *disk, struct link *link, uint64_t sector)
{
	uint64_t capacity;

	device_start(&disk->device, link, FEATURE_FLUSH);
	virtqueue_setup(&disk->queue, &disk->device, 0);
	device_ready(&disk->device);
	capacity = device_config64(&disk->device, 0);
	if (sector >= capacity)
		fail("sector %" PRIu64 " of a disk that has %" PRIu64, sector, capacity);
	disk->header = device_take(&disk->device, 16);
	disk->data = device_take(&disk->device, SECTOR);
	disk->status = device_take(&disk->device, 1);
}

static void request(struct disk *disk, uint32_t type, uint64_t sector, bool with_data)
{
	const struct window *window = &disk->device.link->window;
	struct segment segments[] = {
		{ disk->header, 16, false },
		{ disk->data, SECTOR, type == TYPE_IN },
		{ disk->status, 1, true },
	};
	uint8_t status = 0xff;

	window_store32(window, disk->header, type);
	window_store32(window, disk->header + 4, 0);
	window_store64(window, disk->header + 8, sector);
	window_write(window, disk->status, &status, 1);
	if (!with_data)
		segments[1] = segments[2];
	virtqueue_post(&disk->queue, segments, with_data ? 3 : 2);
	virtqueue_wait(&disk->queue);
	status = window_load8(window, disk->status);
	if (status)
		fail("the disk answers request type %" PRIu32 " with status %u", type, status);
}

static void report_sector(const char *what, uint64_t sector, const unsigned char *data)
{
	char digest[SHA256_HEX];

	sha256_hex(digest, data, SECTOR);
	printf("%s sector %" PRIu64 "\nsha256 %s\n", what, sector, digest);
}

void blk_read(struct link *link, uint64_t sector)
{
	unsigned char data[SECTOR];
	struct disk disk;

	start(&disk, link, sector);
	request(&disk, TYPE_IN, sector, true);
	window_read(&link->window, disk.data, data, SECTOR);
	report_sector("read", sector, data);
	hex_print("data", data, SECTOR);
	device_reset(&disk.device);
}

void blk_write(struct link *link, uint64_t sector, const char *text)
{
	unsigned char data[SECTOR] = { 0 };
	struct disk disk;

	if (strlen(text) > SECTOR)
		fail("a text of %zu bytes does not fit a sector of %u", strlen(text), SECTOR);
	memcpy(data, text, strlen(text));
	start(&disk, link, sector);
	window_write(&link->window, disk.data, data, SECTOR);
	request(&disk, TYPE_OUT, sector, true);
	if (disk.device.features & FEATURE_FLUSH)
		request(&disk, TYPE_FLUSH, 0, false);
	report_sector("wrote", sector, data);
	device_reset(&disk.device);
}
