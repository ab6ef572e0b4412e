# SPDX-License-Identifier: MIT
# The layout that both sides of a packed virtqueue share (virtio 1.4, 2.8). A position is a slot of the descriptor ring
# with the wrap counter in bit 15.

cdef inline uint8_t *packed_slot(const ring_place *place, uint16_t position) noexcept nogil:
    return place.desc + DESC_SIZE * <uint64_t>(position & POSITION_SLOT)


cdef inline uint16_t packed_step(uint16_t position, uint32_t count, uint32_t size) noexcept nogil:
    """The position `count` slots on, which are no more than the ring has."""
    cdef uint32_t slot = (position & POSITION_SLOT) + count
    if slot < size:
        return <uint16_t>(position + count)
    return <uint16_t>((position & POSITION_WRAP ^ POSITION_WRAP) | (slot - size))


cdef inline uint16_t packed_available_flags(uint16_t position) noexcept nogil:
    """AVAIL is the wrap counter, USED is not (virtio 1.4, 2.8.1)."""
    return DESC_F_AVAIL if position & POSITION_WRAP else DESC_F_USED


cdef inline uint16_t packed_used_flags(uint16_t position) noexcept nogil:
    """AVAIL and USED are both the wrap counter (virtio 1.4, 2.8.1)."""
    return DESC_F_AVAIL | DESC_F_USED if position & POSITION_WRAP else 0


cdef inline bint packed_is_available(uint16_t flags, uint16_t position) noexcept nogil:
    return flags & (DESC_F_AVAIL | DESC_F_USED) == packed_available_flags(position)


cdef inline bint packed_is_used(uint16_t flags, uint16_t position) noexcept nogil:
    return flags & (DESC_F_AVAIL | DESC_F_USED) == packed_used_flags(position)


cdef inline void packed_load(const uint8_t *slot, iv_descriptor *desc) noexcept nogil:
    """Copy one descriptor, each word once; its buffer id goes to `next`."""
    # Acquire: pairs with the other side's release store of the flags; what else it wrote before them is visible.
    cdef uint64_t rest = iv_load64(slot + 8)
    desc.address = iv_load64(slot)
    desc.length = <uint32_t>rest
    desc.next = <uint16_t>(rest >> 32)
    desc.flags = <uint16_t>(rest >> 48)


cdef inline void packed_store_all(uint8_t *slot, uint32_t length, uint16_t buffer_id, uint16_t flags) noexcept nogil:
    iv_store64(slot + 8, length | <uint64_t>buffer_id << 32 | <uint64_t>flags << 48)


cdef inline void packed_store_unseen(uint8_t *slot, uint32_t length, uint16_t buffer_id) noexcept nogil:
    """All but the flags, which make it visible."""
    iv_store32(slot + 8, length)
    iv_store16(slot + PACKED_ID, buffer_id)


cdef inline uint32_t packed_event(uint16_t flags, uint16_t position) noexcept nogil:
    """An event suppression structure (virtio 1.4, 2.8.14)."""
    return position | <uint32_t>flags << 16


cdef inline bint packed_event_wanted(const ring_place *place, uint32_t event, uint16_t position,
                                     uint32_t count) noexcept nogil:
    """Whether the other side wants to know that `count` slots up to this position were written."""
    cdef uint16_t flags = event >> 16 & EVENT_FLAGS
    cdef uint16_t slot = position & POSITION_SLOT
    cdef uint16_t wanted = event & POSITION_SLOT
    if flags == EVENT_DISABLE:
        return False
    if flags != EVENT_DESC or not place.event_idx:
        return True
    if (event ^ position) & POSITION_WRAP:
        wanted -= <uint16_t>place.size  # of the lap before
    return event_passed(wanted, slot, <uint16_t>(slot - count))
