# SPDX-License-Identifier: MIT
# Descriptors that wake a worker. Edge-triggered, so nobody has to read them; what they tell is only that it is time to
# look. Doorbells that bring nothing may come so often, and beyond that the worker is deaf to them for a while: what
# they told of is met later, not never.

cdef enum:
    BURST_NS = 20_000_000


cdef int watch_set(plane_worker *worker, plane_watch *watch, int operation, uint32_t events) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = watch
    return epoll_ctl(worker.epoll, operation, watch.fd, &event)


cdef void watch_charge(plane_worker *worker, plane_watch *watch, int64_t now) noexcept nogil:
    """A doorbell brought nothing."""
    watch.due = max(watch.due, now) + watch.price
    if watch.due - now > BURST_NS and not watch.deaf:
        watch.deaf = True
        worker.deaf += 1
        worker.storms += 1
        watch_set(worker, watch, EPOLL_CTL_MOD, 0)


cdef void watches_settle(plane_worker *worker) noexcept nogil:
    """After a round: charge for doorbells that no work came with."""
    cdef int64_t now = iv_now()
    cdef plane_watch *watch
    cdef uint32_t i
    worker.rung = False
    for i in range(worker.watch_count):
        watch = worker.watches[i]
        if not watch.rung:
            continue
        watch.rung = False
        # Work that was met just before its doorbell pays for it as well.
        if watch.rounds == watch.engine.rounds:
            watch_charge(worker, watch, now)
        watch.rounds = watch.engine.rounds


cdef int watches_listen(plane_worker *worker) noexcept nogil:
    """Listen again where the rate has caught up; milliseconds until it has for the next one, or RECHECK_MS."""
    cdef int64_t now
    cdef int64_t nearest = RECHECK_MS * <int64_t>1_000_000
    cdef plane_watch *watch
    cdef uint32_t i
    if not worker.deaf:
        return RECHECK_MS
    now = iv_now()
    for i in range(worker.watch_count):
        watch = worker.watches[i]
        if not watch.deaf:
            continue
        if watch.due <= now:
            watch.deaf = False
            worker.deaf -= 1
            # Reports at once what was rung meanwhile.
            watch_set(worker, watch, EPOLL_CTL_MOD, EPOLLIN | EPOLLET)
        else:
            nearest = min(nearest, watch.due - now)
    return <int>(nearest // 1_000_000) + 1


cdef int watch_add(plane_worker *worker, plane_engine *engine, int fd, int64_t price) except -1:
    """With the worker held."""
    cdef plane_watch *watch
    cdef plane_watch **more = <plane_watch **>realloc(worker.watches, (worker.watch_count + 1) * sizeof(plane_watch *))
    if more is NULL:
        raise MemoryError
    worker.watches = more
    watch = <plane_watch *>calloc(1, sizeof(plane_watch))
    if watch is NULL:
        raise MemoryError
    watch.engine = engine
    watch.price = price
    watch.fd = fd
    if watch_set(worker, watch, EPOLL_CTL_ADD, EPOLLIN | EPOLLET) < 0:
        free(watch)
        raise OSError(errno, os.strerror(errno))
    worker.watches[worker.watch_count] = watch
    worker.watch_count += 1
    return 0


cdef void watches_drop(plane_worker *worker, const plane_engine *engine) noexcept nogil:
    """Listen no more for one engine. With the worker held."""
    cdef uint32_t i
    cdef uint32_t kept = 0
    cdef plane_watch *watch
    for i in range(worker.watch_count):
        watch = worker.watches[i]
        if watch.engine != engine:
            worker.watches[kept] = watch
            kept += 1
            continue
        worker.deaf -= watch.deaf
        watch_set(worker, watch, EPOLL_CTL_DEL, 0)
        close(watch.fd)
        free(watch)
    worker.watch_count = kept
    worker.changes += 1
