# SPDX-License-Identifier: MIT
"""Rules that hold between tables of a configuration: names that must differ, sockets, switches, the owner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ivshmem_virtio.memory.errors import UnknownOwner
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.service.config_console import ConsoleConfig, ConsoleEnd
from ivshmem_virtio.service.config_device import DeviceTable
from ivshmem_virtio.service.config_errors import DuplicateName, InvalidValue, PathTooLong
from ivshmem_virtio.service.config_fields import LONGEST_SOCKET_PATH
from ivshmem_virtio.service.config_models import Config, GuestConfig
from ivshmem_virtio.service.config_net import NetConfig


def check_names(config: Config) -> None:
    """Names, sockets and addresses that must differ do; raises a ConfigError."""
    _all_differ("guest", ((guest.name, f'guest "{guest.name}"') for guest in config.guests), "give each its own name")
    for guest in config.guests:
        prefix = f'guest "{guest.name}": '
        names = ((device.name, f"a device of type {device.type}") for device in guest.devices)
        _all_differ(f"{prefix}device", names, "give each a name of its own")
        for device in guest.devices:
            if isinstance(device, ConsoleConfig):
                ports = ((port.name, f'device "{device.name}"') for port in device.ports)
                _all_differ(f"{prefix}port", ports, "give each its own name")
    _all_differ("socket", _sockets(config), "one path cannot serve both")
    _all_differ("mac", _addresses(config), "give each interface its own")
    _all_differ("tap", _taps(config), "one cannot serve both")
    _one_user_of_stdio(config)


def check_sockets(config: Config) -> None:
    """Every socket path fits into a socket address; raises PathTooLong."""
    for path, owner in _sockets(config):
        length = len(os.fsencode(path))
        if length > LONGEST_SOCKET_PATH:
            raise PathTooLong(
                f"{owner}: socket path of {length} bytes, Linux allows {LONGEST_SOCKET_PATH}: {path}; "
                "set a shorter socket or runtime_dir"
            )


def check_owner(config: Config) -> None:
    """The user and group exist; raises InvalidValue."""
    owner = config.service.owner
    if owner is None:
        return
    try:
        Owner.parse(owner)
    except UnknownOwner as error:
        raise InvalidValue(f'service: owner = "{owner}": {error}; write user, user:group or :group') from None


def _all_differ(what: str, pairs: Iterator[tuple[object, str]], remedy: str) -> None:
    seen: dict[object, str] = {}
    for value, owner in pairs:
        if value in seen:
            first = seen[value]
            raise DuplicateName(f'{what} "{value}" is given twice ({first} and {owner}); {remedy}')
        seen[value] = owner


def devices(config: Config) -> Iterator[tuple[GuestConfig, DeviceTable]]:
    """Every device, with the guest it belongs to."""
    for guest in config.guests:
        for device in guest.devices:
            yield guest, device


def where(guest: GuestConfig, device: DeviceTable) -> str:
    """How messages name a device."""
    return f'guest "{guest.name}", device "{device.name}"'


def _sockets(config: Config) -> Iterator[tuple[Path, str]]:
    """Every unix socket named, with whose it is."""
    yield config.vault_socket, "service (its vault)"
    for guest in config.guests:
        yield guest.socket, f'guest "{guest.name}"'
    for guest, device in devices(config):
        if isinstance(device, NetConfig) and device.via.stream is not None:
            yield device.via.stream, where(guest, device)
        if isinstance(device, ConsoleConfig):
            for end in device.ends:
                if isinstance(end, ConsoleEnd) and end.socket is not None:
                    yield end.socket, where(guest, device)


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    for guest, device in devices(config):
        if isinstance(device, NetConfig):
            yield device.mac, where(guest, device)


def _taps(config: Config) -> Iterator[tuple[str, str]]:
    """The kernel would let two share an interface with many queues, and each would get some of the frames."""
    for guest, device in devices(config):
        if isinstance(device, NetConfig) and device.via.tap is not None:
            yield device.via.tap, where(guest, device)


def _one_user_of_stdio(config: Config) -> None:
    owners = [
        where(guest, device)
        for guest, device in devices(config)
        if isinstance(device, ConsoleConfig)
        for end in device.ends
        if end == "stdio"
    ]
    if len(owners) > 1:
        raise DuplicateName(f'via = "stdio" is used by {owners[0]} and {owners[1]}; one terminal cannot serve both')
