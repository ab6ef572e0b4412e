# SPDX-License-Identifier: MIT
"""Why a hostile driver cannot go on: none of it is about what the device does."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class EvilDriverError(IvshmemVirtioError):
    """Root of everything the hostile driver raises on purpose."""


class ScenarioUnknown(EvilDriverError):
    """No scenario has that name."""


class DeviceLost(EvilDriverError):
    """The back-end no longer answers a driver that behaves: what was done before has hurt it."""


class WindowTooSmall(EvilDriverError):
    """The window leaves no room for chains that break rules."""
