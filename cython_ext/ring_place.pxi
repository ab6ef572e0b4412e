# SPDX-License-Identifier: MIT
# Where a ring may lie, in either layout.

cdef inline bint open_to_buffers(const ring_place *ring, uint64_t offset, uint64_t length) noexcept nogil:
    return offset >= ring.minimum and inside(ring.length, offset, length)


cdef uint8_t *ring_area(Window window, str name, uint64_t offset, uint64_t length, uint64_t alignment,
                        uint64_t minimum) except NULL:
    window.check_open()
    if offset % alignment:
        raise errors.RingAddressInvalid(
            f"{name} at {offset:#x} is not a multiple of {alignment} (virtio 1.4, 2.7 and 2.8.10.1)"
        )
    if offset < minimum:
        raise errors.RingAddressInvalid(f"{name} at {offset:#x} lies over the registers, which end at {minimum:#x}")
    if not inside(window.length, offset, length):
        raise errors.RingAddressInvalid(
            f"{name} of {length} bytes at {offset:#x} does not lie in a window of {window.length} bytes"
        )
    return window.base + offset


cdef int ring_open(ring_place *ring, Window window, size, desc, driver, device, bint packed, bint event_idx,
                   bint indirect, minimum) except -1:
    """Check what the other side chose for a ring, and remember it."""
    if not window.writable:
        raise TypeError("a virtqueue needs a writable window")
    if not 1 <= size <= LARGEST_QUEUE or (size & (size - 1) and not packed):
        raise errors.RingSizeInvalid(
            f"queue size {size} is not {'a number' if packed else 'a power of two'} from 1 to {LARGEST_QUEUE}"
            f" (virtio 1.4, {'2.8.10.1' if packed else '2.7'})"
        )
    ring.base = window.base
    ring.length = window.length
    ring.minimum = minimum
    if packed:
        ring.desc = ring_area(window, "descriptor ring", desc, DESC_SIZE * size, 16, minimum)
        ring.driver = ring_area(window, "driver event suppression", driver, EVENT_SIZE, EVENT_SIZE, minimum)
        ring.device = ring_area(window, "device event suppression", device, EVENT_SIZE, EVENT_SIZE, minimum)
    else:
        ring.desc = ring_area(window, "descriptor table", desc, DESC_SIZE * size, 16, minimum)
        # 6 bytes with the event word at the end, which is part of the ring whether it is used or not.
        ring.driver = ring_area(window, "available ring", driver, 6 + AVAIL_ENTRY_SIZE * size, 2, minimum)
        ring.device = ring_area(window, "used ring", device, 6 + USED_ENTRY_SIZE * size, 4, minimum)
    ring.size = size
    ring.event_idx = event_idx
    ring.indirect = indirect
    return 0


cdef uint16_t first_index(index, bint packed, uint32_t size) except? 0xffff:
    """Where both sides of a new ring start; None = where virtio says."""
    if index is None:
        return POSITION_WRAP if packed else 0
    if not 0 <= index <= 0xffff:
        raise ValueError(f"ring index {index} does not fit 16 bits")
    if packed and index & POSITION_SLOT >= size:
        raise ValueError(f"slot {index & POSITION_SLOT} is not in a ring of {size}")
    return index
