# SPDX-License-Identifier: MIT
"""From the ``type`` of a configured device to the device itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.console import Console
from ivshmem_virtio.devices.device import Device, DeviceError
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.rng import Rng

BUILT_IN: Mapping[str, Callable[..., Device]] = {"blk": Blk, "console": Console, "net": Net, "rng": Rng}


class UnknownDeviceType(DeviceError):
    """The ``type`` of a device names neither a built-in device nor an importable class."""


def find(kind: str) -> Callable[..., Device]:
    """The factory of a device type: a built-in name, or ``module:Class`` for a device of your own."""
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    module, separator, name = kind.partition(":")
    if not separator:
        raise UnknownDeviceType(f"device type {kind!r}: neither one of {', '.join(BUILT_IN)} nor module:Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UnknownDeviceType(f"device type {kind!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Device)):
        raise UnknownDeviceType(f"device type {kind!r}: {name} is no subclass of ivshmem_virtio.devices.device.Device")
    return found


def create(kind: str, name: str, window: int, keys: Mapping[str, Any]) -> Device:
    """The device of one configuration table; ``window`` is the size of its R/W section in bytes."""
    try:
        return find(kind)(name, window=window, **keys)
    except TypeError as error:
        raise DeviceError(f"device {name} of type {kind!r} cannot be made from its configuration: {error}") from error
