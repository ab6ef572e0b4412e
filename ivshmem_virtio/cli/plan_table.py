# SPDX-License-Identifier: MIT
"""How ``serve --check`` shows a plan: one table for each guest, with what is used and what is left."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from ivshmem_virtio.cli.output import wide_console
from ivshmem_virtio.link.layout import DIRECTORY_SIZE
from ivshmem_virtio.service.config import Config
from ivshmem_virtio.service.plan import LinkPlan, RegionPlan, plans
from ivshmem_virtio.service.size import format_size


def print_plans(config: Config) -> None:
    """Print the plan of every guest to standard output."""
    console = wide_console()
    for guest, made in zip(config.guests, plans(config), strict=True):
        where = escape(f"region /dev/shm/{made.shared_memory}, socket {guest.socket}")
        console.print(f"guest [bold]{guest.name}[/]: {where}", soft_wrap=True)
        console.print(plan_table(made))


def plan_table(made: RegionPlan) -> Table:
    """Where everything lies. The last row adds up."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("link", "type", "queues"):
        table.add_column(name, no_wrap=True)
    for name in ("at", "size", "window", "least", "rings", "vectors"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("served by", no_wrap=True)
    table.add_row("directory", "", "", "0x0", format_size(DIRECTORY_SIZE))
    for link in made.links:
        table.add_row(*_cells(link))
    table.add_section()
    table.add_row("used", "", "", "", format_size(made.used))
    table.add_row("free", "", "", f"{made.used:#x}", format_size(made.size - made.used))
    table.add_row("region", "", "", "", format_size(made.size), "", "", "", f"of {made.vectors}")
    return table


def _cells(link: LinkPlan) -> tuple[str, ...]:
    layout = link.layout
    last = layout.frontend_vector + layout.frontend_vectors - 1
    vectors = f"{layout.frontend_vector}-{last}" if layout.frontend_vectors > 1 else str(last)
    return (
        layout.name,
        link.device.type,
        _queues(link.shape.queue_sizes),
        f"{layout.offset:#x}",
        format_size(layout.end - layout.offset),
        format_size(layout.rw_size),
        format_size(link.least_window),
        format_size(link.reserved),
        vectors,
        link.backend,
    )


def _queues(sizes: tuple[int, ...]) -> str:
    if len(set(sizes)) == 1:
        return f"{len(sizes)} x {sizes[0]}"
    return ", ".join(str(size) for size in sizes)
