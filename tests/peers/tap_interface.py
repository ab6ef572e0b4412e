# SPDX-License-Identifier: MIT
"""A tap interface of the kernel that knows where the guest is, in a network namespace of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_tap import TUN_DEVICE
from tests.devices.net_frames import GUEST
from tests.devices.net_guest import WINDOW
from tests.peers.private_network import NoPrivateNetwork, ip, private_network

HOST_IP, GUEST_IP = "10.77.0.1", "10.77.0.2"


MANY_QUEUES = "multi_queue"


@pytest.fixture
def tap() -> Iterator[str]:
    """An interface that is up, with an address, and that knows where the guest is."""
    with private_tap():
        yield "tap0"


@pytest.fixture
def many_tap() -> Iterator[str]:
    """The same with many queues."""
    with private_tap(MANY_QUEUES):
        yield "tap0"


@contextmanager
def private_tap(kind: str = "") -> Iterator[None]:
    """In a network namespace for this thread, and what it starts; skips the test where it may have none."""
    if not Path(TUN_DEVICE).exists() or shutil.which("ip") is None:
        pytest.skip(f"needs {TUN_DEVICE} and the program ip: load the kernel module tun, install iproute2")
    try:
        with private_network():
            make_tap(kind)
            yield
    except NoPrivateNetwork as error:
        pytest.skip(f"needs the right to make a network namespace ({error}): run as root")


def make_tap(kind: str = "") -> None:
    """``kind``: what iproute2 is told beside."""
    ip(f"tuntap add dev tap0 mode tap {kind}")
    ip("link set tap0 up")
    ip(f"addr add {HOST_IP}/24 dev tap0")
    ip(f"neigh add {GUEST_IP} lladdr {GUEST.hex(':')} dev tap0")


def mac_of_tap() -> bytes:
    """The host's end."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("tap0", 0))
        address: bytes = raw.getsockname()[4]
        return address


def tap_net(queues: int = 1, workers: int = 1) -> Net:
    """A device at the interface."""
    mac = GUEST.hex(":")
    return Net("eth0", via={"tap": "tap0"}, mac=mac, window=WINDOW, queues=queues, queue_size=64, workers=workers)


def queueing() -> str:
    """How the interface queues: the kernel notices the carrier later, and drops what it has to send until then."""
    shown = subprocess.run(["ip", "-json", "link", "show", "tap0"], check=True, capture_output=True, timeout=60)
    discipline: str = json.loads(shown.stdout)[0]["qdisc"]
    return discipline


def queues_of_tap() -> tuple[int, int]:
    """How many of the interface's queues the kernel gives frames to, and how many are open and switched off."""
    shown = subprocess.run(["ip", "-json", "-d", "link", "show", "tap0"], check=True, capture_output=True, timeout=60)
    (link,) = json.loads(shown.stdout)
    data = link["linkinfo"]["info_data"]
    return data.get("numqueues", 0), data.get("numdisabled", 0)


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[30:34] == socket.inet_aton(GUEST_IP)
