# SPDX-License-Identifier: MIT
"""The life of a keeper's process: taking over, signals, readiness, and its two ways to end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.config import Config, load_config
from ivshmem_virtio.service.descriptor_limit import allow_many_descriptors
from ivshmem_virtio.service.keeper import Keeper
from ivshmem_virtio.service.notify import Readiness
from ivshmem_virtio.service.systemd_store import SystemdStore
from ivshmem_virtio.service.takeover import HAND_OVER, Inheritance, open_store, take_over, uses_systemd

log = logging.getLogger("ivshmem_virtio.keeper")


def serve(
    config: Config,
    *,
    source: Path | None = None,
    pidfile: Path | None = None,
    trace_file: Path | None = None,
    verbose: bool = False,
    replace: bool = False,
    afresh: bool = False,
) -> None:
    """Run a service until SIGTERM or SIGINT ends it, or SIGUSR2 leaves it to another keeper.

    What a keeper of before has left is taken over; ``replace`` and ``afresh`` as in ``take_over``, whose errors are
    raised. SIGHUP reads ``source`` again and adds the guests that are new there.
    """
    allow_many_descriptors()
    asyncio.run(_serve(config, replace, afresh, source, Readiness(pidfile), trace_file, verbose))


async def _serve(
    config: Config,
    replace: bool,
    afresh: bool,
    source: Path | None,
    readiness: Readiness,
    trace_file: Path | None,
    verbose: bool,
) -> None:
    end, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    loop.add_signal_handler(HAND_OVER, leave.set)
    inheritance = take_over(config, replace=replace, afresh=afresh)
    opener = partial(open_store, config)
    keeper = Keeper(config, trace_file=trace_file, verbose=verbose, open_store=opener)
    if inheritance is not None:
        _go_on(keeper, inheritance)
        await _unless(end, keeper.renew())
    else:
        await _unless(end, keeper.start())
    if not end.is_set():
        tasks: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, _reload, keeper, source, tasks.add)
        await _say_ready(keeper, readiness)
        if await _ends_by_leaving(keeper, end, leave, readiness):
            return
    readiness.stopping()
    await keeper.stop()


async def _say_ready(keeper: Keeper, readiness: Readiness) -> None:
    """Or end what nobody could be told of: back-ends and vault would go on without a keeper."""
    names = ", ".join(guest.name for guest in keeper.config.guests)
    try:
        readiness.ready(f"serving {names}")
    except OSError:
        await keeper.stop()
        raise
    log.info("READY: serving %s", names)


def _go_on(keeper: Keeper, inheritance: Inheritance) -> None:
    """With what is inherited; where it is kept from now on is a matter of the configuration."""
    same = isinstance(inheritance.store, SystemdStore) == uses_systemd(keeper.config)
    keeper.take_over(inheritance, inheritance.store if same else open_store(keeper.config))
    log.info("took over guests %s", ", ".join(inheritance.record["guests"]))


async def _ends_by_leaving(keeper: Keeper, end: asyncio.Event, leave: asyncio.Event, readiness: Readiness) -> bool:
    """Wait for one of the two ends; False: everything is to be ended."""
    while True:
        waits = [asyncio.ensure_future(event.wait()) for event in (end, leave)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if end.is_set():
            return False
        leave.clear()
        readiness.leaving()
        if keeper.leave():
            log.info("left to the next keeper")
            return True
        log.error("cannot be left to another keeper now: the store of descriptors is being replaced")


async def _unless(end: asyncio.Event, beginning: Coroutine[None, None, None]) -> None:
    """Begin, unless a signal comes first."""
    starting = asyncio.ensure_future(beginning)
    stopping = asyncio.ensure_future(end.wait())
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
