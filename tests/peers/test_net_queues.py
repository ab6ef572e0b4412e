# SPDX-License-Identifier: MIT
"""A network device with many queue pairs on a real tap: what the control queue takes, and where frames come in."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ivshmem_virtio.devices import net_tap
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.devices.net_tap import open_tap
from ivshmem_virtio.devices.net_via import ViaError
from tests.devices.net_frames import GUEST, IPV4, ethernet, udp
from tests.devices.net_guest import PLAIN, WINDOW, NetGuest
from tests.devices.net_on_worker import NetOnWorker
from tests.peers.private_network import ip
from tests.peers.tap_interface import (
    GUEST_IP,
    HOST_IP,
    MANY_QUEUES,
    is_udp,
    mac_of_tap,
    make_tap,
    queueing,
    queues_of_tap,
    tap_net,
)
from tests.peers.tap_interface import many_tap as many_tap

PAIRS = 4
CONTROL = 2 * PAIRS
OK, ERR = b"\0", b"\1"
FIRST_PORT = 40000
TRIES = 20
WITHOUT_MQ = ~int(Feature.MQ)


def ready(guest: NetGuest) -> None:
    """Wait until the host's frames are not dropped any more."""
    guest.run_until(lambda: not queueing().startswith("noop"))


@pytest.fixture(params=["on the loop", "one worker", "two workers"])
def guest(many_tap: str, request: pytest.FixtureRequest) -> Iterator[NetGuest]:
    """A driver that accepted everything, with buffers in each receive queue; one pair in use."""
    workers = {"on the loop": 1, "one worker": 1, "two workers": 2}[request.param]
    kind = NetGuest if request.param == "on the loop" else NetOnWorker
    with kind(tap_net(PAIRS, workers), window=WINDOW) as guest:
        ready(guest)
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
        self.mac = mac_of_tap()
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

    def follows(self, flow: int, pair: int) -> bool:
        """Whether answers come in the pair that the flow was sent from. The kernel forgets that after 3 seconds, for
        which a busy machine may stand still.
        """
        return any(self.pair_of_answer(flow, pair) == pair for _ in range(TRIES))


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
        assert all(flows.follows(flow, (flow + moved) % PAIRS) for flow in range(PAIRS))
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
def test_other_commands_are_refused_and_change_nothing(many_tap: str, command: bytes) -> None:
    with NetGuest(tap_net(PAIRS), window=WINDOW) as guest:
        assert use_pairs(guest, 2) == OK
        assert control(guest, command) == ERR
        assert queues_of_tap() == (2, PAIRS - 2)
        assert guest.device.kept == 2


def test_a_command_without_room_for_an_answer_is_not_carried_out(many_tap: str) -> None:
    with NetGuest(tap_net(PAIRS), window=WINDOW) as guest:
        assert control(guest, struct.pack("<BBH", 4, 0, 3), 0) == b""
        assert queues_of_tap() == (1, PAIRS - 1)


def test_a_reset_goes_back_to_one_pair_and_that_of_a_single_queue_does_not(guest: NetGuest, flows: Flows) -> None:
    assert use_pairs(guest, PAIRS) == OK
    guest.renew_queue(5)
    assert queues_of_tap() == (PAIRS, 0)
    assert flows.follows(2, 2)
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
        assert flows.follows(0, gone)


def test_a_driver_without_many_queues_finds_the_control_queue_behind_the_first_pair(many_tap: str) -> None:
    with NetGuest(tap_net(PAIRS), window=WINDOW, features=WITHOUT_MQ) as guest:
        assert control(guest, struct.pack("<BBH", 4, 0, 1), queue=2) == ERR
        guest.post(CONTROL, struct.pack("<BBH", 4, 0, 2), 1)
        guest.kick(CONTROL)
        assert guest.collect(CONTROL) == []
        assert queues_of_tap() == (1, PAIRS - 1)
        ready(guest)
        guest.give_buffers(4)
        flows = Flows(guest)
        with flows.host:
            assert flows.pair_of_answer(0, 0) == 0


def test_an_interface_that_comes_back_has_the_pairs_that_were_in_use(
    guest: NetGuest, flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(net_tap, "RETRY", 0.05)
    assert use_pairs(guest, 3) == OK
    ip("link del tap0")
    guest.run_until(lambda: not guest.link_is_up)
    assert isinstance(guest.device, Net)
    pairs = guest.device.pairs
    guest.run_until(lambda: not any(pair.core.link_up for pair in pairs))
    make_tap(MANY_QUEUES)
    guest.run_until(lambda: guest.link_is_up and all(pair.core.link_up for pair in pairs))
    ready(guest)
    assert queues_of_tap() == (3, PAIRS - 3)
    flows.mac = mac_of_tap()
    assert all(flows.follows(flow, flow) for flow in range(3))


def test_a_frame_that_waits_in_a_pair_is_dropped_when_that_is_switched_off(many_tap: str) -> None:
    with NetGuest(tap_net(PAIRS), window=WINDOW) as guest:
        device = guest.device
        assert isinstance(device, Net)
        ready(guest)
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


def test_each_reason_to_fail_is_named_and_nothing_stays_open(many_tap: str) -> None:
    ip("tuntap add dev plain mode tap")
    with pytest.raises(ViaError, match="create it: ip tuntap add dev plain mode tap multi_queue"):
        open_tap("plain", many=True)
    with pytest.raises(ViaError, match="create it: ip tuntap add dev tap9 mode tap multi_queue"):
        open_tap("tap9", many=True)
    with pytest.raises(ViaError, match="single queue"):
        NetGuest(Net("eth0", via={"tap": "tap0"}, window=WINDOW, queue_size=64), window=WINDOW)
    assert queues_of_tap() == (0, 0)
