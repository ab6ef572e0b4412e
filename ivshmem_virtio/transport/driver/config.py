# SPDX-License-Identifier: MIT
"""The device configuration space as a driver reads and writes it (virtio 1.4, 2.5)."""

from __future__ import annotations

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.driver.errors import ConfigOutOfRange, ConfigUnstable
from ivshmem_virtio.transport.driver.wait import Patience


class ConfigSpace:
    """``length`` bytes of configuration in one window."""

    def __init__(self, window: Window, length: int, patience: Patience) -> None:
        self._window = window
        self._patience = patience
        self.length = length

    def read(self, offset: int, length: int, seconds: float) -> bytes:
        """``length`` bytes that belong together: read again until the generation stood still (virtio 1.4, 2.5.2).

        Raises ConfigOutOfRange, ConfigUnstable.
        """
        self.check(offset, length)
        found: list[bytes] = []

        def stable() -> bool:
            before = self._window.load32(Header.CONFIG_GENERATION)
            self._window.fence()
            found[:] = [self._window.read(Header.CONFIG + offset, length)]
            self._window.fence()
            return before % 2 == 0 and self._window.load32(Header.CONFIG_GENERATION) == before

        if not self._patience.until(stable, self._patience.now() + seconds):
            raise ConfigUnstable(f"the configuration generation did not stand still for {seconds:g} s")
        return found[0]

    def check(self, offset: int, length: int) -> None:
        """Raises ConfigOutOfRange unless the bytes belong to the configuration space."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ConfigOutOfRange(
                f"{length} bytes at offset {offset} of a configuration space of {self.length} bytes do not exist"
            )
