# SPDX-License-Identifier: MIT

@cython.final
cdef class DeviceQueue:
    def __cinit__(self, Window window not None, size, desc, driver, device, *, bint event_idx, bint indirect,
                  bint packed=False, index=None, minimum=0, Window record=None, record_offset=0, bint resume=False,
                  bint answered=False, answered_at=None, owner=0, owner_word=0, hint=0):
        ring_open(&self.ring.place, window, size, desc, driver, device, packed, event_idx, indirect, minimum)
        self.ring.packed = packed
        self.ring.last_avail = first_index(index, packed, size)
        self.ring.seen_avail = self.ring.used = self.ring.published = self.ring.last_avail
        self.ring.asked = NOTHING_ASKED
        self.ring.next_sequence = 1
        self.ring.in_flight = <uint8_t *>calloc(size, sizeof(uint8_t))
        self.ring.batch = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.ring.redo = <uint16_t *>calloc(size, sizeof(uint16_t))
        self.scratch.segments = <segment *>calloc(size, sizeof(segment))
        if (self.ring.in_flight is NULL or self.ring.batch is NULL or self.ring.redo is NULL
                or self.scratch.segments is NULL):
            raise MemoryError
        self.window = window
        device_share_ring(self, owner, owner_word, hint)
        if record is not None:
            device_keep_record(self, record, record_offset, resume, answered, answered_at)

    def __dealloc__(self):
        free(self.ring.in_flight)
        free(self.ring.batch)
        free(self.ring.redo)
        free(self.ring.copy_next)
        free(self.ring.copy_first)
        free(self.ring.copy_count)
        free(self.scratch.segments)

    @property
    def packed(self):
        return bool(self.ring.packed)

    @property
    def size(self):
        return self.ring.place.size

    @property
    def desc(self):
        return self.ring.place.desc - self.ring.place.base

    @property
    def driver(self):
        return self.ring.place.driver - self.ring.place.base

    @property
    def device(self):
        return self.ring.place.device - self.ring.place.base

    @property
    def in_flight(self):
        return self.ring.in_flight_count

    @property
    def broken(self):
        return self.ring.broken.code != 0

    @property
    def index(self):
        return self.ring.used

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

    def pop(self):
        cdef int result
        device_check_open(self)
        result = device_ring_pop(&self.ring, &self.scratch)
        if result < 0:
            raise violation_error(&self.ring.broken)
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
        device_ring_push(&self.ring, &chain.record, written)

    def watch(self, watcher not None):
        self.watcher = watcher
        self.ring.watched = <PyObject *>self

    def publish(self):
        device_check_open(self)
        return bool(device_ring_publish(&self.ring))

    def enable_notifications(self):
        cdef int waiting
        device_check_open(self)
        waiting = device_ring_enable(&self.ring)
        if waiting < 0:
            raise violation_error(&self.ring.broken)
        return waiting > 0

    def disable_notifications(self):
        device_check_open(self)
        device_ring_disable(&self.ring)

    def pending(self):
        cdef int waiting
        device_check_open(self)
        waiting = device_ring_pending(&self.ring)
        if waiting < 0:
            raise violation_error(&self.ring.broken)
        return waiting


cdef int device_keep_record(DeviceQueue queue, Window record, offset, bint resume, bint answered,
                            answered_at) except -1:
    """Keep the record of the queue at that place from now on; first go on from it, or begin it."""
    if not record.writable:
        raise TypeError("the record of a queue needs a writable window")
    if offset % 8:
        raise ValueError(f"the record of a queue at {offset:#x} is not a multiple of 8")
    queue.ring.record = record.at(offset, QUEUE_RECORD_SIZE + TAKEN_RECORD_SIZE * <uint64_t>queue.ring.place.size)
    queue.record = record
    queue.resumed = resume
    if queue.ring.packed:
        packed_keep_copies(&queue.ring, record, offset)
    if resume:
        if answered_at is not None:
            answered_at = first_index(answered_at, queue.ring.packed, queue.ring.place.size)
        record_resume(queue, answered, -1 if answered_at is None else answered_at)
    else:
        record_begin(&queue.ring)
    return 0


cdef int device_check_open(DeviceQueue queue) except -1:
    """Neither the window nor the record was closed under the queue."""
    if queue.record is not None:
        queue.record.check_open()
    return queue.window.check_open()
