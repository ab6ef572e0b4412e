# SPDX-License-Identifier: MIT
"""What ``inspect`` shows to people: what is due first, then the links, then their queues."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ivshmem_virtio.inspect.diagnosis import NOBODY, Finding
from ivshmem_virtio.inspect.guest_view import GuestView
from ivshmem_virtio.inspect.link_view import LinkView
from ivshmem_virtio.inspect.names import field_name, flag_names, owner_name, state_name, status_names
from ivshmem_virtio.inspect.queue_view import EVENT_AT_DESCRIPTOR, PackedEvents, QueueView, RingPlace
from ivshmem_virtio.link.layout import Capability
from ivshmem_virtio.service.size import format_size
from ivshmem_virtio.transport.feature_names import device_type


def print_guest(console: Console, view: GuestView) -> None:
    """Print one guest."""
    where = escape(f"{view.region} ({format_size(view.size)}), socket {view.socket}")
    console.print(f"[bold]{view.guest}[/]: {where}", soft_wrap=True)
    for finding in view.general:
        console.print(f"  {_text(finding)}", soft_wrap=True)
    console.print(_links_table(view))
    for link, findings in zip(view.links, view.due, strict=True):
        console.print(f"[bold]{link.name}[/] ({device_type(link.device_id)})")
        for finding in findings:
            console.print(f"  {_text(finding)}", soft_wrap=True)
        _print_details(console, link)
        console.print(_queues_table(link))
        _print_counters(console, link)


def _text(finding: Finding) -> str:
    if finding.who == NOBODY:
        return f"[green]{finding.text}[/]"
    return f"[yellow]{finding.who}[/]: {escape(finding.text)}"


def _links_table(view: GuestView) -> Table:
    table = _table("link", "device", "at", "window", "back-end", "front-end", "status", "directory")
    entries = {entry.name: entry.state for entry in view.directory.entries}
    for link in view.links:
        table.add_row(
            link.name,
            device_type(link.device_id),
            f"{link.offset:#x}",
            format_size(link.window_size),
            state_name(link.backend_state),
            state_name(link.frontend_state),
            _status(link),
            entries.get(link.name, "no entry"),
        )
    return table


def _status(link: LinkView) -> str:
    names = status_names(link.device_status)
    return (
        "DRIVER_OK" if set(names) == {"ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"} else " ".join(names) or "0"
    )


def _print_details(console: Console, link: LinkView) -> None:
    lines = {
        "header": link.header_problem or f"revision {link.revision}, {link.header_size} of {link.window_size} bytes",
        "offered": _names(link.features.offered) + ("" if link.features.complete else " (only the half shown now)"),
        "accepted": "unknown" if link.features.accepted is None else _names(link.features.accepted),
    }
    if link.backend is not None:
        lines["back-end"] = (
            f"epoch {link.backend.epoch:x}, heartbeat {link.backend.heartbeat}, "
            f"works for incarnation {link.backend.acknowledged:x}, can {_capabilities(link.backend.capabilities)}"
        )
    if link.frontend is not None:
        lines["front-end"] = (
            f"incarnation {link.frontend.incarnation:x}, heartbeat {link.frontend.heartbeat}, "
            f"can {_capabilities(link.frontend.capabilities)}"
        )
    if link.transaction is not None:
        word = link.transaction
        lines["transaction"] = f"{field_name(word.offset)}, size {word.size}, sequence {word.sequence}"
    for name, text in lines.items():
        console.print(f"  {name + ':':12}{escape(text)}", soft_wrap=True)


def _capabilities(value: int) -> str:
    return _names(flag_names(Capability, value)).lower()


def _names(names: list[str] | tuple[str, ...]) -> str:
    return " ".join(names) or "none"


def _queues_table(link: LinkView) -> Table:
    table = _table(
        *("queue", "use", "size", "enabled", "available", "used"),
        *("with back-end", "owner", "events", "rings at", "known from"),
    )
    for queue in link.queues:
        table.add_row(*_queue_cells(queue))
    return table


def _print_counters(console: Console, link: LinkView) -> None:
    """Of queues that compiled engines serve."""
    for queue in link.queues:
        if queue.counters:
            counted = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in queue.counters.items())
            console.print(f"  queue {queue.index}: {counted}", soft_wrap=True)


def _queue_cells(queue: QueueView) -> tuple[str, ...]:
    start = (str(queue.index), queue.name)
    if queue.place is not None and queue.packed_events is not None:
        return (*start, *_packed_cells(queue.place, queue.packed_events, owner_name(queue.owner)))
    if queue.place is None or queue.indices is None:
        problem = escape(queue.problem or "nothing published")
        return (*start, "-", "-", "-", "-", "-", owner_name(queue.owner), "-", "-", problem)
    place, indices = queue.place, queue.indices
    return (
        *start,
        str(place.size),
        _enabled(place),
        str(indices.available),
        str(indices.used),
        str(indices.outstanding),
        owner_name(queue.owner),
        f"{indices.available_event} / {indices.used_event}",
        f"{place.desc:#x}",
        place.source,
    )


def _packed_cells(place: RingPlace, events: PackedEvents, owner: str) -> tuple[str, ...]:
    """Positions are not in the window, only what each side wants to be told of: slot and lap, "off", or "any"."""
    told = (_event(events.device, events.device_flags), _event(events.driver, events.driver_flags))
    held = "-" if place.in_flight is None else str(place.in_flight)
    where = (f"{place.desc:#x}", f"{place.source}, packed")
    return (str(place.size), _enabled(place), "-", "-", held, owner, " / ".join(told), *where)


def _event(position: int, flags: int) -> str:
    if flags == EVENT_AT_DESCRIPTOR:
        return f"{position & 0x7FFF}{'+' if position >> 15 else '-'}"
    return "off" if flags else "any"


def _enabled(place: RingPlace) -> str:
    return {True: "yes", False: "no", None: "unknown"}[place.enabled]


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
