# SPDX-License-Identifier: MIT
# What a worker does for a device behind a tap interface or a stream socket: one engine for each of its two queues, both
# on the same worker.

@cython.final
cdef class LineReceiveEngine(Engine):
    cdef NetLine line

    def __init__(self, NetLine line not None, Bell bell not None):
        cdef NetPort port = line.port
        if port.receive is None:
            raise RuntimeError("the device has no receive queue")
        self.line = line
        self.window = port.receive.window
        port.receive_bell, port.port.receive_rope = bell, &bell.rope
        line.line.receiver = &self.work
        self.work.context = &line.line
        self.work.serve = line_receive_serve
        self.work.arm = line_receive_arm
        self.work.disarm = line_receive_disarm
        self.work.finish = line_receive_finish

    @property
    def counters(self):
        return {name: n for name, n in self.line.port.counters.as_dict().items() if not name.startswith("transmit")}

    def check(self):
        Engine.check(self)
        self.line.port.check()


@cython.final
cdef class LineTransmitEngine(Engine):
    cdef NetLine line

    def __init__(self, NetLine line not None, Bell bell not None):
        cdef NetPort port = line.port
        if port.transmit is None:
            raise RuntimeError("the device has no transmit queue")
        self.line = line
        self.window = port.transmit.window
        port.transmit_bell, port.port.transmit_rope = bell, &bell.rope
        line.line.transmitter = &self.work
        self.work.context = &line.line
        self.work.serve = line_transmit_serve
        self.work.arm = line_transmit_arm
        self.work.disarm = line_transmit_disarm
        self.work.finish = line_transmit_finish

    @property
    def counters(self):
        return {name: n for name, n in self.line.port.counters.as_dict().items() if name.startswith("transmit")}

    def check(self):
        Engine.check(self)
        self.line.port.check()


cdef int line_turn(net_line *line, plane_engine *engine, int (*turn)(net_line *line, uint32_t most) noexcept nogil) \
        noexcept nogil:
    """One turn of one direction. The driver hears once of what there was for it."""
    cdef net_port *port = line.port
    cdef int done
    if port.stopped or (line.watch is NULL and line_begin(line, engine) < 0):
        return -1
    done = turn(line, LINE_BATCH)
    net_publish_received(port)
    net_publish_transmitted(port)
    net_tell(port)
    if port.tell_receive or port.tell_transmit:
        net_tell_in_python(port)
    line_report(line)
    if done < 0:
        port.stopped = True
    return -1 if port.stopped else done


cdef void line_report(net_line *line) noexcept nogil:
    """Tell the owner once that the host's side is gone."""
    if line.lost and not line.told:
        line.told = True
        line_tell_owner(line)


cdef int line_receive_serve(void *context) noexcept nogil:
    cdef net_line *line = <net_line *>context
    return line_turn(line, line.receiver, line.receive)


cdef int line_transmit_serve(void *context) noexcept nogil:
    cdef net_line *line = <net_line *>context
    return line_turn(line, line.transmitter, line.transmit)


cdef int line_receive_arm(void *context) noexcept nogil:
    """A kick for new buffers is of use only while a frame waits for them."""
    cdef net_line *line = <net_line *>context
    if not line.holds:
        return 0
    if line.look is not NULL:
        line.look(line)
        line_report(line)
    return device_ring_enable(line.port.receive) if line.port.receive is not NULL else 0


cdef void line_receive_disarm(void *context) noexcept nogil:
    cdef net_line *line = <net_line *>context
    if line.port.receive is not NULL:
        device_ring_disable(line.port.receive)


cdef int line_transmit_arm(void *context) noexcept nogil:
    """More from the driver is of use only where the host takes it."""
    cdef net_line *line = <net_line *>context
    line_watch_room(line, line.blocked)
    return 0 if line.blocked else device_ring_enable(line.port.transmit)


cdef void line_transmit_disarm(void *context) noexcept nogil:
    device_ring_disable((<net_line *>context).port.transmit)


cdef void line_finish(net_line *line, const plane_engine *engine) noexcept nogil:
    """Its watch went with it; the engine of the other direction makes one of its own."""
    if line.watcher == engine:
        line.watch = NULL
        line.watcher = NULL
        line.worker = NULL
        line.watches_room = False


cdef void line_receive_finish(void *context) noexcept nogil:
    line_finish(<net_line *>context, (<net_line *>context).receiver)


cdef void line_transmit_finish(void *context) noexcept nogil:
    line_finish(<net_line *>context, (<net_line *>context).transmitter)
