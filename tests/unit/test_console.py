# SPDX-License-Identifier: MIT
"""The console device on real rings with real host ends: output, input, sizes, and the multiport control protocol."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.devices.console import Console, ConsoleOptionInvalid, Feature, PortUnknown
from ivshmem_virtio.devices.console_port import Port
from ivshmem_virtio.devices.console_sink import BUFFER_BYTES, SinkUnusable
from ivshmem_virtio.devices.console_spec import SinkSpec
from tests.devices.driver_rig import DriverRig

WINDOW = 1 << 20
RECEIVE, TRANSMIT, CONTROL_IN, CONTROL_OUT, RECEIVE_1, TRANSMIT_1 = range(6)
READY, ADD, REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, OPEN, NAME = range(8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "port.sock"


@pytest.fixture
def console(path: Path) -> Console:
    return Console("serial", via={"socket": str(path)}, window=WINDOW)


@pytest.fixture
def rig(console: Console) -> Iterator[DriverRig]:
    with DriverRig(console, window=WINDOW) as rig:
        yield rig


def connect(rig: DriverRig, console: Console, path: Path, port: int = 0) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.setblocking(False)
    rig.run_until(lambda: console.ports[port].sink.connected)
    return client


def received(rig: DriverRig, client: socket.socket, count: int) -> bytes:
    got = bytearray()

    def enough() -> bool:
        with contextlib.suppress(BlockingIOError):
            got.extend(client.recv(1 << 20))
        return len(got) >= count

    rig.run_until(enough)
    return bytes(got)


def test_identity_and_configuration() -> None:
    console = Console("serial", via="null", columns=132, rows=43, window=WINDOW)
    assert console.device_id == 3
    assert console.features == Feature.SIZE | Feature.EMERG_WRITE
    assert list(console.queue_sizes) == [64, 64]
    assert struct.unpack("<HHII", console.config) == (132, 43, 1, 0)
    several = Console("serial", via="null", ports=[("a", "null"), ("b", "null")], queue_size=16, window=WINDOW)
    assert several.features == Feature.SIZE | Feature.EMERG_WRITE | Feature.MULTIPORT
    assert list(several.queue_sizes) == [16, 16, 32, 32, 16, 16, 16, 16]
    assert struct.unpack("<HHII", several.config) == (80, 25, 3, 0)
    assert [port.queues for port in several.ports] == [(0, 1), (4, 5), (6, 7)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": 0}, "0 columns"),
        ({"rows": 65536}, "65536 rows"),
        ({"ports": [("a", "null"), ("a", "null")]}, "not all different"),
        ({"ports": [("", "null")]}, "not empty"),
        ({"ports": [(str(i), "null") for i in range(40)]}, "40 extra ports"),
    ],
)
def test_options_that_make_no_console(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConsoleOptionInvalid, match=words):
        Console("serial", via="null", window=WINDOW, **options)


@pytest.mark.parametrize("spec", ["tty", "", {"socket": "a", "file": "b"}, {}, {"pipe": "x"}, {"null": "x"}])
def test_specification_that_names_no_sink(spec: str | dict[str, str]) -> None:
    with pytest.raises(SinkUnusable, match="it is one of"):
        Console("serial", via=spec, window=WINDOW)


def test_output_reaches_the_host_whatever_its_layout(rig: DriverRig, console: Console, path: Path) -> None:
    with connect(rig, console, path) as client:
        for parts in ([b"a"], [b"hello ", b"world"], [b"x"] * 30, [os.urandom(70000)]):
            reply = rig.request(TRANSMIT, parts)
            assert reply.written == 0
            assert received(rig, client, len(b"".join(parts))) == b"".join(parts)


def test_output_comes_back_at_once_when_nobody_reads(rig: DriverRig, console: Console, path: Path) -> None:
    sent = bytearray()
    with connect(rig, console, path) as client:
        for i in range(300):
            line = b"line %5d " % i * 400
            assert rig.request(TRANSMIT, line).done
            sent += line
        assert console.dropped > 0
        got = received(rig, client, len(sent) - console.dropped)
    assert len(got) == len(sent) - console.dropped
    assert sent.endswith(got[-BUFFER_BYTES:]), "it is the oldest bytes that go, not the newest"


def test_output_of_the_time_before_a_client_is_shown_to_the_first_one(
    rig: DriverRig, console: Console, path: Path
) -> None:
    rig.request(TRANSMIT, b"booting\r\n")
    with connect(rig, console, path) as client:
        assert received(rig, client, 9) == b"booting\r\n"


def test_input_goes_into_posted_buffers(rig: DriverRig, console: Console, path: Path) -> None:
    first = rig.post(RECEIVE, writable=[3, 1, 4])
    rig.post(RECEIVE, writable=100)
    rig.kick(RECEIVE)
    with connect(rig, console, path) as client:
        client.send(b"0123456789")
        done = rig.wait_for(RECEIVE, 2)
    assert done[0] is first
    assert [(r.written, r.data[: r.written]) for r in done] == [(8, b"01234567"), (2, b"89")]


def test_input_into_more_parts_than_one_read_takes(path: Path) -> None:
    """The host's end is not to be taken for broken because of how a driver cuts its buffers."""
    console = Console("serial", via={"socket": str(path)}, queue_size=4096, window=1 << 20)
    with DriverRig(console, window=1 << 20) as rig, connect(rig, console, path) as client:
        rig.post(RECEIVE, writable=[1] * 2048)
        rig.kick(RECEIVE)
        client.send(b"0123456789")
        (done,) = rig.wait_for(RECEIVE)
        assert done.data[: done.written] == b"0123456789"


