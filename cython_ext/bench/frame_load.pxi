# SPDX-License-Identifier: MIT
# Frames sent on one port and received on another by one thread (virtio 1.4, 5.1.6), both rings looked at without pause.

cdef enum:
    NET_HEADER = 12
    NET_BUFFERS = 10            # where it says how many buffers the frame fills
    FRAME_PITCH = 2048          # of one buffer: header, the largest frame, and a new line for the next
    LARGEST_FRAME = 1518
    FRAME_QUIET = 20000000      # nanoseconds
    ADDRESSES = 12              # bytes of destination and source in front of a frame


cdef struct frame_side:
    driver_ring *ring
    uint8_t *base
    bell bell
    uint64_t first              # of its buffers, one after the other
    uint32_t *slot_of           # by the number the ring gave a chain
    uint32_t *idle
    uint32_t idle_count
    uint32_t count
    uint32_t length             # of a buffer the device is given


cdef struct frame_load:
    frame_side out
    frame_side into
    uint32_t frame
    uint32_t burst              # frames between two looks at whether the device wants to be kicked
    bint sending
    uint64_t sent
    uint64_t received
    uint64_t errors


cdef void frame_side_free(frame_side *side) noexcept nogil:
    free(side.slot_of)
    free(side.idle)


cdef int frame_side_open(frame_side *side, DriverQueue queue, int kick, uint64_t first, uint32_t length) except -1:
    cdef uint32_t size = queue.ring.place.size
    cdef uint32_t i
    queue.window.at(first, <uint64_t>size * FRAME_PITCH)
    side.ring = &queue.ring
    side.base = queue.window.base
    side.bell.kick = kick
    side.first = first
    side.length = length
    side.count = side.idle_count = size
    side.slot_of = <uint32_t *>calloc(size, sizeof(uint32_t))
    side.idle = <uint32_t *>calloc(size, sizeof(uint32_t))
    if side.slot_of is NULL or side.idle is NULL:
        raise MemoryError
    for i in range(size):
        side.idle[i] = size - 1 - i
    return 0


cdef uint32_t frame_side_give(frame_side *side, uint32_t most, bint writable) noexcept nogil:
    """Idle buffers go to the device, so many at most; how many did."""
    cdef segment part
    cdef uint32_t given = 0
    cdef uint32_t slot
    cdef int name
    part.length = side.length
    while side.idle_count and given < most:
        slot = side.idle[side.idle_count - 1]
        part.offset = side.first + <uint64_t>slot * FRAME_PITCH
        name = driver_ring_add(side.ring, &part, 0 if writable else 1, 1 if writable else 0)
        if name < 0:
            break
        side.slot_of[name] = slot
        side.idle_count -= 1
        given += 1
    if given and driver_ring_publish(side.ring):
        bell_kick(&side.bell)
    return given


cdef int frame_side_take(frame_side *side, uint32_t most, uint32_t expected, uint64_t *wrong) noexcept nogil:
    """Buffers that came back, so many at most; -1 where the device broke the ring."""
    cdef uint16_t name
    cdef uint32_t written
    cdef uint32_t taken = 0
    cdef int got
    while taken < most:
        got = driver_ring_get(side.ring, &name, &written)
        if got <= 0:
            return -1 if got < 0 else <int>taken
        if side.idle_count == side.count:
            # Somebody else has put buffers into the ring.
            return -1
        if written != expected:
            wrong[0] += 1
        side.idle[side.idle_count] = side.slot_of[name]
        side.idle_count += 1
        taken += 1
    return <int>taken


cdef int frame_turn(frame_load *load) noexcept nogil:
    """One burst each way; frames received, or -1."""
    cdef int back = frame_side_take(&load.out, load.burst, 0, &load.errors)
    cdef int came
    if back < 0:
        return -1
    if load.sending:
        load.sent += frame_side_give(&load.out, load.burst, False)
    came = frame_side_take(&load.into, load.burst, NET_HEADER + load.frame, &load.errors)
    if came > 0:
        load.received += came
        frame_side_give(&load.into, load.burst, True)
    return came


