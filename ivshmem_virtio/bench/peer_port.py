# SPDX-License-Identifier: MIT
"""A network port of a vhost-user daemon's, and dpdk-testpmd as a switch of two such ports."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ivshmem_virtio.bench.child import Child
from ivshmem_virtio.bench.loaded_port import QUEUE_BYTES, QUEUE_SIZE, RECEIVE, TRANSMIT, LoadedPort, LoadedQueue
from ivshmem_virtio.bench.peer_window import attached
from ivshmem_virtio.core import DriverQueue, Window
from ivshmem_virtio.link.layout import ring_placement, round_up
from ivshmem_virtio.transport.features import Feature
from ivshmem_virtio.vhost_user.front_end import FrontEnd
from ivshmem_virtio.vhost_user.vring import RingPlace
from ivshmem_virtio.vm.packages import tool

WINDOW = 8 << 20
SOCKETS = ("port0.sock", "port1.sock")


def forwarder(folder: Path, *, processor: int, prefix: Sequence[str] = ()) -> Child:
    """dpdk-testpmd that passes on what comes in at one of ``SOCKETS`` in ``folder`` at the other. It always spins."""
    return _testpmd([folder / name for name in SOCKETS], ["--forward-mode=io"], processor, prefix)


def end(folder: Path, frame: int, *, processor: int, receiving: bool) -> Child:
    """dpdk-testpmd that takes what comes in at the first of ``SOCKETS`` in ``folder``, or sends frames of so many bytes
    there. It always spins."""
    mode = ["--forward-mode=rxonly"] if receiving else ["--forward-mode=txonly", f"--txpkts={frame}"]
    return _testpmd([folder / SOCKETS[0]], mode, processor)


def _testpmd(sockets: Sequence[Path], mode: Sequence[str], processor: int, prefix: Sequence[str] = ()) -> Child:
    ports = [f"--vdev=net_vhost{number},iface={path},queues=1" for number, path in enumerate(sockets)]
    command = [*prefix, tool("dpdk-testpmd", "dpdk-dev"), "--lcores", f"0@{processor},1@{processor}"]
    command += ["--no-huge", "-m", "300", "--no-pci", "--no-telemetry", "--file-prefix", f"bench{os.getpid()}", *ports]
    command += ["--", "--nb-cores=1", *mode, "--total-num-mbufs=32768", "--auto-start"]
    command += ["--stats-period", "60", "--no-lsc-interrupt"]
    return Child(command, sockets[0].with_name("testpmd.log"), lambda: all(path.exists() for path in sockets))


@contextmanager
def peer_port(socket: Path, name: str, mac: bytes, *, packed: bool = False) -> Iterator[LoadedPort]:
    """Attach to a port, with a window of its own."""
    with attached(socket, WINDOW) as (daemon, window):
        daemon.negotiate(Feature.RING_PACKED if packed else 0)
        queues = [_queue(daemon, window, number, packed) for number in (RECEIVE, TRANSMIT)]
        yield LoadedPort(name, queues[RECEIVE], queues[TRANSMIT], mac)


def _queue(daemon: FrontEnd, window: Window, number: int, packed: bool) -> LoadedQueue:
    place = ring_placement(number * (QUEUE_BYTES + (1 << 20)), QUEUE_SIZE, packed=packed)
    parts = place.desc, place.driver, place.device
    ring = DriverQueue(window, QUEUE_SIZE, *parts, event_idx=False, indirect=False, packed=packed)
    vring = daemon.start_vring(number, RingPlace(QUEUE_SIZE, *parts, packed=packed))
    os.eventfd_write(vring.kick, 1)
    return LoadedQueue(ring, vring.kick, round_up(place.end, 4096))
