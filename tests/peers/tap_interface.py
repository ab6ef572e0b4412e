# SPDX-License-Identifier: MIT
"""A tap interface of the kernel that knows where the guest is, in a network namespace of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_tap import TUN_DEVICE
from tests.devices.net_frames import GUEST
from tests.devices.net_guest import WINDOW
from tests.peers.private_network import NoPrivateNetwork, ip, private_network

HOST_IP, GUEST_IP = "10.77.0.1", "10.77.0.2"


@pytest.fixture
def tap() -> Iterator[str]:
    """An interface that is up, with an address, and that knows where the guest is."""
    if not Path(TUN_DEVICE).exists() or shutil.which("ip") is None:
        pytest.skip(f"needs {TUN_DEVICE} and the program ip: load the kernel module tun, install iproute2")
    try:
        with private_network():
            ip("tuntap add dev tap0 mode tap")
            ip("link set tap0 up")
            ip(f"addr add {HOST_IP}/24 dev tap0")
            ip(f"neigh add {GUEST_IP} lladdr {GUEST.hex(':')} dev tap0")
            yield "tap0"
    except NoPrivateNetwork as error:
        pytest.skip(f"needs the right to make a network namespace ({error}): run as root")


def tap_net() -> Net:
    """A device at the interface."""
    return Net("eth0", via={"tap": "tap0"}, mac=GUEST.hex(":"), window=WINDOW, queue_size=64)


def queueing() -> str:
    """How the interface queues: the kernel notices the carrier later, and drops what it has to send until then."""
    shown = subprocess.run(["ip", "-json", "link", "show", "tap0"], check=True, capture_output=True, timeout=60)
    discipline: str = json.loads(shown.stdout)[0]["qdisc"]
    return discipline


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[30:34] == socket.inet_aton(GUEST_IP)
