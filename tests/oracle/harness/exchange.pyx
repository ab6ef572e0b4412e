# SPDX-License-Identifier: MIT
"""Our rings against the kernel's: one loop for each side, all of it compiled and without the GIL."""

cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ivshmem_virtio.core cimport (
    DeviceQueue,
    DriverQueue,
    Window,
    chain_record,
    device_ring,
    device_ring_disable,
    device_ring_enable,
    device_ring_pop,
    device_ring_publish,
    device_ring_push,
    driver_ring,
    driver_ring_add,
    driver_ring_add_indirect,
    driver_ring_disable,
    driver_ring_enable,
    driver_ring_get,
    driver_ring_publish,
    segment,
    segments_gather,
    segments_scatter,
)


cdef extern from "requests.h" nogil:
    cdef enum:
        SEGMENTS_EACH_WAY
        SEGMENT_BYTES
        REQUEST_STRIDE
        TABLE_OFFSET
    struct piece:
        uint64_t offset
        uint32_t length
    struct request:
        piece *pieces
        uint32_t readable
        uint32_t writable
        uint64_t start
    uint64_t next_random(uint64_t *state)
    void request_make(request *made, unsigned char *window, uint64_t start, uint64_t *random)
    uint64_t bytes_digest(const unsigned char *data, uint32_t length)
    uint64_t request_digest(const request *made)
    uint32_t answer(const unsigned char *source, uint32_t length, unsigned char *out, uint32_t room)
    const char *request_check(const request *made, const unsigned char *window, uint32_t written)


cdef extern from "bell.h" nogil:
    cdef enum:
        SPIN_KICK
        SPIN_CALL
    void bell_reset()
    void bell_ring(int fd)
    int bell_wait(int fd)


cdef extern from "kernel_window.h" nogil:
    void window_use(unsigned char *window, size_t rings, size_t tables, size_t end)
    const char *last_complaint()


cdef extern from "kernel_driver.h" nogil:
    struct kernel_driver
    kernel_driver *kernel_driver_new(unsigned size, bint packed, bint indirect, bint event_idx)
    void kernel_driver_delete(kernel_driver *driver)
    uint64_t kernel_driver_desc(kernel_driver *driver)
    uint64_t kernel_driver_avail(kernel_driver *driver)
    uint64_t kernel_driver_used(kernel_driver *driver)
    int kernel_driver_add(kernel_driver *driver, const piece *pieces, unsigned readable, unsigned writable, void *token)
    bint kernel_driver_kick(kernel_driver *driver)
    void *kernel_driver_get(kernel_driver *driver, unsigned *written)
    bint kernel_driver_broken(kernel_driver *driver)
    const char *kernel_driver_run(kernel_driver *driver, unsigned size, uint64_t first_request, uint64_t total,
                                  unsigned burst, uint64_t seed, int kick, int call, uint64_t *digest)


cdef extern from "kernel_device.h" nogil:
    struct kernel_device
    kernel_device *kernel_device_new(unsigned char *window, size_t length, unsigned size, uint64_t desc,
                                     uint64_t avail, uint64_t used, bint event_idx)
    void kernel_device_delete(kernel_device *device)
    int kernel_device_serve_one(kernel_device *device)
    const char *kernel_device_run(kernel_device *device, uint64_t total, unsigned burst, uint64_t seed, int kick,
                                  int call, uint64_t *digest)


# Longest batch our device holds, to complete it in another order than it came.
cdef enum:
    BATCH = 32
    BUFFER = 2 * 3 * 96


def spin_bells():
    """A fresh pair of bells to spin on, as (kick, call)."""
    bell_reset()
    return SPIN_KICK, SPIN_CALL


