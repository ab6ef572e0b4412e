# SPDX-License-Identifier: MIT

# Descriptor flags (virtio 1.4, 2.7.5).
cdef enum:
    DESC_F_NEXT = 1
    DESC_F_WRITE = 2
    DESC_F_INDIRECT = 4

# Ring flags, used only without VIRTIO_F_EVENT_IDX (virtio 1.4, 2.7.6 and 2.7.8).
cdef enum:
    AVAIL_F_NO_INTERRUPT = 1
    USED_F_NO_NOTIFY = 1

# Sizes and offsets inside the rings, bytes.
cdef enum:
    DESC_SIZE = 16
    AVAIL_ENTRY_SIZE = 2
    USED_ENTRY_SIZE = 8
    RING_FLAGS = 0
    RING_INDEX = 2
    RING_ENTRIES = 4

cdef enum:
    LARGEST_QUEUE = 32768

cdef uint64_t LARGEST_CHAIN = 1 << 32

# Code of each rule that the other side can break; violations.pxi has the exception and the words for it.
cdef enum:
    AVAILABLE_INDEX_JUMP = 1
    HEAD_OUTSIDE_QUEUE
    HEAD_IN_FLIGHT
    NEXT_OUTSIDE_TABLE
    CHAIN_TOO_LONG
    CHAIN_TOO_LARGE
    BUFFER_OUTSIDE_WINDOW
    READABLE_AFTER_WRITABLE
    INDIRECT_NOT_NEGOTIATED
    INDIRECT_WITH_NEXT
    INDIRECT_NESTED
    INDIRECT_TABLE_LENGTH
    INDIRECT_TABLE_OUTSIDE_WINDOW
    USED_INDEX_JUMP
    USED_ID_OUTSIDE_QUEUE
    USED_ID_NOT_IN_FLIGHT
    USED_LENGTH_TOO_LARGE