def test_no_input_is_lost_while_the_driver_has_no_room(rig: DriverRig, console: Console, path: Path) -> None:
    text = os.urandom(100_000)
    got = bytearray()
    with connect(rig, console, path) as client:
        client.setblocking(True)
        client.settimeout(0.2)
        sent = 0
        while len(got) < len(text):
            with contextlib.suppress(TimeoutError):
                sent += client.send(text[sent : sent + 4096])
            rig.run_for(0.002)
            while len(rig.rings[RECEIVE].outstanding) < 3:
                rig.post(RECEIVE, writable=1500)
            rig.kick(RECEIVE)
            rig.run_for(0.002)
            for request in rig.collect(RECEIVE):
                got += request.data[: request.written]
    assert bytes(got) == text


def test_a_client_that_left_is_heard_to_the_end_before_the_next(rig: DriverRig, console: Console, path: Path) -> None:
    connect_and_go = connect(rig, console, path)
    connect_and_go.send(b"last words")
    connect_and_go.close()
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(path))
        second.send(b" and the first")
        rig.run_for(0.6)
        for _ in range(2):
            rig.post(RECEIVE, writable=64)
        rig.kick(RECEIVE)
        done = rig.wait_for(RECEIVE, 2)
    assert [r.data[: r.written] for r in done] == [b"last words", b" and the first"]


@pytest.mark.parametrize("queue", [RECEIVE, TRANSMIT])
def test_buffers_of_the_wrong_kind_come_back_empty(rig: DriverRig, console: Console, path: Path, queue: int) -> None:
    with connect(rig, console, path) as client:
        if queue == RECEIVE:
            wrong = rig.post(RECEIVE, b"readable")
            right = rig.post(RECEIVE, writable=8)
            rig.kick(RECEIVE)
            client.send(b"x")
            rig.wait_for(RECEIVE, 2)
            assert (wrong.written, right.written) == (0, 1)
        else:
            reply = rig.request(TRANSMIT, writable=8)
            assert (reply.written, reply.data) == (0, b"\xee" * 8)


def test_emergency_write_works_before_and_without_a_driver(path: Path) -> None:
    console = Console("serial", via={"socket": str(path)}, window=WINDOW)
    assert console.writable_config == {8: 4}
    console.write_config(8, b"A\0\0\0")
    with DriverRig(console, window=WINDOW) as rig:
        console.deactivate()
        console.write_config(8, b"B\xff\xff\xff")
        with connect(rig, console, path) as client:
            assert received(rig, client, 2) == b"AB"
            console.write_config(8, b"!\0\0\0")
            assert received(rig, client, 1) == b"!"


