# SPDX-License-Identifier: MIT

cdef uint64_t gather_parts(const uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                           uint8_t *into, uint64_t length) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t part
    cdef uint32_t i
    for i in range(count):
        if done == length:
            break
        if skip >= segments[i].length:
            skip -= segments[i].length
            continue
        part = min(segments[i].length - skip, length - done)
        memcpy(into + done, base + segments[i].offset + skip, part)
        done += part
        skip = 0
    return done


cdef uint64_t scatter_parts(uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                            const uint8_t *source, uint64_t length) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t part
    cdef uint32_t i
    for i in range(count):
        if done == length:
            break
        if skip >= segments[i].length:
            skip -= segments[i].length
            continue
        part = min(segments[i].length - skip, length - done)
        memcpy(base + segments[i].offset + skip, source + done, part)
        done += part
        skip = 0
    return done


cdef list segments_views(Window window, const segment *segments, uint32_t count, uint64_t skip, uint64_t length,
                         bint readonly):
    """Views of `length` bytes of the segments, `skip` bytes from their start."""
    cdef uint64_t part
    cdef uint32_t i
    cdef list views = []
    for i in range(count):
        if not length:
            break
        if skip >= segments[i].length:
            skip -= segments[i].length
            continue
        part = min(segments[i].length - skip, length)
        views.append(window.view_of(segments[i].offset + skip, part, readonly))
        length -= part
        skip = 0
    return views


cdef list segments_list(const segment *segments, uint32_t count):
    return [(segments[i].offset, segments[i].length) for i in range(count)]
