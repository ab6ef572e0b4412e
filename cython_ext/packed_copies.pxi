# SPDX-License-Identifier: MIT
# Private copies of the descriptors of packed chains in flight, for a successor of this process (docs/protocol.md, 9):
# in the ring a used descriptor may overwrite them. A queue without a record keeps none. Where they are is written for
# that successor and never read back by this process, which has it in memory that nobody else can reach.

cdef inline uint8_t *copy_of(const device_ring *queue, uint16_t index) noexcept nogil:
    return queue.copies + DESC_SIZE * <uint64_t>index


cdef inline void copy_begin(device_ring *queue) noexcept nogil:
    """Before the first descriptor of a chain."""
    queue.copy_next_free = queue.copy_free


cdef inline void copy_keep(device_ring *queue, const iv_descriptor *desc) noexcept nogil:
    """Copy a descriptor to the next free place, which the free list has linked to the one for the next descriptor.

    There is one: no more descriptors are in flight than the ring has slots.
    """
    cdef iv_descriptor copy
    if queue.copies is NULL:
        return
    copy = desc[0]
    copy.flags &= DESC_F_NEXT | DESC_F_WRITE | DESC_F_INDIRECT
    copy.next = queue.copy_next[queue.copy_next_free]
    iv_store_descriptor(copy_of(queue, queue.copy_next_free), &copy)
    queue.copy_next_free = copy.next


cdef inline void copy_taken(device_ring *queue, uint16_t head, uint16_t descriptors) noexcept nogil:
    """The chain was taken: its copies are in use. Before its record becomes valid."""
    if queue.copies is NULL:
        return
    queue.copy_first[head] = queue.copy_free
    queue.copy_count[head] = descriptors
    iv_store16(taken_record(queue, head) + TAKEN_COPY, queue.copy_free)
    queue.copy_free = queue.copy_next_free


cdef void copies_returned(device_ring *queue) noexcept nogil:
    """The batch was published: the copies of its chains are free, in front."""
    cdef uint16_t head, last
    cdef uint32_t i, _step
    if queue.copies is NULL:
        return
    for i in range(queue.batch_count):
        head = queue.batch[i]
        last = queue.copy_first[head]
        for _step in range(1, queue.copy_count[head]):
            last = queue.copy_next[last]
        queue.copy_next[last] = queue.copy_free
        queue.copy_free = queue.copy_first[head]


cdef int copies_found(device_ring *queue, uint16_t head, uint8_t *seen) noexcept nogil:
    """Relink the copies of one chain that a process that died had taken, mark their places; or -1."""
    cdef iv_descriptor copy
    cdef uint8_t *record = taken_record(queue, head)
    cdef uint16_t at = iv_load16(record + TAKEN_COPY)
    cdef uint32_t count = iv_load16(record + TAKEN_DESCRIPTORS)
    cdef uint32_t i
    if not count or count > queue.place.size - queue.slots:
        return broke(&queue.broken, COPY_DAMAGED, head, count, queue.place.size)
    queue.slots += count
    queue.copy_first[head] = at
    queue.copy_count[head] = <uint16_t>count
    for i in range(count):
        if at >= queue.place.size or seen[at]:
            return broke(&queue.broken, COPY_DAMAGED, head, at, queue.place.size)
        seen[at] = 1
        iv_load_descriptor(copy_of(queue, at), &copy)
        # Every one but the last says that it continues; where that is not so, the chain would end elsewhere.
        if (copy.flags & DESC_F_NEXT != 0) != (i + 1 < count):
            return broke(&queue.broken, COPY_DAMAGED, head, copy.flags, queue.place.size)
        queue.copy_next[at] = copy.next
        at = copy.next
    return 0


cdef void copies_free(device_ring *queue, const uint8_t *seen) noexcept nogil:
    """Every place that is not in use, in a list; the last one links to the first, which nobody gets to."""
    cdef uint16_t i
    cdef uint32_t left = queue.place.size
    queue.copy_free = 0
    while left:
        left -= 1
        i = <uint16_t>left
        if not seen[i]:
            queue.copy_next[i] = queue.copy_free
            queue.copy_free = i
