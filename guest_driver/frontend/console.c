/* SPDX-License-Identifier: MIT */
/* Console device (virtio 1.4, 5.3): port 0, without multiport. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "patience.h"
#include "report.h"
#include "virtqueue.h"

#define RECEIVE_BYTES 256u
#define TEXT_BYTES 1024u

static void send(struct device *device, struct virtqueue *queue, const char *text)
{
	struct segment segment = { device_take(device, TEXT_BYTES), (uint32_t)strlen(text) + 1, false };

	if (segment.length > TEXT_BYTES)
		fail("a text of %zu bytes, at most %u can be sent", strlen(text), TEXT_BYTES - 1);
	window_write(&device->link->window, segment.offset, text, strlen(text));
	window_write(&device->link->window, segment.offset + strlen(text), "\n", 1);
	virtqueue_post(queue, &segment, 1);
	virtqueue_wait(queue);
	printf("sent %" PRIu32 " bytes\n", segment.length);
}

/* One line, or what came of it in time. */
static void receive(struct device *device, struct virtqueue *queue, struct segment *segment)
{
	struct deadline deadline = patience_start();
	char text[RECEIVE_BYTES];
	uint32_t written;

	fputs("received ", stdout);
	do {
		if (!virtqueue_returned(queue, &written)) {
			device_check(device);
			continue;
		}
		window_read(&device->link->window, segment->offset, text, written);
		fwrite(text, 1, written, stdout);
		if (written && text[written - 1] == '\n')
			return;
		virtqueue_post(queue, segment, 1);
	} while (patience_nap(&deadline));
	putchar('\n');
}

void console_echo(struct link *link, const char *text)
{
	struct virtqueue receiveq, transmitq;
	struct segment room = { 0, RECEIVE_BYTES, true };
	struct device device;

	device_start(&device, link, 0);
	virtqueue_setup(&receiveq, &device, 0);
	virtqueue_setup(&transmitq, &device, 1);
	device_ready(&device);
	room.offset = device_take(&device, RECEIVE_BYTES);
	virtqueue_post(&receiveq, &room, 1);
	send(&device, &transmitq, text);
	receive(&device, &receiveq, &room);
	device_reset(&device);
}
