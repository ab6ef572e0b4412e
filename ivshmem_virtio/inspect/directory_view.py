# SPDX-License-Identifier: MIT
"""The directory as found, held against the plan."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ivshmem_virtio.inspect.region_file import RegionFile
from ivshmem_virtio.link.directory import DirectoryEntry, read_entries
from ivshmem_virtio.link.directory_errors import DirectoryError
from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.service.plan import RegionPlan

REMARKS = {"backend_peer": " (as it may be behind somebody else's server)"}


@dataclass(frozen=True)
class EntryView:
    """One entry that is not free. ``differences``: what is not as configured, in words."""

    number: int
    state: str
    name: str
    device_id: int
    offset: int
    differences: tuple[str, ...]


@dataclass(frozen=True)
class DirectoryView:
    """``problems``: broken rules, and links of the configuration that have no entry."""

    entries: tuple[EntryView, ...]
    problems: tuple[str, ...]


def view_directory(region: RegionFile, made: RegionPlan) -> DirectoryView:
    """Read the directory of a region. A broken one is a problem to show, never an error."""
    problems: list[str] = []
    try:
        found = read_entries(region.read, region.size, lambda number, error: problems.append(str(error)))
    except DirectoryError as error:
        return DirectoryView((), (str(error),))
    configured = {layout.name: layout for layout in made.layouts}
    missing = configured.keys() - {entry.layout.name for entry in found}
    problems += [f'link "{name}" is configured and not in the directory' for name in sorted(missing)]
    return DirectoryView(tuple(_view(entry, configured.get(entry.layout.name)) for entry in found), tuple(problems))


def _view(entry: DirectoryEntry, configured: LinkLayout | None) -> EntryView:
    found = entry.layout
    return EntryView(
        entry.number,
        entry.state.name.lower().replace("_", " "),
        found.name,
        found.device_id,
        found.offset,
        ("not configured",) if configured is None else _differences(found, configured),
    )


def _differences(found: LinkLayout, configured: LinkLayout) -> tuple[str, ...]:
    pairs = ((field.name, getattr(found, field.name), getattr(configured, field.name)) for field in fields(LinkLayout))
    return tuple(
        f"{name} {is_now}, configured {should_be}{REMARKS.get(name, '')}"
        for name, is_now, should_be in pairs
        if is_now != should_be
    )
