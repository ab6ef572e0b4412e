# SPDX-License-Identifier: MIT
"""The keeper: owns regions, sockets and doorbells, starts back-ends and starts them again. It knows no virtio."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.backend_process import BackendProcess
from ivshmem_virtio.service.config import Config, load_config
from ivshmem_virtio.service.kept_guest import MAIN_BACKEND, KeptGuest
from ivshmem_virtio.service.notify import Readiness

log = logging.getLogger("ivshmem_virtio.keeper")


class Keeper:
    """One service. Guests may be added while it runs; what they share (a switch) is told, not started again."""

    def __init__(self, config: Config, *, trace_file: Path | None = None, verbose: bool = False) -> None:
        self.config = config
        self._trace_file = trace_file
        self._verbose = verbose
        self._guests: dict[str, KeptGuest] = {}
        self._backends: dict[str, BackendProcess] = {}

    async def start(self) -> None:
        """Everything up, every device served; raises IvshmemVirtioError, and then nothing is left behind."""
        self.config.service.runtime_dir.mkdir(parents=True, exist_ok=True)
        try:
            for guest in self.config.guests:
                await self._add(guest.name)
        except BaseException:
            await self.stop()
            raise

    async def add_guests(self, config: Config) -> None:
        """Serve the guests that a new version of the configuration adds; the others stay as they are."""
        known = {guest.name: guest for guest in self.config.guests}
        for guest in config.guests:
            if guest.name in known and guest != known[guest.name]:
                log.warning("guest %s: changes take effect when the service is started again", guest.name)
        fresh = [guest for guest in config.guests if guest.name not in known]
        merged = config.model_copy(update={"guests": (*self.config.guests, *fresh)})
        self.config = merged
        for guest in fresh:
            await self._add(guest.name)
            log.info("guest %s added", guest.name)

    async def _add(self, name: str) -> None:
        guest = next(guest for guest in self.config.guests if guest.name == name)
        kept = KeptGuest(self.config, guest)
        self._guests[name] = kept
        kept.open()
        for backend in kept.backends:
            process = self._backend(name if backend == MAIN_BACKEND else backend)
            await process.attach(*kept.attachment(backend, self._trace_file))

    def _backend(self, name: str) -> BackendProcess:
        """The process of that name, started if it is not there: a guest's own back-end, or a switch."""
        if name not in self._backends:
            process = BackendProcess(name, partial(self._backend_died, name), verbose=self._verbose)
            self._backends[name] = process
            process.start()
        return self._backends[name]

    def _backend_died(self, name: str) -> None:
        for guest in self._guests.values():
            backend = MAIN_BACKEND if guest.name == name else name
            if backend in guest.backends:
                guest.backend_died(backend)

    async def stop(self) -> None:
        """Back-ends first, so that devices end in order; then sockets and regions."""
        await asyncio.gather(*(backend.stop() for backend in self._backends.values()))
        for guest in self._guests.values():
            guest.close()
        self._guests.clear()
        self._backends.clear()


def serve(
    config: Config,
    *,
    source: Path | None = None,
    pidfile: Path | None = None,
    trace_file: Path | None = None,
    verbose: bool = False,
) -> None:
    """Run a service until SIGTERM or SIGINT. SIGHUP reads ``source`` again and adds the guests that are new there."""
    asyncio.run(_serve(Keeper(config, trace_file=trace_file, verbose=verbose), source, Readiness(pidfile)))


async def _serve(keeper: Keeper, source: Path | None, readiness: Readiness) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await _start_or_stop(keeper, stop)
    if not stop.is_set():
        tasks: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, _reload, keeper, source, tasks.add)
        readiness.ready(f"serving {', '.join(guest.name for guest in keeper.config.guests)}")
        log.info("READY: serving %s", ", ".join(guest.name for guest in keeper.config.guests))
        await stop.wait()
        readiness.stopping()
    await keeper.stop()


async def _start_or_stop(keeper: Keeper, stop: asyncio.Event) -> None:
    """Start, unless a signal comes first."""
    starting = asyncio.ensure_future(keeper.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    elif error := starting.exception():
        raise error


def _reload(keeper: Keeper, source: Path | None, keep: Callable[[asyncio.Task[None]], None]) -> None:
    if source is None:
        log.warning("SIGHUP: this service was not started from a file")
        return
    keep(asyncio.ensure_future(_add_guests(keeper, source)))


async def _add_guests(keeper: Keeper, source: Path) -> None:
    try:
        await keeper.add_guests(load_config(source))
    except (IvshmemVirtioError, OSError) as error:
        log.error("reload: %s", error)