def test_resize(rig: DriverRig, console: Console) -> None:
    console.resize(80, 25)
    assert rig.driver.config_changes == 0
    console.resize(100, 30)
    assert rig.driver.config_changes == 1
    assert struct.unpack_from("<HH", console.config) == (100, 30)
    console.resize(0, 30)
    console.resize(100, 70000)
    assert rig.driver.config_changes == 1


def test_resize_is_not_told_to_a_driver_that_did_not_ask(console: Console) -> None:
    with DriverRig(console, window=WINDOW, features=0) as rig:
        console.resize(100, 30)
        assert rig.driver.config_changes == 0


def test_reset_forgets_buffers_and_keeps_the_client(rig: DriverRig, console: Console, path: Path) -> None:
    with connect(rig, console, path) as client:
        rig.post(RECEIVE, writable=64)
        rig.kick(RECEIVE)
        console.deactivate()
        client.send(b"kept")
        rig.run_for(0.05)
        assert rig.collect(RECEIVE) == []
        console.activate(rig.driver)
        done = rig.wait_for(RECEIVE, 1)
        assert done[0].data[:4] == b"kept"


# -- multiport --------------------------------------------------------------------------------------------------------


class Multiport:
    """The driver's half of the control protocol on a console with one extra port."""

    def __init__(self, path: Path, *, control_buffers: int = 20) -> None:
        self.path = path
        ports: list[tuple[str, SinkSpec]] = [("agent", {"socket": str(path)}), ("log", "null")]
        self.console = Console("serial", via="null", ports=ports, columns=100, rows=40, window=WINDOW)
        self.rig = DriverRig(self.console, window=WINDOW)
        self.post_control(control_buffers)

    def post_control(self, count: int, size: int = 64) -> None:
        for _ in range(count):
            self.rig.post(CONTROL_IN, writable=size)
        self.rig.kick(CONTROL_IN)

    def say(self, port: int, event: int, value: int = 1) -> list[tuple[int, ...]]:
        self.rig.request(CONTROL_OUT, struct.pack("<IHH", port, event, value))
        return self.heard()

    def heard(self) -> list[tuple[int, ...]]:
        messages = [r.data[: r.written] for r in self.rig.collect(CONTROL_IN) if r.written]
        return [(*struct.unpack_from("<IHH", m), *m[8:]) for m in messages]

    def come_up(self) -> None:
        self.say(0, READY)
        for port in range(3):
            self.say(port, PORT_READY)


@pytest.fixture
def multi(path: Path) -> Iterator[Multiport]:
    multi = Multiport(path)
    with multi.rig:
        yield multi


def text(name: str) -> tuple[int, ...]:
    return tuple(name.encode())


def test_ports_come_up_in_the_order_of_the_protocol(multi: Multiport) -> None:
    assert multi.say(0, READY) == [(0, ADD, 0), (1, ADD, 0), (2, ADD, 0)]
    assert multi.say(0, PORT_READY) == [(0, CONSOLE_PORT, 1), (0, RESIZE, 0, 100, 0, 40, 0), (0, OPEN, 1)]
    assert multi.say(1, PORT_READY) == [(1, NAME, 1, *text("agent"))]
    assert multi.say(2, PORT_READY) == [(2, NAME, 1, *text("log")), (2, OPEN, 1)]


def test_a_port_that_exists_is_not_added_again(multi: Multiport) -> None:
    multi.come_up()
    assert multi.say(0, READY) == []


@pytest.mark.parametrize(
    ("port", "event", "value"),
    [
        (0, READY, 0),
        (1, PORT_READY, 0),
        (3, PORT_READY, 1),
        (0xFFFFFFFF, OPEN, 1),
        (1, 99, 1),
        (1, ADD, 1),
        (1, NAME, 1),
    ],
)
def test_messages_that_say_nothing_are_returned_unanswered(multi: Multiport, port: int, event: int, value: int) -> None:
    if event != READY:
        multi.say(0, READY)
    assert multi.say(port, event, value) == []


def test_message_for_a_port_before_it_was_added_is_ignored(multi: Multiport) -> None:
    assert multi.say(1, PORT_READY) == []


