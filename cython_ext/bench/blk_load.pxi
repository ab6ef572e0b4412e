# SPDX-License-Identifier: MIT
# Block requests kept in flight on one queue (virtio 1.4, 5.2.6).

cdef enum:
    SECTOR = 512
    REQUEST_HEADER = 16
    BLK_IN = 0
    BLK_OUT = 1
    STATUS_UNSET = 0xff
    SLOT_ALIGNMENT = 4096
    SPINS_PER_LOOK = 256        # looks at the ring between two at the clock
    SILENCE_MILLISECONDS = 1000


# A device that returns nothing for so long has lost what it was given.
cdef uint64_t PATIENCE = 5 * <uint64_t>1000000000


# One request's place in the window: header and status in a page of their own, then its data.
cdef struct blk_slot:
    uint64_t header
    uint64_t data
    uint64_t status
    uint64_t sector
    uint64_t since


cdef struct blk_load:
    driver_ring *ring
    uint8_t *base
    bell bell
    blk_slot *slots
    uint32_t *slot_of           # by the number the ring gave a chain
    uint32_t *idle              # slots not in flight
    uint32_t idle_count
    uint32_t depth
    uint32_t size
    uint64_t sectors            # that are used of the disk
    uint64_t next_sector
    uint64_t random
    bint write
    bint sequential
    bint check
    bint timed
    uint64_t requests
    uint64_t errors
    histogram latencies


