# SPDX-License-Identifier: MIT
"""What a back-end published in its header, copied once and checked before any of it is used.

The back-end is another party with its own interests: whatever it writes, a driver keeps inside its window.
"""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import LINE_SIZE, BackendLine, Capability, Header, QueueLine, round_up
from ivshmem_virtio.transport.driver.errors import (
    EpochInvalid,
    ExtensionInvalid,
    HeaderSizeInvalid,
    RevisionUnsupported,
    RingBlockInvalid,
)


@dataclass(frozen=True)
class Extension:
    """The back-end's line of the extension (docs/protocol.md, 6); ``offset`` is its place in the window, in bytes."""

    offset: int
    length: int
    capabilities: Capability
    epoch: int
    session: int
    config_length: int
    config_vector: int
    queue_count: int

    @property
    def frontend_line(self) -> int:
        return self.offset + LINE_SIZE

    def event_byte(self, queue: int) -> int:
        return self.offset + 2 * LINE_SIZE + queue

    def queue_line(self, queue: int) -> int:
        return self.offset + 2 * LINE_SIZE + round_up(self.queue_count, LINE_SIZE) + queue * LINE_SIZE

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True)
class Backend:
    """A back-end's header. ``size``: first byte of the window that belongs to the driver."""

    revision: int
    size: int
    config_length: int
    extension: Extension | None

    @property
    def capabilities(self) -> Capability:
        return self.extension.capabilities if self.extension else Capability(0)

    @property
    def epoch(self) -> int:
        """0 where the back-end has none (revision 1)."""
        return self.extension.epoch if self.extension else 0

    @property
    def config_vector(self) -> int:
        """Link-relative vector to ring for transactions and state."""
        return self.extension.config_vector if self.extension else 0

    @property
    def registers_end(self) -> int:
        """First byte behind the registers: no ring may lie below it."""
        return self.extension.end if self.extension else self.size


def read_backend(window: Window, *, extended: bool = True) -> Backend:
    """Copy and check the header; raises a BackendViolation. ``extended`` False: as a revision-1 driver sees it."""
    revision = window.load32(Header.REVISION)
    if revision == 0:
        raise RevisionUnsupported("header revision is 0: no back-end has published a header here")
    size = window.load32(Header.SIZE)
    if not Header.CONFIG <= size < window.length:
        raise HeaderSizeInvalid(f"header size {size:#x} is not between {Header.CONFIG:#x} and {window.length:#x}")
    ext_offset = window.load16(Header.EXT_OFFSET) if extended and revision >= 2 else 0
    if ext_offset == 0:
        return Backend(revision, size, size - Header.CONFIG, None)
    if size % LINE_SIZE:
        raise HeaderSizeInvalid(f"header size {size:#x} is not a multiple of {LINE_SIZE}, as revision 2 wants it")
    extension = _read_extension(window, ext_offset * LINE_SIZE, size)
    return Backend(revision, size, extension.config_length, extension)


def _read_extension(window: Window, offset: int, size: int) -> Extension:
    if not Header.CONFIG <= offset <= size - 2 * LINE_SIZE:
        raise ExtensionInvalid(f"extension at {offset:#x} does not lie between the registers and header size {size:#x}")
    length = window.load32(offset + BackendLine.LENGTH)
    if length % LINE_SIZE or not 2 * LINE_SIZE <= length <= size - offset:
        raise ExtensionInvalid(f"extension length {length:#x} does not fit between {offset:#x} and {size:#x}")
    extension = Extension(
        offset=offset,
        length=length,
        capabilities=Capability(window.load32(offset + BackendLine.CAPABILITIES) & sum(Capability)),
        epoch=window.load64(offset + BackendLine.EPOCH),
        session=window.load64(offset + BackendLine.SESSION),
        config_length=window.load32(offset + BackendLine.CONFIG_LENGTH),
        config_vector=window.load16(offset + BackendLine.BACKEND_CONFIG_VECTOR),
        queue_count=window.load16(offset + BackendLine.QUEUE_COUNT),
    )
    if extension.epoch == 0:
        raise EpochInvalid("the back-end's epoch is 0: it must be a random number other than that")
    if Header.CONFIG + extension.config_length > offset:
        raise ExtensionInvalid(f"{extension.config_length} bytes of configuration reach into the extension")
    if extension.queue_line(extension.queue_count) > extension.end:
        raise ExtensionInvalid(f"{extension.queue_count} queues do not fit an extension of {length:#x} bytes")
    return extension


def read_ring_block(window: Window, backend: Backend, queue: int) -> tuple[int, int] | None:
    """Offset and length of a queue's host-placed ring block, None where there is none; raises RingBlockInvalid."""
    extension = backend.extension
    if extension is None or queue >= extension.queue_count:
        return None
    line = extension.queue_line(queue)
    offset = window.load64(line + QueueLine.RING_OFFSET)
    length = window.load32(line + QueueLine.RING_LENGTH)
    if offset == 0:
        return None
    if offset % LINE_SIZE or offset < extension.end or offset + length > backend.size:
        raise RingBlockInvalid(
            f"ring block of queue {queue} at {offset:#x}, {length:#x} bytes, does not lie on a line between "
            f"{extension.end:#x} and {backend.size:#x}"
        )
    return offset, length
