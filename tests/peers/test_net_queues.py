# SPDX-License-Identifier: MIT
"""A network device with many queue pairs on a real tap: what the control queue takes, and where frames come in."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.devices.net_tap import TUN_DEVICE, open_tap
from ivshmem_virtio.devices.net_via import ViaError
from tests.devices.net_frames import GUEST, IPV4, ethernet, udp
from tests.devices.net_guest import PLAIN, NetGuest
from tests.devices.net_on_worker import NetOnWorker
from tests.peers.private_network import NoPrivateNetwork, ip, private_network
from tests.peers.test_net_tap import GUEST_IP, HOST_IP, is_udp, mac_of

PAIRS = 4
CONTROL = 2 * PAIRS
WINDOW = 4 << 20
OK, ERR = b"\0", b"\1"
FIRST_PORT = 40000
WITHOUT_MQ = ~int(Feature.MQ)


@pytest.fixture
def tap() -> Iterator[str]:
    """An interface with many queues that is up, with an address, and that knows where the guest is."""
    if not Path(TUN_DEVICE).exists() or shutil.which("ip") is None:
        pytest.skip(f"needs {TUN_DEVICE} and the program ip: load the kernel module tun, install iproute2")
    try:
        with private_network():
            make_tap()
            yield "tap0"
    except NoPrivateNetwork as error:
        pytest.skip(f"needs the right to make a network namespace ({error}): run as root")


def make_tap() -> None:
    ip("tuntap add dev tap0 mode tap multi_queue")
    ip("link set tap0 up")
    ip(f"addr add {HOST_IP}/24 dev tap0")
    ip(f"neigh add {GUEST_IP} lladdr {GUEST.hex(':')} dev tap0")


def queues_of_tap() -> tuple[int, int]:
    """How many of the interface's queues the kernel gives frames to, and how many are open and switched off."""
    shown = subprocess.run(["ip", "-json", "-d", "link", "show", "tap0"], check=True, capture_output=True, timeout=60)
    (link,) = json.loads(shown.stdout)
    data = link["linkinfo"]["info_data"]
    return data.get("numqueues", 0), data.get("numdisabled", 0)


def many(workers: int = 1) -> Net:
    mac = GUEST.hex(":")
    return Net("eth0", via={"tap": "tap0"}, mac=mac, window=WINDOW, queues=PAIRS, queue_size=64, workers=workers)


@pytest.fixture(params=["on the loop", "one worker", "two workers"])
def guest(tap: str, request: pytest.FixtureRequest) -> Iterator[NetGuest]:
    """A driver that accepted everything, with buffers in each receive queue; one pair in use."""
    workers = {"on the loop": 1, "one worker": 1, "two workers": 2}[request.param]
    kind = NetGuest if request.param == "on the loop" else NetOnWorker
    with kind(many(workers=workers), window=WINDOW) as guest:
        for pair in range(PAIRS):
            guest.give_buffers(16, pair=pair)
        yield guest


def control(guest: NetGuest, command: bytes, room: int = 1, queue: int = CONTROL) -> bytes:
    """The answer."""
    guest.post(queue, command, room)
    guest.kick(queue)
    (request,) = guest.wait_for(queue)
    return request.data[: request.written]


def use_pairs(guest: NetGuest, count: int) -> bytes:
    return control(guest, struct.pack("<BBH", 4, 0, count))


