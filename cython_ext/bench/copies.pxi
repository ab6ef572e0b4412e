# SPDX-License-Identifier: MIT
# Copies between private memory and a window: as devices do them, segment by segment, and as memcpy does.

cdef enum:
    COPIES_PER_LOOK = 16


cdef uint64_t copy_turn(uint8_t *base, uint64_t at, uint8_t *private, uint32_t size, bint into,
                        bint plain) noexcept nogil:
    cdef segment part
    if plain:
        if into:
            memcpy(base + at, private, size)
        else:
            memcpy(private, base + at, size)
        return size
    part.offset = at
    part.length = size
    if into:
        return segments_scatter(base, &part, 1, 0, private, size)
    return segments_gather(base, &part, 1, 0, private, size)


def copy_rate(Window window not None, uint64_t base, uint64_t room, uint32_t size, double seconds, *, bint into,
              bint plain):
    cdef uint64_t span = nanoseconds(seconds)
    cdef uint64_t start, time
    cdef uint64_t copied = 0
    cdef uint64_t at = base
    cdef int i
    cdef uint8_t *private
    if not size or room < size:
        raise ValueError(f"copies of {size} bytes in {room} bytes of window")
    window.at(base, room)
    private = <uint8_t *>calloc(1, size)
    if private is NULL:
        raise MemoryError
    window.exports += 1
    try:
        with nogil:
            start = time = now()
            while time - start < span:
                for i in range(COPIES_PER_LOOK):
                    copied += copy_turn(window.base, at, private, size, into, plain)
                    at = at + size if at + 2 * size <= base + room else base
                time = now()
    finally:
        window.exports -= 1
        free(private)
    return copied / ((time - start) / 1e9)
