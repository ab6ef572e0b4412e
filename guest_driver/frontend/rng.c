/* SPDX-License-Identifier: MIT */
/* Entropy device (virtio 1.4, 5.4). */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "hex.h"
#include "report.h"
#include "virtqueue.h"

#define PIECE 512u

void rng_draw(struct link *link, uint32_t count)
{
	unsigned char data[PIECE];
	struct virtqueue queue;
	struct segment room = { 0, PIECE, true };
	struct device device;
	uint32_t got = 0, written;

	device_start(&device, link, 0);
	virtqueue_setup(&queue, &device, 0);
	device_ready(&device);
	room.offset = device_take(&device, PIECE);
	while (got < count) {
		room.length = count - got < PIECE ? count - got : PIECE;
		virtqueue_post(&queue, &room, 1);
		written = virtqueue_wait(&queue);
		if (written == 0)
			fail("the device returned a buffer with nothing in it");
		window_read(&link->window, room.offset, data, written);
		hex_print("random", data, written);
		got += written;
	}
	device_reset(&device);
}
