# SPDX-License-Identifier: MIT
# Driver side of a queue, whatever its layout.

cdef int driver_ring_add(driver_ring *ring, const segment *segments, uint32_t readable,
                         uint32_t writable) noexcept nogil:
    if ring.packed:
        return packed_driver_add(ring, segments, readable, writable)
    return split_driver_add(ring, segments, readable, writable)


cdef int driver_ring_add_indirect(driver_ring *ring, const segment *segments, uint32_t readable, uint32_t writable,
                                  uint64_t table) noexcept nogil:
    if ring.packed:
        return packed_driver_add_indirect(ring, segments, readable, writable, table)
    return split_driver_add_indirect(ring, segments, readable, writable, table)


cdef bint driver_ring_publish(driver_ring *ring) noexcept nogil:
    return packed_driver_publish(ring) if ring.packed else split_driver_publish(ring)


cdef int driver_ring_get(driver_ring *ring, uint16_t *head, uint32_t *written) noexcept nogil:
    return packed_driver_get(ring, head, written) if ring.packed else split_driver_get(ring, head, written)


cdef bint driver_ring_enable(driver_ring *ring) noexcept nogil:
    return packed_driver_enable(ring) if ring.packed else split_driver_enable(ring)


cdef void driver_ring_disable(driver_ring *ring) noexcept nogil:
    if ring.packed:
        packed_driver_disable(ring)
    else:
        split_driver_disable(ring)
