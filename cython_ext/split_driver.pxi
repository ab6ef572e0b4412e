# SPDX-License-Identifier: MIT
# Driver side of a split virtqueue. Descriptors and indices are written, never read back: which descriptors a chain
# holds, and how much of it the device may write, is known from private memory alone.

cdef void driver_reset(driver_ring *queue, uint16_t index) noexcept nogil:
    """Empty ring in shared memory, every descriptor free; both indices start at `index`."""
    cdef ring_place *ring = &queue.place
    cdef uint32_t i
    memset(ring.desc, 0, DESC_SIZE * ring.size)
    memset(ring.driver, 0, 6 + AVAIL_ENTRY_SIZE * ring.size)
    memset(ring.device, 0, 6 + USED_ENTRY_SIZE * ring.size)
    queue.avail = queue.published = queue.last_used = index
    queue.free = ring.size
    queue.free_head = 0
    for i in range(ring.size):
        queue.next[i] = <uint16_t>(i + 1)
    queue.callbacks = True
    iv_store16(ring.driver + RING_INDEX, index)
    iv_store16(ring.device + RING_INDEX, index)
    if ring.event_idx:
        iv_store16(used_event_word(ring), index)
        iv_store16(avail_event_word(ring), index)


cdef uint64_t driver_writable_length(const segment *segments, uint32_t readable, uint32_t writable) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t i
    for i in range(readable, readable + writable):
        total += segments[i].length
    return total


cdef void driver_make_available(driver_ring *queue, uint16_t head, uint16_t taken, uint64_t writable) noexcept nogil:
    """Put a finished chain into the available ring; publish makes it visible."""
    iv_store16(ring_slot(queue.place.driver, queue.avail, queue.place.size, AVAIL_ENTRY_SIZE), head)
    queue.order[queue.avail & (queue.place.size - 1)] = head
    queue.avail += 1
    queue.taken[head] = taken
    queue.visible[head] = 0
    queue.writable[head] = writable
    queue.free -= taken


cdef int split_driver_add(driver_ring *queue, const segment *segments, uint32_t readable,
                          uint32_t writable) noexcept nogil:
    cdef iv_descriptor desc
    cdef uint32_t count = readable + writable
    cdef uint16_t head = queue.free_head
    cdef uint16_t slot = head
    cdef uint32_t i
    if not count or count > queue.free:
        return -1
    for i in range(count):
        desc.address = segments[i].offset
        desc.length = segments[i].length
        desc.flags = (DESC_F_WRITE if i >= readable else 0) | (DESC_F_NEXT if i + 1 < count else 0)
        desc.next = queue.next[slot] if i + 1 < count else 0
        iv_store_descriptor(queue.place.desc + DESC_SIZE * slot, &desc)
        queue.free_head = queue.next[slot]
        if i + 1 < count:
            slot = queue.next[slot]
    driver_make_available(queue, head, <uint16_t>count, driver_writable_length(segments, readable, writable))
    return head


cdef int split_driver_add_indirect(driver_ring *queue, const segment *segments, uint32_t readable, uint32_t writable,
                                   uint64_t table) noexcept nogil:
    cdef iv_descriptor desc
    cdef uint32_t count = readable + writable
    cdef uint16_t head = queue.free_head
    cdef uint32_t i
    if not count or not queue.free:
        return -1
    for i in range(count):
        desc.address = segments[i].offset
        desc.length = segments[i].length
        desc.flags = (DESC_F_WRITE if i >= readable else 0) | (DESC_F_NEXT if i + 1 < count else 0)
        desc.next = <uint16_t>(i + 1) if i + 1 < count else 0
        iv_store_descriptor(queue.place.base + table + DESC_SIZE * i, &desc)
    desc.address = table
    desc.length = DESC_SIZE * count
    desc.flags = DESC_F_INDIRECT
    desc.next = 0
    iv_store_descriptor(queue.place.desc + DESC_SIZE * head, &desc)
    queue.free_head = queue.next[head]
    driver_make_available(queue, head, 1, driver_writable_length(segments, readable, writable))
    return head


