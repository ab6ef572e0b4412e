# SPDX-License-Identifier: MIT
"""A keeper in this process, with back-ends of their own that a test may kill as often as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.service.keeper import Keeper

PATIENCE = 60.0


class KeptService:
    """Runs a keeper on a thread from construction to ``stop``."""

    def __init__(self, config: Path) -> None:
        self.keeper = Keeper(load_config(config))
        self._up = Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="keeper")
        self._thread.start()
        assert self._up.wait(PATIENCE)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        try:
            await self.keeper.start()
        except BaseException as error:
            self._error = error
            return
        finally:
            self._up.set()
        await self._over.wait()
        await self.keeper.stop()

    def backend(self, name: str) -> int | None:
        """Process id of a back-end."""
        process = self.keeper._backends.get(name)
        return process.pid if process is not None else None

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def kept_service(config: Path) -> Iterator[KeptService]:
    service = KeptService(config)
    try:
        yield service
    finally:
        service.stop()
