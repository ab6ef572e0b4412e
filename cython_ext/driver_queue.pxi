# SPDX-License-Identifier: MIT

@cython.final
cdef class DriverQueue:
    def __cinit__(self, Window window not None, size, desc, driver, device, *, bint event_idx, bint indirect,
                  bint packed=False, index=None):
        ring_open(&self.ring.place, window, size, desc, driver, device, packed, event_idx, indirect, 0)
        self.ring.packed = packed
        self.ring.next = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.ring.taken = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.ring.visible = <uint8_t *>calloc(size, sizeof(uint8_t))
        self.ring.order = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.ring.writable = <uint64_t *>calloc(size, sizeof(uint64_t))
        self.scratch = <segment *>calloc(size, sizeof(segment))
        if (self.ring.next is NULL or self.ring.taken is NULL or self.ring.visible is NULL
                or self.ring.order is NULL or self.ring.writable is NULL or self.scratch is NULL):
            raise MemoryError
        self.tokens = [None] * size
        self.window = window
        if packed:
            packed_driver_reset(&self.ring, first_index(index, packed, size))
        else:
            driver_reset(&self.ring, first_index(index, packed, size))

    def __dealloc__(self):
        free(self.ring.next)
        free(self.ring.taken)
        free(self.ring.visible)
        free(self.ring.order)
        free(self.ring.writable)
        free(self.scratch)

    @property
    def packed(self):
        return bool(self.ring.packed)

    @property
    def size(self):
        return self.ring.place.size

    @property
    def free(self):
        return self.ring.free

    @property
    def broken(self):
        return self.ring.broken.code != 0

    @property
    def chains(self):
        return self.ring.chains

    @property
    def bytes(self):
        return self.ring.bytes

    @property
    def notifications_wanted(self):
        return self.ring.wanted

    @property
    def notifications_suppressed(self):
        return self.ring.suppressed

    def add(self, readable, writable, token, table=None):
        cdef uint32_t readables = len(readable)
        cdef uint32_t writables = len(writable)
        cdef int head
        self.window.check_open()
        if self.ring.broken.code:
            raise violation_error(&self.ring.broken)
        driver_fill_scratch(self, readable, writable)
        if table is None:
            head = driver_ring_add(&self.ring, self.scratch, readables, writables)
        else:
            if not self.ring.place.indirect:
                raise ValueError("an indirect table needs VIRTIO_F_INDIRECT_DESC (virtio 1.4, 2.7.5.3.1)")
            self.window.at(table, DESC_SIZE * (readables + writables))
            head = driver_ring_add_indirect(&self.ring, self.scratch, readables, writables, table)
        if head < 0:
            raise errors.RingFull(
                f"{readables + writables} segments do not fit the {self.ring.free} free descriptors of {self.size}:"
                " take used chains first"
            )
        self.tokens[head] = token

    def publish(self):
        self.window.check_open()
        return bool(driver_ring_publish(&self.ring))

    def get(self):
        cdef uint16_t head
        cdef uint32_t written
        cdef int result
        self.window.check_open()
        result = driver_ring_get(&self.ring, &head, &written)
        if result < 0:
            raise violation_error(&self.ring.broken)
        if not result:
            return None
        token = self.tokens[head]
        self.tokens[head] = None
        return token, written

    def enable_callbacks(self):
        self.window.check_open()
        return bool(driver_ring_enable(&self.ring))

    def disable_callbacks(self):
        self.window.check_open()
        driver_ring_disable(&self.ring)


cdef int driver_fill_scratch(DriverQueue queue, readable, writable) except -1:
    """Check the caller's segments and copy them, readable ones first."""
    cdef uint64_t total = 0
    cdef uint32_t count = 0
    cdef uint64_t offset
    cdef uint32_t length
    segments = (*readable, *writable)
    if not segments:
        raise ValueError("a chain has at least one segment (virtio 1.4, 2.7.13.1)")
    if len(segments) > queue.ring.place.size:
        raise ValueError(
            f"{len(segments)} segments are more than the queue size {queue.ring.place.size} (virtio 1.4, 2.7.5.3.1)"
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
