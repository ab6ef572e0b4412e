# SPDX-License-Identifier: MIT
# A learning Ethernet switch between the queues of its ports: one copy, from the sender's window to the receiver's.

cdef enum:
    # What a turn of a port may cost. A byte copied is 1; what comes beside that is told in bytes that take as long.
    SWITCH_TURN = 1 << 22
    SWITCH_FRAME_PRICE = 256
    SWITCH_PART_PRICE = 64
    SWITCH_SOFTWARE_PRICE = 4   # for each byte that is segmented, or of which the sum is taken


# A forwarding plane and its ports.
cdef struct net_switch:
    net_port **ports
    net_port **needy            # of the frame at hand: ports that have not negotiated what its header asks for
    uint32_t count
    net_addresses addresses
    uint64_t ageing             # nanoseconds
    uint64_t now                # of this turn, nanoseconds as iv_now
    bint given                  # by the caller of this turn
    uint64_t flooded
    uint64_t cost               # of this turn
    uint8_t *whole              # the frame at hand, for what is done in software
    uint8_t *part               # one segment of it


cdef inline uint64_t switch_oldest(const net_switch *plane) noexcept nogil:
    """An address not seen since then is forgotten."""
    return plane.now - plane.ageing if plane.now > plane.ageing else 0


cdef inline bint switch_is_link_local(uint64_t key) noexcept nogil:
    """For the bridge itself, never beyond it (IEEE 802.1Q, 8.6.3): 01-80-c2-00-00-00 to -0f."""
    return key & <uint64_t>0xf0ffffffffff == 0xc28001


cdef net_port *switch_find(net_switch *plane, net_port *source, uint64_t key) noexcept nogil:
    """Where an address is known to be, or NULL."""
    cdef net_port *found
    if key == source.peer_key:
        return source.peer
    found = address_port(&plane.addresses, key, switch_oldest(plane))
    if found is not NULL and key == found.own_key:
        source.peer_key, source.peer = key, found
    return found


cdef void switch_gather(net_switch *plane, const net_frame *frame) noexcept nogil:
    """A private copy of the frame at hand."""
    memcpy(plane.whole, <const uint8_t *>frame.head + NET_HEADER_SIZE, 2 * ADDRESS_SIZE)
    segments_gather(frame.base, frame.segments, frame.count, frame.skip, plane.whole + 2 * ADDRESS_SIZE,
                    frame.length - 2 * ADDRESS_SIZE)


cdef void switch_give(net_switch *plane, net_port *port, const net_frame *frame) noexcept nogil:
    """Without room for it the frame is dropped: a guest without buffers holds up nobody."""
    cdef uint64_t parts = 0
    if net_deliver(port, frame, &parts) == NET_WAITS:
        port.counters[RECEIVE_NO_BUFFER] += 1
    plane.cost += frame.length + SWITCH_PART_PRICE * parts


cdef void switch_give_finished(net_switch *plane, uint32_t needy, const uint8_t *memory,
                               uint64_t length) noexcept nogil:
    """A frame with nothing left to do, to all that need it so."""
    cdef net_frame finished
    cdef segment only
    cdef uint32_t i
    memset(finished.head, 0, NET_HEADER_SIZE)
    net_frame_in(&finished, &only, memory, length)
    for i in range(needy):
        switch_give(plane, plane.needy[i], &finished)


cdef void switch_finish(net_switch *plane, uint32_t needy, const net_frame *frame,
                        const net_header *header) noexcept nogil:
    """Complete the checksum, or cut into segments, for ports that have not negotiated it: correct, and slow."""
    cdef net_layers layers
    cdef uint32_t count, i
    cdef uint64_t length
    switch_gather(plane, frame)
    plane.cost += SWITCH_SOFTWARE_PRICE * frame.length
    if header.gso_type == GSO_NONE:
        net_complete(plane.whole, frame.length, header)
        switch_give_finished(plane, needy, plane.whole, frame.length)
        return
    count = net_take_apart(plane.whole, frame.length, header, &layers)
    if not count:
        for i in range(needy):
            plane.needy[i].counters[RECEIVE_MALFORMED] += 1
    for i in range(count):
        length = net_segment(plane.whole, frame.length, header, &layers, i, i + 1 == count, plane.part)
        plane.cost += SWITCH_SOFTWARE_PRICE * layers.payload
        switch_give_finished(plane, needy, plane.part, length)


