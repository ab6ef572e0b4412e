# SPDX-License-Identifier: MIT
"""Whether this program, with this configuration, can go on with what another keeper has: asked before it is stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.config import Config, GuestConfig
from ivshmem_virtio.service.description import Record
from ivshmem_virtio.service.kept_guest import state_name
from ivshmem_virtio.service.plan import plan
from ivshmem_virtio.transport.kept_layout import STATE_MAGIC, STATE_VERSION, StateHeader

REMEDY = "end the service first, or begin with serve --afresh where its keeper is dead"


class TakeOverRefused(IvshmemVirtioError):
    """A running service cannot be taken over as it is."""


class DescriptorsMissing(TakeOverRefused):
    """The store of descriptors had no room for all of them."""


class StateObjectVersion(TakeOverRefused):
    """A state object was written by another version of this program."""


class GuestCannotChange(TakeOverRefused):
    """The configuration changes what a guest that is being served was told once and for all."""


def in_order(config: Config, record: Record) -> Config:
    """The same configuration, guests that are served first and as they were: switches are numbered by that order."""
    by_name = {guest.name: guest for guest in config.guests}
    served = [by_name[name] for name in record["guests"] if name in by_name]
    fresh = [guest for guest in config.guests if guest.name not in record["guests"]]
    return config.model_copy(update={"guests": (*served, *fresh)})


def check(record: Record, files: Mapping[str, int], config: Config) -> None:
    """Raise DescriptorsMissing, StateObjectVersion or GuestCannotChange where going on is impossible."""
    missing = set(record["files"]) - files.keys()
    if missing:
        raise DescriptorsMissing(
            f"{len(missing)} of {len(record['files']) + 1} descriptors of the last keeper are missing; "
            "make FileDescriptorStoreMax= in the unit at least as large as their number"
        )
    for name, guest_record in record["guests"].items():
        for backend in guest_record["states"]:
            check_state(files[f"guest/{name}/{state_name(backend)}"], f"guest {name}, back-end {backend}")
    config = in_order(config, record)
    for guest in config.guests:
        if guest.name in record["guests"]:
            check_guest(config, guest, record["guests"][guest.name])


def check_state(descriptor: int, whose: str) -> None:
    """Raise StateObjectVersion unless a back-end of this version can go on from a state object, or begin it."""
    start = os.pread(descriptor, StateHeader.STATE_LINKS, 0)
    if not start.startswith(STATE_MAGIC) or len(start) < StateHeader.STATE_LINKS:
        return
    version = int.from_bytes(start[StateHeader.STATE_VERSION :], "little")
    if version != STATE_VERSION:
        raise StateObjectVersion(
            f"{whose}: its state object has version {version}, this program knows version {STATE_VERSION}; {REMEDY}"
        )


def check_guest(config: Config, guest: GuestConfig, record: dict[str, Any]) -> None:
    """Raise GuestCannotChange unless region, doorbells, socket and links are those that the guest knows."""
    for what, runs, configured in differences(config, guest, record):
        raise GuestCannotChange(
            f"guest {guest.name}: {what} cannot change while it is being served: it is {runs}, the configuration says"
            f" {configured}; {REMEDY}"
        )


def differences(config: Config, guest: GuestConfig, record: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """What differs: name, as it is, as it is configured."""
    planned = plan(config, guest)
    region = record["region"]
    yield from differing(
        "region", f"{region['name']}, {region['size']} bytes", f"{planned.shared_memory}, {planned.size} bytes"
    )
    yield from differing("vectors", record["vectors"], guest.vectors)
    yield from differing("socket", record["socket"], str(guest.socket))
    served = {link["name"]: link for link in record["slots"].values()}
    configured = {layout.name: asdict(layout) for layout in planned.layouts}
    yield from differing("the list of devices", ", ".join(served), ", ".join(configured))
    for name, link in served.items():
        for field, value in link.items():
            yield from differing(f"device {name}: {field}", value, configured[name][field])


def differing(what: str, runs: object, configured: object) -> Iterator[tuple[str, object, object]]:
    if runs != configured:
        yield what, runs, configured
