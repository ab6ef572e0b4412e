# SPDX-License-Identifier: MIT
# A network device as compiled code sees it: its two rings, what its driver accepted, and its counters.

cdef enum:
    SWITCH_AHEAD = 8            # chains taken before the first is looked into, so that its memory is fetched by then


cdef struct net_port:
    device_ring *receive        # NULL while no driver is at work, or without this queue
    device_ring *transmit
    device_ring *receive_of     # what `receive` is to be once the queue is served
    bell *receive_rope          # who is rung; NULL = NetPort calls what it was given
    bell *transmit_rope
    void *plane                 # the switch it is a port of
    PyObject *owner             # the NetPort
    uint64_t features           # accepted, and their preconditions too
    uint64_t longest            # bytes of a frame the driver is given at most, unless it is to be segmented
    bint mergeable
    bint link_up
    bint stopped                # a rule was broken: no ring is touched until the driver has reset
    bint waiting                # where there is no buffer for it, a frame waits instead of being dropped
    bint received               # something was pushed to the receive queue and not published
    bint transmitted            # same for the transmit queue
    bint tell_receive           # the driver wants to be notified, and was not yet
    bint tell_transmit
    uint64_t counters[<int>NET_COUNTERS]
    chain_record sending[<int>SWITCH_AHEAD]         # chains of the transmit queue at hand
    uint64_t own_key            # the device's address, which is not learned
    uint64_t peer_key           # the last destination that is a device's, and where it lives; 0 = none
    net_port *peer
    chain_record *spares        # of the receive queue: taken, and not filled yet
    uint32_t first_spare
    uint32_t spare_count
    uint64_t spare_room         # bytes
    segment *pool               # segments of the spares, in their order
    uint32_t pool_size
    uint32_t pool_end
    int oldest                  # of the addresses learned here, in the switch's table; -1 = none
    int newest
    uint32_t learned


cdef void net_publish_received(net_port *port) noexcept nogil:
    if port.received and port.receive is not NULL:
        port.tell_receive |= device_ring_publish(port.receive)
    port.received = False


cdef void net_publish_transmitted(net_port *port) noexcept nogil:
    if port.transmitted and port.transmit is not NULL:
        port.tell_transmit |= device_ring_publish(port.transmit)
    port.transmitted = False


@cython.final
cdef class NetPort:
    cdef net_port port
    cdef DeviceQueue receive
    cdef DeviceQueue transmit
    cdef object notify_receive
    cdef object notify_transmit
    cdef DeviceQueue spares_of
    cdef Bell receive_bell      # keep the ropes
    cdef Bell transmit_bell

    def __dealloc__(self):
        free(self.port.sending[0].segments)
        free(self.port.spares)
        free(self.port.pool)

    @property
    def counters(self):
        cdef NetCounters counters = NetCounters.__new__(NetCounters)
        counters.owner = self
        return counters

    @property
    def link_up(self):
        return bool(self.port.link_up)

    @link_up.setter
    def link_up(self, bint up):
        self.port.link_up = up

    @property
    def waiting(self):
        return bool(self.port.waiting)

    @waiting.setter
    def waiting(self, bint waiting):
        self.port.waiting = waiting

    @property
    def stopped(self):
        return bool(self.port.stopped)

    def stop(self):
        net_stop(&self.port)

    def attach(self, DeviceQueue receive, notify_receive, DeviceQueue transmit, notify_transmit, *, uint64_t features,
               bint mergeable, uint64_t longest, bint held=False):
        self.detach()
        self.port.owner = <PyObject *>self
        if self.spares_of is not receive:
            self.forget_buffers()
            net_make_room(self, receive)
        if transmit is not None:
            net_make_sending(&self.port, transmit.ring.place.size)
            transmit.window.check_open()
            transmit.window.exports += 1
            self.transmit, self.notify_transmit = transmit, notify_transmit
            self.port.transmit = &transmit.ring
        if receive is not None:
            receive.window.check_open()
            receive.window.exports += 1
            self.receive, self.notify_receive = receive, notify_receive
            self.port.receive_of = &receive.ring
        self.port.features = features
        self.port.mergeable = mergeable
        self.port.longest = longest
        if not held:
            self.begin()

    def begin(self):
        self.port.receive = self.port.receive_of

    def detach(self):
        self.port.receive = self.port.transmit = self.port.receive_of = NULL
        self.port.receive_rope = self.port.transmit_rope = NULL
        self.port.features = 0
        self.port.stopped = self.port.received = self.port.transmitted = False
        self.port.tell_receive = self.port.tell_transmit = False
        if self.receive is not None:
            self.receive.window.exports -= 1
        if self.transmit is not None:
            self.transmit.window.exports -= 1
        self.receive = self.transmit = self.notify_receive = self.notify_transmit = None
        self.receive_bell = self.transmit_bell = None

    def forget_buffers(self):
        net_forget_spares(&self.port)
        self.spares_of = None

    def check(self):
        if self.port.stopped:
            for queue in (self.receive, self.transmit):
                if queue is not None:
                    queue.pending()

    def deliver(self, bytes header not None, frame):
        return net_deliver_private(self, header, frame)

    def flush(self):
        net_publish_received(&self.port)
        net_publish_transmitted(&self.port)
        self.tell()

    cdef int tell(self) except -1:
        """Notify the driver where that is due and no rope is there to pull."""
        net_tell(&self.port)
        if self.port.tell_receive:
            self.port.tell_receive = False
            self.notify_receive()
        if self.port.tell_transmit:
            self.port.tell_transmit = False
            self.notify_transmit()
        return 0


cdef void net_tell(net_port *port) noexcept nogil:
    """Ring where that is due."""
    if port.tell_receive and port.receive_rope is not NULL:
        port.tell_receive = False
        bell_ring(port.receive_rope)
    if port.tell_transmit and port.transmit_rope is not NULL:
        port.tell_transmit = False
        bell_ring(port.transmit_rope)


cdef void net_tell_in_python(net_port *port) noexcept with gil:
    """For links whose doorbells are no eventfds."""
    (<NetPort>port.owner).tell()


cdef int net_make_sending(net_port *port, uint32_t size) except -1:
    """Room for the largest chains of a transmit queue."""
    cdef int i
    free(port.sending[0].segments)
    port.sending[0].segments = <segment *>calloc(<size_t>SWITCH_AHEAD * size, sizeof(segment))
    if port.sending[0].segments is NULL:
        raise MemoryError
    for i in range(1, SWITCH_AHEAD):
        port.sending[i].segments = port.sending[0].segments + <size_t>i * size
    return 0