cdef bint switch_pass_on(net_switch *plane, net_port *source, const net_frame *frame,
                         const net_header *header) noexcept nogil:
    """To the one port where its destination lives, or to all others; False where no port has a use for it."""
    cdef uint64_t key = (frame.head[1] >> 32 | frame.head[2] << 32) & NET_ADDRESS_MASK
    cdef uint64_t sender = frame.head[2] >> 16
    cdef uint64_t asked = net_needed_to_receive(header)
    cdef net_port *known = NULL
    cdef net_port *port
    cdef uint32_t needy = 0
    cdef uint32_t i
    if sender != source.own_key:
        address_learn(&plane.addresses, sender, source, plane.now)
    if switch_is_link_local(key):
        return False
    if not address_is_group(key):
        known = switch_find(plane, source, key)
        if known is source:
            return False
    if known is not NULL and not asked & ~known.features:
        switch_give(plane, known, frame)
        return True
    plane.flooded += known is NULL
    for i in range(plane.count):
        port = plane.ports[i]
        if port is source or (known is not NULL and port is not known):
            continue
        if asked & ~port.features:
            plane.needy[needy] = port
            needy += 1
        else:
            switch_give(plane, port, frame)
    if needy:
        switch_finish(plane, needy, frame, header)
    return known is not NULL or plane.count > 1


cdef inline bint switch_read_head(net_port *source, const chain_record *chain, net_frame *frame,
                                  net_header *header) noexcept nogil:
    """Packet header and addresses, read once and passed on as they were read; False where they make no sense."""
    if chain.segments[0].length >= NET_HEAD_SIZE:
        iv_load_words(frame.head, frame.base + chain.segments[0].offset)
    else:
        segments_gather(frame.base, chain.segments, chain.readable, 0, <uint8_t *>frame.head, NET_HEAD_SIZE)
    if not frame.head[0] and not frame.head[1] & 0xffff:
        memset(header, 0, sizeof(net_header))
        return True
    memcpy(header, frame.head, NET_HEADER_SIZE)
    if not net_check_header(header, frame.length, source.features):
        return False
    memcpy(frame.head, header, NET_HEADER_SIZE)
    return True


cdef void switch_one(net_switch *plane, net_port *source, const chain_record *chain) noexcept nogil:
    """One frame of this port."""
    cdef net_frame frame
    cdef net_header header
    frame.length = chain.readable_length - NET_HEADER_SIZE
    if chain.readable_length < NET_HEADER_SIZE + ETHERNET_HEADER_SIZE or frame.length > LONGEST_FRAME:
        source.counters[TRANSMIT_MALFORMED] += 1
        return
    if not source.link_up:
        source.counters[TRANSMIT_LINK_DOWN] += 1
        return
    frame.base = source.transmit.place.base
    frame.segments = chain.segments
    frame.count = chain.readable
    frame.skip = NET_HEAD_SIZE
    if not switch_read_head(source, chain, &frame, &header):
        source.counters[TRANSMIT_MALFORMED] += 1
        return
    if not switch_pass_on(plane, source, &frame, &header):
        source.counters[TRANSMIT_REFUSED] += 1
        return
    source.counters[TRANSMITTED_FRAMES] += 1
    source.counters[TRANSMITTED_BYTES] += frame.length


cdef int switch_take(net_port *source, uint32_t most) noexcept nogil:
    """Take some chains, and have what is looked at first fetched; how many, or -1 where there is none but a broken
    rule."""
    cdef uint32_t count = 0
    cdef int found = 0
    cdef chain_record *chain
    while count < most:
        chain = &source.sending[count]
        found = device_ring_pop(source.transmit, chain)
        if found <= 0:
            break
        if chain.readable:
            iv_prefetch(source.transmit.place.base + chain.segments[0].offset)
        count += 1
    return -1 if found < 0 and not count else <int>count


cdef int switch_turn(net_switch *plane, net_port *source, uint32_t most) noexcept nogil:
    """Pass on up to so many frames of one port, at a bounded cost; how many, or -1 where its ring broke a rule. What
    was pushed is left to be published."""
    cdef uint32_t done = 0
    cdef int taken
    cdef int i
    plane.cost = 0
    while done < most and plane.cost < SWITCH_TURN:
        taken = switch_take(source, min(<uint32_t>SWITCH_AHEAD, most - done))
        if taken <= 0:
            return taken if taken < 0 else <int>done
        if not done and not plane.given:
            plane.now = <uint64_t>iv_now()
        for i in range(taken):
            switch_one(plane, source, &source.sending[i])
            plane.cost += SWITCH_FRAME_PRICE + SWITCH_PART_PRICE * source.sending[i].readable
            device_ring_push(source.transmit, &source.sending[i], 0)
        source.transmitted = True
        done += taken
    return <int>done


