# SPDX-License-Identifier: MIT
# The two eventfds of a queue, as a driver uses them.

cdef struct bell:
    int kick
    int call
    uint64_t kicks
    uint64_t interrupts


cdef void bell_kick(bell *at) noexcept nogil:
    cdef uint64_t one = 1
    # A full counter means that it is readable already, so a refused write is no lost kick.
    write(at.kick, &one, sizeof(one))
    at.kicks += 1


cdef void bell_wait(bell *at, int milliseconds) noexcept nogil:
    """Sleep until the device interrupts, or for so long."""
    cdef pollfd file
    cdef uint64_t count
    file.fd = at.call
    file.events = POLLIN
    file.revents = 0
    if poll(&file, 1, milliseconds) > 0 and read(at.call, &count, sizeof(count)) == sizeof(count):
        at.interrupts += 1


cdef void bell_drain(bell *at) noexcept nogil:
    """Forget interrupts of before."""
    cdef uint64_t count
    cdef pollfd file
    file.fd = at.call
    file.events = POLLIN
    file.revents = 0
    if poll(&file, 1, 0) > 0:
        read(at.call, &count, sizeof(count))
