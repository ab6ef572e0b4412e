# SPDX-License-Identifier: MIT
"""Somebody who keeps descriptors by name while keepers come and go: a vault process, or systemd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ivshmem_virtio.errors import IvshmemVirtioError


class StoreLost(IvshmemVirtioError):
    """Whoever keeps the descriptors is gone, or does not answer."""


class DescriptorStore(Protocol):
    """Whatever is put here is given to the next keeper of the service. Names are printable, without a colon."""

    def put(self, files: Mapping[str, int]) -> None:
        """Keep duplicates under these names; on return they are safe. Raises StoreLost."""

    def drop(self, names: Iterable[str]) -> None:
        """Let go of these; raises StoreLost."""

    def end(self) -> None:
        """The service is over: let go of everything. Raises nothing."""

    def fileno(self) -> int | None:
        """Becomes readable when the store is lost; None: nobody would tell."""

    def close(self) -> None:
        """Leave everything where it is."""