cdef bint split_driver_publish(driver_ring *queue) noexcept nogil:
    cdef uint16_t old = queue.published
    cdef bint wanted
    if queue.avail == old:
        return False
    while queue.published != queue.avail:
        queue.visible[queue.order[queue.published & (queue.place.size - 1)]] = 1
        queue.published += 1
    # Release: pairs with the device's acquire load of the index; descriptors, data and ring entries come before it.
    iv_store16(queue.place.driver + RING_INDEX, queue.avail)
    # Full barrier between our index and the device's event word. Pairs with the one between its event word and its
    # second look at our index when it enables notifications.
    iv_fence()
    if queue.place.event_idx:
        wanted = event_passed(iv_load16(avail_event_word(&queue.place)), queue.avail, old)
    else:
        wanted = not iv_load16(queue.place.device + RING_FLAGS) & USED_F_NO_NOTIFY
    if wanted:
        queue.wanted += 1
    else:
        queue.suppressed += 1
    return wanted


cdef int driver_see_used(driver_ring *queue) noexcept nogil:
    """Read the used index; how many chains came back, or -1."""
    # Acquire: pairs with the device's release store of the index; used entries and the data it wrote are visible.
    cdef uint16_t index = iv_load16(queue.place.device + RING_INDEX)
    cdef uint16_t held = <uint16_t>(queue.published - queue.last_used)
    cdef uint16_t returned = <uint16_t>(index - queue.last_used)
    if returned > held:
        return broke(&queue.broken, USED_INDEX_JUMP, index, held, queue.place.size)
    return returned


cdef void driver_free_chain(driver_ring *queue, uint16_t head) noexcept nogil:
    """Give the chain's descriptors back to the free list, in front."""
    cdef uint16_t taken = queue.taken[head]
    cdef uint16_t last = head
    cdef uint32_t _step
    for _step in range(1, taken):
        last = queue.next[last]
    queue.next[last] = queue.free_head
    queue.free_head = head
    queue.free += taken
    queue.taken[head] = 0
    queue.visible[head] = 0


cdef int split_driver_get(driver_ring *queue, uint16_t *head, uint32_t *written) noexcept nogil:
    cdef const uint8_t *entry
    cdef uint32_t used_id, length
    cdef int returned
    if queue.broken.code:
        return -1
    returned = driver_see_used(queue)
    if returned <= 0:
        return returned
    entry = ring_slot(queue.place.device, queue.last_used, queue.place.size, USED_ENTRY_SIZE)
    used_id = iv_load32(entry)
    length = iv_load32(entry + 4)
    if used_id >= queue.place.size:
        return broke(&queue.broken, USED_ID_OUTSIDE_QUEUE, used_id, 0, queue.place.size)
    if not queue.visible[used_id]:
        return broke(&queue.broken, USED_ID_NOT_IN_FLIGHT, used_id, 0, queue.place.size)
    if length > queue.writable[used_id]:
        return broke(&queue.broken, USED_LENGTH_TOO_LARGE, length, queue.writable[used_id], queue.place.size)
    driver_free_chain(queue, <uint16_t>used_id)
    queue.last_used += 1
    queue.chains += 1
    queue.bytes += length
    if queue.callbacks and queue.place.event_idx:
        # Callbacks stay on for the next chain, too: the event word moves along. The barrier stands between it and the
        # look at the used index that the next call begins with; it pairs with the one in the device's publish.
        iv_store16(used_event_word(&queue.place), queue.last_used)
        iv_fence()
    head[0] = <uint16_t>used_id
    written[0] = length
    return 1


cdef bint split_driver_enable(driver_ring *queue) noexcept nogil:
    """Ask for callbacks; whether chains came back already."""
    queue.callbacks = True
    if queue.place.event_idx:
        iv_store16(used_event_word(&queue.place), queue.last_used)
    else:
        iv_store16(queue.place.driver + RING_FLAGS, 0)
    # Full barrier between our event word and the second look at the used index. Pairs with the one between the
    # device's index and its look at our event word.
    iv_fence()
    return iv_load16(queue.place.device + RING_INDEX) != queue.last_used


cdef void split_driver_disable(driver_ring *queue) noexcept nogil:
    queue.callbacks = False
    if queue.place.event_idx:
        # The position farthest away: 65535 chains from now.
        iv_store16(used_event_word(&queue.place), <uint16_t>(queue.last_used - 1))
    else:
        iv_store16(queue.place.driver + RING_FLAGS, AVAIL_F_NO_INTERRUPT)
