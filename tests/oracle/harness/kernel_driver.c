/* SPDX-License-Identifier: MIT */
#include "kernel_driver.h"

#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "bell.h"
#include "kernel_window.h"

/* Declared by kernel headers that the kernel's own userspace build replaces. */
struct virtqueue *vring_create_virtqueue(unsigned int index, unsigned int num, unsigned int align,
                                         struct virtio_device *device, bool weak_barriers, bool may_reduce,
                                         bool context, bool (*notify)(struct virtqueue *),
                                         void (*callback)(struct virtqueue *), const char *name);
dma_addr_t virtqueue_get_desc_addr(const struct virtqueue *queue);
dma_addr_t virtqueue_get_avail_addr(const struct virtqueue *queue);
dma_addr_t virtqueue_get_used_addr(const struct virtqueue *queue);
bool virtqueue_kick_prepare(struct virtqueue *queue);
bool virtqueue_is_broken(const struct virtqueue *queue);

struct kernel_driver {
    struct virtio_device device;
    struct virtqueue *queue;
};

void *__kmalloc_fake, *__kfree_ignore_start, *__kfree_ignore_end;

static bool notify(struct virtqueue *queue)
{
    (void)queue;
    return true;
}

struct kernel_driver *kernel_driver_new(unsigned size, bool packed, bool indirect, bool event_idx)
{
    struct kernel_driver *driver = calloc(1, sizeof *driver);

    if (!driver)
        return NULL;
    driver->device.features = 1ULL << VIRTIO_F_VERSION_1;
    if (packed)
        driver->device.features |= 1ULL << VIRTIO_F_RING_PACKED;
    if (indirect)
        driver->device.features |= 1ULL << VIRTIO_RING_F_INDIRECT_DESC;
    if (event_idx)
        driver->device.features |= 1ULL << VIRTIO_RING_F_EVENT_IDX;
    INIT_LIST_HEAD(&driver->device.vqs);
    spin_lock_init(&driver->device.vqs_list_lock);
    driver->queue = vring_create_virtqueue(0, size, 64, &driver->device, true, false, false, notify, NULL, "window");
    if (driver->queue)
        return driver;
    free(driver);
    return NULL;
}

void kernel_driver_delete(struct kernel_driver *driver)
{
    while (virtqueue_detach_unused_buf(driver->queue))
        ;
    vring_del_virtqueue(driver->queue);
    free(driver);
}

uint64_t kernel_driver_desc(struct kernel_driver *driver)
{
    return virtqueue_get_desc_addr(driver->queue);
}

uint64_t kernel_driver_avail(struct kernel_driver *driver)
{
    return virtqueue_get_avail_addr(driver->queue);
}

uint64_t kernel_driver_used(struct kernel_driver *driver)
{
    return virtqueue_get_used_addr(driver->queue);
}

static void fill(struct scatterlist *list, const struct piece *pieces, unsigned count)
{
    sg_init_table(list, count);
    for (unsigned i = 0; i < count; i++)
        sg_set_buf(&list[i], kernel_window + pieces[i].offset, pieces[i].length);
}

int kernel_driver_add(struct kernel_driver *driver, const struct piece *pieces, unsigned readable, unsigned writable,
                      void *token)
{
    struct scatterlist out[SEGMENTS_EACH_WAY], in[SEGMENTS_EACH_WAY], *lists[2];
    unsigned count = 0;
    int error;

    if (readable) {
        fill(out, pieces, readable);
        lists[count++] = out;
    }
    if (writable) {
        fill(in, pieces + readable, writable);
        lists[count++] = in;
    }
    allocating_table = 1;
    error = virtqueue_add_sgs(driver->queue, lists, readable != 0, writable != 0, token, GFP_KERNEL);
    allocating_table = 0;
    return error;
}

bool kernel_driver_kick(struct kernel_driver *driver)
{
    return virtqueue_kick_prepare(driver->queue);
}

void *kernel_driver_get(struct kernel_driver *driver, unsigned *written)
{
    return virtqueue_get_buf(driver->queue, written);
}

bool kernel_driver_enable(struct kernel_driver *driver)
{
    return virtqueue_enable_cb(driver->queue);
}

bool kernel_driver_broken(struct kernel_driver *driver)
{
    return virtqueue_is_broken(driver->queue);
}

/* The requests in flight, and the rooms in the window that are free for more. */
struct pool {
    struct request *requests;
    unsigned *idle;
    unsigned count;
};

static uint64_t send_some(struct kernel_driver *driver, struct pool *pool, uint64_t first_request, uint64_t limit,
                          uint64_t *random, uint64_t *digest)
{
    uint64_t sent = 0;

    while (pool->count && sent < limit) {
        unsigned room = pool->idle[pool->count - 1];
        struct request *request = &pool->requests[room];

        request_make(request, kernel_window, first_request + (uint64_t)room * REQUEST_STRIDE, random);
        if (kernel_driver_add(driver, request->pieces, request->readable, request->writable, request))
            break;
        *digest += request_digest(request);
        pool->count--;
        sent++;
    }
    return sent;
}

static const char *take_back(struct kernel_driver *driver, struct pool *pool, uint64_t *returned)
{
    struct request *request;
    unsigned written;

    while ((request = kernel_driver_get(driver, &written))) {
        const char *wrong = request_check(request, kernel_window, written);

        if (wrong)
            return wrong;
        pool->idle[pool->count++] = request - pool->requests;
        ++*returned;
    }
    return kernel_driver_broken(driver) ? last_complaint() : NULL;
}

static const char *exchange(struct kernel_driver *driver, struct pool *pool, uint64_t first_request, uint64_t total,
                            unsigned burst, uint64_t seed, int kick, int call, uint64_t *digest)
{
    uint64_t sent = 0, returned = 0;

    while (returned < total) {
        uint64_t before = returned;
        uint64_t limit = 1 + next_random(&seed) % burst;
        uint64_t added = send_some(driver, pool, first_request, total - sent < limit ? total - sent : limit, &seed,
                                   digest);
        const char *wrong;

        sent += added;
        if (added && kernel_driver_kick(driver))
            bell_ring(kick);
        wrong = take_back(driver, pool, &returned);
        if (wrong)
            return wrong;
        if (added || returned != before)
            continue;
        virtqueue_disable_cb(driver->queue);
        if (kernel_driver_enable(driver) && !bell_wait(call))
            return "the device did not notify the kernel's driver";
    }
    return NULL;
}

const char *kernel_driver_run(struct kernel_driver *driver, unsigned size, uint64_t first_request, uint64_t total,
                              unsigned burst, uint64_t seed, int kick, int call, uint64_t *digest)
{
    struct pool pool = {.requests = calloc(size, sizeof *pool.requests), .idle = calloc(size, sizeof *pool.idle)};
    const char *wrong = "out of memory";

    if (pool.requests && pool.idle) {
        while (pool.count < size) {
            pool.idle[pool.count] = pool.count;
            pool.count++;
        }
        wrong = exchange(driver, &pool, first_request, total, burst, seed, kick, call, digest);
    }
    free(pool.requests);
    free(pool.idle);
    return wrong;
}
