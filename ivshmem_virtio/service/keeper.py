# SPDX-License-Identifier: MIT
"""The keeper: owns regions, sockets and doorbells, starts back-ends and starts them again. It knows no virtio."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service import channel
from ivshmem_virtio.service.attachment import Attachment, Descriptors
from ivshmem_virtio.service.backend_process import BackendProcess
from ivshmem_virtio.service.backend_run import CHANNEL, PIDFD, BackendRun
from ivshmem_virtio.service.config import Config
from ivshmem_virtio.service.description import Description, Record
from ivshmem_virtio.service.descriptor_store import DescriptorStore, StoreLost
from ivshmem_virtio.service.end_of_service import end_backend, end_guest
from ivshmem_virtio.service.kept_guest import MAIN_BACKEND, KeptGuest
from ivshmem_virtio.service.legacy import DESCRIPTION, Legacy
from ivshmem_virtio.service.takeover import Inheritance
from ivshmem_virtio.service.takeover_checks import in_order

log = logging.getLogger("ivshmem_virtio.keeper")

STORE_PAUSE_SECONDS = 1.0
"""Between the loss of a store and its replacement."""


class Keeper:
    """One service. Guests may be added while it runs; what they share (a switch) is told, not started again.

    ``open_store`` makes the store that outlives this process; without one, everything ends with it.
    """

    def __init__(
        self,
        config: Config,
        *,
        trace_file: Path | None = None,
        verbose: bool = False,
        open_store: Callable[[], DescriptorStore] | None = None,
    ) -> None:
        self.config = config
        self._trace_file = trace_file
        self._verbose = verbose
        self._open_store = open_store
        self._guests: dict[str, KeptGuest] = {}
        self._backends: dict[str, BackendProcess] = {}
        self._legacy: Legacy | None = None
        self._outdated: list[BackendProcess] = []

    # The beginning.

    async def start(self) -> None:
        """Everything up, every device served; raises IvshmemVirtioError, and then nothing is left behind."""
        self.config.service.runtime_dir.mkdir(parents=True, exist_ok=True)
        try:
            if self._open_store is not None:
                self._leave_in(Legacy(self._open_store()))
            for guest in self.config.guests:
                await self._add(guest.name)
        except BaseException:
            await self.stop()
            raise

    def take_over(self, inheritance: Inheritance, store: DescriptorStore) -> None:
        """Go on with everything another keeper has left; guests that are not in the configuration any more end.

        What cannot be started now is logged, and tried again: whatever happens, the guests that are served stay so.
        ``store`` is where all of it is left from now on. Raises what Listener raises, before anybody is told anything.
        """
        record, files = inheritance.record, dict(inheritance.files)
        self.config = in_order(self.config, record)
        description = files.pop(DESCRIPTION)
        names = {guest.name for guest in self.config.guests}
        for name, guest_record in record["guests"].items():
            own = take(files, f"guest/{name}/")
            if name in names:
                guest = next(guest for guest in self.config.guests if guest.name == name)
                self._guests[name] = KeptGuest.adopt(self.config, guest, guest_record, own, on_change=self._keep)
            else:
                log.warning("guest %s is not in the configuration any more: it loses its devices", name)
                end_guest(guest_record, own)
        wanted = self._wanted()
        for name, backend_record in record["backends"].items():
            own = take(files, f"backend/{name}/")
            if name in wanted:
                self._adopt_backend(name, wanted.pop(name), record, own)
            else:
                end_backend(own)
                log.info(
                    "back-end %s has nothing to serve any more, and is ended (process %s)", name, backend_record["pid"]
                )
        for name, attached in wanted.items():
            self._new_backend(name).adopt(None, attached)
        if store is inheritance.store:
            self._leave_in(Legacy(store, Description(description), set(inheritance.files)))
        else:
            self._leave_in(Legacy(store))
            inheritance.store.end()
        self._keep()

    def _wanted(self) -> dict[str, dict[str, tuple[Attachment, Descriptors]]]:
        """What every back-end is to serve, by its name and guest."""
        wanted: dict[str, dict[str, tuple[Attachment, Descriptors]]] = {}
        for guest in self._guests.values():
            for backend in guest.backends:
                name = guest.name if backend == MAIN_BACKEND else backend
                wanted.setdefault(name, {})[guest.name] = guest.attachment(backend, self._trace_file)
        return wanted

    def _adopt_backend(
        self, name: str, attached: dict[str, tuple[Attachment, Descriptors]], record: Record, files: dict[str, int]
    ) -> None:
        backend_record = record["backends"][name]
        speaks_as_we = record["channel"] == channel.VERSION
        run = None
        if files and speaks_as_we:
            numbers = {
                kind: number for file, number in files.items() for kind in (CHANNEL, PIDFD) if file.startswith(kind)
            }
            run = BackendRun.adopt(backend_record["pid"], numbers[PIDFD], numbers[CHANNEL])
        elif files:
            end_backend(files)
        process = self._new_backend(name)
        lives = run is not None and not run.ended
        process.adopt(run, attached)
        messages = {guest: attachment.message() for guest, (attachment, _) in attached.items()}
        if lives and (record["left"] or json.loads(json.dumps(messages)) != backend_record["attachments"]):
            self._outdated.append(process)

    async def renew(self) -> None:
        """Add guests that are new in the configuration, then have each back-end that is out of date start anew.

        One after the other, so that no more than one pauses at a time. What fails is logged.
        """
        for guest in self.config.guests:
            if guest.name not in self._guests:
                try:
                    await self._add(guest.name)
                except (IvshmemVirtioError, OSError) as error:
                    log.error("guest %s cannot be added: %s", guest.name, error)
        while self._outdated:
            process = self._outdated.pop(0)
            try:
                pause = await process.renew()
            except IvshmemVirtioError as error:
                log.error("back-end %s: started anew, but: %s", process.name, error)
            else:
                if pause is not None:
                    log.info("back-end %s: started anew, served again after %.0f ms", process.name, pause * 1000)

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
        kept = KeptGuest(self.config, guest, on_change=self._keep if self._open_store is not None else None)
        try:
            kept.open()
        except BaseException:
            kept.close()
            raise
        self._guests[name] = kept
        self._keep()
        for backend in kept.backends:
            process = self._backend(name if backend == MAIN_BACKEND else backend)
            await process.attach(*kept.attachment(backend, self._trace_file))

    def _backend(self, name: str) -> BackendProcess:
        """The process of that name, started if it is not there: a guest's own back-end, or a switch."""
        if name not in self._backends:
            self._new_backend(name).start()
        return self._backends[name]

    def _new_backend(self, name: str) -> BackendProcess:
        died = partial(self._backend_died, name)
        self._backends[name] = BackendProcess(name, died, verbose=self._verbose, on_change=self._keep)
        return self._backends[name]

    def _backend_died(self, name: str) -> None:
        for guest in self._guests.values():
            backend = MAIN_BACKEND if guest.name == name else name
            if backend in guest.backends:
                guest.backend_died(backend)

    # What is left to a successor.

    def _record(self, *, left: bool = False) -> tuple[Record, dict[str, int]]:
        """Everything a successor needs. ``left``: it was left on purpose, to be renewed."""
        record: Record = {"channel": channel.VERSION, "left": left, "guests": {}, "backends": {}}
        files: dict[str, int] = {}
        for name, guest in self._guests.items():
            record["guests"][name], own = guest.record()
            files |= {f"guest/{name}/{file}": number for file, number in own.items()}
        for name, backend in self._backends.items():
            record["backends"][name], own = backend.record()
            files |= {f"backend/{name}/{file}": number for file, number in own.items()}
        record["files"] = sorted(files)
        return record, files

    def _keep(self) -> None:
        """Something has changed that a successor must know."""
        if self._legacy is None:
            return
        try:
            self._legacy.update(*self._record())
        except StoreLost as error:
            self._store_lost(str(error))

    def _leave_in(self, legacy: Legacy) -> None:
        self._legacy = legacy
        number = legacy.store.fileno()
        if number is not None:
            # A store says nothing unasked, unless it ends.
            asyncio.get_running_loop().add_reader(number, self._store_lost, "it has ended")

    def _store_lost(self, why: str) -> None:
        if self._legacy is None:
            return
        log.error("the store of descriptors is lost: %s; another one is started", why)
        self._abandon_store()
        asyncio.get_running_loop().call_later(STORE_PAUSE_SECONDS, self._replace_store)

    def _abandon_store(self) -> None:
        legacy, self._legacy = self._legacy, None
        if legacy is not None:
            number = legacy.store.fileno()
            if number is not None:
                asyncio.get_running_loop().remove_reader(number)
            legacy.close()

    def _replace_store(self) -> None:
        if self._open_store is None or self._legacy is not None or not self._guests:
            return
        try:
            self._leave_in(Legacy(self._open_store()))
        except (IvshmemVirtioError, OSError) as error:
            log.error("no store of descriptors: %s", error)
            asyncio.get_running_loop().call_later(STORE_PAUSE_SECONDS, self._replace_store)
        else:
            self._keep()

    def leave(self) -> bool:
        """Leave everything to a successor and do nothing any more; False where there is no way to leave it."""
        if self._legacy is None:
            return False
        try:
            self._legacy.update(*self._record(left=True))
        except StoreLost as error:
            self._store_lost(str(error))
            return False
        for backend in self._backends.values():
            backend.let_go()
        for guest in self._guests.values():
            guest.let_go()
        # The store gives everything to the successor as soon as it sees this.
        self._abandon_store()
        return True

    # The end.

    async def stop(self) -> None:
        """Back-ends first, so that devices end in order; then sockets and regions. No successor finds anything."""
        legacy, self._legacy = self._legacy, None
        if legacy is not None:
            number = legacy.store.fileno()
            if number is not None:
                asyncio.get_running_loop().remove_reader(number)
            legacy.end()
        await asyncio.gather(*(backend.stop() for backend in self._backends.values()))
        for guest in self._guests.values():
            guest.close()
        self._guests.clear()
        self._backends.clear()


def take(files: dict[str, int], prefix: str) -> dict[str, int]:
    """The files whose names begin so, without that beginning, out of ``files``."""
    return {name.removeprefix(prefix): files.pop(name) for name in list(files) if name.startswith(prefix)}
