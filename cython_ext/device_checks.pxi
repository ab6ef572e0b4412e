# SPDX-License-Identifier: MIT
# What a device checks of one descriptor that was copied, in either layout.

cdef int device_take_segment(device_ring *queue, chain_record *chain, const iv_descriptor *desc) noexcept nogil:
    """Check one data descriptor and append it to the chain."""
    cdef uint64_t total = chain.readable_length + chain.writable_length + desc.length
    cdef bint writable = desc.flags & DESC_F_WRITE
    cdef segment *entry = &chain.segments[chain.readable + chain.writable]
    if not writable and chain.writable:
        return broke(&queue.broken, READABLE_AFTER_WRITABLE, chain.head, 0, queue.place.size)
    if not desc.length:
        return 0  # names no memory, so there is nothing to check or to keep
    if not open_to_buffers(&queue.place, desc.address, desc.length):
        return broke(&queue.broken, BUFFER_OUTSIDE_WINDOW, desc.address, desc.length, queue.place.size)
    if total > LARGEST_CHAIN:
        return broke(&queue.broken, CHAIN_TOO_LARGE, total, chain.head, queue.place.size)
    entry.offset = desc.address
    entry.length = desc.length
    if writable:
        chain.writable += 1
        chain.writable_length += desc.length
    else:
        chain.readable += 1
        chain.readable_length += desc.length
    return 0


cdef int device_check_table(device_ring *queue, const chain_record *chain, const iv_descriptor *desc) noexcept nogil:
    """Check a descriptor that refers to an indirect table; its WRITE flag is ignored (virtio 1.4, 2.7.5.3.2)."""
    if not queue.place.indirect:
        return broke(&queue.broken, INDIRECT_NOT_NEGOTIATED, chain.head, 0, queue.place.size)
    if desc.flags & DESC_F_NEXT:
        return broke(&queue.broken, INDIRECT_WITH_NEXT, desc.flags, 0, queue.place.size)
    if not desc.length or desc.length % DESC_SIZE:
        return broke(&queue.broken, INDIRECT_TABLE_LENGTH, desc.length, 0, queue.place.size)
    if not open_to_buffers(&queue.place, desc.address, desc.length):
        return broke(&queue.broken, INDIRECT_TABLE_OUTSIDE_WINDOW, desc.address, desc.length, queue.place.size)
    return 0
