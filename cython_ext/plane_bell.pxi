# SPDX-License-Identifier: MIT

@cython.final
cdef class Bell:
    def __cinit__(self, Window window=None, event=0, any_event=0):
        self.rope.fd = -1
        if window is not None:
            self.rope.event = window.writable_word(event, 1)
            self.rope.any_event = window.writable_word(any_event, 1)
        self.window = window

    def __dealloc__(self):
        if self.rope.fd >= 0:
            close(self.rope.fd)

    def hang(self, int fd):
        cdef int before = self.rope.fd
        self.rope.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3) if fd >= 0 else -1
        if before >= 0:
            close(before)

    @property
    def rung(self):
        return self.rope.rung


cdef void bell_ring(bell *rope) noexcept nogil:
    """Interrupt the driver: first the event bytes, for drivers whose queues share a vector."""
    rope.rung += 1
    if rope.event is not NULL:
        iv_store8(rope.event, 1)
        iv_store8(rope.any_event, 1)
    if rope.fd >= 0:
        # Fails where the counter is full, and then it is readable already.
        eventfd_write(rope.fd, 1)
