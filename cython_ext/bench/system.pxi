# SPDX-License-Identifier: MIT
# What the load needs of the C library, and the clock.

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    int CLOCK_MONOTONIC

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *into, size_t length)
    ssize_t write(int fd, const void *source, size_t length)
    ssize_t pread(int fd, void *into, size_t length, long offset)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *files, unsigned long count, int milliseconds)
    short POLLIN

cdef extern from "pause.h" nogil:
    void bench_pause()
    uint32_t bench_load(const uint32_t *word)
    void bench_store(uint32_t *word, uint32_t value)


cdef inline uint64_t now() noexcept nogil:
    """Nanoseconds."""
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


cdef uint64_t nanoseconds(double seconds) except? 0:
    if not 0 < seconds <= 3600:
        raise ValueError(f"{seconds} s: a measurement takes more than nothing and at most an hour")
    return <uint64_t>(seconds * 1e9)


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    """xorshift64: quick, and the same sequence for both sides of a comparison."""
    cdef uint64_t x = state[0]
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    state[0] = x
    return x