cdef void switch_publish(net_switch *plane) noexcept nogil:
    """Once for each queue that was used in this turn. Delivered before the buffers are returned to the sender: a
    process that is killed in between has its successor send them again."""
    cdef uint32_t i
    for i in range(plane.count):
        if plane.ports[i].received:
            net_publish_received(plane.ports[i])
    for i in range(plane.count):
        if plane.ports[i].transmitted:
            net_publish_transmitted(plane.ports[i])


cdef void switch_tell(net_switch *plane) noexcept nogil:
    """Notify whoever wants to know of what was published."""
    cdef net_port *port
    cdef uint32_t i
    for i in range(plane.count):
        port = plane.ports[i]
        net_tell(port)
        if port.tell_receive or port.tell_transmit:
            net_tell_in_python(port)


@cython.final
cdef class SwitchPlane:
    cdef net_switch plane
    cdef list ports

    def __cinit__(self, double ageing, uint16_t most_addresses):
        self.ports = []
        self.plane.ageing = <uint64_t>(ageing * 1e9)
        self.plane.addresses.most = most_addresses
        self.plane.whole = <uint8_t *>malloc(LONGEST_FRAME)
        self.plane.part = <uint8_t *>malloc(LONGEST_FRAME)
        if self.plane.whole is NULL or self.plane.part is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.plane.whole)
        free(self.plane.part)
        free(self.plane.ports)
        free(self.plane.needy)
        addresses_close(&self.plane.addresses)

    @property
    def flooded(self):
        return self.plane.flooded

    def join(self, NetPort port not None, bytes address not None):
        if len(address) != ADDRESS_SIZE:
            raise ValueError(f"an Ethernet address has {ADDRESS_SIZE} bytes, not {len(address)}")
        switch_make_room(&self.plane, self.plane.count + 1)
        self.ports.append(port)
        self.plane.ports[self.plane.count] = &port.port
        self.plane.count += 1
        port.port.oldest = port.port.newest = -1
        port.port.own_key = address_key(<const uint8_t *>PyBytes_AS_STRING(address))
        address_own(&self.plane.addresses, port.port.own_key, &port.port)

    def leave(self, NetPort port not None):
        cdef uint32_t i
        self.ports.remove(port)
        addresses_leave(&self.plane.addresses, &port.port)
        for i in range(len(self.ports)):
            self.plane.ports[i] = &(<NetPort>self.ports[i]).port
        self.plane.count -= 1
        for i in range(self.plane.count):
            self.plane.ports[i].peer_key, self.plane.ports[i].peer = 0, NULL
        port.port.peer_key, port.port.peer = 0, NULL

    def port_of(self, bytes address not None, double now):
        cdef net_port *found
        cdef NetPort port
        if not self.ports:
            return None
        self.plane.now = <uint64_t>(now * 1e9)
        found = address_port(&self.plane.addresses, address_key(<const uint8_t *>PyBytes_AS_STRING(address)),
                             switch_oldest(&self.plane))
        for port in self.ports:
            if &port.port is found:
                return port
        return None

    def forward(self, NetPort source not None, double now):
        cdef int waiting = 0
        cdef int taken
        cdef NetPort port
        if source.port.transmit is NULL or source.port.stopped:
            return False
        self.plane.now, self.plane.given = <uint64_t>(now * 1e9), True
        with nogil:
            device_ring_disable(source.port.transmit)
            taken = switch_turn(&self.plane, &source.port, source.port.transmit.place.size)
            if taken >= 0:
                waiting = device_ring_enable(source.port.transmit)
            switch_publish(&self.plane)
        self.plane.given = False
        for port in self.ports:
            port.tell()
        if taken < 0 or waiting < 0:
            source.port.stopped = True
            source.check()
        return waiting > 0


cdef int switch_make_room(net_switch *plane, uint32_t ports) except -1:
    """For so many ports, and all that they can learn; what was learned so far is kept."""
    cdef net_port **places = <net_port **>realloc(plane.ports, ports * sizeof(net_port *))
    cdef net_port **needy
    if places is NULL:
        raise MemoryError
    plane.ports = places
    needy = <net_port **>realloc(plane.needy, ports * sizeof(net_port *))
    if needy is NULL:
        raise MemoryError
    plane.needy = needy
    return addresses_make_room(&plane.addresses, plane.ports, plane.count, ports)
