# SPDX-License-Identifier: MIT
"""One directory entry as bytes, and the rules it has to obey (docs/protocol.md, 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ivshmem_virtio.link.directory_errors import (
    EntryDeviceInvalid,
    EntryMisaligned,
    EntryNameInvalid,
    EntryOutsideRegion,
    EntryOverlapsDirectory,
    EntryOverlapsLink,
    EntryPeerInvalid,
    EntryStateUnknown,
    EntryTooSmall,
    EntryVectorsInvalid,
)
from ivshmem_virtio.link.layout import ENTRY_NAME_SIZE, MINIMUM_WINDOW, PAGE_SIZE, EntryState, LinkLayout

BODY = struct.Struct("<IIIQQIIHHHH16s")
"""An entry without its sequence, from ``state`` on."""
LARGEST_PEER_ID = 0xFFFF
VECTOR_NUMBERS = 0x10000


def encode_entry(state: EntryState, layout: LinkLayout) -> bytes:
    """The body of an entry; raises EntryNameInvalid."""
    name = layout.name.encode()
    if not name or len(name) > ENTRY_NAME_SIZE or not layout.name.isprintable():
        raise EntryNameInvalid(f"link name {layout.name!r}: must be printable text of 1 to {ENTRY_NAME_SIZE} bytes")
    return BODY.pack(
        state,
        layout.device_id,
        layout.backend_peer,
        layout.offset,
        layout.rw_size,
        layout.state_table_size,
        layout.output_size,
        layout.frontend_vector,
        layout.frontend_vectors,
        layout.backend_vector,
        layout.backend_vectors,
        name,
    )


def decode_entry(body: bytes) -> tuple[EntryState, LinkLayout | None]:
    """State and link of an entry's body; raises EntryStateUnknown and EntryNameInvalid. No other rule is checked."""
    state, device_id, backend_peer, offset, rw_size, state_table_size, output_size, *vectors, name = BODY.unpack(body)
    if state == EntryState.FREE:
        return EntryState.FREE, None
    if state not in (EntryState.IN_USE, EntryState.REMOVING):
        raise EntryStateUnknown(f"state {state}: must be 0 (free), 1 (in use) or 2 (removing)")
    frontend_vector, frontend_vectors, backend_vector, backend_vectors = vectors
    return EntryState(state), LinkLayout(
        name=decode_name(name),
        device_id=device_id,
        offset=offset,
        rw_size=rw_size,
        frontend_vector=frontend_vector,
        frontend_vectors=frontend_vectors,
        backend_vector=backend_vector,
        backend_vectors=backend_vectors,
        backend_peer=backend_peer,
        state_table_size=state_table_size,
        output_size=output_size,
    )


def decode_name(field: bytes) -> str:
    text = field.rstrip(b"\0")
    try:
        name = text.decode()
    except UnicodeDecodeError as error:
        raise EntryNameInvalid(f"name {text!r} is not UTF-8") from error
    if not name.isprintable() or not name:
        raise EntryNameInvalid(f"name {text!r}: must be printable text of 1 to {ENTRY_NAME_SIZE} bytes")
    return name


def check_layout(layout: LinkLayout, directory_size: int, region_size: int) -> None:
    """Raise the error of the first rule that a link breaks."""
    what = f"link {layout.name!r}"
    if layout.device_id == 0:
        raise EntryDeviceInvalid(f"{what}: device id 0 is reserved")
    if not 0 <= layout.backend_peer <= LARGEST_PEER_ID:
        raise EntryPeerInvalid(f"{what}: back-end peer {layout.backend_peer} is not 0 to {LARGEST_PEER_ID}")
    check_alignment(layout)
    if layout.state_table_size < PAGE_SIZE or layout.rw_size < MINIMUM_WINDOW:
        raise EntryTooSmall(
            f"{what}: State Table of {layout.state_table_size} and window of {layout.rw_size} bytes;"
            f" at least {PAGE_SIZE} and {MINIMUM_WINDOW}"
        )
    if layout.offset < directory_size:
        raise EntryOverlapsDirectory(
            f"{what}: begins at {layout.offset:#x}, inside the directory of {directory_size:#x}"
        )
    if layout.end > region_size:
        raise EntryOutsideRegion(f"{what}: ends at {layout.end:#x}, the region at {region_size:#x}")
    for side, first, count in (
        ("front-end", layout.frontend_vector, layout.frontend_vectors),
        ("back-end", layout.backend_vector, layout.backend_vectors),
    ):
        if count < 1 or first < 0 or first + count > VECTOR_NUMBERS:
            raise EntryVectorsInvalid(
                f"{what}: {count} {side} vectors from {first} on; at least 1, all below {VECTOR_NUMBERS}"
            )


def check_alignment(layout: LinkLayout) -> None:
    for field in ("offset", "rw_size", "state_table_size", "output_size"):
        value = getattr(layout, field)
        if value < 0 or value % PAGE_SIZE:
            raise EntryMisaligned(f"link {layout.name!r}: {field} {value:#x} is not a multiple of {PAGE_SIZE}")


def check_overlap(layout: LinkLayout, others: Iterable[LinkLayout]) -> None:
    """Raise EntryOverlapsLink where a link shares memory with one of the others."""
    for other in others:
        if layout.offset < other.end and other.offset < layout.end:
            raise EntryOverlapsLink(
                f"links {layout.name!r} ({layout.offset:#x} to {layout.end:#x}) and {other.name!r}"
                f" ({other.offset:#x} to {other.end:#x}) share memory"
            )
