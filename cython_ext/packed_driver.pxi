# SPDX-License-Identifier: MIT
# Driver side of a packed virtqueue. Descriptors are written, never read back but for what a used one says: which slots
# a chain holds, and how much of it the device may write, is known from private memory alone, by buffer id.

cdef void packed_driver_reset(driver_ring *queue, uint16_t position) noexcept nogil:
    """Empty ring in shared memory, every slot and every buffer id free."""
    cdef ring_place *place = &queue.place
    cdef uint32_t i
    memset(place.desc, 0, DESC_SIZE * place.size)
    iv_store32(place.driver, packed_event(EVENT_ENABLE, 0))
    iv_store32(place.device, packed_event(EVENT_ENABLE, 0))
    queue.avail = queue.published = queue.last_used = position
    queue.free = place.size
    queue.free_head = 0
    for i in range(place.size):
        queue.next[i] = <uint16_t>(i + 1)
    queue.callbacks = True
    if place.event_idx:
        iv_store32(place.driver, packed_event(EVENT_DESC, position))


cdef void packed_driver_put(driver_ring *queue, uint64_t address, uint32_t length, uint16_t buffer_id,
                            uint16_t flags) noexcept nogil:
    """Write the next descriptor of the ring; publish makes the first one since the last publish visible."""
    cdef uint8_t *slot = packed_slot(&queue.place, queue.avail)
    flags |= packed_available_flags(queue.avail)
    iv_store64(slot, address)
    if queue.avail == queue.published:
        # The device looks here next, and at nothing behind it before it sees this one's flags.
        packed_store_unseen(slot, length, buffer_id)
        queue.first_flags = flags
    else:
        packed_store_all(slot, length, buffer_id, flags)
    queue.avail = packed_step(queue.avail, 1, queue.place.size)


cdef void packed_driver_added(driver_ring *queue, uint16_t buffer_id, uint16_t taken, uint64_t writable) noexcept nogil:
    """Note a chain that stands in the ring."""
    queue.free_head = queue.next[buffer_id]
    queue.order[queue.added] = buffer_id
    queue.added += 1
    queue.added_slots += taken
    queue.taken[buffer_id] = taken
    queue.visible[buffer_id] = 0
    queue.writable[buffer_id] = writable
    queue.free -= taken


cdef int packed_driver_add(driver_ring *queue, const segment *segments, uint32_t readable,
                           uint32_t writable) noexcept nogil:
    cdef uint32_t count = readable + writable
    cdef uint16_t buffer_id = queue.free_head
    cdef uint16_t flags
    cdef uint32_t i
    if not count or count > queue.free:
        return -1
    for i in range(count):
        flags = (DESC_F_WRITE if i >= readable else 0) | (DESC_F_NEXT if i + 1 < count else 0)
        packed_driver_put(queue, segments[i].offset, segments[i].length, buffer_id, flags)
    packed_driver_added(queue, buffer_id, <uint16_t>count, driver_writable_length(segments, readable, writable))
    return buffer_id


cdef int packed_driver_add_indirect(driver_ring *queue, const segment *segments, uint32_t readable, uint32_t writable,
                                    uint64_t table) noexcept nogil:
    cdef iv_descriptor entry
    cdef uint32_t count = readable + writable
    cdef uint16_t buffer_id = queue.free_head
    cdef uint32_t i
    if not count or not queue.free:
        return -1
    for i in range(count):
        entry.address = segments[i].offset
        entry.length = segments[i].length
        entry.flags = 0  # which is where a packed descriptor has its buffer id, without a meaning here
        entry.next = DESC_F_WRITE if i >= readable else 0
        iv_store_descriptor(queue.place.base + table + DESC_SIZE * <uint64_t>i, &entry)
    packed_driver_put(queue, table, DESC_SIZE * count, buffer_id, DESC_F_INDIRECT)
    packed_driver_added(queue, buffer_id, 1, driver_writable_length(segments, readable, writable))
    return buffer_id


cdef bint packed_driver_publish(driver_ring *queue) noexcept nogil:
    cdef uint32_t count = queue.added_slots
    cdef bint wanted
    cdef uint32_t i
    if not count:
        return False
    for i in range(queue.added):
        queue.visible[queue.order[i]] = 1
    # Release: pairs with the device's acquire load of these flags; data and all other descriptors come before it.
    iv_store16(packed_slot(&queue.place, queue.published) + PACKED_FLAGS, queue.first_flags)
    queue.published = queue.avail
    queue.added = queue.added_slots = 0
    # Full barrier between our flags and the device's event word. Pairs with the one between its event word and its
    # second look at the ring when it enables notifications.
    iv_fence()
    wanted = packed_event_wanted(&queue.place, iv_load32(queue.place.device), queue.avail, count)
    if wanted:
        queue.wanted += 1
    else:
        queue.suppressed += 1
    return wanted


cdef int packed_driver_get(driver_ring *queue, uint16_t *buffer_id, uint32_t *written) noexcept nogil:
    cdef iv_descriptor used
    cdef uint32_t length
    if queue.broken.code:
        return -1
    packed_load(packed_slot(&queue.place, queue.last_used), &used)
    if not packed_is_used(used.flags, queue.last_used):
        return 0
    # Without WRITE the length means nothing (virtio 1.4, 2.8.4).
    length = used.length if used.flags & DESC_F_WRITE else 0
    if used.next >= queue.place.size:
        return broke(&queue.broken, USED_BUFFER_ID_OUTSIDE, used.next, 0, queue.place.size)
    if not queue.visible[used.next]:
        return broke(&queue.broken, USED_BUFFER_ID_NOT_IN_FLIGHT, used.next, 0, queue.place.size)
    if length > queue.writable[used.next]:
        return broke(&queue.broken, USED_LENGTH_TOO_LARGE, length, queue.writable[used.next], queue.place.size)
    queue.last_used = packed_step(queue.last_used, queue.taken[used.next], queue.place.size)
    queue.free += queue.taken[used.next]
    queue.taken[used.next] = 0
    queue.visible[used.next] = 0
    queue.next[used.next] = queue.free_head
    queue.free_head = used.next
    queue.chains += 1
    queue.bytes += length
    if queue.callbacks and queue.place.event_idx:
        # Callbacks stay on for the next chain, too: the event word moves along. The barrier stands between it and the
        # look at the ring that the next call begins with; it pairs with the one in the device's publish.
        iv_store32(queue.place.driver, packed_event(EVENT_DESC, queue.last_used))
        iv_fence()
    buffer_id[0] = used.next
    written[0] = length
    return 1


cdef bint packed_driver_enable(driver_ring *queue) noexcept nogil:
    """Ask for callbacks; whether chains came back already."""
    queue.callbacks = True
    if queue.place.event_idx:
        iv_store32(queue.place.driver, packed_event(EVENT_DESC, queue.last_used))
    else:
        iv_store32(queue.place.driver, packed_event(EVENT_ENABLE, 0))
    # Full barrier between our event word and the second look at the ring. Pairs with the one between the device's
    # flags and its look at our event word.
    iv_fence()
    return packed_is_used(iv_load16(packed_slot(&queue.place, queue.last_used) + PACKED_FLAGS), queue.last_used)


cdef void packed_driver_disable(driver_ring *queue) noexcept nogil:
    queue.callbacks = False
    iv_store32(queue.place.driver, packed_event(EVENT_DISABLE, 0))
