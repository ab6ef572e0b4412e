# SPDX-License-Identifier: MIT

@cython.final
cdef class DeviceQueue:
    def __cinit__(self, Window window not None, size, desc, driver, device, *, bint event_idx, bint indirect, index=0,
                  minimum=0):
        ring_open(&self.queue.ring, window, size, desc, driver, device, event_idx, indirect, minimum)
        check_index(index)
        self.queue.last_avail = self.queue.seen_avail = self.queue.used = self.queue.published = index
        self.queue.in_flight = <uint8_t *>calloc(size, sizeof(uint8_t))
        self.scratch.segments = <segment *>calloc(size, sizeof(segment))
        if self.queue.in_flight is NULL or self.scratch.segments is NULL:
            raise MemoryError
        self.window = window

    def __dealloc__(self):
        free(self.queue.in_flight)
        free(self.scratch.segments)

    @property
    def size(self):
        return self.queue.ring.size

    @property
    def desc(self):
        return self.queue.ring.desc - self.queue.ring.base

    @property
    def driver(self):
        return self.queue.ring.driver - self.queue.ring.base

    @property
    def device(self):
        return self.queue.ring.device - self.queue.ring.base

    @property
    def in_flight(self):
        return self.queue.in_flight_count

    @property
    def broken(self):
        return self.queue.broken.code != 0

    @property
    def index(self):
        return self.queue.used

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

    def pop(self):
        cdef int result
        self.window.check_open()
        result = split_device_pop(&self.queue, &self.scratch)
        if result < 0:
            raise violation_error(&self.queue.broken)
        return chain_from(self, &self.scratch) if result else None

    def push(self, Chain chain not None, written):
        self.window.check_open()
        if chain.queue is not self:
            raise ValueError(f"the chain at head {chain.record.head} was popped from another queue")
        chain_check_held(chain)
        if not 0 <= written <= min(chain.record.writable_length, <uint64_t>0xffffffff):
            raise ValueError(
                f"{written} bytes cannot have been written to {chain.record.writable_length} writable ones"
            )
        chain.returned = True
        split_device_push(&self.queue, chain.record.head, written)

    def publish(self):
        self.window.check_open()
        return bool(split_device_publish(&self.queue))

    def enable_notifications(self):
        cdef int waiting
        self.window.check_open()
        waiting = split_device_enable(&self.queue)
        if waiting < 0:
            raise violation_error(&self.queue.broken)
        return waiting > 0

    def disable_notifications(self):
        self.window.check_open()
        split_device_disable(&self.queue)

    def pending(self):
        cdef int waiting
        self.window.check_open()
        waiting = split_device_pending(&self.queue)
        if waiting < 0:
            raise violation_error(&self.queue.broken)
        return waiting
