# SPDX-License-Identifier: MIT
"""Every error this package raises on purpose, one class per kind of violation.

The message of each names the offending value and the rule or remedy in one line: the command line prints nothing else.
"""


class IvshmemVirtioError(Exception):
    """Root of the tree: catch this to tell our own findings from programming errors."""


class OutsideWindow(IvshmemVirtioError):
    """An offset and length do not lie inside the window they were used on."""


class RingViolation(IvshmemVirtioError):
    """The other side of a virtqueue broke a rule of the ring (virtio 1.4, 2.7 and 2.8)."""


class RingAddressInvalid(RingViolation):
    """A part of a virtqueue is misaligned, not inside the window, or over its registers (virtio 1.4, 2.7)."""


class RingSizeInvalid(RingViolation):
    """A queue size is not from 1 to 32768, or not a power of two in a split ring (virtio 1.4, 2.7 and 2.8.10.1)."""


class AvailableIndexJump(RingViolation):
    """The available index moved by more than the ring holds, or backwards (virtio 1.4, 2.7.6.1)."""


class HeadOutsideQueue(RingViolation):
    """An available entry names a descriptor that the queue does not have (virtio 1.4, 2.7.6)."""


class HeadInFlight(RingViolation):
    """A chain was made available again while the device still held it (virtio 1.4, 2.7.13)."""


class NextOutsideTable(RingViolation):
    """A descriptor continues at an index outside its table (virtio 1.4, 2.7.5)."""


class ChainTooLong(RingViolation):
    """A chain has more descriptors than the queue, or loops (virtio 1.4, 2.7.5.2 and 2.7.5.3.1)."""


class ChainTooLarge(RingViolation):
    """A chain holds more than 2^32 bytes (virtio 1.4, 2.7.5.2)."""


class BufferOutsideWindow(RingViolation):
    """A descriptor names memory outside the window, or over its registers (virtio 1.4, 2.7.5)."""


class ReadableAfterWritable(RingViolation):
    """A device-readable descriptor follows a device-writable one (virtio 1.4, 2.7.4.2)."""


class IndirectNotNegotiated(RingViolation):
    """A chain is indirect although VIRTIO_F_INDIRECT_DESC was not accepted (virtio 1.4, 2.7.5.3.1)."""


class IndirectWithNext(RingViolation):
    """A descriptor is indirect and continues as well (virtio 1.4, 2.7.5.3.1)."""


class IndirectNested(RingViolation):
    """An entry of an indirect table is indirect itself (virtio 1.4, 2.7.5.3.1)."""


class IndirectTableLength(RingViolation):
    """The length of an indirect table is zero or no multiple of 16 (virtio 1.4, 2.7.5.3)."""


class IndirectTableOutsideWindow(RingViolation):
    """An indirect table lies outside the window, or over its registers (virtio 1.4, 2.7.5.3)."""


class UsedIndexJump(RingViolation):
    """The used index claims more chains than the device holds, or moved backwards (virtio 1.4, 2.7.8)."""


class UsedIdOutsideQueue(RingViolation):
    """A used entry names a descriptor or buffer that the queue does not have (virtio 1.4, 2.7.8 and 2.8.22)."""


class UsedIdNotInFlight(RingViolation):
    """A used entry names no chain that the device holds (virtio 1.4, 2.7.8 and 2.8.22)."""


class UsedLengthTooLarge(RingViolation):
    """A used entry claims more bytes than the chain has writable ones (virtio 1.4, 2.7.8.2)."""


class UsedIndexChanged(RingViolation):
    """The used index is not what a device that died left there (docs/protocol.md, 9): the rings cannot be resumed."""


class RingTaken(RingViolation):
    """The front-end's stand-in took the used ring, for the back-end stood still too long (docs/protocol.md, 7)."""


class ListNotAvailable(RingViolation):
    """A list of a packed ring continues at a descriptor that is not available (virtio 1.4, 2.8.6)."""


class RingOverrun(RingViolation):
    """A driver made more slots of a packed ring available than were free (virtio 1.4, 2.8.17)."""


class IndirectInList(RingViolation):
    """An indirect descriptor of a packed ring is linked to others by NEXT (virtio 1.4, 2.8.19)."""


class BufferIdOutsideQueue(RingViolation):
    """A buffer id of a packed ring is not below the queue size (virtio 1.4, 2.8.22)."""


class BufferIdInFlight(RingViolation):
    """A buffer id was made available again while the device still held it (virtio 1.4, 2.8.21)."""


class UsedPositionChanged(RingViolation):
    """A packed ring is not as a device that died left it (docs/protocol.md, 9): it cannot be resumed."""


class KeptChainDamaged(RingViolation):
    """What is kept of a packed chain in flight contradicts itself (docs/protocol.md, 9): it cannot be resumed."""


class RingFull(IvshmemVirtioError):
    """A driver added a chain to a queue without enough free descriptors: take used ones first."""
