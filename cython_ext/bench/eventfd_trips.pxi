# SPDX-License-Identifier: MIT
# Two eventfds and nothing else between two processes: what a doorbell costs at the least.

cdef bint eventfd_take(int fd) noexcept nogil:
    cdef uint64_t count
    return read(fd, &count, sizeof(count)) == sizeof(count)


cdef bint eventfd_await(int fd, bint spinning) noexcept nogil:
    """Spin on a non-blocking eventfd for as long as a device would be waited for, or sleep on a blocking one."""
    cdef uint64_t start
    cdef uint32_t spins = 0
    if not spinning:
        return eventfd_take(fd)
    start = now()
    while not eventfd_take(fd):
        spins += 1
        if spins % SPINS_PER_LOOK == 0 and now() - start > PATIENCE:
            return False
    return True


def eventfd_answer(int asked, int answered, *, bint spinning):
    cdef uint64_t one = 1
    with nogil:
        while eventfd_await(asked, spinning):
            write(answered, &one, sizeof(one))


def eventfd_trips(int ask, int answer, double seconds, *, bint spinning):
    cdef uint64_t span = nanoseconds(seconds)
    cdef uint64_t one = 1
    cdef uint64_t trips = 0, lost = 0
    cdef uint64_t start, since, time
    cdef histogram latencies
    memset(&latencies, 0, sizeof(latencies))
    with nogil:
        start = time = now()
        while time - start < span:
            since = time
            write(ask, &one, sizeof(one))
            if not eventfd_await(answer, spinning):
                lost += 1
                break
            time = now()
            trips += 1
            histogram_add(&latencies, time - since)
    return Outcome(trips, (time - start) / 1e9, lost, trips, trips, percentiles(&latencies))
