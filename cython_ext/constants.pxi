# SPDX-License-Identifier: MIT

# Descriptor flags (virtio 1.4, 2.7.5).
cdef enum:
    DESC_F_NEXT = 1
    DESC_F_WRITE = 2
    DESC_F_INDIRECT = 4

# Descriptor flags of packed rings alone (virtio 1.4, 2.8.1), and where flags and buffer id stand (2.8.13).
cdef enum:
    DESC_F_AVAIL = 1 << 7
    DESC_F_USED = 1 << 15
    PACKED_ID = 12
    PACKED_FLAGS = 14

# A position in a packed ring, also that of an event suppression structure (virtio 1.4, 2.8.14).
cdef enum:
    POSITION_SLOT = 0x7fff
    POSITION_WRAP = 0x8000

# Flags of an event suppression structure (virtio 1.4, 2.8.10).
cdef enum:
    EVENT_ENABLE = 0
    EVENT_DISABLE = 1
    EVENT_DESC = 2
    EVENT_FLAGS = 3
    EVENT_SIZE = 4

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

# No event suppression structure looks like this: its reserved bits are 0.
cdef uint32_t NOTHING_ASKED = 0xffffffff

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
    USED_INDEX_CHANGED
    RING_TAKEN
    LIST_NOT_AVAILABLE
    RING_OVERRUN
    INDIRECT_IN_LIST
    BUFFER_ID_OUTSIDE_QUEUE
    BUFFER_ID_IN_FLIGHT
    USED_BUFFER_ID_OUTSIDE
    USED_BUFFER_ID_NOT_IN_FLIGHT
    USED_POSITION_CHANGED
    COPY_DAMAGED

# The record of a queue and of the chains in flight in it (docs/protocol.md, 9).
cdef enum:
    RECORD_USED_POSITION = 0x20
    RECORD_COMMIT_OLD = 0x22
    RECORD_COMMIT_COUNT = 0x24
    RECORD_IN_FLIGHT_COUNT = 0x2C
    RECORD_NEXT_SEQUENCE = 0x30
    RECORD_RING_LARGEST = 0x3C
    RECORD_RING_OWNER = 0x40
    QUEUE_RECORD_SIZE = 0x80

cdef enum:
    TAKEN_SEQUENCE = 0x00
    TAKEN_ID = 0x08
    TAKEN_DESCRIPTORS = 0x0A
    TAKEN_TABLE_LENGTH = 0x0C
    TAKEN_TABLE_OFFSET = 0x10
    TAKEN_COMMITTED = 0x18
    TAKEN_COPY = 0x1C
    TAKEN_RECORD_SIZE = 32

# What the device knows of a head.
cdef enum:
    NOT_HELD = 0
    HELD                        # popped
    RETURNED                    # pushed, but not published: it still is not the driver's
    TO_BE_REDONE                # popped by a process that died
