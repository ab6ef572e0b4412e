# SPDX-License-Identifier: MIT
# Frames into the receive queue of a guest (virtio 1.4, 5.1.6.4). Chains that were taken for a frame and did not suffice
# are set aside for the next one.

cdef enum:
    NET_WAITS = 0               # for more buffers
    NET_DONE = 1                # delivered, or dropped for good
    NET_ROOM = 2


# A frame on its way to receivers: its first bytes read once into private memory, the rest where the sender has it.
cdef struct net_frame:
    uint64_t head[<int>NET_HEAD_WORDS]
    const uint8_t *base
    const segment *segments
    uint32_t count
    uint64_t skip               # bytes of the segments that the head stands for
    uint64_t length             # bytes, without the packet header


# Where the next byte goes.
cdef struct net_place:
    chain_record *chain
    uint32_t segment            # of the writable ones
    uint64_t offset             # in that segment
    uint64_t written            # to the chain
    uint64_t parts              # copied so far, for the price of it


cdef int net_make_room(NetPort port, DeviceQueue receive) except -1:
    """Room to set chains of this queue aside. A chain is only taken while those set aside cannot hold the longest
    frame, and every segment holds a byte of it: that bounds their number. Twice that, so that they are seldom moved."""
    cdef uint64_t size, most
    free(port.port.spares)
    free(port.port.pool)
    port.port.spares, port.port.pool = NULL, NULL
    if receive is None:
        return 0
    size = receive.ring.place.size
    most = min(size * size, <uint64_t>(NET_HEADER_SIZE + LONGEST_FRAME) + size)
    port.port.spares = <chain_record *>calloc(size, sizeof(chain_record))
    port.port.pool = <segment *>calloc(2 * most + size, sizeof(segment))
    if port.port.spares is NULL or port.port.pool is NULL:
        raise MemoryError
    port.port.pool_size = <uint32_t>(2 * most + size)
    port.spares_of = receive
    return 0


cdef void net_forget_spares(net_port *port) noexcept nogil:
    port.first_spare = port.spare_count = port.pool_end = 0
    port.spare_room = 0


cdef void net_stop(net_port *port) noexcept nogil:
    """The driver broke a rule of its rings: touch none again; NetPort.check says which rule it was."""
    port.stopped = True
    net_forget_spares(port)


cdef void net_move_spares(net_port *port) noexcept nogil:
    """To the front of their arrays."""
    cdef chain_record *first = port.spares + port.first_spare
    cdef uint64_t shift = first.segments - port.pool
    cdef uint32_t i
    memmove(port.pool, first.segments, (port.pool_end - shift) * sizeof(segment))
    memmove(port.spares, first, port.spare_count * sizeof(chain_record))
    for i in range(port.spare_count):
        port.spares[i].segments -= shift
    port.pool_end -= <uint32_t>shift
    port.first_spare = 0


cdef chain_record *net_next_spare(net_port *port) noexcept nogil:
    """Where the next chain is taken to."""
    cdef uint32_t size = port.receive.place.size
    cdef chain_record *spare
    if not port.spare_count:
        net_forget_spares(port)
    elif port.first_spare + port.spare_count == size or port.pool_end + size > port.pool_size:
        net_move_spares(port)
    spare = port.spares + port.first_spare + port.spare_count
    spare.segments = port.pool + port.pool_end
    return spare


cdef int net_take(net_port *port, chain_record *chain) noexcept nogil:
    """The next receive buffer: 1, or 0 and a kick is asked for where frames wait, or -1."""
    cdef int found = device_ring_pop(port.receive, chain)
    if found or not port.waiting:
        return found
    found = device_ring_enable(port.receive)
    return device_ring_pop(port.receive, chain) if found > 0 else found