@cython.no_gc_clear
cdef class LinuxDriver:
    """The kernel's driver side; rings, tables and requests have their places in the window."""

    cdef kernel_driver *driver
    cdef Window window          # kept: the kernel code holds pointers into it
    cdef unsigned size

    def __cinit__(self, Window window, unsigned size, *, bint indirect, bint event_idx, size_t rings, size_t tables,
                  size_t end, bint packed=False):
        self.window = window
        self.size = size
        window_use(window.base, rings, tables, end)
        self.driver = kernel_driver_new(size, packed, indirect, event_idx)
        if self.driver is NULL:
            raise MemoryError("the kernel could not create a ring in the window")

    def __dealloc__(self):
        if self.driver is not NULL:
            kernel_driver_delete(self.driver)

    @property
    def desc(self):
        return kernel_driver_desc(self.driver)

    @property
    def avail(self):
        return kernel_driver_avail(self.driver)

    @property
    def used(self):
        return kernel_driver_used(self.driver)

    @property
    def broken(self):
        return bool(kernel_driver_broken(self.driver))

    @property
    def complaint(self):
        return last_complaint().decode()

    def add(self, uint64_t offset, uint32_t length, size_t token, *, unsigned segments=1):
        """A chain of equal writable segments, one behind the other."""
        cdef piece[3] pieces
        cdef unsigned i
        for i in range(segments):
            pieces[i].offset = offset + i * length
            pieces[i].length = length
        if kernel_driver_add(self.driver, pieces, 0, segments, <void *>token):
            raise MemoryError("the kernel's ring is full")

    def kick(self):
        return bool(kernel_driver_kick(self.driver))

    def get(self):
        cdef unsigned written = 0
        cdef size_t token = <size_t>kernel_driver_get(self.driver, &written)
        return (token, written) if token else None

    def run(self, uint64_t first_request, uint64_t total, unsigned burst, uint64_t seed, int kick, int call):
        cdef const char *wrong
        cdef uint64_t digest = 0
        with nogil:
            wrong = kernel_driver_run(self.driver, self.size, first_request, total, burst, seed, kick, call, &digest)
        if wrong is not NULL:
            raise AssertionError(wrong.decode())
        return digest


@cython.no_gc_clear
cdef class LinuxDevice:
    """The kernel's device side."""

    cdef kernel_device *device
    cdef Window window          # kept: the kernel code holds pointers into it

    def __cinit__(self, Window window, unsigned size, uint64_t desc, uint64_t avail, uint64_t used, *, bint event_idx):
        self.window = window
        self.device = kernel_device_new(window.base, window.length, size, desc, avail, used, event_idx)
        if self.device is NULL:
            raise ValueError("the kernel's device side did not take the ring")

    def __dealloc__(self):
        if self.device is not NULL:
            kernel_device_delete(self.device)

    def serve_one(self):
        return kernel_device_serve_one(self.device)

    def run(self, uint64_t total, unsigned burst, uint64_t seed, int kick, int call):
        cdef const char *wrong
        cdef uint64_t digest = 0
        with nogil:
            wrong = kernel_device_run(self.device, total, burst, seed, kick, call, &digest)
        if wrong is not NULL:
            raise AssertionError(wrong.decode())
        return digest


cdef uint32_t answer_chain(unsigned char *base, const chain_record *chain, uint64_t *digest) noexcept nogil:
    cdef unsigned char[BUFFER] source
    cdef unsigned char[BUFFER] out
    cdef uint32_t length = <uint32_t>segments_gather(base, chain.segments, chain.readable, 0, source, BUFFER)
    cdef uint32_t count = answer(source, length, out, BUFFER)
    digest[0] += bytes_digest(source, length)
    return <uint32_t>segments_scatter(base, chain.segments + chain.readable, chain.writable, 0, out, count)


cdef void push_shuffled(device_ring *queue, chain_record *taken, uint32_t *written, uint32_t count,
                        uint64_t *random) noexcept nogil:
    cdef uint64_t pick
    while count:
        pick = next_random(random) % count
        count -= 1
        device_ring_push(queue, &taken[pick], written[pick])
        taken[pick] = taken[count]
        written[pick] = written[count]


cdef const char *device_run(device_ring *queue, chain_record *chain, uint64_t total, unsigned burst, uint64_t seed,
                            int kick, int call, uint64_t *digest) noexcept nogil:
    cdef chain_record[BATCH] taken  # without their segments, which a push does not need
    cdef uint32_t[BATCH] written
    cdef uint64_t done = 0
    cdef uint32_t count
    cdef uint32_t limit
    cdef int got = 0
    while done < total:
        count = 0
        limit = <uint32_t>(1 + next_random(&seed) % min(burst, <unsigned>BATCH))
        while count < limit:
            got = device_ring_pop(queue, chain)
            if got <= 0:
                break
            taken[count] = chain[0]
            written[count] = answer_chain(queue.place.base, chain, digest)
            count += 1
        if got < 0:
            return "our device side refused a chain of the kernel's driver"
        if count:
            push_shuffled(queue, taken, written, count, &seed)
            done += count
            if device_ring_publish(queue):
                bell_ring(call)
            continue
        if not device_ring_enable(queue) and not bell_wait(kick):
            return "the driver did not notify our device"
        device_ring_disable(queue)
    return NULL


