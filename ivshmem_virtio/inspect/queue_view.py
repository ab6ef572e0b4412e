# SPDX-License-Identifier: MIT
"""One virtqueue as it lies in a window: indices and event words (virtio 1.4, 2.7), or event suppression (2.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.inspect.status_file import QueueStatus
from ivshmem_virtio.link.layout import OWNER_BITS, Header, SplitPlacement, owner_of, ring_block_length
from ivshmem_virtio.service.config_fields import LARGEST_QUEUE
from ivshmem_virtio.transport.driver.backend import Backend, read_ring_block
from ivshmem_virtio.transport.driver.errors import BackendViolation

FROM_STATUS_FILE = "status file"
FROM_HEADER = "header"
FROM_RING_BLOCK = "ring block"
INDEX = 0xFFFF
EVENT_AT_DESCRIPTOR = 2
"""Flags of an event suppression structure: only this slot counts (virtio 1.4, 2.8.10)."""


@dataclass(frozen=True)
class RingPlace:
    """Where a queue lies, and who says so. ``enabled`` is None where that cannot be known."""

    source: str
    size: int
    desc: int
    driver: int
    device: int
    enabled: bool | None
    in_flight: int | None
    packed: bool = False


@dataclass(frozen=True)
class PackedEvents:
    """What each side of a packed ring wants to be told of: flags, and a slot with the wrap counter in bit 15.

    How far the sides have come stands nowhere in the window.
    """

    device: int
    device_flags: int
    driver: int
    driver_flags: int


@dataclass(frozen=True)
class RingIndices:
    """The words both sides steer by."""

    available: int
    used: int
    available_event: int
    used_event: int

    @property
    def outstanding(self) -> int:
        """Chains the driver made available that have not come back."""
        return (self.available - self.used) & INDEX

    @property
    def kick_due(self) -> bool:
        """With EVENT_IDX: the driver has passed the index at which the device wants to be notified."""
        return self.outstanding > 0 and (self.available - self.available_event - 1) & INDEX < self.outstanding


@dataclass(frozen=True)
class QueueView:
    """One queue; ``place`` is None where nothing is known or readable, and ``problem`` says why. A split ring has
    ``indices``, a packed one ``packed_events``.
    """

    index: int
    name: str
    place: RingPlace | None
    indices: RingIndices | None
    owner: int | None
    owner_changes: int | None
    event: bool
    problem: str | None
    packed_events: PackedEvents | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """Of its engine, as the back-end last wrote them down."""


def view_queue(window: Window, name: str, index: int, backend: Backend | None, status: QueueStatus | None) -> QueueView:
    """Read one queue. Whatever makes no sense becomes its ``problem``."""
    word, event = _queue_words(window, backend, index)
    owner, changes = (None, None) if word is None else (owner_of(word), word >> OWNER_BITS)
    try:
        place = _place(window, backend, index, status)
        indices = None if place is None or place.packed else _indices(window, place)
        packed_events = _packed_events(window, place) if place is not None and place.packed else None
    except (BackendViolation, OutsideWindow, ValueError) as error:
        return QueueView(index, name, None, None, owner, changes, event, str(error))
    problem = None
    if indices is not None and place is not None and indices.outstanding > place.size:
        problem = f"available {indices.available} and used {indices.used} are further apart than {place.size} entries"
    counters = status.counters if status is not None else {}
    return QueueView(index, name, place, indices, owner, changes, event, problem, packed_events, counters)


def _place(window: Window, backend: Backend | None, index: int, status: QueueStatus | None) -> RingPlace | None:
    """The back-end's word counts most; then the header, which shows one queue; then the ring block."""
    if status is not None:
        addresses = (status.size, status.desc, status.driver, status.device)
        return RingPlace(FROM_STATUS_FILE, *addresses, status.enabled, status.in_flight, status.packed)
    if backend is None:
        return None
    if window.load32(Header.QUEUE_SEL) == index:
        return _shown_in_header(window)
    block = read_ring_block(window, backend, index)
    size = None if block is None else _size_of_block(block[1])
    if block is None or size is None:
        return None
    placed = SplitPlacement.at(block[0], size)
    return RingPlace(FROM_RING_BLOCK, size, placed.desc, placed.driver, placed.device, None, None)


def _shown_in_header(window: Window) -> RingPlace:
    return RingPlace(
        FROM_HEADER,
        window.load16(Header.QUEUE_SIZE),
        window.load64(Header.QUEUE_DESC),
        window.load64(Header.QUEUE_DRIVER),
        window.load64(Header.QUEUE_DEVICE),
        window.load16(Header.QUEUE_ENABLE) == 1,
        None,
    )


def _size_of_block(length: int) -> int | None:
    """The queue size a ring block was made for."""
    sizes = (1 << shift for shift in range(1, LARGEST_QUEUE.bit_length()))
    return next((size for size in sizes if ring_block_length(size) == length), None)


def _indices(window: Window, place: RingPlace) -> RingIndices:
    return RingIndices(
        available=window.load16(place.driver + 2),
        used=window.load16(place.device + 2),
        available_event=window.load16(place.device + 4 + 8 * place.size),
        used_event=window.load16(place.driver + 4 + 2 * place.size),
    )


def _packed_events(window: Window, place: RingPlace) -> PackedEvents:
    device, driver = window.load32(place.device), window.load32(place.driver)
    return PackedEvents(device & 0xFFFF, device >> 16 & 3, driver & 0xFFFF, driver >> 16 & 3)


def _queue_words(window: Window, backend: Backend | None, index: int) -> tuple[int | None, bool]:
    """Owner word and event byte, from the extension."""
    if backend is None or backend.extension is None or index >= backend.extension.queue_count:
        return None, False
    extension = backend.extension
    return window.load32(extension.queue_line(index)), window.load8(extension.event_byte(index)) != 0