cdef int net_set_aside(net_port *port, uint64_t needed) noexcept nogil:
    """Have room for `needed` bytes set aside: NET_ROOM, or NET_WAITS, or NET_DONE where no number of buffers would do,
    or -1."""
    cdef uint32_t size = port.receive.place.size
    cdef uint32_t most = size if port.mergeable else 1
    cdef uint32_t _attempt
    cdef chain_record *chain
    cdef int found
    for _attempt in range(size):
        if port.spare_room >= needed or port.spare_count >= most:
            break
        chain = net_next_spare(port)
        found = net_take(port, chain)
        if found <= 0:
            return -1 if found < 0 else NET_WAITS
        if chain.writable_length < NET_HEADER_SIZE:
            port.counters[RECEIVE_MALFORMED] += 1
            device_ring_push(port.receive, chain, 0)
            port.received = True
            continue
        port.spare_count += 1
        port.spare_room += chain.writable_length
        port.pool_end += chain.readable + chain.writable
    if port.spare_room >= needed:
        return NET_ROOM
    return NET_WAITS if port.spare_count < most else NET_DONE


cdef void net_frame_in(net_frame *frame, segment *only, const uint8_t *memory, uint64_t length) noexcept nogil:
    """All but the packet header: a frame in one stretch of private memory, which `only` will name."""
    only.offset = 0
    only.length = <uint32_t>length
    memcpy(<uint8_t *>frame.head + NET_HEADER_SIZE, memory, 2 * ADDRESS_SIZE)
    frame.base = memory
    frame.segments = only
    frame.count = 1
    frame.skip = 2 * ADDRESS_SIZE
    frame.length = length


cdef uint32_t net_buffers_for(const net_port *port, uint64_t needed) noexcept nogil:
    """How many of the chains set aside `needed` bytes fill."""
    cdef uint32_t count = 0
    cdef uint64_t room = 0
    while room < needed:
        room += port.spares[port.first_spare + count].writable_length
        count += 1
    return count


cdef void net_begin_chain(net_port *port, net_place *place) noexcept nogil:
    """Go on in the first chain set aside."""
    place.chain = port.spares + port.first_spare
    place.segment = place.chain.readable
    place.offset = place.written = 0


cdef void net_end_chain(net_port *port, net_place *place) noexcept nogil:
    """Give the first chain set aside back."""
    port.first_spare += 1
    port.spare_count -= 1
    port.spare_room -= place.chain.writable_length
    device_ring_push(port.receive, place.chain, <uint32_t>place.written)
    port.received = True


cdef void net_put(net_port *port, net_place *place, const uint8_t *source, uint64_t length) noexcept nogil:
    """Copy into chains set aside, which have room for it."""
    cdef segment *into
    cdef uint64_t part
    while length:
        if place.written == place.chain.writable_length:
            net_end_chain(port, place)
            net_begin_chain(port, place)
        into = place.chain.segments + place.segment
        part = min(<uint64_t>into.length - place.offset, length)
        memcpy(port.receive.place.base + into.offset + place.offset, source, part)
        source += part
        length -= part
        place.written += part
        place.offset += part
        place.parts += 1
        if place.offset == into.length:
            place.segment += 1
            place.offset = 0


cdef void net_put_head(net_port *port, net_place *place, const uint64_t *head) noexcept nogil:
    """The first bytes, as a rule into one stretch."""
    cdef segment *into = place.chain.segments + place.segment
    if into.length <= NET_HEAD_SIZE:
        net_put(port, place, <const uint8_t *>head, NET_HEAD_SIZE)
        return
    memcpy(port.receive.place.base + into.offset, head, NET_HEAD_SIZE)
    place.written = place.offset = NET_HEAD_SIZE
    place.parts = 1