@pytest.mark.parametrize("length", [1, 7])
def test_short_control_message_is_returned(multi: Multiport, length: int) -> None:
    assert multi.rig.request(CONTROL_OUT, bytes(length)).written == 0
    assert multi.heard() == []


def test_host_coming_and_going_is_told(multi: Multiport) -> None:
    multi.come_up()
    client = connect(multi.rig, multi.console, multi.path, 1)
    assert multi.heard() == [(1, OPEN, 1)]
    multi.rig.post(RECEIVE_1, writable=64)
    multi.rig.kick(RECEIVE_1)
    client.close()
    multi.rig.run_until(lambda: not multi.console.ports[1].sink.connected)
    assert multi.heard() == [(1, OPEN, 0)]
    with connect(multi.rig, multi.console, multi.path, 1):
        assert multi.heard() == [(1, OPEN, 1)]


def test_input_waits_until_the_driver_opens_the_port(multi: Multiport) -> None:
    multi.come_up()
    with connect(multi.rig, multi.console, multi.path, 1) as client:
        client.send(b"for the agent")
        multi.rig.post(RECEIVE_1, writable=64)
        multi.rig.kick(RECEIVE_1)
        multi.rig.run_for(0.05)
        assert multi.rig.collect(RECEIVE_1) == []
        multi.say(1, OPEN, 1)
        done = multi.rig.wait_for(RECEIVE_1, 1)
        assert done[0].data[: done[0].written] == b"for the agent"
        multi.say(1, OPEN, 0)
        client.send(b"later")
        multi.rig.post(RECEIVE_1, writable=64)
        multi.rig.kick(RECEIVE_1)
        multi.rig.run_for(0.05)
        assert multi.rig.collect(RECEIVE_1) == []


def test_output_of_an_extra_port_is_for_whoever_is_there(multi: Multiport) -> None:
    multi.come_up()
    multi.rig.request(TRANSMIT_1, b"nobody hears this")
    assert multi.console.ports[1].sink.dropped == 17
    with connect(multi.rig, multi.console, multi.path, 1) as client:
        multi.rig.request(TRANSMIT_1, b"but this")
        assert received(multi.rig, client, 8) == b"but this"


def test_resize_of_a_multiport_console(multi: Multiport) -> None:
    multi.console.resize(90, 20)
    assert multi.heard() == [], "the driver does not know the port yet"
    multi.come_up()
    multi.heard()
    multi.console.resize(132, 43)
    assert multi.heard() == [(0, RESIZE, 0, 132, 0, 43, 0)]
    assert multi.rig.driver.config_changes == 2


def test_unplug_and_plug(multi: Multiport) -> None:
    multi.come_up()
    multi.console.plug("agent", plugged=False)
    multi.console.plug("agent", plugged=False)
    assert multi.heard() == [(1, REMOVE, 0)]
    assert multi.say(1, PORT_READY) == [], "the port is gone"
    multi.console.plug("agent", plugged=True)
    assert multi.heard() == [(1, ADD, 0)]
    assert multi.say(1, PORT_READY) == [(1, NAME, 1, *text("agent"))]
    with pytest.raises(PortUnknown, match="agent, log"):
        multi.console.plug("other", plugged=False)
    with pytest.raises(PortUnknown):
        multi.console.plug("console", plugged=False)


@pytest.mark.parametrize(
    ("known", "steps", "expected"),
    [
        (True, [False], [REMOVE]),
        (True, [False, True], [REMOVE, ADD]),
        (True, [False, True, False], [REMOVE]),
        (False, [False], []),
        (False, [False, True], [ADD]),
        (False, [False, True, False], []),
    ],
)
def test_plugging_while_the_driver_has_no_control_buffers(
    path: Path, known: bool, steps: list[bool], expected: list[int]
) -> None:
    """A port must not be added twice, nor removed unless it was added (virtio 1.4, 5.3.6.2.1)."""
    multi = Multiport(path, control_buffers=3 if known else 0)
    with multi.rig:
        assert len(multi.say(0, READY)) == (3 if known else 0)
        for plugged in steps:
            multi.console.plug("agent", plugged=plugged)
        assert multi.heard() == []
        multi.post_control(10)
        assert [event for port, event, *_ in multi.heard() if port == 1] == expected


