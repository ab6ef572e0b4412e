# SPDX-License-Identifier: MIT
# A network device without a network: frames it is sent end here, or frames begin here as fast as there are buffers.
# Each is copied once, as by any device: out of the window, or into it.

cdef enum:
    ENGINE_BURST = 32           # frames between two looks at the other queues of the worker
    ENGINE_SHOWN = 16           # frames shown to the driver at once


cdef struct frame_engine:
    device_ring *ring
    core_bell *rope
    chain_record *chains
    uint8_t *memory             # what is sent, packet header first; or where what came is put
    uint64_t length             # bytes of it
    uint64_t frames
    uint64_t refused            # buffers of a wrong kind
    bint source
    bint wanted                 # the driver is to be interrupted


@cython.final
cdef class FrameEngine(Engine):
    cdef frame_engine state
    cdef DeviceQueue queue
    cdef Bell bell

    def __cinit__(self, DeviceQueue queue not None, Bell bell not None, *, bint source, uint32_t frame):
        cdef uint32_t size = queue.ring.place.size
        cdef segment *room
        cdef int i
        if not ADDRESSES + 2 <= frame <= LARGEST_FRAME:
            raise ValueError(f"a frame of {frame} bytes: 14 to {LARGEST_FRAME}")
        self.state.memory = <uint8_t *>calloc(1, NET_HEADER + LARGEST_FRAME)
        self.state.chains = <chain_record *>calloc(ENGINE_BURST, sizeof(chain_record))
        room = <segment *>calloc(<size_t>ENGINE_BURST * size, sizeof(segment))
        if self.state.memory is NULL or self.state.chains is NULL or room is NULL:
            free(room)
            raise MemoryError
        for i in range(ENGINE_BURST):
            self.state.chains[i].segments = room + <size_t>i * size
        if source:
            frame_write(self.state.memory, bytes(ADDRESSES), frame)
            self.state.memory[NET_BUFFERS] = 1
        self.state.source = source
        self.state.length = NET_HEADER + (frame if source else LARGEST_FRAME)
        self.state.ring, self.state.rope = &queue.ring, &bell.rope
        self.queue, self.bell, self.window = queue, bell, queue.window
        self.work.context = &self.state
        self.work.serve = frame_engine_serve
        self.work.arm = frame_engine_arm
        self.work.disarm = frame_engine_disarm

    def __dealloc__(self):
        if self.state.chains is not NULL:
            free(self.state.chains[0].segments)
        free(self.state.chains)
        free(self.state.memory)

    @property
    def counters(self):
        return {"frames": self.state.frames, "refused": self.state.refused}

    def check(self):
        Engine.check(self)
        self.queue.pending()


cdef int frame_engine_arm(void *context) noexcept nogil:
    return device_ring_enable((<frame_engine *>context).ring)


cdef void frame_engine_disarm(void *context) noexcept nogil:
    device_ring_disable((<frame_engine *>context).ring)


cdef int frame_engine_take(frame_engine *engine) noexcept nogil:
    """Take some chains, and have what they hold fetched; how many, or -1."""
    cdef chain_record *chain
    cdef int found = 0
    cdef int count = 0
    while count < ENGINE_BURST:
        chain = &engine.chains[count]
        found = device_ring_pop(engine.ring, chain)
        if found <= 0:
            break
        if chain.readable:
            iv_prefetch(engine.ring.place.base + chain.segments[0].offset)
        count += 1
    return -1 if found < 0 and not count else count


cdef void frame_engine_one(frame_engine *engine, const chain_record *chain) noexcept nogil:
    cdef uint8_t *base = engine.ring.place.base
    cdef uint64_t room = chain.writable_length if engine.source else chain.readable_length
    cdef uint32_t written = 0
    if room < (engine.length if engine.source else <uint64_t>NET_HEADER):
        engine.refused += 1
    elif engine.source:
        written = <uint32_t>segments_scatter(base, chain.segments + chain.readable, chain.writable, 0, engine.memory,
                                             engine.length)
        engine.frames += 1
    else:
        segments_gather(base, chain.segments, chain.readable, 0, engine.memory, min(room, engine.length))
        engine.frames += 1
    device_ring_push(engine.ring, chain, written)


cdef void frame_engine_show(frame_engine *engine) noexcept nogil:
    if device_ring_publish(engine.ring):
        engine.wanted = True


cdef int frame_engine_serve(void *context) noexcept nogil:
    cdef frame_engine *engine = <frame_engine *>context
    cdef int taken = frame_engine_take(engine)
    cdef int i
    if taken <= 0:
        return taken
    for i in range(taken):
        frame_engine_one(engine, &engine.chains[i])
        if (i + 1) % ENGINE_SHOWN == 0:
            frame_engine_show(engine)
    frame_engine_show(engine)
    if engine.wanted:
        engine.wanted = False
        bell_ring(engine.rope)
    return taken
