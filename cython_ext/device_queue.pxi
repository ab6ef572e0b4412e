# SPDX-License-Identifier: MIT

@cython.final
cdef class DeviceQueue:
    def __cinit__(self, Window window not None, size, desc, driver, device, *, bint event_idx, bint indirect, index=0,
                  minimum=0, Window record=None, record_offset=0, bint resume=False, bint answered=False, owner=0,
                  owner_word=0, hint=0):
        ring_open(&self.queue.ring, window, size, desc, driver, device, event_idx, indirect, minimum)
        check_index(index)
        self.queue.last_avail = self.queue.seen_avail = self.queue.used = self.queue.published = index
        self.queue.next_sequence = 1
        self.queue.in_flight = <uint8_t *>calloc(size, sizeof(uint8_t))
        self.queue.batch = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.queue.redo = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.scratch.segments = <segment *>calloc(size, sizeof(segment))
        if (self.queue.in_flight is NULL or self.queue.batch is NULL or self.queue.redo is NULL
                or self.scratch.segments is NULL):
            raise MemoryError
        self.window = window
        device_share_ring(self, owner, owner_word, hint)
        if record is not None:
            device_keep_record(self, record, record_offset, resume, answered)

    def __dealloc__(self):
        free(self.queue.in_flight)
        free(self.queue.batch)
        free(self.queue.redo)
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
        device_check_open(self)
        result = split_device_pop(&self.queue, &self.scratch)
        if result < 0:
            raise violation_error(&self.queue.broken)
        return chain_from(self, &self.scratch) if result else None

    def push(self, Chain chain not None, written):
        device_check_open(self)
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
        device_check_open(self)
        return bool(split_device_publish(&self.queue))

    def enable_notifications(self):
        cdef int waiting
        device_check_open(self)
        waiting = split_device_enable(&self.queue)
        if waiting < 0:
            raise violation_error(&self.queue.broken)
        return waiting > 0

    def disable_notifications(self):
        device_check_open(self)
        split_device_disable(&self.queue)

    def pending(self):
        cdef int waiting
        device_check_open(self)
        waiting = split_device_pending(&self.queue)
        if waiting < 0:
            raise violation_error(&self.queue.broken)
        return waiting


cdef int device_keep_record(DeviceQueue queue, Window record, offset, bint resume, bint answered) except -1:
    """Keep the record of the queue at that place from now on; first go on from it, or begin it."""
    if not record.writable:
        raise TypeError("the record of a queue needs a writable window")
    if offset % 8:
        raise ValueError(f"the record of a queue at {offset:#x} is not a multiple of 8")
    queue.queue.record = record.at(offset, QUEUE_RECORD_SIZE + TAKEN_RECORD_SIZE * <uint64_t>queue.queue.ring.size)
    queue.record = record
    queue.resumed = resume
    if resume:
        record_resume(queue, answered)
    else:
        record_begin(&queue.queue)
    return 0


cdef int device_check_open(DeviceQueue queue) except -1:
    """Neither the window nor the record was closed under the queue."""
    if queue.record is not None:
        queue.record.check_open()
    return queue.window.check_open()
