# SPDX-License-Identifier: MIT
"""What can keep a hostile back-end from playing."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class EvilBackendError(IvshmemVirtioError):
    """Root of what the hostile back-end itself raises."""


class NoSuchScenario(EvilBackendError):
    """A scenario was named that there is not."""


class NoLinksToPlay(EvilBackendError):
    """The configuration has no device of a type whose back-end can be played."""


class RegionTooSmallToPlay(EvilBackendError):
    """The server's region is smaller than what the configuration lays out."""