class Flows:
    """One UDP flow for each pair, that the host answers wherever it comes from."""

    def __init__(self, guest: NetGuest) -> None:
        self.guest = guest
        self.host = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.host.bind((HOST_IP, 0))
        self.host.setblocking(False)
        self.mac = bytes.fromhex(mac_of("tap0"))
        self.seen: dict[int, int] = {}

    def send(self, flow: int, pair: int) -> None:
        """A frame of the guest, from the pair's transmit queue."""
        packet = udp(GUEST_IP, HOST_IP, (FIRST_PORT + flow, self.host.getsockname()[1]), b"?")
        self.guest.post(2 * pair + 1, PLAIN + ethernet(self.mac, GUEST, IPV4, packet))
        self.guest.kick(2 * pair + 1)
        self.guest.wait_for(2 * pair + 1)

    def answer(self) -> None:
        """Whatever has come."""
        with suppress(BlockingIOError):
            while True:
                _, sender = self.host.recvfrom(100)
                self.host.sendto(b"!", sender)

    def look(self) -> None:
        """Note in which pair the last frame of each flow came in, and give its buffers back."""
        for pair in range(PAIRS):
            if self.guest.rings.get(2 * pair) is None:
                continue
            for _, frame in self.guest.received(pair):
                self.guest.give_buffers(1, pair=pair)
                if is_udp(frame):
                    self.seen[struct.unpack_from(">H", frame, 36)[0] - FIRST_PORT] = pair

    def pair_of_answer(self, flow: int, pair: int) -> int:
        """Send from a pair until the host's answer comes, and say in which pair it does."""
        self.seen.pop(flow, None)
        self.send(flow, pair)

        def answered() -> bool:
            self.answer()
            self.look()
            return flow in self.seen

        self.guest.run_until(answered)
        return self.seen[flow]


@pytest.fixture
def flows(guest: NetGuest) -> Iterator[Flows]:
    flows = Flows(guest)
    with flows.host:
        yield flows


def test_frames_come_back_in_the_pair_they_were_sent_from_once_it_is_in_use(guest: NetGuest, flows: Flows) -> None:
    assert queues_of_tap() == (1, PAIRS - 1)
    assert [flows.pair_of_answer(flow, flow) for flow in range(PAIRS)] == [0] * PAIRS
    assert use_pairs(guest, PAIRS) == OK
    assert queues_of_tap() == (PAIRS, 0)
    for moved in range(PAIRS):
        # Every flow by every pair: a flow follows its driver.
        pairs = [(flow + moved) % PAIRS for flow in range(PAIRS)]
        assert [flows.pair_of_answer(flow, pair) for flow, pair in enumerate(pairs)] == pairs
    assert use_pairs(guest, 2) == OK
    assert queues_of_tap() == (2, PAIRS - 2)
    assert all(flows.pair_of_answer(flow, flow) < 2 for flow in range(PAIRS))
    assert use_pairs(guest, 1) == OK
    assert [flows.pair_of_answer(flow, flow) for flow in range(PAIRS)] == [0] * PAIRS


@pytest.mark.parametrize(
    "command",
    [
        struct.pack("<BBH", 4, 0, 0),
        struct.pack("<BBH", 4, 0, PAIRS + 1),
        struct.pack("<BBH", 4, 0, 0xFFFF),
        struct.pack("<BBH", 4, 1, 3),
        struct.pack("<BBH", 0, 0, 3),
        struct.pack("<BBH", 5, 0, 3),
        struct.pack("<BBB", 4, 0, 3),
        struct.pack("<BBHB", 4, 0, 3, 0),
        b"",
    ],
    ids=bytes.hex,
)
def test_other_commands_are_refused_and_change_nothing(tap: str, command: bytes) -> None:
    with NetGuest(many(), window=WINDOW) as guest:
        assert use_pairs(guest, 2) == OK
        assert control(guest, command) == ERR
        assert queues_of_tap() == (2, PAIRS - 2)
        assert guest.device.kept == 2


def test_a_command_without_room_for_an_answer_is_not_carried_out(tap: str) -> None:
    with NetGuest(many(), window=WINDOW) as guest:
        assert control(guest, struct.pack("<BBH", 4, 0, 3), 0) == b""
        assert queues_of_tap() == (1, PAIRS - 1)


def test_a_reset_goes_back_to_one_pair_and_that_of_a_single_queue_does_not(guest: NetGuest, flows: Flows) -> None:
    assert use_pairs(guest, PAIRS) == OK
    guest.renew_queue(5)
    assert queues_of_tap() == (PAIRS, 0)
    assert flows.pair_of_answer(2, 2) == 2
    guest.renew_all()
    assert queues_of_tap() == (1, PAIRS - 1)
    assert guest.device.kept == 1
    guest.give_buffers(4)
    assert flows.pair_of_answer(2, 2) == 0


