# SPDX-License-Identifier: MIT
# The file itself, without any device: the least a block device can cost.

def pread_loop(int fd, Window window not None, uint64_t base, uint64_t room, *, uint32_t size, uint64_t span,
               double seconds, bint sequential=False):
    cdef uint64_t length = nanoseconds(seconds)
    cdef uint64_t random = 0x9e3779b97f4a7c15
    cdef uint64_t requests = 0, errors = 0, blocks, block = 0, at = base
    cdef uint64_t start, time
    cdef int i
    if not size or room < size or span < size:
        raise ValueError(f"reads of {size} bytes into {room} bytes of window, from {span} bytes of a file")
    window.at(base, room)
    blocks = span // size
    window.exports += 1
    try:
        with nogil:
            start = time = now()
            while time - start < length:
                for i in range(COPIES_PER_LOOK):
                    block = (block + 1 if sequential else next_random(&random)) % blocks
                    if pread(fd, window.base + at, size, block * size) != size:
                        errors += 1
                    at = at + size if at + 2 * size <= base + room else base
                requests += COPIES_PER_LOOK
                time = now()
    finally:
        window.exports -= 1
    return Outcome(requests, (time - start) / 1e9, errors, 0, 0, (0.0, 0.0, 0.0))