cdef uint64_t net_fill(net_port *port, const net_frame *frame) noexcept nogil:
    """The one copy: from where the frame lies to chains set aside that have room for it; how many parts that took."""
    cdef uint32_t buffers = net_buffers_for(port, NET_HEADER_SIZE + frame.length)
    cdef uint64_t head[<int>NET_HEAD_WORDS]
    cdef net_place place
    cdef uint64_t left = frame.length - 2 * ADDRESS_SIZE
    cdef uint64_t skip = frame.skip
    cdef uint64_t part
    cdef uint32_t i
    head[0], head[2] = frame.head[0], frame.head[2]
    head[1] = frame.head[1] & ~NET_BUFFERS_MASK | <uint64_t>buffers << NET_BUFFERS_SHIFT
    place.parts = 0
    net_begin_chain(port, &place)
    net_put_head(port, &place, head)
    for i in range(frame.count):
        if not left:
            break
        if skip >= frame.segments[i].length:
            skip -= frame.segments[i].length
            continue
        part = min(frame.segments[i].length - skip, left)
        net_put(port, &place, frame.base + frame.segments[i].offset + skip, part)
        left -= part
        skip = 0
    net_end_chain(port, &place)
    port.counters[RECEIVED_FRAMES] += 1
    port.counters[RECEIVED_BYTES] += frame.length
    return place.parts


cdef void net_claim(net_port *port, uint8_t *header, uint64_t length) noexcept nogil:
    """Give a frame whose bytes are in chains set aside already to the guest, behind this packet header."""
    cdef chain_record *chain = port.spares + port.first_spare
    cdef uint64_t left = NET_HEADER_SIZE + length
    cdef uint32_t buffers = net_buffers_for(port, left)
    cdef net_place place
    header[NET_HEADER_SIZE - 2] = <uint8_t>buffers
    header[NET_HEADER_SIZE - 1] = <uint8_t>(buffers >> 8)
    segments_scatter(port.receive.place.base, chain.segments + chain.readable, chain.writable, 0, header,
                     NET_HEADER_SIZE)
    while left:
        net_begin_chain(port, &place)
        place.written = min(left, place.chain.writable_length)
        left -= place.written
        net_end_chain(port, &place)
    port.counters[RECEIVED_FRAMES] += 1
    port.counters[RECEIVED_BYTES] += length


cdef int net_admit(net_port *port, uint64_t length, uint8_t gso_type) noexcept nogil:
    """Whether a frame of `length` bytes may be filled in now (NET_ROOM), has to wait (NET_WAITS), or is done with."""
    cdef int room
    if port.receive is NULL or port.stopped:
        port.counters[RECEIVE_INACTIVE] += 1
        return NET_DONE
    # What was told as MTU is kept to, except by what is to be segmented (5.1.4.1).
    if length > port.longest and gso_type & ~GSO_ECN == GSO_NONE:
        port.counters[RECEIVE_TOO_LONG] += 1
        return NET_DONE
    room = net_set_aside(port, NET_HEADER_SIZE + length)
    if room < 0:
        net_stop(port)
        return NET_DONE
    if room == NET_WAITS:
        port.counters[RECEIVE_WAITS] += 1
    elif room == NET_DONE:
        port.counters[RECEIVE_TOO_LONG] += 1
    return room


cdef int net_deliver(net_port *port, const net_frame *frame, uint64_t *parts) noexcept nogil:
    """Give a frame to the guest: NET_DONE, or NET_WAITS."""
    cdef int room = net_admit(port, frame.length, <uint8_t>(frame.head[0] >> 8))
    if room != NET_ROOM:
        return room
    parts[0] += net_fill(port, frame)
    return NET_DONE


cdef object net_deliver_private(NetPort port, bytes header, frame):
    """A frame that lies in private memory; False where it has to wait."""
    cdef Py_buffer source
    cdef net_frame whole
    cdef segment only
    cdef uint64_t parts = 0
    PyObject_GetBuffer(frame, &source, PyBUF_SIMPLE)
    try:
        if len(header) != NET_HEADER_SIZE or not ETHERNET_HEADER_SIZE <= source.len <= LONGEST_FRAME:
            raise ValueError(f"a frame of {source.len} bytes behind {len(header)} bytes of packet header is none")
        memcpy(whole.head, PyBytes_AS_STRING(header), NET_HEADER_SIZE)
        net_frame_in(&whole, &only, <const uint8_t *>source.buf, source.len)
        return net_deliver(&port.port, &whole, &parts) == NET_DONE
    finally:
        PyBuffer_Release(&source)
