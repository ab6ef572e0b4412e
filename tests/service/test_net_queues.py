# SPDX-License-Identifier: MIT
"""A tap with many queue pairs whose back-end is killed: its driver goes on with those in use, and asks for nothing."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from ivshmem_virtio.service import backend_process
from ivshmem_virtio.transport.driver.errors import RequestFailed
from ivshmem_virtio.transport.driver.net import NetDriver
from tests.devices.net_frames import GUEST, IPV4, ethernet, udp
from tests.peers.tap_interface import GUEST_IP, HOST_IP, is_udp, mac_of_tap, queues_of_tap
from tests.peers.tap_interface import many_tap as many_tap

from .kept_service import KeptService, kept_service
from .running_service import PATIENCE, driving, wait_until

FIRST_PORT = 40000
PAIRS = 4
ASK_AGAIN_SECONDS = 0.5
CONFIG = """[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "16M"
vectors = {vectors}
  [[guest.device]]
  type = "net"
  name = "lan"
  mac = "{mac}"
  queues = 4
  workers = 2
  queue_size = 64
  window = "4M"
  via = {{ tap = "tap0" }}
"""


class Exchange:
    """Frames of the guest, each answered by the host."""

    def __init__(self, net: NetDriver, host: socket.socket) -> None:
        self.net = net
        self.host = host
        host.bind((HOST_IP, 0))
        host.setblocking(False)
        self.number = 0

    def answered_in_its_pair(self, pair: int) -> None:
        """What goes out in a pair is answered there; asked again while nobody is there to carry it."""
        self.number += 1
        wanted = struct.pack(">IB", self.number, pair)
        packet = udp(GUEST_IP, HOST_IP, (FIRST_PORT + pair, self.host.getsockname()[1]), wanted)
        frame = ethernet(mac_of_tap(), GUEST, IPV4, packet)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.net.send(frame, pair=pair)
            self.answer(wanted)
            if wanted in [frame[42:] for frame in self.net.receive(ASK_AGAIN_SECONDS, pair=pair) if is_udp(frame)]:
                return
        pytest.fail(f"no answer came in pair {pair}")

    def answer(self, wanted: bytes) -> None:
        heard = b""
        until = time.monotonic() + ASK_AGAIN_SECONDS
        while heard != wanted and time.monotonic() < until:
            try:
                heard, sender = self.host.recvfrom(100)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            self.host.sendto(heard, sender)


def kill(service: KeptService) -> None:
    pid = service.backend("web")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service.backend("web") != pid, "there is another")


@pytest.mark.parametrize("vectors", [16, pytest.param(2, marks=pytest.mark.soak)])
def test_all_pairs_go_on_after_a_kill(
    vectors: int, many_tap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 2 vectors all queues with an engine share one, and the control queue shares that of the registers."""
    monkeypatch.setattr(backend_process, "LONGEST_DELAY_SECONDS", 0)
    config = tmp_path / "service.toml"
    config.write_text(CONFIG.format(name=f"test-{secrets.token_hex(4)}", mac=GUEST.hex(":"), vectors=vectors))
    with (
        kept_service(config) as service,
        driving(tmp_path / "run" / "web.sock", "lan") as transport,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host,
    ):
        net = NetDriver(transport, pairs=PAIRS)
        assert queues_of_tap() == (1, PAIRS - 1)
        with pytest.raises(RequestFailed, match="5 queue pairs"):
            net.set_pairs(PAIRS + 1)
        net.set_pairs(PAIRS)
        exchange = Exchange(net, host)
        for pair in range(PAIRS):
            exchange.answered_in_its_pair(pair)
        kill(service)
        for pair in range(PAIRS):
            exchange.answered_in_its_pair(pair)
        assert queues_of_tap() == (PAIRS, 0)
        net.set_pairs(2)
        kill(service)
        for pair in range(2):
            exchange.answered_in_its_pair(pair)
        assert queues_of_tap() == (2, PAIRS - 2)