cdef uint64_t blk_choose_sector(blk_load *load) noexcept nogil:
    cdef uint64_t step = load.size // SECTOR
    cdef uint64_t sector
    if not load.sequential:
        return next_random(&load.random) % (load.sectors // step) * step
    sector = load.next_sector
    load.next_sector = sector + step if sector + 2 * step <= load.sectors else 0
    return sector


cdef bint blk_submit(blk_load *load, uint32_t number, uint64_t time) noexcept nogil:
    cdef blk_slot *slot = &load.slots[number]
    cdef segment[3] parts
    cdef int name
    slot.sector = blk_choose_sector(load)
    slot.since = time
    (<uint32_t *>(load.base + slot.header))[0] = BLK_OUT if load.write else BLK_IN
    (<uint64_t *>(load.base + slot.header + 8))[0] = slot.sector
    load.base[slot.status] = STATUS_UNSET
    parts[0].offset = slot.header
    parts[0].length = REQUEST_HEADER
    parts[1].offset = slot.data
    parts[1].length = load.size
    parts[2].offset = slot.status
    parts[2].length = 1
    name = driver_ring_add(load.ring, parts, 2 if load.write else 1, 1 if load.write else 2)
    if name < 0:
        return False
    load.slot_of[name] = number
    return True


cdef inline bint blk_answered_well(blk_load *load, blk_slot *slot) noexcept nogil:
    if load.base[slot.status] != 0:
        return False
    # An image made for checking has each sector's number in its first 8 bytes.
    return not load.check or (<uint64_t *>(load.base + slot.data))[0] == slot.sector


cdef int blk_reap(blk_load *load, bint count) noexcept nogil:
    """Take back what came back; how many, or -1 where the device broke the ring."""
    cdef uint16_t name
    cdef uint32_t written
    cdef int got, reaped = 0
    cdef blk_slot *slot
    while True:
        got = driver_ring_get(load.ring, &name, &written)
        if got <= 0:
            return -1 if got < 0 else reaped
        reaped += 1
        slot = &load.slots[load.slot_of[name]]
        if not blk_answered_well(load, slot):
            load.errors += 1
        if count:
            load.requests += 1
        load.idle[load.idle_count] = load.slot_of[name]
        load.idle_count += 1


cdef void blk_refill(blk_load *load, uint64_t time) noexcept nogil:
    """Everything idle goes out again, with one look at whether the device wants to be kicked."""
    while load.idle_count:
        if not blk_submit(load, load.idle[load.idle_count - 1], time):
            break
        load.idle_count -= 1
    if driver_ring_publish(load.ring):
        bell_kick(&load.bell)


cdef int blk_wait(blk_load *load, bint polled) noexcept nogil:
    """Until something may have come back."""
    if polled:
        bench_pause()
        return 0
    if not driver_ring_enable(load.ring):
        bell_wait(&load.bell, SILENCE_MILLISECONDS)
    driver_ring_disable(load.ring)
    return 0


cdef uint64_t blk_timed_run(blk_load *load, uint64_t span, bint polled) noexcept nogil:
    """One request after the other, each timed; the time taken."""
    cdef uint64_t start = now()
    cdef uint64_t since = start
    cdef uint64_t time = start
    cdef uint32_t spins = 0
    cdef int reaped
    while time - start < span:
        blk_refill(load, time)
        since = time
        spins = 0
        while True:
            reaped = blk_reap(load, True)
            if reaped:
                break
            blk_wait(load, polled)
            spins += 1
            if (not polled or spins % SPINS_PER_LOOK == 0) and now() - since > PATIENCE:
                return now() - start
        if reaped < 0:
            break
        time = now()
        histogram_add(&load.latencies, time - since)
    return time - start


cdef uint64_t blk_deep_run(blk_load *load, uint64_t span, bint polled) noexcept nogil:
    """As many in flight as may be; the time taken."""
    cdef uint64_t start = now()
    cdef uint64_t time = start
    cdef uint64_t progress = start
    cdef uint32_t turn = 0
    cdef int reaped
    blk_refill(load, start)
    while True:
        reaped = blk_reap(load, True)
        if reaped < 0:
            break
        if reaped:
            blk_refill(load, 0)
        else:
            blk_wait(load, polled)
        turn += 1
        if not polled or turn % SPINS_PER_LOOK == 0:
            time = now()
            if reaped:
                progress = time
            if time - start >= span or time - progress > PATIENCE:
                break
    return now() - start


cdef void blk_collect(blk_load *load) noexcept nogil:
    """What is still out comes back, uncounted, so that the queue can be used again."""
    cdef uint64_t start = now()
    while load.idle_count < load.depth and now() - start < PATIENCE:
        if blk_reap(load, False) < 0:
            return
        bench_pause()


@cython.final
cdef class BlkLoad:
    cdef blk_load load
    cdef DriverQueue queue

    def __cinit__(self, DriverQueue queue not None, int kick, int call, *, uint64_t base, uint64_t room,
                  uint32_t depth, uint32_t size, uint64_t span, bint write=False, bint sequential=False,
                  bint check=False):
        cdef uint64_t pitch = SLOT_ALIGNMENT + (size + SLOT_ALIGNMENT - 1) // SLOT_ALIGNMENT * SLOT_ALIGNMENT
        if not depth or 3 * depth > queue.ring.place.size:
            raise ValueError(f"{depth} requests of 3 descriptors do not fit a queue of {queue.ring.place.size}")
        if not size or size % SECTOR or span < size:
            raise ValueError(f"requests of {size} bytes on {span} bytes: whole sectors, and at most the disk")
        if room < pitch * depth:
            raise ValueError(f"{depth} requests of {size} bytes need {pitch * depth} bytes of window, not {room}")
        queue.window.at(base, room)
        self.queue = queue
        self.load.ring = &queue.ring
        self.load.bell.kick = kick
        self.load.bell.call = call
        self.load.depth = depth
        self.load.size = size
        self.load.sectors = span // SECTOR
        self.load.random = 0x9e3779b97f4a7c15
        self.load.write = write
        self.load.sequential = sequential
        self.load.check = check
        self.load.slots = <blk_slot *>calloc(depth, sizeof(blk_slot))
        self.load.idle = <uint32_t *>calloc(depth, sizeof(uint32_t))
        self.load.slot_of = <uint32_t *>calloc(queue.ring.place.size, sizeof(uint32_t))
        if self.load.slots is NULL or self.load.idle is NULL or self.load.slot_of is NULL:
            raise MemoryError
        blk_lay_out(self, base, pitch)

    def __dealloc__(self):
        free(self.load.slots)
        free(self.load.idle)
        free(self.load.slot_of)

    def run(self, double seconds, *, bint polled):
        cdef uint64_t span = nanoseconds(seconds)
        cdef uint64_t taken
        cdef Window window = self.queue.window
        window.check_open()
        blk_begin(self)
        window.exports += 1
        try:
            with nogil:
                driver_ring_disable(self.load.ring)
                if self.load.depth == 1:
                    taken = blk_timed_run(&self.load, span, polled)
                else:
                    taken = blk_deep_run(&self.load, span, polled)
                blk_collect(&self.load)
        finally:
            window.exports -= 1
        return Outcome(self.load.requests, taken / 1e9, self.load.errors + self.load.depth - self.load.idle_count,
                       self.load.bell.kicks, self.load.bell.interrupts, percentiles(&self.load.latencies))


cdef void blk_lay_out(BlkLoad owner, uint64_t base, uint64_t pitch):
    cdef blk_load *load = &owner.load
    cdef uint32_t i
    for i in range(load.depth):
        load.slots[i].header = base + i * pitch
        # A line of its own: the device writes the status while the driver fills in the next header.
        load.slots[i].status = base + i * pitch + 64
        load.slots[i].data = base + i * pitch + SLOT_ALIGNMENT
        load.idle[i] = load.depth - 1 - i
        memset(owner.queue.window.base + load.slots[i].header, 0, REQUEST_HEADER)
    load.idle_count = load.depth


cdef void blk_begin(BlkLoad owner):
    cdef blk_load *load = &owner.load
    load.base = owner.queue.window.base
    load.requests = load.errors = load.bell.kicks = load.bell.interrupts = 0
    load.next_sector = 0
    memset(&load.latencies, 0, sizeof(histogram))
    bell_drain(&load.bell)
