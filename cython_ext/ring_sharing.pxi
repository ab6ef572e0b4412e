# SPDX-License-Identifier: MIT
# What a device shows a driver whose stand-in answers while the device is away (docs/protocol.md, 6 and 7).

cdef inline bint owns_ring(device_ring *queue) noexcept nogil:
    """Whether the used ring is still this device's to write; if not, the queue is broken."""
    cdef uint32_t word
    if queue.owner is NULL:
        return True
    word = iv_load32(queue.owner)
    if word == queue.owner_word:
        return True
    if not queue.broken.code:
        broke(&queue.broken, RING_TAKEN, word, queue.owner_word, queue.place.size)
    return False


cdef inline void hint_taken(device_ring *queue, uint16_t head) noexcept nogil:
    """Before the chain is handed out."""
    if queue.hint is not NULL:
        iv_store8(queue.hint + head, 1)


cdef inline void hint_returned(device_ring *queue, uint16_t head) noexcept nogil:
    """Before the used index covers it, so that what the hint names is in flight for certain."""
    if queue.hint is not NULL:
        iv_store8(queue.hint + head, 0)


cdef int device_share_ring(DeviceQueue queue, owner, word, hint) except -1:
    """Heed an owner word and keep a hint from now on, at these window offsets; 0 = neither."""
    if owner:
        queue.ring.owner = queue.window.writable_word(owner, 4)
        queue.ring.owner_word = word
    if hint:
        queue.ring.hint = queue.window.at(hint, queue.ring.place.size)
        memset(queue.ring.hint, 0, queue.ring.place.size)
    return 0