def test_frames_go_elsewhere_while_a_receive_queue_is_reset(guest: NetGuest, flows: Flows) -> None:
    assert use_pairs(guest, 2) == OK
    for gone in (1, 0):
        guest.driver.queues = [
            None if index == 2 * gone else guest.rings[index].device for index in range(len(guest.driver.queues))
        ]
        kept = guest.rings.pop(2 * gone)
        guest.renew_queue(CONTROL)
        assert queues_of_tap() == (1, PAIRS - 1)
        assert flows.pair_of_answer(0, gone) == 1 - gone
        guest.rings[2 * gone] = kept
        guest.renew_queue(2 * gone)
        guest.give_buffers(4, pair=gone)
        assert queues_of_tap() == (2, PAIRS - 2)
        assert flows.pair_of_answer(0, gone) == gone


def test_a_driver_without_many_queues_finds_the_control_queue_behind_the_first_pair(tap: str) -> None:
    with NetGuest(many(), window=WINDOW, features=WITHOUT_MQ) as guest:
        assert control(guest, struct.pack("<BBH", 4, 0, 1), queue=2) == ERR
        guest.post(CONTROL, struct.pack("<BBH", 4, 0, 2), 1)
        guest.kick(CONTROL)
        assert guest.collect(CONTROL) == []
        assert queues_of_tap() == (1, PAIRS - 1)
        guest.give_buffers(4)
        flows = Flows(guest)
        with flows.host:
            assert flows.pair_of_answer(0, 0) == 0


def test_an_interface_that_comes_back_has_the_pairs_that_were_in_use(guest: NetGuest, flows: Flows) -> None:
    assert use_pairs(guest, 3) == OK
    ip("link del tap0")
    guest.run_until(lambda: not guest.link_is_up)
    assert isinstance(guest.device, Net)
    pairs = guest.device.pairs
    guest.run_until(lambda: not any(pair.core.link_up for pair in pairs))
    make_tap()
    guest.run_until(lambda: guest.link_is_up and all(pair.core.link_up for pair in pairs))
    assert queues_of_tap() == (3, PAIRS - 3)
    flows.mac = bytes.fromhex(mac_of("tap0"))
    assert [flows.pair_of_answer(flow, flow) for flow in range(3)] == [0, 1, 2]


def test_a_frame_that_waits_in_a_pair_is_dropped_when_that_is_switched_off(tap: str) -> None:
    with NetGuest(many(), window=WINDOW) as guest:
        device = guest.device
        assert isinstance(device, Net)
        assert use_pairs(guest, 2) == OK
        flows = Flows(guest)
        with flows.host:
            flows.send(0, 1)
            counters = device.pairs[1].core.counters

            def waits() -> int:
                flows.answer()
                return counters.receive_waits

            guest.run_until(waits)
            assert use_pairs(guest, 1) == OK
            assert counters.receive_inactive == 1
            guest.give_buffers(4, pair=1)
            guest.give_buffers(4)
            assert flows.pair_of_answer(0, 1) == 0
            assert counters.received_frames == 0


def test_each_reason_to_fail_is_named_and_nothing_stays_open(tap: str) -> None:
    ip("tuntap add dev plain mode tap")
    with pytest.raises(ViaError, match="create it: ip tuntap add dev plain mode tap multi_queue"):
        open_tap("plain", many=True)
    with pytest.raises(ViaError, match="create it: ip tuntap add dev tap9 mode tap multi_queue"):
        open_tap("tap9", many=True)
    with pytest.raises(ViaError, match="single queue"):
        NetGuest(Net("eth0", via={"tap": "tap0"}, window=WINDOW, queue_size=64), window=WINDOW)
    assert queues_of_tap() == (0, 0)
