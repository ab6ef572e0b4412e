# SPDX-License-Identifier: MIT
"""From the ``type`` of a configured device to the device itself.

A back-end that is started again is waited for, so a module is imported when a device of its type is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ivshmem_virtio.devices.device import Device, DeviceError

BUILT_IN: Mapping[str, str] = {
    "blk": "ivshmem_virtio.devices.blk:Blk",
    "console": "ivshmem_virtio.devices.console:Console",
    "net": "ivshmem_virtio.devices.net:Net",
    "rng": "ivshmem_virtio.devices.rng:Rng",
}


class UnknownDeviceType(DeviceError):
    """The ``type`` of a device names neither a built-in device nor an importable class."""


def find(kind: str) -> Callable[..., Device]:
    """The factory of a device type: a built-in name, or ``module:Class`` for a device of your own."""
    module, separator, name = BUILT_IN.get(kind, kind).partition(":")
    if not separator:
        raise UnknownDeviceType(f"device type {kind!r}: neither one of {', '.join(BUILT_IN)} nor module:Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UnknownDeviceType(f"device type {kind!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Device)):
        raise UnknownDeviceType(f"device type {kind!r}: {name} is no subclass of ivshmem_virtio.devices.device.Device")
    return found


def create(kind: str, name: str, window: int, keys: Mapping[str, Any], *, packed: bool = False) -> Device:
    """The device of one configuration table; ``window`` is the size of its R/W section in bytes, ``packed`` whether it
    offers packed rings.
    """
    try:
        device = find(kind)(name, window=window, **keys)
    except TypeError as error:
        raise DeviceError(f"device {name} of type {kind!r} cannot be made from its configuration: {error}") from error
    device.packed = packed
    return device
