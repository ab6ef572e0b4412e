# SPDX-License-Identifier: MIT
"""One guest: region, directory, links, and what is due; looked at twice, to see what moves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.inspect.diagnosis import BACK_END, Finding, diagnose
from ivshmem_virtio.inspect.directory_view import DirectoryView, view_directory
from ivshmem_virtio.inspect.link_view import LinkView, view_link
from ivshmem_virtio.inspect.region_file import RegionFile
from ivshmem_virtio.inspect.status_file import BackendStatus, LinkStatus, process_lives, read_status
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.plan import RegionPlan, plan


@dataclass(frozen=True)
class StatusFileView:
    """One status file. ``pid`` is None where there is no usable file."""

    path: Path
    pid: int | None
    alive: bool


@dataclass(frozen=True)
class GuestView:
    """What ``inspect`` shows of one guest. ``due`` has the findings by link, in the order of the links."""

    guest: str
    region: Path
    size: int
    socket: Path
    observed_seconds: float
    status_files: tuple[StatusFileView, ...]
    directory: DirectoryView
    links: tuple[LinkView, ...]
    due: tuple[tuple[Finding, ...], ...]
    general: tuple[Finding, ...]


def view_guest(
    config: Config, guest: GuestConfig, observe_seconds: float, region_path: Path | None = None
) -> GuestView:
    """Look at a guest, and once more after ``observe_seconds`` where that is above 0; raises InspectError.

    ``region_path`` is where a foreign server has the region.
    """
    made = plan(config, guest)
    with RegionFile(made, region_path) as region:
        earlier: tuple[LinkView, ...] | None = None
        if observe_seconds > 0:
            earlier = _view_links(region, made, _read_status_files(config, guest, made)[1])
            time.sleep(observe_seconds)
        files, status = _read_status_files(config, guest, made)
        directory = view_directory(region, made)
        links = _view_links(region, made, status)
    due = [diagnose(link, earlier[number] if earlier else None) for number, link in enumerate(links)]
    return GuestView(
        guest=guest.name,
        region=region.path,
        size=region.size,
        socket=guest.socket,
        observed_seconds=observe_seconds,
        status_files=tuple(files),
        directory=directory,
        links=links,
        due=tuple(tuple(findings) for findings in due),
        general=tuple(_general(directory, files)),
    )


def _view_links(region: RegionFile, made: RegionPlan, status: dict[str, LinkStatus]) -> tuple[LinkView, ...]:
    return tuple(view_link(region, link, status.get(link.layout.name)) for link in made.links)


def _read_status_files(
    config: Config, guest: GuestConfig, made: RegionPlan
) -> tuple[list[StatusFileView], dict[str, LinkStatus]]:
    """Every status file of the guest's back-ends, and what they say by link. A dead writer's words do not count."""
    views: list[StatusFileView] = []
    links: dict[str, LinkStatus] = {}
    for switch in dict.fromkeys(link.switch for link in made.links):
        path = config.status_file(guest, switch)
        found = read_status(path)
        alive = found is not None and process_lives(found.pid)
        views.append(StatusFileView(path, found.pid if found is not None else None, alive))
        links |= _by_name(found, alive)
    return views, links


def _by_name(found: BackendStatus | None, alive: bool) -> dict[str, LinkStatus]:
    return {link.name: link for link in found.links} if found is not None and alive else {}


def _general(directory: DirectoryView, files: list[StatusFileView]) -> list[Finding]:
    """What is wrong beyond single links."""
    found = [Finding("keeper", problem) for problem in directory.problems]
    for entry in directory.entries:
        found += [Finding("keeper", f"directory entry {entry.name}: {text}") for text in entry.differences]
    for file in files:
        if file.pid is None:
            found.append(
                Finding(BACK_END, f"no status file {file.path}: features and most queue addresses are unknown")
            )
        elif not file.alive:
            found.append(Finding(BACK_END, f"process {file.pid} of {file.path.name} is gone"))
    return found
