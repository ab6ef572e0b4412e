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
from ivshmem_virtio.inspect.names import device_name, field_name, flag_names, state_name, status_names
from ivshmem_virtio.inspect.queue_view import QueueView
from ivshmem_virtio.link.layout import Capability
from ivshmem_virtio.service.size import format_size


def print_guest(console: Console, view: GuestView) -> None:
    """Print one guest."""
    console.print(f"[bold]{view.guest}[/]: {view.region} ({format_size(view.size)}), socket {view.socket}")
    for finding in view.general:
        console.print(f"  {_text(finding)}")
    console.print(_links_table(view))
    for link, findings in zip(view.links, view.due, strict=True):
        console.print(f"[bold]{link.name}[/] ({device_name(link.device_id)})")
        for finding in findings:
            console.print(f"  {_text(finding)}")
        _print_details(console, link)
        console.print(_queues_table(link))


def _text(finding: Finding) -> str:
    if finding.who == NOBODY:
        return f"[green]{finding.text}[/]"
    return f"[yellow]{finding.who}[/]: {escape(finding.text)}"


def _links_table(view: GuestView) -> Table:
    table = _table("link", "device", "back-end", "front-end", "status", "epoch", "incarnation", "heartbeats")
    entries = {entry.name: entry.state for entry in view.directory.entries}
    table.add_column("directory", no_wrap=True)
    for link in view.links:
        back, front = link.backend, link.frontend
        table.add_row(
            link.name,
            device_name(link.device_id),
            state_name(link.backend_state),
            state_name(link.frontend_state),
            _status(link),
            f"{back.epoch:016x}" if back else "-",
            _incarnation(link),
            f"{back.heartbeat} / {front.heartbeat}" if back and front else "-",
            entries.get(link.name, "no entry"),
        )
    return table


def _status(link: LinkView) -> str:
    names = status_names(link.device_status)
    return (
        "DRIVER_OK" if set(names) == {"ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"} else " ".join(names) or "0"
    )


def _incarnation(link: LinkView) -> str:
    if link.backend is None or link.frontend is None:
        return "-"
    mark = "" if link.frontend.incarnation == link.backend.acknowledged else " (not acknowledged)"
    return f"{link.frontend.incarnation:016x}{mark}"


def _print_details(console: Console, link: LinkView) -> None:
    lines = {
        "header": link.header_problem or f"revision {link.revision}, {link.header_size} of {link.window_size} bytes",
        "offered": _names(link.features.offered) + ("" if link.features.complete else " (only the half shown now)"),
        "accepted": "unknown" if link.features.accepted is None else _names(link.features.accepted),
    }
    if link.backend is not None and link.frontend is not None:
        lines["back-end can"] = _names(flag_names(Capability, link.backend.capabilities))
        lines["front-end can"] = _names(flag_names(Capability, link.frontend.capabilities))
    if link.transaction is not None:
        word = link.transaction
        lines["transaction"] = f"{field_name(word.offset)}, size {word.size}, sequence {word.sequence}"
    for name, text in lines.items():
        console.print(f"  {name + ':':15}{escape(text)}")


def _names(names: list[str] | tuple[str, ...]) -> str:
    return " ".join(names) or "none"


def _queues_table(link: LinkView) -> Table:
    table = _table(
        "queue", "use", "size", "enabled", "available", "used", "with back-end", "events", "rings at", "known from"
    )
    for queue in link.queues:
        table.add_row(*_queue_cells(queue))
    return table


def _queue_cells(queue: QueueView) -> tuple[str, ...]:
    start = (str(queue.index), queue.name)
    if queue.place is None or queue.indices is None:
        return (*start, "-", "-", "-", "-", "-", "-", "-", queue.problem or "nothing published")
    place, indices = queue.place, queue.indices
    enabled = {True: "yes", False: "no", None: "unknown"}[place.enabled]
    return (
        *start,
        str(place.size),
        enabled,
        str(indices.available),
        str(indices.used),
        str(indices.outstanding),
        f"{indices.available_event} / {indices.used_event}",
        f"{place.desc:#x}",
        place.source,
    )


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
