# SPDX-License-Identifier: MIT

cdef extern from "uring.h" nogil:
    struct iv_uring:
        pass
    struct iv_uring_wish:
        uint8_t opcode
        int fd
        uint32_t count
        const iovec *vectors
        uint64_t offset
        uint64_t length
        uint32_t flags
    struct iv_uring_done:
        uint64_t tag
        int32_t result
    int IV_URING_READV
    int IV_URING_WRITEV
    int IV_URING_FSYNC
    int IV_URING_FALLOCATE
    int iv_uring_open(iv_uring *uring, unsigned int entries)
    void iv_uring_close(iv_uring *uring)
    int iv_uring_fd(const iv_uring *uring)
    bint iv_uring_queue(iv_uring *uring, const iv_uring_wish *wish, uint64_t tag)
    unsigned int iv_uring_queued(const iv_uring *uring)
    int iv_uring_submit(iv_uring *uring)
    int iv_uring_wait(iv_uring *uring)
    bint iv_uring_something_done(const iv_uring *uring)
    unsigned int iv_uring_reap(iv_uring *uring, iv_uring_done *done, unsigned int most)


cdef enum:
    FSYNC_DATASYNC = 1          # IORING_FSYNC_DATASYNC


@cython.final
cdef class Uring:
    cdef iv_uring ring
    cdef readonly unsigned int entries  # 0 = not open

    def __init__(self, unsigned int entries):
        cdef int error
        if self.entries:
            raise RuntimeError("a ring is opened once")
        error = iv_uring_open(&self.ring, entries)
        if error:
            raise OSError(-error, os.strerror(-error))
        self.entries = entries

    def __dealloc__(self):
        if self.entries:
            iv_uring_close(&self.ring)

    @property
    def idle(self):
        return not iv_uring_queued(&self.ring)

    def fileno(self):
        return iv_uring_fd(&self.ring)
