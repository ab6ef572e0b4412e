# SPDX-License-Identifier: MIT
# Device side of a split virtqueue. The used index and avail_event are written, never read back: a driver that changes
# them misleads itself only. Descriptors are copied once and the copy is checked.

cdef int device_see_available(device_ring *queue) noexcept nogil:
    """Read the available index; how many entries wait, or -1."""
    # Acquire: pairs with the driver's release store of the index, so entries and descriptors before it are visible.
    cdef uint16_t index = iv_load16(queue.place.driver + RING_INDEX)
    cdef uint16_t waiting = <uint16_t>(index - queue.last_avail)
    if waiting > queue.place.size:
        return broke(&queue.broken, AVAILABLE_INDEX_JUMP, index, waiting, queue.place.size)
    queue.seen_avail = index
    return waiting + <int>(queue.redo_count - queue.redo_next)


cdef int device_walk(device_ring *queue, chain_record *chain) noexcept nogil:
    """Copy and check the descriptors from chain.head on: the ring's, then those of an indirect table at their end."""
    cdef iv_descriptor desc
    cdef const uint8_t *table = queue.place.desc
    cdef uint32_t entries = queue.place.size
    cdef uint32_t index = chain.head
    cdef uint32_t left = queue.place.size
    cdef bint nested = False
    while True:
        iv_load_descriptor(table + DESC_SIZE * <uint64_t>index, &desc)
        if desc.flags & DESC_F_INDIRECT:
            if nested:
                return broke(&queue.broken, INDIRECT_NESTED, index, 0, queue.place.size)
            if device_check_table(queue, chain, &desc) < 0:
                return -1
            nested = True
            chain.descriptors += 1
            chain.table, chain.table_length = desc.address, desc.length
            table = queue.place.base + desc.address
            entries = desc.length // DESC_SIZE
            index = 0
            continue
        if not left:
            return broke(&queue.broken, CHAIN_TOO_LONG, chain.head, 0, queue.place.size)
        left -= 1
        chain.descriptors += not nested
        if device_take_segment(queue, chain, &desc) < 0:
            return -1
        if not desc.flags & DESC_F_NEXT:
            return 0
        index = desc.next
        if index >= entries:
            return broke(&queue.broken, NEXT_OUTSIDE_TABLE, index, entries, queue.place.size)


cdef int device_next_head(device_ring *queue, uint16_t *head) noexcept nogil:
    """The head to take next, those of a process that died first: 1 = there is one, 0 = none, -1."""
    cdef int waiting
    if queue.redo_next < queue.redo_count:
        head[0] = queue.redo[queue.redo_next]
        return 1
    if queue.last_avail == queue.seen_avail:
        waiting = device_see_available(queue)
        if waiting <= 0:
            return waiting
    head[0] = iv_load16(ring_slot(queue.place.driver, queue.last_avail, queue.place.size, AVAIL_ENTRY_SIZE))
    if head[0] >= queue.place.size:
        return broke(&queue.broken, HEAD_OUTSIDE_QUEUE, head[0], 0, queue.place.size)
    if queue.in_flight[head[0]] != NOT_HELD:
        return broke(&queue.broken, HEAD_IN_FLIGHT, head[0], 0, queue.place.size)
    return 1


cdef int split_device_pop(device_ring *queue, chain_record *chain) noexcept nogil:
    cdef uint16_t head = 0
    cdef int found
    if queue.broken.code:
        return -1
    found = device_next_head(queue, &head)
    if found <= 0:
        return found
    chain.head = head
    chain.readable = chain.writable = 0
    chain.readable_length = chain.writable_length = 0
    chain.table, chain.table_length = 0, 0
    chain.descriptors = 0
    if device_walk(queue, chain) < 0:
        return -1
    chain.again = queue.in_flight[head] == TO_BE_REDONE
    if chain.again:
        chain.sequence = iv_load64(taken_record(queue, head) + TAKEN_SEQUENCE)
        queue.redo_next += 1
    else:
        chain.sequence = queue.next_sequence
        record_taken(queue, chain)
        hint_taken(queue, head)
        queue.last_avail += 1
    queue.in_flight[head] = HELD
    queue.in_flight_count += 1
    queue.chains += 1
    queue.bytes += chain.readable_length
    return 1


cdef int split_device_pending(device_ring *queue) noexcept nogil:
    return -1 if queue.broken.code else device_see_available(queue)


cdef void split_device_push(device_ring *queue, uint16_t head, uint32_t written) noexcept nogil:
    # Room is certain: no more chains are in flight than the ring has entries, and heads are distinct.
    cdef uint8_t *entry = ring_slot(queue.place.device, queue.used, queue.place.size, USED_ENTRY_SIZE)
    if not owns_ring(queue):
        return
    hint_returned(queue, head)
    iv_store32(entry, head)
    iv_store32(entry + 4, written)
    queue.used += 1
    queue.in_flight[head] = NOT_HELD
    queue.in_flight_count -= 1
    record_returned(queue, head)
    queue.bytes += written


cdef bint split_device_publish(device_ring *queue) noexcept nogil:
    cdef uint16_t old = queue.published
    cdef bint wanted
    if queue.used == old or not owns_ring(queue):
        return False
    record_commit(queue)
    # Release: pairs with the driver's acquire load of the index; used entries and data written are visible before it.
    iv_store16(queue.place.device + RING_INDEX, queue.used)
    record_published(queue)
    queue.published = queue.used
    # Full barrier between our index and the driver's event word. Pairs with the one between its event word and its
    # look at our index when it enables callbacks: one of the two sees the other's store, so no completion is missed.
    iv_fence()
    if queue.place.event_idx:
        wanted = event_passed(iv_load16(used_event_word(&queue.place)), queue.used, old)
    else:
        wanted = not iv_load16(queue.place.driver + RING_FLAGS) & AVAIL_F_NO_INTERRUPT
    if wanted:
        queue.wanted += 1
    else:
        queue.suppressed += 1
    return wanted


cdef int split_device_enable(device_ring *queue) noexcept nogil:
    """Ask for notifications; how many chains wait already, or -1."""
    if queue.broken.code:
        return -1
    if queue.place.event_idx:
        iv_store16(avail_event_word(&queue.place), queue.last_avail)
    else:
        iv_store16(queue.place.device + RING_FLAGS, 0)
    # Full barrier between our event word and the second look at the available index. Pairs with the one between the
    # driver's index and its look at our event word: a chain added meanwhile is notified, or seen here.
    iv_fence()
    return device_see_available(queue)


cdef void split_device_disable(device_ring *queue) noexcept nogil:
    # With the event index, an avail_event that is not moved on stays behind for 65535 chains: nothing to write.
    if not queue.place.event_idx:
        iv_store16(queue.place.device + RING_FLAGS, USED_F_NO_NOTIFY)
