# SPDX-License-Identifier: MIT
# A way out of one network device through a descriptor of the host: a tap interface or a stream socket. The two have the
# same turns, on a worker's thread or, with that aside, on another one.

cdef enum:
    LINE_BATCH = 64             # frames in one turn, each way
    LINE_SHOWN = 16             # frames received after which the driver is shown them
    LINE_CHAINS = 32            # chains of the transmit queue at hand
    LINE_VECTORS = 1024         # IOV_MAX
    LINE_INPUT = 1 << 18        # bytes of what came and is not delivered yet

cdef extern from "<sys/uio.h>" nogil:
    ssize_t readv(int fd, const iovec *vectors, int count)
    ssize_t writev(int fd, const iovec *vectors, int count)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *files, unsigned long count, int milliseconds)
    short POLLERR

cdef extern from "<sys/epoll.h>" nogil:
    uint32_t EPOLLOUT


cdef struct net_line:
    net_port *port
    int (*receive)(net_line *line, uint32_t most) noexcept nogil     # frames that came
    int (*transmit)(net_line *line, uint32_t most) noexcept nogil    # chains done with, or -1
    void (*look)(net_line *line) noexcept nogil     # while nothing is read: is the host's side still there; or NULL
    int fd                      # -1 = not connected
    bint lost                   # nothing comes of the descriptor any more
    int failure                 # why: an error number, 0 = end of file, -1 = `announced` is too long for a frame
    uint32_t announced          # bytes
    bint told                   # of the loss, to the owner
    bint holds                  # a frame waits for receive buffers
    bint blocked                # the host takes no more now
    uint8_t *memory             # LINE_INPUT; of a tap: one frame behind its packet header
    uint64_t begin              # where in it the first one that is not delivered begins, and where they end
    uint64_t end
    uint8_t *whole              # a frame in so many pieces that no system call takes it
    iovec *vectors
    uint64_t largest            # tap: bytes of the largest frame so far
    chain_record chains[<int>LINE_CHAINS]       # stream: taken from the transmit queue, in its order
    bint wrong[<int>LINE_CHAINS]                # which of them make no sense
    uint8_t prefixes[<int>LINE_CHAINS][4]       # their lengths as they stand before each frame
    uint32_t first              # of them not sent
    uint32_t count
    uint32_t piece              # where those end of which a part was sent; 0 = none
    uint64_t sent               # bytes of that
    segment *pool               # segments of the chains
    uint32_t pool_size
    plane_engine *receiver
    plane_engine *transmitter
    plane_watch *watch          # wakes the worker; NULL = none is at work
    plane_engine *watcher       # whose it is, of these two
    plane_worker *worker
    bint watches_room           # also for room to send
    PyObject *owner             # the NetLine


@cython.final
cdef class NetLine:
    cdef net_line line
    cdef NetPort port
    cdef DeviceQueue chains_of
    cdef public object on_lost

    def __cinit__(self, NetPort port not None, *, bint framed):
        self.line.fd = -1
        self.line.largest = LEAST_LARGEST
        self.line.memory = <uint8_t *>malloc(LINE_INPUT)
        self.line.whole = <uint8_t *>malloc(NET_HEADER_SIZE + LONGEST_FRAME)
        self.line.vectors = <iovec *>malloc(LINE_VECTORS * sizeof(iovec))
        if self.line.memory is NULL or self.line.whole is NULL or self.line.vectors is NULL:
            raise MemoryError
        self.line.receive = stream_receive if framed else tap_receive
        self.line.transmit = stream_transmit if framed else tap_transmit
        if not framed:
            self.line.look = tap_look
        self.line.port = &port.port
        self.line.owner = <PyObject *>self
        self.port = port

    def __dealloc__(self):
        free(self.line.memory)
        free(self.line.whole)
        free(self.line.vectors)
        free(self.line.pool)

    @property
    def holds(self):
        return bool(self.line.holds)

    @property
    def blocked(self):
        return bool(self.line.blocked)

    @property
    def lost(self):
        return bool(self.line.lost)

    @property
    def failure(self):
        return self.line.failure

    @property
    def announced(self):
        return self.line.announced

    def open(self, int fd):
        line_forget_host(&self.line)
        self.line.fd = fd
        line_listen(&self.line)

    def close(self):
        line_forget_host(&self.line)
        self.line.fd = -1
        line_listen(&self.line)

    def forget_held(self):
        if self.line.holds:
            self.line.holds = False
            self.line.begin = self.line.end = 0
            self.line.port.counters[RECEIVE_INACTIVE] += 1

    def settle(self):
        cdef DeviceQueue queue = self.port.transmit
        if queue is None or queue is self.chains_of:
            return
        self.line.first = self.line.count = self.line.piece = 0
        self.line.sent = 0
        free(self.line.pool)
        self.line.pool_size = 4 * queue.ring.place.size
        self.line.pool = <segment *>calloc(self.line.pool_size, sizeof(segment))
        if self.line.pool is NULL:
            raise MemoryError
        self.chains_of = queue

    def receive(self):
        cdef int done
        with nogil:
            done = self.line.receive(&self.line, LINE_BATCH)
        self.port.flush()
        return done == LINE_BATCH

    def transmit(self):
        cdef device_ring *ring = self.line.port.transmit
        cdef int waiting = 0
        cdef int done
        if ring is NULL or self.line.port.stopped:
            return False
        with nogil:
            device_ring_disable(ring)
            done = self.line.transmit(&self.line, LINE_BATCH)
            if done >= 0 and not self.line.blocked:
                waiting = device_ring_enable(ring)
        self.port.flush()
        if done < 0 or waiting < 0:
            self.line.port.stopped = True
            self.port.check()
        return waiting > 0


