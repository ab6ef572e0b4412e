# SPDX-License-Identifier: MIT
# Turns of a tap interface, whose frames come and go behind a packet header, one with each system call (Linux:
# Documentation/networking/tuntap.rst). The kernel copies straight into receive buffers and out of transmit buffers.

cdef enum:
    LEAST_LARGEST = 1518        # bytes; room for a frame of that size is looked for from the start


cdef uint32_t tap_place(net_line *line, uint64_t *room) noexcept nogil:
    """Name receive buffers set aside, behind the place of the packet header, in vectors from the second on; where they
    end. `room`: bytes."""
    cdef net_port *port = line.port
    cdef const chain_record *spare
    cdef segment part
    cdef uint64_t skip = NET_HEADER_SIZE
    cdef uint32_t at = 1
    cdef uint32_t i, j
    cdef int found
    room[0] = 0
    if port.receive is NULL or port.stopped:
        return at
    # No frame waits for these yet, so no kick is due.
    port.waiting = False
    found = net_set_aside(port, NET_HEADER_SIZE + line.largest)
    port.waiting = True
    if found < 0:
        net_stop(port)
        return at
    for i in range(port.spare_count):
        spare = port.spares + port.first_spare + i
        for j in range(spare.readable, spare.readable + spare.writable):
            part = spare.segments[j]
            if skip >= part.length:
                skip -= part.length
                continue
            if at + 1 == LINE_VECTORS or room[0] == LONGEST_FRAME:
                return at
            line.vectors[at].iov_base = port.receive.place.base + part.offset + skip
            line.vectors[at].iov_len = min(part.length - skip, LONGEST_FRAME - room[0])
            room[0] += line.vectors[at].iov_len
            skip = 0
            at += 1
    return at


cdef void tap_take_back(net_line *line, uint32_t count, uint64_t length) noexcept nogil:
    """A frame of which a part did not fit: put all of it together in private memory, where the rest is already."""
    cdef uint64_t done = NET_HEADER_SIZE
    cdef uint32_t i
    memcpy(line.memory, line.vectors[0].iov_base, NET_HEADER_SIZE)
    for i in range(1, count):
        memcpy(line.memory + done, line.vectors[i].iov_base, line.vectors[i].iov_len)
        done += line.vectors[i].iov_len
    line.end = NET_HEADER_SIZE + length


cdef int tap_give_held(net_line *line) noexcept nogil:
    """The frame that waits; 1, or 0 where it still does."""
    if not line_may_give(line):
        return 0
    line.holds = not line_give(line, line.memory, line.memory + NET_HEADER_SIZE, line.end - NET_HEADER_SIZE)
    return not line.holds


cdef int tap_read(net_line *line) noexcept nogil:
    """One frame; 1, or 0 where none is there."""
    cdef uint8_t header[NET_HEADER_SIZE]
    cdef net_port *port = line.port
    cdef uint64_t room, length
    cdef uint32_t count = tap_place(line, &room)
    cdef ssize_t got
    line.vectors[0].iov_base = header
    line.vectors[0].iov_len = NET_HEADER_SIZE
    line.vectors[count].iov_base = line.memory + NET_HEADER_SIZE + room
    line.vectors[count].iov_len = LONGEST_FRAME - room
    got = readv(line.fd, line.vectors, <int>count + 1)
    if got < 0:
        if errno != EAGAIN and errno != EINTR:
            line_lose(line, errno)
        return 0
    if got < NET_HEADER_SIZE + ETHERNET_HEADER_SIZE:
        port.counters[RECEIVE_MALFORMED] += 1
        return 1
    length = <uint64_t>got - NET_HEADER_SIZE
    line.largest = max(line.largest, length)
    # The kernel says "checksum is good" to everybody; only who accepted GUEST_CSUM may hear it (5.1.6.4).
    if not port.features & NET_F_GUEST_CSUM:
        memset(header, 0, NET_HEADER_SIZE)
    if length > room:
        tap_take_back(line, count, length)
        line.holds = not line_give(line, line.memory, line.memory + NET_HEADER_SIZE, length)
    elif net_admit(port, length, header[1]) == NET_ROOM:
        net_claim(port, header, length)
    return 1


cdef int tap_receive(net_line *line, uint32_t most) noexcept nogil:
    cdef uint32_t done = 0
    while done < most and line.fd >= 0 and not line.lost:
        if line.holds:
            if not tap_give_held(line):
                break
        elif not tap_read(line):
            break
        done += 1
        if done % LINE_SHOWN == 0:
            net_publish_received(line.port)
    return <int>done


cdef void tap_look(net_line *line) noexcept nogil:
    """While nothing is read, an interface that vanishes has to be looked for."""
    cdef pollfd file
    file.fd = line.fd
    file.events = file.revents = 0
    if line.fd >= 0 and poll(&file, 1, 0) > 0 and file.revents & POLLERR:
        line_lose(line, EBADFD)


cdef void tap_send(net_line *line, const chain_record *chain) noexcept nogil:
    """The kernel checks the packet header, in the copy that it makes."""
    cdef net_port *port = line.port
    cdef uint64_t length = chain.readable_length - NET_HEADER_SIZE
    cdef uint32_t count
    if chain.readable_length < NET_HEADER_SIZE + ETHERNET_HEADER_SIZE or length > LONGEST_FRAME:
        port.counters[TRANSMIT_MALFORMED] += 1
        return
    if not port.link_up or line.fd < 0:
        port.counters[TRANSMIT_LINK_DOWN] += 1
        return
    if chain.readable <= LINE_VECTORS:
        count = line_vectors(line, chain, 0, 0)
    else:
        count = line_vector(line, chain, 0, 0)
    if writev(line.fd, line.vectors, <int>count) >= 0:
        port.counters[TRANSMITTED_FRAMES] += 1
        port.counters[TRANSMITTED_BYTES] += length
    elif errno == EINVAL:
        port.counters[TRANSMIT_MALFORMED] += 1
    elif errno == EIO:
        port.counters[TRANSMIT_LINK_DOWN] += 1
    else:
        port.counters[TRANSMIT_REFUSED] += 1


cdef int tap_transmit(net_line *line, uint32_t most) noexcept nogil:
    cdef net_port *port = line.port
    cdef uint32_t done = 0
    cdef int taken, i
    while done < most:
        taken = switch_take(port, min(<uint32_t>SWITCH_AHEAD, most - done))
        if taken <= 0:
            return taken if taken < 0 else <int>done
        for i in range(taken):
            tap_send(line, &port.sending[i])
            device_ring_push(port.transmit, &port.sending[i], 0)
        port.transmitted = True
        done += taken
    return <int>done
