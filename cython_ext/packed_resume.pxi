# SPDX-License-Identifier: MIT
# How a packed queue goes on where a process that died left it (docs/protocol.md, 9).

cdef inline uint16_t packed_flags_at(const device_ring *queue, uint16_t position) noexcept nogil:
    return iv_load16(packed_slot(&queue.place, position) + PACKED_FLAGS)


cdef inline bint packed_was_used(uint16_t flags, uint16_t position) noexcept nogil:
    """Whether a slot that the driver made available in this lap was used since, by its flags.

    USED alone tells, for the driver may have made it available for its next lap meanwhile, which changes AVAIL.
    """
    return (flags ^ position) & DESC_F_USED == 0  # the wrap counter is the same bit


cdef int packed_settle(device_ring *queue, int answered_at) noexcept nogil:
    """Whether the batch that a dead process was publishing became visible or not: finish it, or take it back; or -1.

    The flags of its first slot tell. Where the driver's stand-in has answered everything, ``answered_at`` is the
    position it came to; -1 = it did not. May be interrupted at any point and done again.
    """
    cdef uint32_t count = iv_load32(queue.record + RECORD_COMMIT_COUNT)
    cdef uint16_t position = iv_load16(queue.record + (RECORD_COMMIT_OLD if count else RECORD_USED_POSITION))
    cdef uint8_t *record
    cdef uint32_t head
    if <uint32_t>(position & POSITION_SLOT) >= queue.place.size or count > queue.place.size:
        return broke(&queue.broken, USED_POSITION_CHANGED, position, count, queue.place.size)
    if count and packed_was_used(packed_flags_at(queue, position), position):
        position = packed_step(position, count, queue.place.size)
        iv_store16(queue.record + RECORD_USED_POSITION, position)
        for head in range(queue.place.size):
            record = taken_record(queue, head)
            if iv_load32(record + TAKEN_COMMITTED):
                iv_store64(record + TAKEN_SEQUENCE, 0)
    if answered_at >= 0:
        position = <uint16_t>answered_at
        record_answered(queue, position)
    iv_store32(queue.record + RECORD_COMMIT_COUNT, 0)
    for head in range(queue.place.size):
        iv_store32(taken_record(queue, head) + TAKEN_COMMITTED, 0)
    queue.used = queue.published = position
    return 0


cdef int packed_check_used(device_ring *queue) noexcept nogil:
    """Nobody but the device side marks slots used, and it comes to this one next; or -1.

    With nothing in flight the driver need not have written the slot in this lap, so only both flags together tell.
    """
    cdef uint16_t flags = packed_flags_at(queue, queue.used)
    if packed_was_used(flags, queue.used) if queue.slots else packed_is_used(flags, queue.used):
        return broke(&queue.broken, USED_POSITION_CHANGED, queue.used, queue.slots, queue.place.size)
    return 0


cdef void packed_unmark(device_ring *queue) noexcept nogil:
    """Slots of chains in flight are available, whatever a batch that was never published has left in their flags.

    Otherwise a driver would find the next chains used as soon as it got past the first slot of a later batch.
    """
    cdef uint16_t position = queue.used
    cdef uint32_t _step
    for _step in range(queue.slots):
        iv_store16(packed_slot(&queue.place, position) + PACKED_FLAGS, packed_available_flags(position))
        position = packed_step(position, 1, queue.place.size)


cdef int packed_restore(device_ring *queue) except -1:
    """Find the copies of the chains to be redone, and from them where the available position is."""
    cdef uint8_t *seen = <uint8_t *>calloc(queue.place.size, sizeof(uint8_t))
    cdef uint32_t i
    if seen is NULL:
        raise MemoryError
    try:
        for i in range(queue.redo_count):
            if copies_found(queue, queue.redo[i], seen) < 0:
                raise violation_error(&queue.broken)
        copies_free(queue, seen)
    finally:
        free(seen)
    if packed_check_used(queue) < 0:
        raise violation_error(&queue.broken)
    packed_unmark(queue)
    queue.last_avail = packed_step(queue.used, queue.slots, queue.place.size)
    return 0


cdef int packed_keep_copies(device_ring *queue, Window record, uint64_t offset) except -1:
    """Room for the copies, behind the in-flight records of the largest ring."""
    cdef uint32_t largest = iv_load32(record.at(offset + RECORD_RING_LARGEST, 4))
    cdef uint32_t i
    if queue.place.size > largest or largest > LARGEST_QUEUE:
        raise errors.RingSizeInvalid(
            f"queue size {queue.place.size} is more than the {largest} that the record has room for"
            " (docs/protocol.md, 9)"
        )
    offset += QUEUE_RECORD_SIZE + TAKEN_RECORD_SIZE * <uint64_t>largest
    queue.copies = record.at(offset, DESC_SIZE * <uint64_t>largest)
    queue.copy_next = <uint16_t *>calloc(queue.place.size, sizeof(uint16_t))
    queue.copy_first = <uint16_t *>calloc(queue.place.size, sizeof(uint16_t))
    queue.copy_count = <uint16_t *>calloc(queue.place.size, sizeof(uint16_t))
    if queue.copy_next is NULL or queue.copy_first is NULL or queue.copy_count is NULL:
        raise MemoryError
    for i in range(queue.place.size - 1):
        queue.copy_next[i] = <uint16_t>(i + 1)
    return 0
