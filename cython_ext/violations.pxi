# SPDX-License-Identifier: MIT

cdef dict VIOLATIONS = {
    AVAILABLE_INDEX_JUMP: (
        errors.AvailableIndexJump,
        "available index {value} is {limit} entries ahead in a ring of {size} (virtio 1.4, 2.7.6.1)",
    ),
    HEAD_OUTSIDE_QUEUE: (
        errors.HeadOutsideQueue,
        "available entry names descriptor {value} of a queue of {size} (virtio 1.4, 2.7.6)",
    ),
    HEAD_IN_FLIGHT: (
        errors.HeadInFlight,
        "descriptor {value} was made available again before it was used (virtio 1.4, 2.7.13)",
    ),
    NEXT_OUTSIDE_TABLE: (
        errors.NextOutsideTable,
        "next is {value} in a descriptor table of {limit} (virtio 1.4, 2.7.5)",
    ),
    CHAIN_TOO_LONG: (
        errors.ChainTooLong,
        "the chain at head {value} loops or has more than {size} descriptors (virtio 1.4, 2.7.5.2 and 2.7.5.3.1)",
    ),
    CHAIN_TOO_LARGE: (
        errors.ChainTooLarge,
        "the chain at head {limit} holds {value} bytes, more than 2^32 (virtio 1.4, 2.7.5.2)",
    ),
    BUFFER_OUTSIDE_WINDOW: (
        errors.BufferOutsideWindow,
        "a descriptor names {limit} bytes at offset {value:#x}, not inside the part of the window open to buffers"
        " (virtio 1.4, 2.7.5)",
    ),
    READABLE_AFTER_WRITABLE: (
        errors.ReadableAfterWritable,
        "the chain at head {value} has a device-readable descriptor after a device-writable one (virtio 1.4, 2.7.4.2)",
    ),
    INDIRECT_NOT_NEGOTIATED: (
        errors.IndirectNotNegotiated,
        "the chain at head {value} is indirect without VIRTIO_F_INDIRECT_DESC (virtio 1.4, 2.7.5.3.1)",
    ),
    INDIRECT_WITH_NEXT: (
        errors.IndirectWithNext,
        "descriptor flags {value:#x} set INDIRECT and NEXT together (virtio 1.4, 2.7.5.3.1)",
    ),
    INDIRECT_NESTED: (
        errors.IndirectNested,
        "entry {value} of an indirect table is indirect itself (virtio 1.4, 2.7.5.3.1)",
    ),
    INDIRECT_TABLE_LENGTH: (
        errors.IndirectTableLength,
        "an indirect table of {value} bytes is not a whole number of 16-byte descriptors (virtio 1.4, 2.7.5.3)",
    ),
    INDIRECT_TABLE_OUTSIDE_WINDOW: (
        errors.IndirectTableOutsideWindow,
        "an indirect table of {limit} bytes at offset {value:#x} is not inside the part of the window open to buffers"
        " (virtio 1.4, 2.7.5.3)",
    ),
    USED_INDEX_JUMP: (
        errors.UsedIndexJump,
        "used index {value} claims more than the {limit} chains the device holds (virtio 1.4, 2.7.8)",
    ),
    USED_ID_OUTSIDE_QUEUE: (
        errors.UsedIdOutsideQueue,
        "used entry names descriptor {value} of a queue of {size} (virtio 1.4, 2.7.8)",
    ),
    USED_ID_NOT_IN_FLIGHT: (
        errors.UsedIdNotInFlight,
        "used entry names descriptor {value}, which heads no chain the device holds (virtio 1.4, 2.7.8)",
    ),
    USED_LENGTH_TOO_LARGE: (
        errors.UsedLengthTooLarge,
        "used entry claims {value} bytes written to a chain with {limit} writable ones (virtio 1.4, 2.7.8.2)",
    ),
    USED_INDEX_CHANGED: (
        errors.UsedIndexChanged,
        "the used index is {value}, but the device left it at {limit}, or at the end of a batch behind that; only the"
        " device may write it (virtio 1.4, 2.7.8)",
    ),
    RING_TAKEN: (
        errors.RingTaken,
        "the owner word of a ring of {size} is {value:#x}, not {limit:#x}: the driver's side took the ring as one whose"
        " device is dead (docs/protocol.md, 7)",
    ),
    LIST_NOT_AVAILABLE: (
        errors.ListNotAvailable,
        "slot {value} continues a list, but its flags {limit:#x} do not mark it available (virtio 1.4, 2.8.6)",
    ),
    RING_OVERRUN: (
        errors.RingOverrun,
        "slot {value} was made available while {limit} of {size} slots are in flight and leave no room for it"
        " (virtio 1.4, 2.8.17)",
    ),
    INDIRECT_IN_LIST: (
        errors.IndirectInList,
        "buffer {value} has an indirect descriptor, flags {limit:#x}, in a list linked by NEXT (virtio 1.4, 2.8.19)",
    ),
    BUFFER_ID_OUTSIDE_QUEUE: (
        errors.BufferIdOutsideQueue,
        "buffer id {value} is not below the queue size {size} (virtio 1.4, 2.8.22)",
    ),
    BUFFER_ID_IN_FLIGHT: (
        errors.BufferIdInFlight,
        "buffer id {value} was made available again before it was used (virtio 1.4, 2.8.21)",
    ),
    USED_BUFFER_ID_OUTSIDE: (
        errors.UsedIdOutsideQueue,
        "used descriptor names buffer {value} of a queue of {size} (virtio 1.4, 2.8.22)",
    ),
    USED_BUFFER_ID_NOT_IN_FLIGHT: (
        errors.UsedIdNotInFlight,
        "used descriptor names buffer {value}, which the device does not hold (virtio 1.4, 2.8.22)",
    ),
    USED_POSITION_CHANGED: (
        errors.UsedPositionChanged,
        "the slot at used position {value:#x} is marked used, or is not in a ring of {size}; the device did not leave"
        " it so (virtio 1.4, 2.8.1)",
    ),
    COPY_DAMAGED: (
        errors.KeptChainDamaged,
        "what is kept of buffer {value} does not fit a ring of {size}: {limit} (docs/protocol.md, 9)",
    ),
}


cdef int broke(violation *broken, int code, uint64_t value, uint64_t limit, uint32_t size) noexcept nogil:
    """Record a broken rule; always -1, for the caller to return."""
    broken.code = code
    broken.value = value
    broken.limit = limit
    broken.size = size
    return -1


cdef object violation_error(const violation *broken):
    """The exception for a recorded violation."""
    error, words = VIOLATIONS[broken.code]
    return error(words.format(value=broken.value, limit=broken.limit, size=broken.size))
