# SPDX-License-Identifier: MIT
# The layout that both sides of a split virtqueue share (virtio 1.4, 2.7).

cdef inline uint8_t *ring_slot(uint8_t *area, uint16_t position, uint32_t size, uint32_t width) noexcept nogil:
    """Entry of the available or used ring for a free-running 16-bit position."""
    return area + RING_ENTRIES + (position & (size - 1)) * width


cdef inline uint8_t *used_event_word(const ring_place *ring) noexcept nogil:
    """Behind the available entries: used position the driver wants to be told of."""
    return ring.driver + RING_ENTRIES + ring.size * AVAIL_ENTRY_SIZE


cdef inline uint8_t *avail_event_word(const ring_place *ring) noexcept nogil:
    """Behind the used entries: available position the device wants to be told of."""
    return ring.device + RING_ENTRIES + ring.size * USED_ENTRY_SIZE


cdef inline bint event_passed(uint16_t event, uint16_t new, uint16_t old) noexcept nogil:
    """Whether an index that went from old to new, modulo 2^16, stepped over event (virtio 1.4, 2.7.7.2, 2.7.10.1)."""
    return <uint16_t>(new - event - 1) < <uint16_t>(new - old)
