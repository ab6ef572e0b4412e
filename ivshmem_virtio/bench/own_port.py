# SPDX-License-Identifier: MIT
"""Network ports of our service's on one switch, for the load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ivshmem_virtio.bench.frame_device import KIND
from ivshmem_virtio.bench.loaded_port import QUEUE_BYTES, QUEUE_SIZE, RECEIVE, TRANSMIT, LoadedPort, LoadedQueue
from ivshmem_virtio.bench.own_service import Driven, driven, guest, guest_text, service, service_text
from ivshmem_virtio.transport.driver.net import FEATURE_MAC
from ivshmem_virtio.transport.features import Feature


@contextmanager
def own_ports(
    folder: Path, count: int, *, processor: int, packed: bool = False, features: int = Feature.EVENT_IDX
) -> Iterator[Sequence[LoadedPort]]:
    """So many guests with one interface each, all on the same switch."""
    device = {"type": "net", "name": "lan", "via": {"switch": "lan"}, "queue_size": QUEUE_SIZE, "window": "8M"}
    device["ring"] = "packed" if packed else "split"
    names = [f"guest{number}" for number in range(count)]
    text = service_text() + "".join(guest_text(name, "16M", device) for name in names)
    with ExitStack() as stack:
        stack.enter_context(service(folder, text, processor=processor))
        ports = []
        for name in names:
            port = stack.enter_context(driven(stack.enter_context(guest(folder, name)), "lan"))
            ports.append(_port(port, name, features))
        yield ports


@contextmanager
def own_end(
    folder: Path, frame: int, *, processor: int, packed: bool = False, features: int = Feature.EVENT_IDX
) -> Iterator[LoadedPort]:
    """A network device with nothing behind it, which sends frames of so many bytes."""
    device = {"type": KIND, "name": "end", "window": "8M", "frame": frame, "ring": "packed" if packed else "split"}
    with ExitStack() as stack:
        stack.enter_context(service(folder, service_text() + guest_text("guest", "16M", device), processor=processor))
        port = stack.enter_context(driven(stack.enter_context(guest(folder, "guest")), "end"))
        yield _end(port, features)


def _end(port: Driven, features: int) -> LoadedPort:
    port.transport.negotiate(features)
    receive, transmit = _queues(port)
    port.transport.ready()
    return LoadedPort("end", receive, transmit, bytes(6))


def _port(port: Driven, name: str, features: int) -> LoadedPort:
    transport = port.transport
    transport.negotiate(features | FEATURE_MAC)
    receive, transmit = _queues(port)
    mac = transport.read_config(0, 6)
    transport.ready()
    return LoadedPort(name, receive, transmit, mac)


def _queues(port: Driven) -> tuple[LoadedQueue, LoadedQueue]:
    receive, transmit = (_queue(port, number) for number in (RECEIVE, TRANSMIT))
    return receive, transmit


def _queue(port: Driven, number: int) -> LoadedQueue:
    ring = port.transport.setup_queue(number).ring
    return LoadedQueue(ring, port.kick(), port.transport.pool.allocate(QUEUE_BYTES))
