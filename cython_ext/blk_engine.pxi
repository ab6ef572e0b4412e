# SPDX-License-Identifier: MIT

cdef enum:
    BLK_BATCH = 32              # requests of one queue before its neighbours on the worker have their turn
    BLK_SHOW_NS = 10_000        # a batch that takes longer is shown to the driver in parts
    BLK_TELL_NS = 50_000        # and interrupts it more than once
    BLK_TURN_NS = 1_000_000     # and ends early
    BLK_SLOW_NS = 1_000_000     # a request that was not to wait and takes longer did wait,
    BLK_SLOW_FOR_NS = 100_000_000  # and so would others, for some time


cdef struct blk_engine:
    device_ring *ring
    bell *rope
    blk_file file
    chain_record chain          # the one at hand
    iovec *vectors
    iv_uring_wish wish          # what it asks the kernel for
    blk_flights flights
    int64_t slow_until          # as iv_now
    uint64_t asynchronous       # requests left to the kernel
    bint wanted                 # the driver is to be interrupted for what was shown
    uint64_t unusual            # requests left to the server of requests
    uint64_t errors             # and of those, answered with the host's error
    PyObject *owner


@cython.final
cdef class BlkEngine(Engine):
    cdef blk_engine state
    cdef DeviceQueue queue
    cdef Bell bell
    cdef Uring uring
    cdef object server

    def __init__(self, DeviceQueue queue not None, Bell bell not None, server, *, int fd, capacity, bint read_only,
                 bint direct=False, Uring uring=None):
        cdef uint32_t size = queue.ring.place.size
        if self.queue is not None:
            raise RuntimeError("an engine serves one queue for life")
        self.state.chain.segments = <segment *>calloc(size, sizeof(segment))
        self.state.vectors = <iovec *>calloc(size, sizeof(iovec))
        if self.state.chain.segments is NULL or self.state.vectors is NULL:
            raise MemoryError
        if uring is not None:
            flights_open(&self.state.flights, &uring.ring, min(uring.entries, size))
            self.state.file.rings = True
        self.uring = uring
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
        self.work.finish = blk_finish

    def __dealloc__(self):
        cdef iv_uring_done done
        # Only of an engine that never was a worker's: those were waited for.
        while self.state.flights.count and flights_wait(&self.state.flights, &done, 1):
            flights_end(&self.state.flights, &done)
        flights_close(&self.state.flights)
        free(self.state.chain.segments)
        free(self.state.vectors)

    def set_capacity(self, capacity):
        iv_store64(&self.state.file.capacity, capacity)

    def set_writethrough(self, bint writethrough):
        iv_store32(&self.state.file.writethrough, writethrough)

    @property
    def watched(self):
        return () if self.uring is None else (self.uring.fileno(),)

    @property
    def counters(self):
        return {
            "unusual": self.state.unusual,
            "errors": self.state.errors,
            "asynchronous": self.state.asynchronous,
        }

    def check(self):
        Engine.check(self)
        if self.queue.ring.broken.code:
            raise violation_error(&self.queue.ring.broken)


cdef int blk_arm(void *context) noexcept nogil:
    cdef blk_engine *engine = <blk_engine *>context
    if engine.flights.count:
        if iv_uring_something_done(engine.flights.ring) or iv_uring_queued(engine.flights.ring):
            return 1
        if not flights_have_room(&engine.flights):
            # What waits in the queue waits on: what comes back wakes us.
            return 0
    return device_ring_enable(engine.ring)


cdef void blk_disarm(void *context) noexcept nogil:
    device_ring_disable((<blk_engine *>context).ring)


cdef int blk_ask_server(blk_engine *engine, const chain_record *record, int error) noexcept with gil:
    """Have a request served in Python, or the host's error reported there; -1 = that failed."""
    cdef BlkEngine owner = <BlkEngine>engine.owner
    try:
        chain = chain_from(owner.queue, record)
        owner.queue.push(chain, owner.server(chain, error))
    except BaseException as failure:
        owner.failure = failure
        return -1
    return 0


cdef int blk_fail(blk_engine *engine, int error) noexcept with gil:
    """The kernel does not take requests any more."""
    (<BlkEngine>engine.owner).failure = OSError(error, f"io_uring: {os.strerror(error)}")
    return -1


cdef int blk_answer(blk_engine *engine, const chain_record *chain, int outcome) noexcept nogil:
    """For a request that nothing has to be waited for; -1 = the engine cannot go on."""
    cdef uint64_t written = chain.writable_length
    if outcome != BLK_DONE:
        engine.unusual += 1
        engine.errors += outcome > 0
        return blk_ask_server(engine, chain, max(outcome, 0))
    blk_answer_ok(engine.ring.place.base, chain)
    device_ring_push(engine.ring, chain, <uint32_t>written)
    return 0


