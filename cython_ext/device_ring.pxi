# SPDX-License-Identifier: MIT
# Device side of a queue, whatever its layout.

cdef int device_ring_pop(device_ring *ring, chain_record *chain) noexcept nogil:
    cdef int found = packed_device_pop(ring, chain) if ring.packed else split_device_pop(ring, chain)
    if ring.watched is not NULL and found > 0:
        device_show_chain(ring, chain)
    return found


cdef void device_show_chain(const device_ring *ring, const chain_record *chain) noexcept with gil:
    """To whoever watches the queue."""
    cdef DeviceQueue queue = <DeviceQueue>ring.watched
    queue.watcher(chain_from(queue, chain))


cdef int device_ring_pending(device_ring *ring) noexcept nogil:
    return packed_device_pending(ring) if ring.packed else split_device_pending(ring)


cdef void device_ring_push(device_ring *ring, const chain_record *chain, uint32_t written) noexcept nogil:
    if ring.packed:
        packed_device_push(ring, chain, written)
    else:
        split_device_push(ring, chain.head, written)


cdef bint device_ring_publish(device_ring *ring) noexcept nogil:
    return packed_device_publish(ring) if ring.packed else split_device_publish(ring)


cdef int device_ring_enable(device_ring *ring) noexcept nogil:
    return packed_device_enable(ring) if ring.packed else split_device_enable(ring)


cdef void device_ring_disable(device_ring *ring) noexcept nogil:
    if ring.packed:
        packed_device_disable(ring)
    else:
        split_device_disable(ring)
