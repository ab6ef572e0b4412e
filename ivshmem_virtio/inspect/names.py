# SPDX-License-Identifier: MIT
"""Words for numbers: status bits, states, header fields, queues (virtio 1.4). Features have theirs in the transport."""

from __future__ import annotations

from enum import IntFlag

from ivshmem_virtio.link.layout import Header, Owner, State
from ivshmem_virtio.transport.features import Status

NET, CONSOLE = 1, 3


def flag_names(flags: type[IntFlag], value: int) -> list[str]:
    """The names of all bits set, and what is left over as a number."""
    found = [str(flag.name) for flag in flags if value & flag]
    rest = value & ~sum(flags)
    return [*found, f"{rest:#x}"] if rest else found


def status_names(status: int) -> list[str]:
    return flag_names(Status, status)


def state_name(state: int) -> str:
    """A State Table entry in a word; a side can write anything into its own."""
    return State(state).name.lower() if state in list(State) else f"invalid ({state})"


OWNERS = {Owner.NOBODY: "nobody", Owner.BACKEND: "back-end", Owner.FRONTEND: "stand-in"}


def owner_name(owner: int | None) -> str:
    """Who may write a used ring; the other side can write anything there."""
    if owner is None:
        return "-"
    return OWNERS[Owner(owner)] if owner in list(Owner) else f"invalid ({owner})"


def field_name(offset: int) -> str:
    """The header field a transaction names."""
    if offset >= Header.CONFIG:
        return f"config+{offset - Header.CONFIG:#x}"
    return Header(offset).name.lower() if offset in list(Header) else f"offset {offset:#x}"


def queue_name(device_id: int, index: int, queues: int) -> str:
    """What one of so many queues is for, as the chapter of its device calls it."""
    if device_id == NET:
        if _is_net_control(device_id, index, queues):
            return "control"
        return "receive" if index % 2 == 0 else "transmit"
    if device_id == CONSOLE:
        way = "receive" if index % 2 == 0 else "transmit"
        if index in (2, 3):
            return f"control {way}"
        return way if index < 2 else f"port {index // 2 - 1} {way}"
    return "request"


def holds_empty_buffers(device_id: int, index: int, queues: int) -> bool:
    """Whether buffers wait in this queue for the world outside, so that nobody owes an answer for them."""
    return device_id in (NET, CONSOLE) and index % 2 == 0 and not _is_net_control(device_id, index, queues)


def _is_net_control(device_id: int, index: int, queues: int) -> bool:
    """The queue behind all pairs, where there is one."""
    return device_id == NET and queues % 2 == 1 and index == queues - 1
