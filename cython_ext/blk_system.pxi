# SPDX-License-Identifier: MIT
# What block requests use of the C library.

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv(int fd, const iovec *vectors, int count, long offset)
    ssize_t preadv2(int fd, const iovec *vectors, int count, long offset, int flags)
    ssize_t pwritev2(int fd, const iovec *vectors, int count, long offset, int flags)
    int RWF_DSYNC
    int RWF_NOWAIT


cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)
    ssize_t pread(int fd, void *into, size_t length, long offset)
