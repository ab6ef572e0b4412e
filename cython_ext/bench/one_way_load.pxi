# SPDX-License-Identifier: MIT
# One queue of a network port, driven as fast as its device takes frames, or hands them out.

cdef struct one_way:
    frame_side side
    uint32_t burst
    uint32_t expected           # bytes the device writes into a buffer
    bint receiving
    uint64_t done
    uint64_t errors


cdef int one_way_turn(one_way *load) noexcept nogil:
    """What the device is through with, and as much again for it; or -1."""
    cdef int back = frame_side_take(&load.side, load.burst, load.expected, &load.errors)
    if back < 0:
        return -1
    load.done += back
    frame_side_give(&load.side, load.burst, load.receiving)
    return back


cdef uint64_t one_way_run(one_way *load, uint64_t span) noexcept nogil:
    cdef uint64_t start = now()
    cdef uint64_t time = start
    cdef uint32_t turn = 0
    while time - start < span:
        if one_way_turn(load) < 0:
            load.errors += 1
            break
        turn += 1
        if turn % 64 == 0:
            time = now()
    return now() - start


@cython.final
cdef class OneWayLoad:
    cdef one_way load
    cdef DriverQueue queue

    def __cinit__(self, DriverQueue queue not None, int kick, uint64_t base, *, uint32_t frame, bint receiving,
                  uint32_t burst=32):
        cdef uint32_t i
        if not ADDRESSES + 2 <= frame <= LARGEST_FRAME:
            raise ValueError(f"a frame of {frame} bytes: 14 to {LARGEST_FRAME}")
        if not burst:
            raise ValueError("a burst holds at least one frame")
        self.queue = queue
        self.load.burst, self.load.receiving = burst, receiving
        self.load.expected = NET_HEADER + frame if receiving else 0
        frame_side_open(&self.load.side, queue, kick, base, NET_HEADER + (LARGEST_FRAME if receiving else frame))
        for i in range(self.load.side.count):
            frame_write(self.load.side.base + base + i * FRAME_PITCH, bytes(ADDRESSES), frame)

    def __dealloc__(self):
        frame_side_free(&self.load.side)

    def run(self, double seconds):
        cdef uint64_t span = nanoseconds(seconds)
        cdef uint64_t taken
        self.queue.window.check_open()
        self.load.done = self.load.errors = self.load.side.bell.kicks = 0
        self.queue.window.exports += 1
        try:
            with nogil:
                driver_ring_disable(self.load.side.ring)
                taken = one_way_run(&self.load, span)
        finally:
            self.queue.window.exports -= 1
        return Outcome(self.load.done, taken / 1e9, self.load.errors, self.load.side.bell.kicks, 0, (0.0, 0.0, 0.0))
