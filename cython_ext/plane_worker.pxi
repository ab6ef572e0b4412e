# SPDX-License-Identifier: MIT

cdef class PlaneWorker:
    def __cinit__(self, *_args, **_named):
        self.worker.epoll = self.worker.control = -1
        pthread_mutex_init(&self.worker.lock, NULL)
        pthread_cond_init(&self.worker.changed, NULL)
        self.engines = []

    def __init__(self, str name, *, longest_spin=100_000, cpus=()):
        cdef epoll_event event
        self.worker.spin.longest = longest_spin
        self.worker.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.worker.control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        event.events, event.data.ptr = EPOLLIN | EPOLLET, NULL
        if (self.worker.epoll < 0 or self.worker.control < 0
                or epoll_ctl(self.worker.epoll, EPOLL_CTL_ADD, self.worker.control, &event) < 0):
            raise OSError(errno, os.strerror(errno))
        self.name = name
        self.cpus = tuple(cpus)

    def __dealloc__(self):
        free(self.worker.engines)
        free(self.worker.watches)
        if self.worker.epoll >= 0:
            close(self.worker.epoll)
        if self.worker.control >= 0:
            close(self.worker.control)
        pthread_cond_destroy(&self.worker.changed)
        pthread_mutex_destroy(&self.worker.lock)

    def start(self):
        placed = Future()
        self.thread = Thread(target=self._run, args=(placed,), name=self.name, daemon=True)
        self.thread.start()
        placed.result()

    def _run(self, placed):
        try:
            if self.cpus:
                os.sched_setaffinity(0, self.cpus)
        except BaseException as error:
            placed.set_exception(error)
            return
        placed.set_result(None)
        with nogil:
            worker_run(&self.worker)

    def stop(self):
        if self.engines:
            raise RuntimeError(f"worker {self.name} still has {len(self.engines)} engines; detach them first")
        if self.thread is None:
            return
        self.hold()
        self.worker.stop = True
        self.let_go()
        self.thread.join()
        self.thread = None

    cdef int hold(self) except -1:
        """Keep the thread outside its engines until `let_go`."""
        if self.thread is not None and self.thread.ident == get_ident():
            raise RuntimeError(f"worker {self.name} cannot wait for itself")
        with nogil:
            worker_hold(&self.worker)
        return 0

    cdef void let_go(self) noexcept:
        with nogil:
            worker_let_go(&self.worker)

    def attach(self, Engine engine not None, *, doorbells=(), doorbell_rate=20_000, watched=(), on_stopped=None):
        cdef plane_engine **more
        cdef int64_t price
        if not 0 < doorbell_rate <= 1_000_000_000:
            raise ValueError(f"doorbell_rate is {doorbell_rate}, must be from 1 to 1000000000 a second")
        price = <int64_t>(1_000_000_000 // doorbell_rate)
        if engine.worker is not None:
            raise RuntimeError("the engine belongs to a worker already")
        self.hold()
        try:
            more = <plane_engine **>realloc(self.worker.engines, (self.worker.count + 1) * sizeof(plane_engine *))
            if more is NULL:
                raise MemoryError
            self.worker.engines = more
            try:
                for fd in doorbells:
                    worker_watch(&self.worker, &engine.work, fd, price)
                for fd in watched:
                    worker_watch(&self.worker, &engine.work, fd, 0)
            except BaseException:
                watches_drop(&self.worker, &engine.work)
                raise
            engine.on_stopped = on_stopped
            engine.worker = self
            if engine.window is not None:
                engine.window.exports += 1
            self.engines.append(engine)
            more[self.worker.count] = &engine.work
            self.worker.count += 1
            if engine.work.disarm is not NULL and not engine.work.stopped:
                engine.work.disarm(engine.work.context)
        finally:
            self.let_go()

    def detach(self, Engine engine not None):
        cdef uint32_t i
        cdef uint32_t kept = 0
        if engine.worker is not self:
            raise RuntimeError(f"the engine does not belong to worker {self.name}")
        self.hold()
        try:
            watches_drop(&self.worker, &engine.work)
            for i in range(self.worker.count):
                if self.worker.engines[i] != &engine.work:
                    self.worker.engines[kept] = self.worker.engines[i]
                    kept += 1
            self.worker.count = kept
            self.engines.remove(engine)
            if engine.work.finish is not NULL:
                with nogil:
                    engine.work.finish(engine.work.context)
            if engine.window is not None:
                engine.window.exports -= 1
            engine.worker = None
            engine.on_stopped = None
        finally:
            self.let_go()

    def aside(self, function):
        self.hold()
        try:
            return function()
        finally:
            self.let_go()

    def wake(self):
        worker_wake(&self.worker)

    @property
    def counters(self):
        return {
            "sleeps": self.worker.sleeps,
            "spins": self.worker.spun,
            "storms": self.worker.storms,
            "spin_ns": self.worker.spin.current,
        }


cdef int worker_watch(plane_worker *worker, plane_engine *engine, int fd, int64_t price) except -1:
    """Listen on a copy of the descriptor: two engines may share a doorbell, and its owner may close it."""
    cdef int copy = duplicate(fd)
    try:
        return watch_add(worker, engine, copy, price)
    except BaseException:
        close(copy)
        raise
