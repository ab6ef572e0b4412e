/* SPDX-License-Identifier: MIT */
#include "virtqueue.h"

#include <inttypes.h>

#include "patience.h"
#include "report.h"

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u
#define LARGEST_QUEUE 32768u

static uint64_t place(struct virtqueue *queue, uint64_t start)
{
	uint64_t size = queue->size;

	queue->desc = start;
	queue->avail = start + 16 * size;
	queue->used = (queue->avail + 6 + 2 * size + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
	return queue->used + 6 + 8 * size - start;
}

static void find_place(struct virtqueue *queue)
{
	uint64_t needed = place(queue, 0), block;
	uint32_t length;

	if (link_ring_block(queue->device->link, queue->index, &block, &length)) {
		if (length < needed)
			fail("the ring block of queue %" PRIu32 " has %" PRIu32 " bytes, %u descriptors need %" PRIu64,
			     queue->index, length, queue->size, needed);
	} else {
		block = device_take(queue->device, needed);
	}
	window_zero(&queue->device->link->window, block, needed);
	place(queue, block);
}

void virtqueue_setup(struct virtqueue *queue, struct device *device, uint32_t index)
{
	const struct window *window = &device->link->window;

	queue->device = device;
	queue->index = index;
	queue->avail_index = queue->used_index = 0;
	device_write(device, HEADER_QUEUE_SEL, index, 4);
	if (window_load16(window, HEADER_QUEUE_ENABLE))
		fail("queue %" PRIu32 " is enabled already", index);
	queue->size = window_load16(window, HEADER_QUEUE_SIZE);
	if (queue->size == 0)
		fail("the device has no queue %" PRIu32, index);
	if (queue->size > LARGEST_QUEUE || queue->size & (queue->size - 1))
		fail("queue %" PRIu32 " has an impossible size of %u", index, queue->size);
	queue->device_vector = window_load16(window, HEADER_QUEUE_DEVICE_VECTOR);
	find_place(queue);
	/* Interrupts cannot reach a program like this one: it looks instead. */
	window_store16(window, queue->avail, AVAIL_NO_INTERRUPT);
	device_write(device, HEADER_QUEUE_SIZE, queue->size, 2);
	device_write(device, HEADER_QUEUE_DRIVER_VECTOR, 0, 2);
	device_write(device, HEADER_QUEUE_DESC, queue->desc, 8);
	device_write(device, HEADER_QUEUE_DRIVER, queue->avail, 8);
	device_write(device, HEADER_QUEUE_DEVICE, queue->used, 8);
	device_write(device, HEADER_QUEUE_ENABLE, 1, 2);
	if (window_load16(window, HEADER_QUEUE_ENABLE) != 1)
		fail("the device did not enable queue %" PRIu32, index);
}

static void describe(struct virtqueue *queue, const struct segment *segment, unsigned int number, bool last)
{
	const struct window *window = &queue->device->link->window;
	uint64_t at = queue->desc + 16 * (uint64_t)number;

	window_store64(window, at, segment->offset);
	window_store32(window, at + 8, segment->length);
	window_store16(window, at + 12, (uint16_t)((segment->writable ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT)));
	window_store16(window, at + 14, (uint16_t)(last ? 0 : number + 1));
}

void virtqueue_post(struct virtqueue *queue, const struct segment *segments, unsigned int count)
{
	const struct window *window = &queue->device->link->window;

	if (count == 0 || count > queue->size)
		fail("a chain of %u descriptors in a queue of %u", count, queue->size);
	queue->writable = 0;
	for (unsigned int i = 0; i < count; i++) {
		describe(queue, &segments[i], i, i + 1 == count);
		queue->writable += segments[i].writable ? segments[i].length : 0;
	}
	window_store16(window, queue->avail + 4 + 2 * (uint64_t)(queue->avail_index % queue->size), 0);
	window_store16(window, queue->avail + 2, ++queue->avail_index);
	/* The index must be out before the flag is looked at, or both sides may sleep (virtio 1.4, 2.7.13.4.1). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(window_load16(window, queue->used) & USED_NO_NOTIFY))
		link_ring(queue->device->link, queue->device_vector);
}

bool virtqueue_returned(struct virtqueue *queue, uint32_t *written)
{
	const struct window *window = &queue->device->link->window;
	uint16_t index = window_load16(window, queue->used + 2);
	uint64_t element = queue->used + 4 + 8 * (uint64_t)(queue->used_index % queue->size);
	uint32_t id;

	if (index == queue->used_index)
		return false;
	if ((uint16_t)(queue->used_index + 1) != index || queue->used_index == queue->avail_index)
		fail("queue %" PRIu32 ": used index %u, but %u is next and one chain at most is out", queue->index, index,
		     queue->used_index);
	id = window_load32(window, element);
	*written = window_load32(window, element + 4);
	if (id != 0)
		fail("queue %" PRIu32 ": the device returned descriptor %" PRIu32 ", which heads no chain", queue->index, id);
	if (*written > queue->writable)
		fail("queue %" PRIu32 ": the device claims %" PRIu32 " bytes in a chain with room for %" PRIu32, queue->index,
		     *written, queue->writable);
	queue->used_index = index;
	return true;
}

uint32_t virtqueue_wait(struct virtqueue *queue)
{
	struct deadline deadline = patience_start();
	uint32_t written;

	while (!virtqueue_returned(queue, &written)) {
		device_check(queue->device);
		if (!patience_nap(&deadline))
			fail("queue %" PRIu32 ": the device did not return a chain in time", queue->index);
	}
	return written;
}