cdef void line_forget_host(net_line *line) noexcept nogil:
    """What belonged to the descriptor. Chains at hand stay, and begin anew."""
    line.lost = line.told = line.holds = line.blocked = False
    line.begin = line.end = line.sent = 0
    line.piece = 0


cdef void line_lose(net_line *line, int failure) noexcept nogil:
    line.lost = True
    line.failure = failure


cdef void line_tell_owner(net_line *line) noexcept with gil:
    cdef NetLine owner = <NetLine>line.owner
    if owner.on_lost is not None:
        owner.on_lost()


cdef bint line_give(net_line *line, const uint8_t *header, const uint8_t *memory, uint64_t length) noexcept nogil:
    """A frame in private memory to the guest; False where it waits for buffers. NULL: nothing is left to do to it."""
    cdef net_frame frame
    cdef segment only
    cdef uint64_t parts = 0
    if header is NULL:
        memset(frame.head, 0, NET_HEADER_SIZE)
    else:
        memcpy(frame.head, header, NET_HEADER_SIZE)
    net_frame_in(&frame, &only, memory, length)
    return net_deliver(line.port, &frame, &parts) == NET_DONE


cdef inline bint line_may_give(net_line *line) noexcept nogil:
    """Whether it is worth trying again with a frame that waits."""
    cdef net_port *port = line.port
    return port.receive is NULL or port.stopped or device_ring_pending(port.receive) != 0


cdef uint32_t line_vectors(net_line *line, const chain_record *chain, uint64_t skip, uint32_t at) noexcept nogil:
    """Name the readable part of a chain behind `skip` bytes, in vectors from `at` on, which have room for it; where
    they end then."""
    cdef const uint8_t *base = line.port.transmit.place.base
    cdef uint32_t i
    for i in range(chain.readable):
        if skip >= chain.segments[i].length:
            skip -= chain.segments[i].length
            continue
        line.vectors[at].iov_base = <void *>(base + chain.segments[i].offset + skip)
        line.vectors[at].iov_len = chain.segments[i].length - skip
        skip = 0
        at += 1
    return at


cdef uint32_t line_vector(net_line *line, const chain_record *chain, uint64_t skip, uint32_t at) noexcept nogil:
    """The same for a chain in too many segments: one vector, of a copy."""
    cdef uint64_t length = chain.readable_length - skip
    segments_gather(line.port.transmit.place.base, chain.segments, chain.readable, skip, line.whole, length)
    line.vectors[at].iov_base = line.whole
    line.vectors[at].iov_len = length
    return at + 1


cdef void line_listen(net_line *line) noexcept nogil:
    """Have the worker woken by the descriptor there is now."""
    cdef plane_watch *watch = line.watch
    if watch is NULL:
        return
    if watch.fd >= 0:
        watch_set(line.worker, watch, EPOLL_CTL_DEL, 0)
        close(watch.fd)
    line.watches_room = False
    watch.fd = fcntl(line.fd, F_DUPFD_CLOEXEC, 3) if line.fd >= 0 else -1
    if watch.fd >= 0:
        watch_set(line.worker, watch, EPOLL_CTL_ADD, EPOLLIN | EPOLLET)


cdef void line_watch_room(net_line *line, bint room) noexcept nogil:
    """Be woken when there is room to send, or no more for that."""
    if line.watch is NULL or room == line.watches_room:
        return
    line.watches_room = room
    watch_set(line.worker, line.watch, EPOLL_CTL_MOD, EPOLLIN | EPOLLET | (EPOLLOUT if room else 0))


cdef int line_begin(net_line *line, plane_engine *engine) noexcept with gil:
    """On the thread of a worker that has just begun with it, if there is one; -1 where it cannot wait for the host."""
    cdef Engine owner = <Engine>engine.owner
    cdef plane_worker *worker
    if owner.worker is None:
        return 0
    worker = &owner.worker.worker
    try:
        # Only a place among its watches, in which the descriptor changes with the connection.
        worker_watch(worker, engine, worker.control, 0)
    except BaseException as failure:
        owner.failure = failure
        return -1
    line.worker, line.watcher = worker, engine
    line.watch = worker.watches[worker.watch_count - 1]
    line_listen(line)
    return 0