def test_a_driver_that_makes_no_room_for_messages_costs_nothing(path: Path) -> None:
    multi = Multiport(path)
    with multi.rig:
        multi.come_up()
        for _ in range(50):
            multi.say(1, PORT_READY)
            multi.say(2, PORT_READY)
        multi.heard()
        multi.post_control(30)
        left = multi.heard()
        assert len(left) <= 3 * 8
        assert len(left) == len({message[:2] for message in left})


def test_control_buffer_too_small_for_a_message_comes_back_empty(path: Path) -> None:
    multi = Multiport(path, control_buffers=3)
    with multi.rig:
        multi.say(0, READY)
        small = multi.rig.post(CONTROL_IN, writable=9)
        assert multi.say(1, PORT_READY) == []
        assert (small.done, small.written, small.data) == (True, 0, b"\xee" * 9)
        multi.post_control(1)
        assert multi.say(2, PORT_READY) == [(2, NAME, 1, *text("log"))]


def test_a_driver_without_multiport_has_one_plain_console(path: Path) -> None:
    console = Console("serial", via={"socket": str(path)}, ports=[("agent", "null")], window=WINDOW)
    features = int(Feature.SIZE)
    with (
        DriverRig(console, window=WINDOW, features=features, queues=[0, 1]) as rig,
        connect(rig, console, path) as client,
    ):
        rig.request(TRANSMIT, b"plain")
        assert received(rig, client, 5) == b"plain"
        rig.post(RECEIVE, writable=16)
        rig.kick(RECEIVE)
        client.send(b"in")
        done = rig.wait_for(RECEIVE, 1)
        assert done[0].data[:2] == b"in"


def test_reset_starts_the_control_protocol_again(multi: Multiport) -> None:
    multi.come_up()
    multi.heard()
    multi.rig.renew_all()
    multi.post_control(5)
    assert multi.say(0, READY) == [(0, ADD, 0), (1, ADD, 0), (2, ADD, 0)]


def test_reset_of_one_queue_leaves_the_others_as_they_were(multi: Multiport) -> None:
    multi.come_up()
    multi.say(1, OPEN, 1)
    multi.heard()
    with connect(multi.rig, multi.console, multi.path, 1) as client:
        multi.heard()
        multi.rig.post(RECEIVE_1, writable=64)
        multi.rig.kick(RECEIVE_1)
        client.send(b"before")
        assert multi.rig.wait_for(RECEIVE_1)[0].data[:6] == b"before"
        request = multi.rig.post(RECEIVE_1, writable=64)
        multi.console.ports[1].input_ready()  # takes the buffer although there is nothing to put in yet
        multi.rig.renew_queue(TRANSMIT_1)
        client.send(b"after")
        assert multi.rig.wait_for(RECEIVE_1) == [request]
        assert request.data[:5] == b"after"
        multi.rig.request(TRANSMIT_1, b"and out")
        assert received(multi.rig, client, 7) == b"and out"
    multi.rig.post(RECEIVE_1, writable=64)
    multi.rig.kick(RECEIVE_1)
    multi.rig.run_until(lambda: not multi.console.ports[1].sink.connected)
    assert multi.heard() == [(1, OPEN, 0)]


def test_ring_broken_by_the_driver_does_not_break_the_loop(rig: DriverRig, console: Console, path: Path) -> None:
    port: Port = console.ports[0]
    with connect(rig, console, path) as client:
        rig.post(RECEIVE, writable=16)
        rig.kick(RECEIVE)
        device_side = rig.rings[RECEIVE].device.ring
        request = rig.rings[RECEIVE].outstanding[0]
        # The descriptor now points past the window.
        for offset in range(4096, 4096 + 16 * 64, 16):
            if rig.window.load64(offset) == request.writable[0][0]:
                rig.window.store64(offset, 1 << 40)
        client.send(b"x")
        rig.run_until(lambda: device_side.broken)
        assert port.sink.connected
