# SPDX-License-Identifier: MIT
# Turns of a unix stream socket, in which each frame comes after its length in four big-endian bytes.
#
# Linux puts what one system call sends into such a socket as a whole or not at all, up to 32 KiB. Pieces of that size
# end where a frame ends: so a process that is killed has not sent part of a frame, and a reader who takes what is there
# never finds half a length. passt of 2023 drops such a half and takes the middle of a frame for the next length from
# then on. Chains are returned once they were sent: a process that is killed in between has its successor send them
# again.

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void *into, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

cdef enum:
    STREAM_PREFIX = 4           # bytes
    STREAM_PIECE = 1 << 15      # bytes; a frame that alone is longer goes in more than one system call


cdef int stream_deliver(net_line *line, uint32_t most) noexcept nogil:
    """Complete frames of what has come, until one has to wait; how many."""
    cdef net_port *port = line.port
    cdef const uint8_t *at
    cdef uint64_t length
    cdef uint32_t done = 0
    if line.holds and not line_may_give(line):
        return 0
    line.holds = False
    while done < most and line.end - line.begin >= STREAM_PREFIX:
        at = line.memory + line.begin
        length = load_be32(at)
        if length > LONGEST_FRAME:
            line.announced = <uint32_t>length
            line_lose(line, -1)
            break
        if line.end - line.begin < STREAM_PREFIX + length:
            break
        if length < ETHERNET_HEADER_SIZE:
            port.counters[RECEIVE_MALFORMED] += 1
        elif not line_give(line, NULL, at + STREAM_PREFIX, length):
            line.holds = True
            break
        line.begin += STREAM_PREFIX + length
        done += 1
        if done % LINE_SHOWN == 0:
            net_publish_received(port)
    return <int>done


cdef bint stream_fill(net_line *line) noexcept nogil:
    """Read more; whether there was more. There is room, for a frame that is not complete is all that is left."""
    cdef ssize_t got
    memmove(line.memory, line.memory + line.begin, line.end - line.begin)
    line.end -= line.begin
    line.begin = 0
    got = recv(line.fd, line.memory + line.end, LINE_INPUT - line.end, MSG_DONTWAIT)
    if got > 0:
        line.end += got
    elif not got:
        line_lose(line, 0)
    elif errno != EAGAIN and errno != EINTR:
        line_lose(line, errno)
    return got > 0


cdef int stream_receive(net_line *line, uint32_t most) noexcept nogil:
    cdef uint32_t done = 0
    while line.fd >= 0 and not line.lost:
        done += stream_deliver(line, most - done)
        if line.holds or line.lost or done == most or not stream_fill(line):
            break
    return <int>done


cdef bint stream_is_wrong(net_line *line, const chain_record *chain) noexcept nogil:
    """Whether it is no frame, or one that asks for offloads: none was offered."""
    cdef net_header header
    cdef uint64_t length = chain.readable_length - NET_HEADER_SIZE
    if chain.readable_length < NET_HEADER_SIZE + ETHERNET_HEADER_SIZE or length > LONGEST_FRAME:
        return True
    segments_gather(line.port.transmit.place.base, chain.segments, chain.readable, 0, <uint8_t *>&header,
                    NET_HEADER_SIZE)
    return not net_check_header(&header, length, 0)


cdef int stream_take(net_line *line) noexcept nogil:
    """Take chains of the transmit queue; how many, or -1."""
    cdef device_ring *ring = line.port.transmit
    cdef chain_record *chain
    cdef uint32_t used = 0
    cdef int found = 0
    line.first = line.count = 0
    while line.count < LINE_CHAINS and used + ring.place.size <= line.pool_size:
        chain = &line.chains[line.count]
        chain.segments = line.pool + used
        found = device_ring_pop(ring, chain)
        if found <= 0:
            break
        used += chain.readable + chain.writable
        line.wrong[line.count] = stream_is_wrong(line, chain)
        store_be32(line.prefixes[line.count], <uint32_t>(chain.readable_length - NET_HEADER_SIZE))
        line.count += 1
    return -1 if found < 0 and not line.count else <int>line.count


