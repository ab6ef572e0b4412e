# SPDX-License-Identifier: MIT
# What a worker does for a port of a switch: one engine for each of its queues, all ports of a switch on one worker.

cdef enum:
    SWITCH_BATCH = 64           # frames of one port before the others have their turn


@cython.final
cdef class NetReceiveEngine(Engine):
    """Nothing comes out of a receive queue by itself: it only begins and ends with this engine."""

    cdef NetPort port

    def __init__(self, NetPort port not None, Bell bell not None):
        if port.receive is None:
            raise RuntimeError("the port has no receive queue")
        self.port = port
        self.window = port.receive.window
        port.receive_bell, port.port.receive_rope = bell, &bell.rope
        self.work.context = &port.port
        self.work.serve = net_receive_serve
        self.work.finish = net_receive_finish

    @property
    def counters(self):
        return {name: count for name, count in self.port.counters.as_dict().items() if name.startswith("receive")}

    def check(self):
        Engine.check(self)
        self.port.check()


cdef int net_receive_serve(void *context) noexcept nogil:
    cdef net_port *port = <net_port *>context
    if port.stopped:
        return -1
    # From now on its bell hangs, and nobody else looks at the ring.
    port.receive = port.receive_of
    return 0


cdef void net_receive_finish(void *context) noexcept nogil:
    (<net_port *>context).receive = NULL


@cython.final
cdef class SwitchEngine(Engine):
    cdef SwitchPlane plane
    cdef NetPort port

    def __init__(self, SwitchPlane plane not None, NetPort port not None, Bell bell not None):
        if port.transmit is None:
            raise RuntimeError("the port has no transmit queue")
        self.plane, self.port = plane, port
        self.window = port.transmit.window
        port.transmit_bell, port.port.transmit_rope = bell, &bell.rope
        port.port.plane = &plane.plane
        self.work.context = &port.port
        self.work.serve = switch_serve
        self.work.arm = switch_arm
        self.work.disarm = switch_disarm

    @property
    def counters(self):
        return {name: count for name, count in self.port.counters.as_dict().items() if name.startswith("transmit")}

    def check(self):
        Engine.check(self)
        self.port.check()


cdef int switch_arm(void *context) noexcept nogil:
    return device_ring_enable((<net_port *>context).transmit)


cdef void switch_disarm(void *context) noexcept nogil:
    device_ring_disable((<net_port *>context).transmit)


cdef int switch_serve(void *context) noexcept nogil:
    """One turn of a port. Each driver that was given something hears of it once."""
    cdef net_port *port = <net_port *>context
    cdef net_switch *plane = <net_switch *>port.plane
    cdef int taken
    if port.stopped:
        return -1
    taken = switch_turn(plane, port, SWITCH_BATCH)
    if taken:
        switch_publish(plane)
        switch_tell(plane)
    if taken < 0:
        port.stopped = True
    return taken
