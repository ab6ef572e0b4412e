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


cdef inline bint open_to_buffers(const ring_place *ring, uint64_t offset, uint64_t length) noexcept nogil:
    return offset >= ring.minimum and inside(ring.length, offset, length)


cdef uint8_t *ring_area(Window window, str name, uint64_t offset, uint64_t length, uint64_t alignment,
                        uint64_t minimum) except NULL:
    window.check_open()
    if offset % alignment:
        raise errors.RingAddressInvalid(f"{name} at {offset:#x} is not a multiple of {alignment} (virtio 1.4, 2.7)")
    if offset < minimum:
        raise errors.RingAddressInvalid(f"{name} at {offset:#x} lies over the registers, which end at {minimum:#x}")
    if not inside(window.length, offset, length):
        raise errors.RingAddressInvalid(
            f"{name} of {length} bytes at {offset:#x} does not lie in a window of {window.length} bytes"
        )
    return window.base + offset


cdef int ring_open(ring_place *ring, Window window, size, desc, driver, device, bint event_idx, bint indirect,
                   minimum) except -1:
    """Check what the other side chose for a ring, and remember it."""
    if not window.writable:
        raise TypeError("a virtqueue needs a writable window")
    if not 1 <= size <= LARGEST_QUEUE or size & (size - 1):
        raise errors.RingSizeInvalid(
            f"queue size {size} is not a power of two from 1 to {LARGEST_QUEUE} (virtio 1.4, 2.7)"
        )
    ring.base = window.base
    ring.length = window.length
    ring.minimum = minimum
    ring.desc = ring_area(window, "descriptor table", desc, DESC_SIZE * size, 16, minimum)
    # 6 bytes with the event word at the end, which is part of the ring whether it is used or not.
    ring.driver = ring_area(window, "available ring", driver, 6 + AVAIL_ENTRY_SIZE * size, 2, minimum)
    ring.device = ring_area(window, "used ring", device, 6 + USED_ENTRY_SIZE * size, 4, minimum)
    ring.size = size
    ring.event_idx = event_idx
    ring.indirect = indirect
    return 0


cdef int check_index(index) except -1:
    if not 0 <= index <= 0xffff:
        raise ValueError(f"ring index {index} does not fit 16 bits")
    return 0