def serve(DeviceQueue queue, uint64_t total, unsigned burst, uint64_t seed, int kick, int call):
    """Our device side answers `total` requests; the digest of what it read."""
    cdef const char *wrong
    cdef uint64_t digest = 0
    with nogil:
        wrong = device_run(&queue.ring, &queue.scratch, total, burst, seed, kick, call, &digest)
    if wrong is not NULL:
        raise AssertionError(wrong.decode())
    return digest


cdef struct driver_pool:
    request *requests           # by room
    uint32_t *idle              # rooms without a request
    uint32_t *room_of           # by head: the room of the chain in flight
    uint32_t count


cdef uint64_t driver_send(driver_ring *queue, driver_pool *pool, uint64_t first_request, uint64_t limit,
                          uint64_t *random, uint64_t *digest) noexcept nogil:
    cdef uint64_t sent = 0
    cdef uint32_t room
    cdef request *made
    cdef int head
    while pool.count and sent < limit:
        room = pool.idle[pool.count - 1]
        made = &pool.requests[room]
        request_make(made, queue.place.base, first_request + room * <uint64_t>REQUEST_STRIDE, random)
        if queue.place.indirect and room & 1:
            head = driver_ring_add_indirect(queue, <const segment *>made.pieces, made.readable, made.writable,
                                             made.start + TABLE_OFFSET)
        else:
            head = driver_ring_add(queue, <const segment *>made.pieces, made.readable, made.writable)
        if head < 0:
            break
        digest[0] += request_digest(made)
        pool.room_of[head] = room
        pool.count -= 1
        sent += 1
    return sent


cdef const char *driver_run(driver_ring *queue, driver_pool *pool, uint64_t first_request, uint64_t total,
                            unsigned burst, uint64_t seed, int kick, int call, uint64_t *digest) noexcept nogil:
    cdef uint64_t sent = 0
    cdef uint64_t returned = 0
    cdef uint64_t before, added, limit
    cdef uint16_t head
    cdef uint32_t written
    cdef int got
    cdef const char *wrong
    driver_ring_disable(queue)
    while returned < total:
        before = returned
        limit = min(total - sent, 1 + next_random(&seed) % burst)
        added = driver_send(queue, pool, first_request, limit, &seed, digest)
        sent += added
        if driver_ring_publish(queue):
            bell_ring(kick)
        while True:
            got = driver_ring_get(queue, &head, &written)
            if got <= 0:
                break
            wrong = request_check(&pool.requests[pool.room_of[head]], queue.place.base, written)
            if wrong is not NULL:
                return wrong
            pool.idle[pool.count] = pool.room_of[head]
            pool.count += 1
            returned += 1
        if got < 0:
            return "our driver side refused a used element of the kernel's device"
        if added or returned != before:
            continue
        if not driver_ring_enable(queue) and not bell_wait(call):
            return "the device did not notify our driver"
        # Off while there is work, so that enabling them is what the next sleep depends on.
        driver_ring_disable(queue)
    return NULL


def drive(DriverQueue queue, uint64_t first_request, uint64_t total, unsigned burst, uint64_t seed, int kick, int call):
    """Our driver side sends `total` requests and checks the answers; the digest of what it sent."""
    cdef driver_pool pool
    cdef const char *wrong = "out of memory"
    cdef uint64_t digest = 0
    cdef uint32_t size = queue.ring.place.size
    pool.requests = <request *>calloc(size, sizeof(request))
    pool.idle = <uint32_t *>calloc(size, sizeof(uint32_t))
    pool.room_of = <uint32_t *>calloc(size, sizeof(uint32_t))
    pool.count = 0
    if pool.requests is not NULL and pool.idle is not NULL and pool.room_of is not NULL:
        while pool.count < size:
            pool.idle[pool.count] = pool.count
            pool.count += 1
        with nogil:
            wrong = driver_run(&queue.ring, &pool, first_request, total, burst, seed, kick, call, &digest)
    free(pool.requests)
    free(pool.idle)
    free(pool.room_of)
    if wrong is not NULL:
        raise AssertionError(wrong.decode())
    return digest
