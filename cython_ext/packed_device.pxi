# SPDX-License-Identifier: MIT
# Device side of a packed virtqueue. Descriptors are copied once and the copy is checked. Used descriptors are written
# over descriptors of chains that may still be in flight, so what is needed of a chain later stands in private memory.

cdef int packed_see_available(device_ring *queue) noexcept nogil:
    """Whether a chain waits in the ring; or -1."""
    cdef uint16_t flags = iv_load16(packed_slot(&queue.place, queue.last_avail) + PACKED_FLAGS)
    if not packed_is_available(flags, queue.last_avail):
        return 0
    if queue.slots == queue.place.size:
        return broke(&queue.broken, RING_OVERRUN, queue.last_avail & POSITION_SLOT, queue.slots, queue.place.size)
    return 1


cdef int packed_device_walk_table(device_ring *queue, chain_record *chain, const iv_descriptor *desc) noexcept nogil:
    """Copy and check an indirect table; only WRITE counts in its entries (virtio 1.4, 2.8.7)."""
    cdef iv_descriptor entry
    cdef uint32_t i
    if device_check_table(queue, chain, desc) < 0:
        return -1
    chain.table, chain.table_length = desc.address, desc.length
    if desc.length // DESC_SIZE > queue.place.size:
        return broke(&queue.broken, CHAIN_TOO_LONG, chain.head, 0, queue.place.size)
    for i in range(desc.length // DESC_SIZE):
        iv_load_descriptor(queue.place.base + desc.address + DESC_SIZE * <uint64_t>i, &entry)
        entry.flags = entry.next  # which is where a packed descriptor has its flags
        if device_take_segment(queue, chain, &entry) < 0:
            return -1
    return 0


cdef int packed_device_take(device_ring *queue, chain_record *chain, const iv_descriptor *desc) noexcept nogil:
    """Check the next descriptor of a chain, already copied: 1 = it was the last one, 0 = another follows, -1."""
    chain.descriptors += 1
    if desc.flags & DESC_F_INDIRECT:
        if chain.descriptors > 1 or desc.flags & DESC_F_NEXT:
            return broke(&queue.broken, INDIRECT_IN_LIST, chain.head, desc.flags, queue.place.size)
        return -1 if packed_device_walk_table(queue, chain, desc) < 0 else 1
    if device_take_segment(queue, chain, desc) < 0:
        return -1
    return not desc.flags & DESC_F_NEXT


cdef int packed_device_walk(device_ring *queue, chain_record *chain) noexcept nogil:
    """Copy and check the next chain of the ring: 1 = there is one, 0 = none, -1."""
    cdef iv_descriptor desc
    cdef uint16_t position = queue.last_avail
    cdef int end = 0
    while not end:
        packed_load(packed_slot(&queue.place, position), &desc)
        if not packed_is_available(desc.flags, position):
            if not chain.descriptors:
                return 0
            return broke(&queue.broken, LIST_NOT_AVAILABLE, position & POSITION_SLOT, desc.flags, queue.place.size)
        if queue.slots + chain.descriptors == queue.place.size:
            return broke(&queue.broken, RING_OVERRUN if queue.slots else CHAIN_TOO_LONG, position & POSITION_SLOT,
                         queue.slots, queue.place.size)
        chain.head = desc.next
        copy_keep(queue, &desc)
        end = packed_device_take(queue, chain, &desc)
        position = packed_step(position, 1, queue.place.size)
    if end < 0:
        return -1
    if chain.head >= queue.place.size:
        return broke(&queue.broken, BUFFER_ID_OUTSIDE_QUEUE, chain.head, 0, queue.place.size)
    if queue.in_flight[chain.head] != NOT_HELD:
        return broke(&queue.broken, BUFFER_ID_IN_FLIGHT, chain.head, 0, queue.place.size)
    return 1


cdef int packed_device_walk_again(device_ring *queue, chain_record *chain) noexcept nogil:
    """The next chain that a process that died had taken, from its private copy; checked as if it were new."""
    cdef iv_descriptor desc
    cdef uint16_t at
    cdef uint16_t left
    chain.head = queue.redo[queue.redo_next]
    left = queue.copy_count[chain.head]
    at = queue.copy_first[chain.head]
    while left:
        iv_load_descriptor(copy_of(queue, at), &desc)
        if packed_device_take(queue, chain, &desc) < 0:
            return -1
        at = queue.copy_next[at]
        left -= 1
    return 1


cdef int packed_device_pop(device_ring *queue, chain_record *chain) noexcept nogil:
    cdef int found
    if queue.broken.code:
        return -1
    chain.readable = chain.writable = 0
    chain.readable_length = chain.writable_length = 0
    chain.table, chain.table_length = 0, 0
    chain.descriptors = 0
    chain.again = queue.redo_next < queue.redo_count
    if chain.again:
        found = packed_device_walk_again(queue, chain)
        if found < 0:
            return -1
        chain.sequence = iv_load64(taken_record(queue, chain.head) + TAKEN_SEQUENCE)
        queue.redo_next += 1
    else:
        copy_begin(queue)
        found = packed_device_walk(queue, chain)
        if found <= 0:
            return found
        chain.sequence = queue.next_sequence
        copy_taken(queue, chain.head, <uint16_t>chain.descriptors)
        record_taken(queue, chain)
        hint_taken(queue, chain.head)
        queue.slots += chain.descriptors
        queue.last_avail = packed_step(queue.last_avail, chain.descriptors, queue.place.size)
    queue.in_flight[chain.head] = HELD
    queue.in_flight_count += 1
    queue.chains += 1
    queue.bytes += chain.readable_length
    return 1


cdef int packed_device_pending(device_ring *queue) noexcept nogil:
    """Chains that wait, but only one of those in the ring: how many it has would take a walk."""
    cdef int waiting
    if queue.broken.code:
        return -1
    waiting = packed_see_available(queue)
    return waiting if waiting < 0 else waiting + <int>(queue.redo_count - queue.redo_next)


cdef void packed_device_push(device_ring *queue, const chain_record *chain, uint32_t written) noexcept nogil:
    # Room is certain: a chain's own descriptors are as many slots as it needs.
    cdef uint8_t *slot = packed_slot(&queue.place, queue.used)
    cdef uint16_t flags = packed_used_flags(queue.used) | (DESC_F_WRITE if written else 0)
    if not owns_ring(queue):
        return
    hint_returned(queue, chain.head)
    if queue.batch_slots:
        packed_store_all(slot, written, chain.head, flags)
    else:
        # The driver looks here next. The flags of a batch's first slot show all of it, so they wait for publish.
        packed_store_unseen(slot, written, chain.head)
        queue.first_flags = flags
    queue.used = packed_step(queue.used, chain.descriptors, queue.place.size)
    queue.batch_slots += chain.descriptors
    queue.in_flight[chain.head] = NOT_HELD
    queue.in_flight_count -= 1
    record_returned(queue, chain.head)
    queue.bytes += written


cdef bint packed_device_publish(device_ring *queue) noexcept nogil:
    cdef uint32_t count = queue.batch_slots
    cdef bint wanted
    if not count or not owns_ring(queue):
        return False
    record_commit(queue)
    # Release: pairs with the driver's acquire load of these flags; the rest of the batch and its data come before it.
    iv_store16(packed_slot(&queue.place, queue.published) + PACKED_FLAGS, queue.first_flags)
    copies_returned(queue)
    record_published(queue)
    queue.published = queue.used
    queue.slots -= count
    queue.batch_slots = 0
    # Full barrier between our flags and the driver's event word. Pairs with the one between its event word and its
    # look at our flags when it enables callbacks: one of the two sees the other's store, so no completion is missed.
    iv_fence()
    wanted = packed_event_wanted(&queue.place, iv_load32(queue.place.driver), queue.used, count)
    if wanted:
        queue.wanted += 1
    else:
        queue.suppressed += 1
    return wanted


cdef void packed_device_ask(device_ring *queue, uint32_t event) noexcept nogil:
    """Write the device event suppression, which shares its line with nothing else, only where it changes."""
    if event != queue.asked:
        iv_store32(queue.place.device, event)
        queue.asked = event


cdef int packed_device_enable(device_ring *queue) noexcept nogil:
    """Ask for notifications; how many chains wait already, as far as pending counts them, or -1."""
    if queue.broken.code:
        return -1
    if queue.place.event_idx:
        packed_device_ask(queue, packed_event(EVENT_DESC, queue.last_avail))
    else:
        packed_device_ask(queue, packed_event(EVENT_ENABLE, 0))
    # Full barrier between our event word and the second look at the ring. Pairs with the one between the driver's
    # flags and its look at our event word: a chain added meanwhile is notified, or seen here.
    iv_fence()
    # A stand-in that had the ring while we stood still has gone on to other slots: nothing would ever come up in ours.
    if not owns_ring(queue):
        return -1
    return packed_device_pending(queue)


cdef void packed_device_disable(device_ring *queue) noexcept nogil:
    # A descriptor to be told of that was passed is not met again for two laps: nothing to write.
    if not queue.place.event_idx:
        packed_device_ask(queue, packed_event(EVENT_DISABLE, 0))