cdef void stream_return(net_line *line, uint32_t end) noexcept nogil:
    """The driver gets the chains up to that one back."""
    while line.first < end:
        device_ring_push(line.port.transmit, &line.chains[line.first], 0)
        line.first += 1
    line.port.transmitted = True


cdef uint32_t stream_piece(net_line *line, uint32_t *vectors, uint64_t *bytes) noexcept nogil:
    """Name the frames of the next system call, without what was sent of them; where they end among the chains."""
    cdef const chain_record *chain
    cdef uint32_t i = line.first
    cdef uint64_t size
    vectors[0], bytes[0] = 0, 0
    while i < line.count and not line.wrong[i] and (not line.piece or i < line.piece):
        chain = &line.chains[i]
        size = STREAM_PREFIX + chain.readable_length - NET_HEADER_SIZE
        if bytes[0] and (bytes[0] + size > STREAM_PIECE or vectors[0] + 1 + chain.readable > LINE_VECTORS):
            break
        line.vectors[vectors[0]].iov_base = line.prefixes[i]
        line.vectors[vectors[0]].iov_len = STREAM_PREFIX
        if chain.readable < LINE_VECTORS:
            vectors[0] = line_vectors(line, chain, NET_HEADER_SIZE, vectors[0] + 1)
        else:
            vectors[0] = line_vector(line, chain, NET_HEADER_SIZE, vectors[0] + 1)
        bytes[0] += size
        i += 1
    return i


cdef void stream_skip(net_line *line, uint32_t vectors) noexcept nogil:
    """Leave out what was sent already."""
    cdef uint64_t skip = line.sent
    cdef uint64_t part
    cdef uint32_t i
    for i in range(vectors):
        part = min(skip, line.vectors[i].iov_len)
        line.vectors[i].iov_base = <uint8_t *>line.vectors[i].iov_base + part
        line.vectors[i].iov_len -= part
        skip -= part


cdef bint stream_send(net_line *line) noexcept nogil:
    """One system call; whether it sent something."""
    cdef net_port *port = line.port
    cdef uint32_t vectors = 0
    cdef uint64_t bytes = 0
    cdef uint32_t end = stream_piece(line, &vectors, &bytes)
    cdef msghdr message
    cdef ssize_t sent
    memset(&message, 0, sizeof(msghdr))
    stream_skip(line, vectors)
    message.msg_iov, message.msg_iovlen = line.vectors, vectors
    sent = sendmsg(line.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        if errno == EAGAIN:
            line.blocked = True
        elif errno != EINTR:
            line_lose(line, errno)
        return False
    line.sent += sent
    if line.sent < bytes:
        line.piece = end
        return True
    line.sent = line.piece = 0
    port.counters[TRANSMITTED_FRAMES] += end - line.first
    port.counters[TRANSMITTED_BYTES] += bytes - STREAM_PREFIX * <uint64_t>(end - line.first)
    stream_return(line, end)
    return True


cdef bint stream_pass_on(net_line *line) noexcept nogil:
    """The next of the chains at hand; False where that has to wait."""
    if line.wrong[line.first]:
        line.port.counters[TRANSMIT_MALFORMED] += 1
    elif line.fd < 0 or line.lost or not line.port.link_up:
        line.port.counters[TRANSMIT_LINK_DOWN] += 1
    else:
        return stream_send(line)
    line.sent = line.piece = 0
    stream_return(line, line.first + 1)
    return True


cdef int stream_transmit(net_line *line, uint32_t most) noexcept nogil:
    cdef uint32_t done = 0
    cdef uint32_t before
    cdef int taken
    line.blocked = False
    if line.port.transmit is NULL:
        return 0
    while True:
        if line.first == line.count:
            taken = stream_take(line) if done < most else 0
            if taken <= 0:
                return taken if taken < 0 and not done else <int>done
        before = line.first
        if not stream_pass_on(line):
            return <int>done
        done += line.first - before