cdef int blk_serve_one(blk_engine *engine) noexcept nogil:
    cdef int outcome = blk_carry_out(&engine.file, &engine.ring.place, &engine.chain, engine.vectors, &engine.wish)
    if outcome == BLK_WAITS:
        if flights_begin(&engine.flights, &engine.chain, &engine.wish):
            engine.asynchronous += 1
            return 0
        outcome = BLK_UNUSUAL
    return blk_answer(engine, &engine.chain, outcome)


cdef int blk_landed(const blk_engine *engine, const blk_flight *flight, int result) noexcept nogil:
    """What became of a request that the kernel had in hand. A short one is begun anew by the server of requests."""
    if result >= 0:
        return BLK_DONE if <uint64_t>result == flight.expected else BLK_UNUSUAL
    if is_transient(-result) or (engine.file.direct and result == -EINVAL):
        return BLK_UNUSUAL
    if flight.optional and -result in (EOPNOTSUPP, ENOSYS, ENODEV, ENOTTY, EINVAL):
        return BLK_UNUSUAL
    return -result


cdef int blk_land(blk_engine *engine, const iv_uring_done *done, int count) noexcept nogil:
    """Answer what is done; `count`, or -1 = the engine cannot go on."""
    cdef const blk_flight *flight
    cdef bint failed = False
    cdef int i
    for i in range(count):
        flight = flights_end(&engine.flights, &done[i])
        # A driver that broke a rule gets no answers.
        if not failed and not engine.ring.broken.code:
            failed = blk_answer(engine, &flight.chain, blk_landed(engine, flight, done[i].result)) < 0
    return -1 if failed else count


cdef void blk_show(blk_engine *engine) noexcept nogil:
    if device_ring_publish(engine.ring):
        engine.wanted = True


cdef void blk_tell(blk_engine *engine) noexcept nogil:
    if engine.wanted:
        engine.wanted = False
        bell_ring(engine.rope)


cdef void blk_finish(void *context) noexcept nogil:
    """Wait for everything the kernel has in hand: nothing touches the window afterwards."""
    cdef blk_engine *engine = <blk_engine *>context
    cdef iv_uring_done done[BLK_BATCH]
    cdef unsigned int count
    while engine.flights.count:
        count = flights_wait(&engine.flights, done, BLK_BATCH)
        if not count:
            break
        blk_land(engine, done, count)
    blk_show(engine)
    blk_tell(engine)


cdef int blk_meet_done(blk_engine *engine) noexcept nogil:
    """Answer what the kernel is done with; how much, or -1."""
    cdef iv_uring_done done[BLK_BATCH]
    if not engine.flights.count:
        return 0
    return blk_land(engine, done, iv_uring_reap(engine.flights.ring, done, BLK_BATCH))


cdef int blk_hand_over(blk_engine *engine) noexcept nogil:
    """Show what is done and submit what has to wait; -1 = the engine cannot go on."""
    cdef int error
    blk_show(engine)
    error = flights_submit(&engine.flights)
    return blk_fail(engine, error) if error else 0


cdef int blk_serve(void *context) noexcept nogil:
    """One batch. The driver sees early what is done early, but is interrupted once."""
    cdef blk_engine *engine = <blk_engine *>context
    cdef int64_t shown = 0
    cdef int64_t begun = 0
    cdef int64_t told = 0
    cdef int64_t before
    cdef int64_t now = 0
    cdef int found = 0
    cdef int done = blk_meet_done(engine)
    if done < 0:
        return -1
    while done < BLK_BATCH and flights_have_room(&engine.flights):
        found = device_ring_pop(engine.ring, &engine.chain)
        if found <= 0:
            break
        if not begun and engine.file.fd >= 0:
            begun = shown = told = now = iv_now()
        engine.file.slow = now < engine.slow_until
        if blk_serve_one(engine) < 0:
            found = -1
            break
        done += 1
        if engine.file.fd < 0:
            continue
        before = now
        now = iv_now()
        if now - before > BLK_SLOW_NS:
            engine.slow_until = now + BLK_SLOW_FOR_NS
        if now - shown > BLK_SHOW_NS:
            shown = now
            if blk_hand_over(engine) < 0:
                found = -1
                break
            if now - told > BLK_TELL_NS:
                told = now
                blk_tell(engine)
            if now - begun > BLK_TURN_NS:
                break
    if done:
        found = min(found, blk_hand_over(engine))
        blk_tell(engine)
    return -1 if found < 0 or engine.ring.broken.code else done
