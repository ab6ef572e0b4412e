# SPDX-License-Identifier: MIT
# The thread of a worker. It is inside its engines or outside; whoever wants to change something holds it outside.

cdef enum:
    RECHECK_MS = 1000           # doorbells may be lost, so everything is looked at this often
    MOST_EVENTS = 64


cdef void worker_enter(plane_worker *worker) noexcept nogil:
    """Into the engines, once nobody holds the worker outside."""
    pthread_mutex_lock(&worker.lock)
    while worker.wanted:
        pthread_cond_wait(&worker.changed, &worker.lock)
    worker.inside = True
    pthread_mutex_unlock(&worker.lock)


cdef void worker_leave(plane_worker *worker) noexcept nogil:
    pthread_mutex_lock(&worker.lock)
    worker.inside = False
    pthread_cond_broadcast(&worker.changed)
    pthread_mutex_unlock(&worker.lock)


cdef void worker_hold(plane_worker *worker) noexcept nogil:
    """On another thread: returns when the worker is outside, and stays there until it is let go."""
    pthread_mutex_lock(&worker.lock)
    iv_store32(&worker.wanted, worker.wanted + 1)
    while worker.inside or worker.held:
        pthread_cond_wait(&worker.changed, &worker.lock)
    worker.held = True
    pthread_mutex_unlock(&worker.lock)


cdef void worker_let_go(plane_worker *worker) noexcept nogil:
    pthread_mutex_lock(&worker.lock)
    worker.held = False
    iv_store32(&worker.wanted, worker.wanted - 1)
    pthread_cond_broadcast(&worker.changed)
    pthread_mutex_unlock(&worker.lock)
    eventfd_write(worker.control, 1)


cdef void worker_wake(plane_worker *worker) noexcept nogil:
    """Have it look at its engines, if it sleeps."""
    # Pairs with the fence of a worker on its way to sleep: either it sees what there is, or we see that it sleeps.
    iv_fence()
    if iv_load32(&worker.sleeping):
        eventfd_write(worker.control, 1)


cdef bint worker_serve(plane_worker *worker) noexcept nogil:
    """One round; whether something was done."""
    cdef bint found = False
    cdef plane_engine *engine
    cdef int done
    cdef uint32_t i
    for i in range(worker.count):
        engine = worker.engines[i]
        if engine.stopped:
            continue
        done = engine.serve(engine.context)
        if done > 0:
            engine.rounds += 1
            found = True
        elif done < 0:
            engine.stopped = True
            engine_report(engine)
    if worker.rung:
        watches_settle(worker)
    return found


cdef bint worker_arm(plane_worker *worker) noexcept nogil:
    """Ask for kicks; whether there is work already."""
    cdef bint waiting = False
    cdef plane_engine *engine
    cdef int found
    cdef uint32_t i
    for i in range(worker.count):
        engine = worker.engines[i]
        if engine.stopped or engine.arm is NULL:
            continue
        found = engine.arm(engine.context)
        if found < 0:
            engine.stopped = True
            engine_report(engine)
        waiting = waiting or found > 0
    return waiting


cdef void worker_disarm(plane_worker *worker) noexcept nogil:
    """Awake: kicks tell nothing new."""
    cdef plane_engine *engine
    cdef uint32_t i
    for i in range(worker.count):
        engine = worker.engines[i]
        if not engine.stopped and engine.disarm is not NULL:
            engine.disarm(engine.context)


cdef void worker_note(plane_worker *worker, const epoll_event *events, int count) noexcept nogil:
    """Which doorbells rang."""
    cdef plane_watch *watch
    cdef int i
    for i in range(count):
        watch = <plane_watch *>events[i].data.ptr
        if watch is not NULL and watch.price:
            watch.engine.kicks += 1
            watch.rung = True
            worker.rung = True


cdef void worker_sleep(plane_worker *worker) noexcept nogil:
    """Until there may be work."""
    cdef epoll_event events[MOST_EVENTS]
    cdef uint64_t changes
    cdef int count
    cdef int patience = watches_listen(worker)
    iv_store32(&worker.sleeping, 1)
    # Pairs with worker_wake's.
    iv_fence()
    if not worker_arm(worker):
        worker.sleeps += 1
        changes = worker.changes
        worker_leave(worker)
        # Whoever attaches an engine rings.
        count = epoll_wait(worker.epoll, events, MOST_EVENTS, patience if worker.count else -1)
        worker_enter(worker)
        # Engines that were let go meanwhile took their watches with them.
        if changes == worker.changes:
            worker_note(worker, events, count)
    iv_store32(&worker.sleeping, 0)
    worker_disarm(worker)


cdef void worker_run(plane_worker *worker) noexcept nogil:
    """Until it is told to stop: serve while there is work, look for some time when there is none, then sleep."""
    cdef int64_t idle_since = 0
    cdef int64_t now
    worker_enter(worker)
    while not worker.stop:
        if iv_load32(&worker.wanted):
            worker_leave(worker)
            worker_enter(worker)
            continue
        if worker_serve(worker):
            if idle_since:
                now = iv_now()
                worker.spun += now - idle_since <= worker.spin.current
                polling_learn(&worker.spin, now - idle_since)
                idle_since = 0
            continue
        now = iv_now()
        if not idle_since:
            idle_since = now
        if polling_goes_on(&worker.spin, now - idle_since):
            iv_relax()
        else:
            worker_sleep(worker)
    worker_leave(worker)