cdef uint64_t frame_run(frame_load *load, uint64_t span) noexcept nogil:
    cdef uint64_t start = now()
    cdef uint64_t time = start
    cdef uint32_t turn = 0
    while time - start < span:
        if frame_turn(load) < 0:
            load.errors += 1
            break
        turn += 1
        if turn % 64 == 0:
            time = now()
    return now() - start


cdef void frame_collect(frame_load *load) noexcept nogil:
    """What is still on its way arrives, uncounted; buffers to receive into stay with the device."""
    cdef uint64_t start = now()
    cdef uint64_t last = start
    cdef uint64_t time = start
    cdef int came
    load.sending = False
    # A frame may lie within the device, where neither ring shows it: a while without any is the end.
    while load.out.idle_count < load.out.count or time - last < FRAME_QUIET:
        came = frame_turn(load)
        time = now()
        if came < 0:
            return
        if came:
            last = time
        if time - start > PATIENCE:
            load.errors += load.out.count - load.out.idle_count
            return


@cython.final
cdef class FrameLoad:
    cdef frame_load load
    cdef DriverQueue out
    cdef DriverQueue into
    cdef bytes addresses

    def __cinit__(self, DriverQueue out not None, int out_kick, uint64_t out_base, DriverQueue into not None,
                  int into_kick, uint64_t into_base, *, bytes addresses not None, uint32_t burst=32):
        if len(addresses) != ADDRESSES:
            raise ValueError(f"{len(addresses)} bytes of addresses: destination and source are {ADDRESSES}")
        if not burst:
            raise ValueError("a burst holds at least one frame")
        self.out, self.into, self.addresses = out, into, addresses
        self.load.burst = burst
        frame_side_open(&self.load.out, out, out_kick, out_base, NET_HEADER + LARGEST_FRAME)
        frame_side_open(&self.load.into, into, into_kick, into_base, NET_HEADER + LARGEST_FRAME)

    def __dealloc__(self):
        frame_side_free(&self.load.out)
        frame_side_free(&self.load.into)

    def run(self, uint32_t frame, double seconds):
        cdef uint64_t span = nanoseconds(seconds)
        cdef uint64_t taken, received, sent
        cdef uint32_t i
        if not ADDRESSES + 2 <= frame <= LARGEST_FRAME:
            raise ValueError(f"a frame of {frame} bytes: 14 to {LARGEST_FRAME}")
        self.out.window.check_open()
        self.into.window.check_open()
        self.load.frame = frame
        self.load.out.length = NET_HEADER + frame
        for i in range(self.load.out.count):
            frame_write(self.load.out.base + self.load.out.first + i * FRAME_PITCH, self.addresses, frame)
        self.load.sent = self.load.received = self.load.errors = 0
        self.load.out.bell.kicks = self.load.into.bell.kicks = 0
        self.load.sending = True
        self.out.window.exports += 1
        self.into.window.exports += 1
        try:
            with nogil:
                driver_ring_disable(self.load.out.ring)
                driver_ring_disable(self.load.into.ring)
                frame_side_give(&self.load.into, self.load.into.count, True)
                taken = frame_run(&self.load, span)
                received, sent = self.load.received, self.load.sent
                frame_collect(&self.load)
        finally:
            self.out.window.exports -= 1
            self.into.window.exports -= 1
        return Outcome(received, taken / 1e9, self.load.errors, self.load.out.bell.kicks + self.load.into.bell.kicks,
                       0, (0.0, 0.0, 0.0)), sent


cdef void frame_write(uint8_t *at, bytes addresses, uint32_t frame):
    """Header without offloads, addresses, a type for experiments (IEEE 802), zeroes."""
    memset(at, 0, NET_HEADER + frame)
    memcpy(at + NET_HEADER, <const uint8_t *>PyBytes_AS_STRING(addresses), ADDRESSES)
    at[NET_HEADER + ADDRESSES] = 0x88
    at[NET_HEADER + ADDRESSES + 1] = 0xb5
