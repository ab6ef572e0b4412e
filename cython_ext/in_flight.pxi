# SPDX-License-Identifier: MIT
# What a successor of this process needs to go on with a queue (docs/protocol.md, 9). Every store is a release store,
# so a process that is killed leaves the memory as after some number of them, in this order.

cdef inline uint8_t *taken_record(const device_ring *queue, uint16_t head) noexcept nogil:
    """Of a chain in flight. Split rings have at most one for each head, so that is where it stands."""
    return queue.record + QUEUE_RECORD_SIZE + TAKEN_RECORD_SIZE * <uint64_t>head


cdef void record_begin(device_ring *queue) noexcept nogil:
    """A queue that was just enabled holds nothing. Its numbers go on, so that none ever names two chains."""
    cdef uint32_t head
    queue.next_sequence = max(<uint64_t>1, iv_load64(queue.record + RECORD_NEXT_SEQUENCE))
    for head in range(queue.place.size):
        iv_store64(taken_record(queue, head) + TAKEN_SEQUENCE, 0)
    iv_store32(queue.record + RECORD_COMMIT_COUNT, 0)
    iv_store16(queue.record + RECORD_USED_POSITION, queue.used)
    iv_store32(queue.record + RECORD_IN_FLIGHT_COUNT, 0)
    iv_store64(queue.record + RECORD_NEXT_SEQUENCE, queue.next_sequence)
    iv_store32(queue.record + RECORD_RING_OWNER, queue.owner_word)


cdef void record_taken(device_ring *queue, const chain_record *chain) noexcept nogil:
    """Before the chain is handed out. The sequence, which makes the record valid, comes last."""
    cdef uint8_t *record
    if queue.record is NULL:
        return
    record = taken_record(queue, chain.head)
    iv_store32(record + TAKEN_COMMITTED, 0)
    iv_store16(record + TAKEN_ID, chain.head)
    iv_store16(record + TAKEN_DESCRIPTORS, chain.descriptors)
    iv_store32(record + TAKEN_TABLE_LENGTH, chain.table_length)
    iv_store64(record + TAKEN_TABLE_OFFSET, chain.table)
    iv_store64(queue.record + RECORD_NEXT_SEQUENCE, queue.next_sequence + 1)
    iv_store64(record + TAKEN_SEQUENCE, queue.next_sequence)
    queue.next_sequence += 1
    iv_store32(queue.record + RECORD_IN_FLIGHT_COUNT, queue.in_flight_count + queue.batch_count + 1)


cdef void record_returned(device_ring *queue, uint16_t head) noexcept nogil:
    """Pushed: its record stands until the batch is published, so until then nobody may make it available again."""
    if queue.record is NULL:
        return
    queue.in_flight[head] = RETURNED
    queue.batch[queue.batch_count] = head
    queue.batch_count += 1


cdef void record_commit(device_ring *queue) noexcept nogil:
    """Before a batch is published: which chains it has, where the used position was, and how far it moves on."""
    cdef uint32_t i
    if queue.record is NULL:
        return
    for i in range(queue.batch_count):
        iv_store32(taken_record(queue, queue.batch[i]) + TAKEN_COMMITTED, 1)
    iv_store16(queue.record + RECORD_COMMIT_OLD, queue.published)
    iv_store32(queue.record + RECORD_COMMIT_COUNT, queue.batch_slots if queue.packed else queue.batch_count)


cdef void record_published(device_ring *queue) noexcept nogil:
    """After a batch was published: its chains are the driver's again."""
    cdef uint32_t i
    if queue.record is NULL:
        return
    iv_store16(queue.record + RECORD_USED_POSITION, queue.used)
    for i in range(queue.batch_count):
        iv_store64(taken_record(queue, queue.batch[i]) + TAKEN_SEQUENCE, 0)
        queue.in_flight[queue.batch[i]] = NOT_HELD
    queue.batch_count = 0
    iv_store32(queue.record + RECORD_IN_FLIGHT_COUNT, queue.in_flight_count + (queue.redo_count - queue.redo_next))
    iv_store32(queue.record + RECORD_COMMIT_COUNT, 0)


cdef void record_answered(device_ring *queue, uint16_t index) noexcept nogil:
    """The driver's side has answered everything up to a used index: nothing is in flight any more."""
    cdef uint32_t head
    for head in range(queue.place.size):
        iv_store64(taken_record(queue, head) + TAKEN_SEQUENCE, 0)
    # Behind the loop: until here a successor of this process finds the index moved, and comes through here again.
    iv_store16(queue.record + RECORD_USED_POSITION, index)


cdef int record_settle(device_ring *queue, bint answered) noexcept nogil:
    """Whether the batch that a dead process was publishing became visible or not: finish it, or take it back; or -1.

    The used index tells, and is read this once. With ``answered`` the driver's stand-in may have moved it on, which it
    does for all chains or none. May be interrupted at any point and done again.
    """
    cdef uint16_t position = iv_load16(queue.record + RECORD_USED_POSITION)
    cdef uint16_t old = iv_load16(queue.record + RECORD_COMMIT_OLD)
    cdef uint32_t count = iv_load32(queue.record + RECORD_COMMIT_COUNT)
    cdef uint16_t index = iv_load16(queue.place.device + RING_INDEX)
    cdef uint8_t *record
    cdef uint32_t head
    if not count:
        old = position
    if count and index == <uint16_t>(old + count):
        iv_store16(queue.record + RECORD_USED_POSITION, index)
        for head in range(queue.place.size):
            record = taken_record(queue, head)
            if iv_load32(record + TAKEN_COMMITTED):
                iv_store64(record + TAKEN_SEQUENCE, 0)
    elif index != old and answered:
        record_answered(queue, index)
    elif index != old:
        return broke(&queue.broken, USED_INDEX_CHANGED, index, old, queue.place.size)
    iv_store32(queue.record + RECORD_COMMIT_COUNT, 0)
    # Marks of a batch that was never published, or only being marked.
    for head in range(queue.place.size):
        iv_store32(taken_record(queue, head) + TAKEN_COMMITTED, 0)
    queue.used = queue.published = index
    return 0


cdef int record_resume(DeviceQueue device, bint answered, int answered_at) except -1:
    """Take over what a dead process held; raises UsedIndexChanged, or UsedPositionChanged and KeptChainDamaged."""
    cdef device_ring *queue = &device.ring
    cdef uint64_t sequence
    cdef uint32_t head
    cdef list held = []
    if (packed_settle(queue, answered_at) if queue.packed else record_settle(queue, answered)) < 0:
        raise violation_error(&queue.broken)
    queue.next_sequence = iv_load64(queue.record + RECORD_NEXT_SEQUENCE)
    for head in range(queue.place.size):
        sequence = iv_load64(taken_record(queue, head) + TAKEN_SEQUENCE)
        if sequence:
            held.append((sequence, head))
    for sequence, head in sorted(held):
        queue.redo[queue.redo_count] = head
        queue.redo_count += 1
        queue.in_flight[head] = TO_BE_REDONE
        hint_taken(queue, head)
        queue.next_sequence = max(queue.next_sequence, sequence + 1)
    iv_store32(queue.record + RECORD_IN_FLIGHT_COUNT, queue.redo_count)
    if queue.packed:
        packed_restore(queue)
    else:
        queue.last_avail = queue.seen_avail = <uint16_t>(queue.used + queue.redo_count)
    # Last: until here the used index counts as possibly moved by the driver's side, for whoever has to do this again.
    iv_store32(queue.record + RECORD_RING_OWNER, queue.owner_word)
    return 0
