/* SPDX-License-Identifier: MIT */
#include "kernel_device.h"

#include <linux/kernel.h>
#include <linux/virtio_config.h>
#include <linux/vringh.h>

#include "bell.h"
#include "requests.h"

enum { BATCH = 32, PIECES = 16, BUFFER = 2 * SEGMENTS_EACH_WAY * SEGMENT_BYTES };

struct kernel_device {
    struct vringh ring;
    struct vringh_iov readable, writable;
    struct iovec readable_room[PIECES], writable_room[PIECES];
};

/* The kernel's accessors assert that every address they touch lies between these. */
void *__user_addr_min, *__user_addr_max;

/* Where the window is, for the range callback, which gets nothing but the ring. */
static unsigned char *window_start;
static size_t window_length;

static bool window_range(struct vringh *ring, u64 address, struct vringh_range *range)
{
    (void)ring;
    if (address >= window_length)
        return false;
    range->start = 0;
    range->end_incl = window_length - 1;
    range->offset = (u64)(unsigned long)window_start;
    return true;
}

struct kernel_device *kernel_device_new(unsigned char *window, size_t length, unsigned size, uint64_t desc,
                                        uint64_t avail, uint64_t used, bool event_idx)
{
    struct kernel_device *device = calloc(1, sizeof *device);
    u64 features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC;

    if (!device)
        return NULL;
    if (event_idx)
        features |= 1ULL << VIRTIO_RING_F_EVENT_IDX;
    window_start = window;
    window_length = length;
    __user_addr_min = window;
    __user_addr_max = window + length;
    vringh_iov_init(&device->readable, device->readable_room, PIECES);
    vringh_iov_init(&device->writable, device->writable_room, PIECES);
    if (!vringh_init_user(&device->ring, features, size, true, (void *)(window + desc), (void *)(window + avail),
                          (void *)(window + used)))
        return device;
    free(device);
    return NULL;
}

void kernel_device_delete(struct kernel_device *device)
{
    vringh_iov_cleanup(&device->readable);
    vringh_iov_cleanup(&device->writable);
    free(device);
}

/* Take a request and write its answer; the used element is left to the caller. */
static int take_one(struct kernel_device *device, struct vring_used_elem *element, uint64_t *digest)
{
    unsigned char in[BUFFER], out[BUFFER];
    uint32_t count;
    ssize_t length;
    u16 head;
    int got = vringh_getdesc_user(&device->ring, &device->readable, &device->writable, window_range, &head);

    if (got != 1)
        return got;
    length = vringh_iov_pull_user(&device->readable, in, sizeof in);
    if (length < 0)
        return length;
    *digest += bytes_digest(in, length);
    count = answer(in, length, out, sizeof out);
    length = vringh_iov_push_user(&device->writable, out, count);
    if (length < 0)
        return length;
    element->id = head;
    element->len = length;
    return 1;
}

int kernel_device_serve_one(struct kernel_device *device)
{
    struct vring_used_elem element;
    uint64_t digest = 0;
    int got = take_one(device, &element, &digest);

    if (got == 1)
        vringh_complete_user(&device->ring, element.id, element.len);
    return got;
}

static void shuffle(struct vring_used_elem *elements, unsigned count, uint64_t *random)
{
    while (count > 1) {
        unsigned other = next_random(random) % count--;
        struct vring_used_elem swap = elements[other];

        elements[other] = elements[count];
        elements[count] = swap;
    }
}

const char *kernel_device_run(struct kernel_device *device, uint64_t total, unsigned burst, uint64_t seed, int kick, int call,
                              uint64_t *digest)
{
    struct vring_used_elem elements[BATCH];
    uint64_t done = 0;

    while (done < total) {
        unsigned limit = 1 + next_random(&seed) % (burst < BATCH ? burst : BATCH);
        unsigned count = 0;
        int got = 0;

        if (limit > device->ring.vring.num)
            limit = device->ring.vring.num;
        while (count < limit && (got = take_one(device, &elements[count], digest)) == 1)
            count++;
        if (got < 0)
            return "the kernel's device side refused a chain";
        if (count) {
            shuffle(elements, count, &seed);
            if (vringh_complete_multi_user(&device->ring, elements, count))
                return "the kernel's device side could not complete";
            done += count;
            if (vringh_need_notify_user(&device->ring) > 0)
                bell_ring(call);
            continue;
        }
        if (vringh_notify_enable_user(&device->ring) && !bell_wait(kick))
            return "the driver did not notify the kernel's device";
        vringh_notify_disable_user(&device->ring);
    }
    return NULL;
}
