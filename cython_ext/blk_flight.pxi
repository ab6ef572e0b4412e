# SPDX-License-Identifier: MIT
# Block requests that the kernel has in hand. What it reads or writes lies in the window; where that is, and what is
# needed to answer, stands in private memory, so nothing a driver changes meanwhile leads anywhere else.

cdef struct blk_flight:
    chain_record chain          # its segments, then the vectors, lie in `room`
    uint8_t *room
    size_t room_size
    uint64_t expected           # result of one that went well
    bint optional               # the file may be unable to do it, for which there are other ways


cdef struct blk_flights:
    iv_uring *ring              # NULL = everything is done on the spot
    blk_flight *all
    uint16_t *free              # numbers of those that are, the last ones first
    uint32_t most
    uint32_t count


cdef int flights_open(blk_flights *flights, iv_uring *ring, uint32_t most) except -1:
    cdef uint32_t i
    flights.all = <blk_flight *>calloc(most, sizeof(blk_flight))
    flights.free = <uint16_t *>calloc(most, sizeof(uint16_t))
    if flights.all is NULL or flights.free is NULL:
        raise MemoryError
    for i in range(most):
        flights.free[i] = <uint16_t>i
    flights.most = most
    flights.ring = ring
    return 0


cdef void flights_close(blk_flights *flights) noexcept nogil:
    cdef uint32_t i
    if flights.all is not NULL:
        for i in range(flights.most):
            free(flights.all[i].room)
    free(flights.all)
    free(flights.free)


cdef inline bint flights_have_room(const blk_flights *flights) noexcept nogil:
    return flights.ring is NULL or flights.count < flights.most


cdef bint flight_fill(blk_flight *flight, const chain_record *chain, iv_uring_wish *wish) noexcept nogil:
    """Copy what has to stay; False = there is no memory."""
    cdef size_t segments = (chain.readable + chain.writable) * sizeof(segment)
    cdef size_t vectors = wish.count * sizeof(iovec)
    cdef uint8_t *room
    if segments + vectors > flight.room_size:
        room = <uint8_t *>realloc(flight.room, segments + vectors)
        if room is NULL:
            return False
        flight.room, flight.room_size = room, segments + vectors
    memcpy(flight.room, chain.segments, segments)
    if vectors:
        memcpy(flight.room + segments, wish.vectors, vectors)
    flight.chain = chain[0]
    flight.chain.segments = <segment *>flight.room
    wish.vectors = <const iovec *>(flight.room + segments)
    flight.optional = wish.opcode == IV_URING_FALLOCATE
    flight.expected = wish.length if wish.opcode in (IV_URING_READV, IV_URING_WRITEV) else 0
    return True


cdef bint flights_begin(blk_flights *flights, const chain_record *chain, iv_uring_wish *wish) noexcept nogil:
    """Queue one for the kernel, where there is room; False = it cannot be."""
    cdef uint16_t number = flights.free[flights.most - flights.count - 1]
    if not flight_fill(&flights.all[number], chain, wish) or not iv_uring_queue(flights.ring, wish, number):
        return False
    flights.count += 1
    return True


cdef blk_flight *flights_end(blk_flights *flights, const iv_uring_done *done) noexcept nogil:
    """The one that is done; its contents stay until another begins."""
    cdef uint16_t number = <uint16_t>done.tag
    flights.count -= 1
    flights.free[flights.most - flights.count - 1] = number
    return &flights.all[number]


cdef inline bint is_transient(int error) noexcept nogil:
    return error in (EAGAIN, EBUSY, EINTR)


cdef int flights_submit(blk_flights *flights) noexcept nogil:
    """Hand over what is queued; an error number where the kernel will never take it. What it does not take now stays
    queued."""
    cdef int taken
    if flights.ring is NULL or not iv_uring_queued(flights.ring):
        return 0
    taken = iv_uring_submit(flights.ring)
    return -taken if taken < 0 and not is_transient(-taken) else 0


cdef unsigned int flights_wait(blk_flights *flights, iv_uring_done *done, unsigned int most) noexcept nogil:
    """Those that are done next. None at all: none is in the kernel, nor will be."""
    cdef int error
    cdef unsigned int count = iv_uring_reap(flights.ring, done, most)
    while not count:
        error = -iv_uring_wait(flights.ring)
        if error > 0 and not is_transient(error) and iv_uring_queued(flights.ring) == flights.count:
            return 0
        count = iv_uring_reap(flights.ring, done, most)
    return count
