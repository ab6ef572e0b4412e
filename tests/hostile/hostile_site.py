# SPDX-License-Identifier: MIT
"""A service with a hostile guest, a good one, and a good link beside the hostile one; all of it watched."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.core import Window
from ivshmem_virtio.evil.driver.target import Target
from ivshmem_virtio.link.layout import DIRECTORY_SIZE, FRONTEND, LinkLayout
from ivshmem_virtio.memory.slices import window_of
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.peer.v1 import V1Link
from ivshmem_virtio.transport.driver.attach import ServerPeer, choose_link
from ivshmem_virtio.transport.driver.transport import DriverTransport, brought_up
from tests.service.running_service import RunningService

from .echo import Echo
from .machine_stalls import stalls
from .process_figures import Holding, holding
from .steady_driver import SteadyDriver

LONGEST_WAIT = 1.0
"""Seconds: nobody else may be left waiting longer, and the hostile driver itself not either, but for what the machine
keeps anybody waiting.
"""
ANSWER_SECONDS = 30.0
"""What is not answered after so long is not answered."""
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
MEMORY_TOLERANCE = (96 if SANITIZED else 24) << 20
"""Caches and arenas fill up; a leak would be as large as the run is long. Sanitizers keep freed memory for a while."""
PATTERN = 0x5A
DEVICES = ("blk", "console", "net", "rng")
PATIENCE = 60.0

GUEST = """
[[guest]]
name = "{name}"
region = "16M"
vectors = 24
{more}
  [[guest.device]]
  type = "blk"
  ring = "packed"
  path = "{name}.img"
  window = "3M"
  [[guest.device]]
  type = "console"
  ring = "packed"
  window = "3M"
  queue_size = 256
  via = {{ socket = "{name}.console" }}
  [[guest.device]]
  type = "net"
  ring = "packed"
  window = "4M"
  via = {{ stream = "{name}.net" }}
  [[guest.device]]
  type = "rng"
  ring = "packed"
  window = "1M"
  queue_size = 256
  [[guest.device]]
  type = "rng"
  name = "good"
  [[guest.device]]
  type = "rng"
  name = "idle"
"""


@dataclass
class Site:
    """The service, its two guests' sockets, and the name of the hostile guest's region."""

    service: RunningService
    folder: Path
    region: str

    def socket(self, guest: str) -> Path:
        return self.folder / "run" / f"{guest}.sock"

    def backends(self) -> list[Holding]:
        """What each back-end of the service holds of the hostile guest's region."""
        return [holding(pid, self.region) for pid in self.service.children()]


@contextmanager
def hostile_site(folder: Path, more: str = "") -> Iterator[Site]:
    """A running service; ``more`` goes to the guests' tables."""
    name = f"test-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        tables = ""
        for guest in ("evil", "calm"):
            (folder / f"{guest}.img").write_bytes(os.urandom(1 << 20))
            tables += GUEST.format(name=guest, more=more)
        config = folder / "service.toml"
        config.write_text(f'[service]\nname = "{name}"\nruntime_dir = "run"\n{tables}')
        service = stack.enter_context(RunningService(config))
        for guest in ("evil", "calm"):
            stack.enter_context(Echo(listen=folder / f"{guest}.net", connect=folder / f"{guest}.console"))
        yield Site(service, folder, f"{name}.evil")


class Joined:
    """One guest of the site, with as many of its links as are wanted at a time."""

    def __init__(self, client: IvshmemClient) -> None:
        self.client = client
        self.layouts = ServerPeer(client, PATIENCE).links()

    def layout(self, link: str) -> LinkLayout:
        return choose_link(self.layouts, link)

    def map(self, layout: LinkLayout) -> Link:
        client, backend = self.client, layout.backend_peer
        client.wait_for_peer(backend, PATIENCE)
        return V1Link.map(
            client.memory, layout, FRONTEND, client.own_vectors, client.ringer(backend), lambda peer: peer == backend
        )

    def driving(self, name: str) -> AbstractContextManager[DriverTransport]:
        """A driver that behaves."""
        return brought_up(self.map(self.layout(name)), peer_id=self.client.peer_id, seconds=PATIENCE)

    @contextmanager
    def attacking(self, name: str, *, packed: bool = False) -> Iterator[Target]:
        """A driver that does not."""
        layout = self.layout(name)
        link = self.map(layout)
        region = window_of(self.client.memory, 0, self.client.memory_size)
        try:
            target = Target(
                link,
                layout,
                self.client.memory,
                region,
                peer_id=self.client.peer_id,
                seconds=ANSWER_SECONDS,
                packed=packed,
            )
            try:
                yield target
            finally:
                target.leave()
        finally:
            link.close()
            region.close()


@contextmanager
def joined(site: Site, guest: str) -> Iterator[Joined]:
    """As the guest of that name."""
    with IvshmemClient.attach(site.socket(guest), timeout=PATIENCE) as client:
        yield Joined(client)


def outside(region: Window, joined_guest: Joined, link: str) -> list[tuple[int, int]]:
    """Stretches of a region that nobody has a reason to write to while only ``link`` is used by somebody hostile: the
    links that are not in use, but for their registers, and what lies behind all links.
    """
    stretches = []
    for layout in joined_guest.layouts:
        if layout.name not in (link, "good"):
            registers = region.load32(layout.window_offset + 4)
            stretches.append((layout.window_offset + registers, layout.end))
    behind = max(layout.end for layout in joined_guest.layouts)
    assert behind > DIRECTORY_SIZE
    return [*stretches, (behind, region.length)]


@contextmanager
def neighbours_untouched(joined_guest: Joined, link: str) -> Iterator[None]:
    """Fill what lies around a link with a pattern, and find it there afterwards."""
    region = window_of(joined_guest.client.memory, 0, joined_guest.client.memory_size)
    try:
        stretches = outside(region, joined_guest, link)
        for start, end in stretches:
            region.write(start, bytes([PATTERN]) * (end - start))
        yield
        for start, end in stretches:
            assert region.read(start, end - start).count(PATTERN) == end - start, f"{start:#x} to {end:#x} was written"
    finally:
        region.close()


@contextmanager
def nobody_else_hurt(site: Site, link: str, *, packed: bool = False) -> Iterator[Target]:
    """A hostile driver on a link, while other links, guests and the service are held to what they owe each other."""
    with joined(site, "evil") as evil, joined(site, "calm") as calm, ExitStack() as stack:
        target = stack.enter_context(evil.attacking(link, packed=packed))
        stack.enter_context(neighbours_untouched(evil, link))
        drivers = [SteadyDriver(stack.enter_context(guest.driving("good"))) for guest in (evil, calm)]
        target.recover()
        before = site.backends()
        with stalls() as machine, drivers[0].at_work(), drivers[1].at_work():
            yield target
        bound = LONGEST_WAIT + machine.longest
        assert target.slowest_ever < bound
        after = site.backends()
        site.service.check_alive()
        assert [one.pid for one in after] == [one.pid for one in before], "a back-end was started again"
        assert [one.slices for one in after] == [one.slices for one in before]
        for old, new in zip(before, after, strict=True):
            assert new.files <= old.files + 1, "descriptors were left open"
            assert new.memory - old.memory < MEMORY_TOLERANCE, "memory was not given back"
        for driver in drivers:
            assert driver.answers
            assert driver.longest < bound
        assert "Traceback" not in site.service.said()
