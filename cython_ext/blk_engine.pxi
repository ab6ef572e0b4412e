# SPDX-License-Identifier: MIT

cdef enum:
    BLK_BATCH = 32              # requests of one queue before its neighbours on the worker have their turn
    BLK_SHOW_NS = 10_000        # a batch that takes longer is shown to the driver in parts
    BLK_TELL_NS = 50_000        # and interrupts it more than once
    BLK_TURN_NS = 1_000_000     # and ends early


cdef struct blk_engine:
    device_ring *ring
    bell *rope
    blk_file file
    chain_record chain          # the one at hand
    iovec *vectors
    bint wanted                 # the driver is to be interrupted for what was shown
    uint64_t unusual            # requests left to the server of requests
    uint64_t errors             # and of those, answered with the host's error
    PyObject *owner


@cython.final
cdef class BlkEngine(Engine):
    cdef blk_engine state
    cdef DeviceQueue queue
    cdef Bell bell
    cdef object server

    def __init__(self, DeviceQueue queue not None, Bell bell not None, server, *, int fd, capacity, bint read_only,
                 bint direct=False):
        cdef uint32_t size = queue.ring.place.size
        if self.queue is not None:
            raise RuntimeError("an engine serves one queue for life")
        self.state.chain.segments = <segment *>calloc(size, sizeof(segment))
        self.state.vectors = <iovec *>calloc(size, sizeof(iovec))
        if self.state.chain.segments is NULL or self.state.vectors is NULL:
            raise MemoryError
        self.state.ring = &queue.ring
        self.state.rope = &bell.rope
        self.state.file.fd = fd
        self.state.file.capacity = capacity
        self.state.file.read_only = read_only
        self.state.file.direct = direct
        self.state.owner = <PyObject *>self
        self.queue, self.bell, self.server = queue, bell, server
        self.window = queue.window
        self.work.context = &self.state
        self.work.serve = blk_serve
        self.work.arm = blk_arm
        self.work.disarm = blk_disarm

    def __dealloc__(self):
        free(self.state.chain.segments)
        free(self.state.vectors)

    def set_capacity(self, capacity):
        iv_store64(&self.state.file.capacity, capacity)

    def set_writethrough(self, bint writethrough):
        iv_store32(&self.state.file.writethrough, writethrough)

    @property
    def counters(self):
        return {"unusual": self.state.unusual, "errors": self.state.errors}

    def check(self):
        Engine.check(self)
        if self.queue.ring.broken.code:
            raise violation_error(&self.queue.ring.broken)


cdef int blk_arm(void *context) noexcept nogil:
    return device_ring_enable((<blk_engine *>context).ring)


cdef void blk_disarm(void *context) noexcept nogil:
    device_ring_disable((<blk_engine *>context).ring)


cdef int blk_ask_server(blk_engine *engine, int error) noexcept with gil:
    """Have the request at hand served in Python, or the host's error reported there; -1 = that failed."""
    cdef BlkEngine owner = <BlkEngine>engine.owner
    try:
        chain = chain_from(owner.queue, &engine.chain)
        owner.queue.push(chain, owner.server(chain, error))
    except BaseException as failure:
        owner.failure = failure
        return -1
    return 0


cdef int blk_serve_one(blk_engine *engine) noexcept nogil:
    cdef int outcome = blk_carry_out(&engine.file, &engine.ring.place, &engine.chain, engine.vectors)
    cdef uint64_t written = engine.chain.writable_length
    if outcome != BLK_DONE:
        engine.unusual += 1
        engine.errors += outcome > 0
        return blk_ask_server(engine, max(outcome, 0))
    blk_answer_ok(engine.ring.place.base, &engine.chain)
    device_ring_push(engine.ring, &engine.chain, <uint32_t>written)
    return 0


cdef void blk_show(blk_engine *engine) noexcept nogil:
    if device_ring_publish(engine.ring):
        engine.wanted = True


cdef void blk_tell(blk_engine *engine) noexcept nogil:
    if engine.wanted:
        engine.wanted = False
        bell_ring(engine.rope)


cdef int blk_serve(void *context) noexcept nogil:
    """One batch. The driver sees early what is done early, but is interrupted once."""
    cdef blk_engine *engine = <blk_engine *>context
    cdef int64_t begun = 0
    cdef int64_t shown = 0
    cdef int64_t told = 0
    cdef int64_t now
    cdef int done = 0
    cdef int found = 0
    while done < BLK_BATCH:
        found = device_ring_pop(engine.ring, &engine.chain)
        if found <= 0:
            break
        if not done and engine.file.fd >= 0:
            begun = shown = told = iv_now()
        if blk_serve_one(engine) < 0:
            found = -1
            break
        done += 1
        if engine.file.fd < 0:
            continue
        now = iv_now()
        if now - shown > BLK_SHOW_NS:
            shown = now
            blk_show(engine)
            if now - told > BLK_TELL_NS:
                told = now
                blk_tell(engine)
            if now - begun > BLK_TURN_NS:
                break
    if done:
        blk_show(engine)
        blk_tell(engine)
    return -1 if found < 0 or engine.ring.broken.code else done
