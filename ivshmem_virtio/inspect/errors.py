# SPDX-License-Identifier: MIT
"""What keeps the inspector from looking at a region."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class InspectError(IvshmemVirtioError):
    """A region cannot be looked at."""


class RegionAbsent(InspectError):
    """There is no region of the configured name."""


class RegionUnreadable(InspectError):
    """The region exists, but this user may not read it."""


class RegionSizeDiffers(InspectError):
    """The region has another size than the configuration says, so nothing lies where the plan has it."""
