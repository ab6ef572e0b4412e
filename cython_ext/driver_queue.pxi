# SPDX-License-Identifier: MIT

@cython.final
cdef class DriverQueue:
    def __cinit__(self, Window window not None, size, desc, driver, device, *, bint event_idx, bint indirect, index=0):
        ring_open(&self.queue.ring, window, size, desc, driver, device, event_idx, indirect, 0)
        check_index(index)
        self.queue.next = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.queue.taken = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.queue.visible = <uint8_t *>calloc(size, sizeof(uint8_t))
        self.queue.order = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.queue.writable = <uint64_t *>calloc(size, sizeof(uint64_t))
        self.scratch = <segment *>calloc(size, sizeof(segment))
        if (self.queue.next is NULL or self.queue.taken is NULL or self.queue.visible is NULL
                or self.queue.order is NULL or self.queue.writable is NULL or self.scratch is NULL):
            raise MemoryError
        self.tokens = [None] * size
        self.window = window
        driver_reset(&self.queue, index)

    def __dealloc__(self):
        free(self.queue.next)
        free(self.queue.taken)
        free(self.queue.visible)
        free(self.queue.order)
        free(self.queue.writable)
        free(self.scratch)

    @property
    def size(self):
        return self.queue.ring.size

    @property
    def free(self):
        return self.queue.free

    @property
    def broken(self):
        return self.queue.broken.code != 0

    @property
    def chains(self):
        return self.queue.chains

    @property
    def bytes(self):
        return self.queue.bytes

    @property
    def notifications_wanted(self):
        return self.queue.wanted

    @property
    def notifications_suppressed(self):
        return self.queue.suppressed

    def add(self, readable, writable, token, table=None):
        cdef uint32_t readables = len(readable)
        cdef uint32_t writables = len(writable)
        cdef int head
        self.window.check_open()
        if self.queue.broken.code:
            raise violation_error(&self.queue.broken)
        driver_fill_scratch(self, readable, writable)
        if table is None:
            head = split_driver_add(&self.queue, self.scratch, readables, writables)
        else:
            if not self.queue.ring.indirect:
                raise ValueError("an indirect table needs VIRTIO_F_INDIRECT_DESC (virtio 1.4, 2.7.5.3.1)")
            self.window.at(table, DESC_SIZE * (readables + writables))
            head = split_driver_add_indirect(&self.queue, self.scratch, readables, writables, table)
        if head < 0:
            raise errors.RingFull(
                f"{readables + writables} segments do not fit the {self.queue.free} free descriptors of {self.size}:"
                " take used chains first"
            )
        self.tokens[head] = token

    def publish(self):
        self.window.check_open()
        return bool(split_driver_publish(&self.queue))

    def get(self):
        cdef uint16_t head
        cdef uint32_t written
        cdef int result
        self.window.check_open()
        result = split_driver_get(&self.queue, &head, &written)
        if result < 0:
            raise violation_error(&self.queue.broken)
        if not result:
            return None
        token = self.tokens[head]
        self.tokens[head] = None
        return token, written

    def enable_callbacks(self):
        self.window.check_open()
        return bool(split_driver_enable(&self.queue))

    def disable_callbacks(self):
        self.window.check_open()
        split_driver_disable(&self.queue)


cdef int driver_fill_scratch(DriverQueue queue, readable, writable) except -1:
    """Check the caller's segments and copy them, readable ones first."""
    cdef uint64_t total = 0
    cdef uint32_t count = 0
    cdef uint64_t offset
    cdef uint32_t length
    segments = (*readable, *writable)
    if not segments:
        raise ValueError("a chain has at least one segment (virtio 1.4, 2.7.13.1)")
    if len(segments) > queue.queue.ring.size:
        raise ValueError(
            f"{len(segments)} segments are more than the queue size {queue.queue.ring.size} (virtio 1.4, 2.7.5.3.1)"
        )
    for offset, length in segments:
        if not length:
            raise ValueError("a segment holds at least one byte")
        queue.window.at(offset, length)
        total += length
        queue.scratch[count].offset = offset
        queue.scratch[count].length = length
        count += 1
    if total > LARGEST_CHAIN:
        raise ValueError(f"a chain of {total} bytes is longer than 2^32 (virtio 1.4, 2.7.5.2)")
    return 0
