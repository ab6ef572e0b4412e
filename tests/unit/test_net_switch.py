# SPDX-License-Identifier: MIT
"""The switch between guests: who gets a frame, what becomes of offloads, and what one guest cannot do to another."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import Feature
from ivshmem_virtio.devices.net_switch import MOST_ADDRESSES, Switch
from ivshmem_virtio.devices.net_via import ViaError
from tests.devices.net_frames import BROADCAST, IPV4, ethernet, read_tcp, tcp4, udp
from tests.devices.net_guest import PLAIN, WINDOW, NetGuest, PortNet

MACS = [bytes([0x52, 0x54, 0, 0, 0, i]) for i in range(1, 5)]
STRANGER = bytes.fromhex("525400ffffff")
NO_OFFLOADS = int(Feature.MAC | Feature.MRG_RXBUF | Feature.STATUS)
TSO = struct.pack("<BBHHHHH", 1, 1, 54, 1000, 34, 16, 0)
CSUM = struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 6, 0)
Plug = Callable[..., NetGuest]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def switch() -> Switch:
    return Switch("lan", ageing=60)


@pytest.fixture(params=[False, True], ids=["on the loop", "by engines"])
def plug(request: pytest.FixtureRequest, switch: Switch, loop: asyncio.AbstractEventLoop) -> Iterator[Plug]:
    """Plugs in one guest more, with 60 receive buffers unless told otherwise."""
    with plugging(switch, loop, compiled=request.param) as made:
        yield made


@contextmanager
def plugging(switch: Switch, loop: asyncio.AbstractEventLoop, *, compiled: bool) -> Iterator[Plug]:
    """``compiled``: engines serve the queues, on this thread."""
    with ExitStack() as stack:
        macs = iter(MACS)

        def one_more(features: int | None = None, buffers: int = 60) -> NetGuest:
            mac = next(macs)
            device = PortNet(f"port{mac[5]}", mac, switch, loop)
            guest = stack.enter_context(NetGuest(device, window=WINDOW, features=features, compiled=compiled))
            guest.give_buffers(buffers)
            return guest

        yield one_more


def frame_to(destination: bytes, source: bytes, number: int = 0) -> bytes:
    return ethernet(destination, source, 0x88B5, struct.pack(">I", number) + bytes(60))


def contents(guest: NetGuest) -> list[bytes]:
    return [frame for _, frame in guest.received()]


def test_a_known_address_gets_it_alone_and_at_once(plug: Plug) -> None:
    a, b, c = plug(), plug(), plug()
    assert a.link_is_up
    before = b.rings[0].interrupts
    a.send(frame_to(MACS[1], MACS[0]))
    assert b.rings[0].interrupts == before + 1
    assert contents(b) == [frame_to(MACS[1], MACS[0])]
    assert contents(a) == contents(c) == []


def test_group_and_unknown_addresses_go_everywhere_but_back(plug: Plug) -> None:
    a, b, c = plug(), plug(), plug()
    for destination in (BROADCAST, bytes.fromhex("01005e000001"), STRANGER):
        frame = frame_to(destination, MACS[0])
        a.send(frame)
        assert contents(b) == contents(c) == [frame]
        assert contents(a) == []


def test_an_address_behind_a_guest_is_learned_moves_and_ages(plug: Plug) -> None:
    a, b, c = plug(), plug(), plug()
    b.send(frame_to(BROADCAST, STRANGER))
    contents(a), contents(c)
    a.send(frame_to(STRANGER, MACS[0], 1))
    assert (len(contents(b)), len(contents(c))) == (1, 0)
    c.send(frame_to(BROADCAST, STRANGER))
    contents(a), contents(b)
    a.send(frame_to(STRANGER, MACS[0], 2))
    assert (len(contents(b)), len(contents(c))) == (0, 1)


def test_an_address_is_forgotten_in_time_on_the_loop(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    with plugging(switch, loop, compiled=False) as plug:
        a, b, c = plug(), plug(), plug()
        c.send(frame_to(BROADCAST, STRANGER))
        contents(a), contents(b)
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + 59)
        assert switch.port_of(STRANGER) is not None
        monkeypatch.setattr(loop, "time", lambda: now + 61)
        assert switch.port_of(STRANGER) is None
        a.send(frame_to(STRANGER, MACS[0], 3))
        assert (len(contents(b)), len(contents(c))) == (1, 1)


def test_an_address_is_forgotten_in_time_by_engines(loop: asyncio.AbstractEventLoop) -> None:
    with plugging(Switch("lan", ageing=0.05), loop, compiled=True) as plug:
        a, b, c = plug(), plug(), plug()
        c.send(frame_to(BROADCAST, STRANGER))
        contents(a), contents(b)
        time.sleep(0.06)
        a.send(frame_to(STRANGER, MACS[0], 3))
        assert (len(contents(b)), len(contents(c))) == (1, 1)


def test_what_belongs_to_the_sender_itself_goes_nowhere(plug: Plug) -> None:
    a, b = plug(), plug()
    a.send(frame_to(MACS[0], MACS[0]))
    a.send(frame_to(bytes.fromhex("0180c200000e"), MACS[0]))
    assert contents(a) == contents(b) == []
    assert a.counters.transmit_refused == 2


def test_no_guest_takes_the_address_of_another(plug: Plug) -> None:
    a, b, thief = plug(), plug(), plug()
    thief.send(frame_to(BROADCAST, MACS[1]))
    contents(a), contents(b)
    a.send(frame_to(MACS[1], MACS[0]))
    assert (len(contents(b)), len(contents(thief))) == (1, 0)


def test_no_guest_fills_the_table(plug: Plug, switch: Switch) -> None:
    a, b = plug(), plug()
    b.send(frame_to(MACS[0], STRANGER))
    for number in range(2 * MOST_ADDRESSES):
        a.send(frame_to(MACS[0], b"\x02\0" + struct.pack(">I", number)))
        a.collect(1)
    ports = [switch.port_of(b"\x02\0" + struct.pack(">I", number)) for number in range(2 * MOST_ADDRESSES)]
    assert sum(port is not None for port in ports) == MOST_ADDRESSES
    assert ports[-1] is not None
    assert switch.port_of(STRANGER) is not None


def test_a_guest_without_buffers_loses_frames_and_holds_up_nobody(plug: Plug) -> None:
    a, b, c = plug(), plug(buffers=0), plug()
    a.send(frame_to(BROADCAST, MACS[0]))
    assert len(contents(c)) == 1
    assert b.counters.receive_no_buffer == 1
    engine = b.rings[0].engine
    assert engine is None or engine.counters["receive_no_buffer"] == 1
    b.give_buffers(1)
    a.send(frame_to(MACS[1], MACS[0], 5))
    assert contents(b) == [frame_to(MACS[1], MACS[0], 5)]


def test_offloads_pass_between_guests_that_both_have_them(plug: Plug) -> None:
    a, b = plug(), plug()
    big = ethernet(MACS[1], MACS[0], IPV4, tcp4("10.0.0.1", "10.0.0.2", (1, 2), 9, 16, bytes(5000), partial=True))
    a.send([big[:100], big[100:]], TSO)
    ((header, frame),) = b.received()
    assert frame == big
    assert header[:10] == TSO[:10]
    small = ethernet(MACS[1], MACS[0], IPV4, udp("10.0.0.1", "10.0.0.2", (1, 2), b"data", partial=True))
    a.send(small, CSUM)
    assert b.received() == [(CSUM[:10] + b"\1\0", small)]


def test_a_guest_without_offloads_gets_finished_frames(plug: Plug) -> None:
    a, plain, able = plug(), plug(NO_OFFLOADS), plug()
    data = bytes(range(250)) * 14
    a.send(ethernet(BROADCAST, MACS[0], IPV4, tcp4("10.0.0.1", "10.0.0.2", (1, 2), 9, 16, data, partial=True)), TSO)
    parts = plain.received()
    assert all(header == PLAIN[:10] + b"\1\0" for header, _ in parts)
    assert b"".join(read_tcp(frame).data for _, frame in parts) == data
    assert [header[:10] for header, _ in able.received()] == [TSO[:10]]
    a.send(ethernet(MACS[1], MACS[0], IPV4, udp("10.0.0.1", "10.0.0.2", (1, 2), b"data", partial=True)), CSUM)
    assert contents(plain) == [ethernet(MACS[1], MACS[0], IPV4, udp("10.0.0.1", "10.0.0.2", (1, 2), b"data"))]


def test_headers_a_guest_made_up_reach_nobody(plug: Plug) -> None:
    a, plain, able = plug(), plug(NO_OFFLOADS), plug()
    frame = frame_to(BROADCAST, MACS[0])
    a.send(frame, struct.pack("<BBHHHHH", 1, 0, 0, 0, 60000, 6, 0))
    plain.send(frame, CSUM)
    assert a.counters.transmit_malformed == plain.counters.transmit_malformed == 1
    a.send(frame, TSO)
    assert contents(plain) == []
    assert plain.counters.receive_malformed == 1
    assert contents(able) == [frame]


def test_a_broken_ring_of_the_receiver_is_not_the_senders_fault(plug: Plug) -> None:
    a, b, c = plug(), plug(), plug()
    b.corrupt_receive_ring()
    a.send(frame_to(BROADCAST, MACS[0]))
    assert len(contents(c)) == 1
    a.send(frame_to(MACS[1], MACS[0]))
    assert b.counters.receive_inactive == 1


def test_a_guest_that_left_is_forgotten(plug: Plug, switch: Switch) -> None:
    a, b = plug(), plug()
    b.send(frame_to(MACS[0], STRANGER))
    b.device.close()
    assert switch.port_of(STRANGER) is None
    a.send(frame_to(MACS[1], MACS[0]))
    assert a.counters.transmit_refused == 1


def test_ports_on_another_loop_or_with_the_same_address_are_refused(
    plug: Plug, switch: Switch, loop: asyncio.AbstractEventLoop
) -> None:
    plug()
    with pytest.raises(ViaError, match="two devices have the address"):
        NetGuest(PortNet("twin", MACS[0], switch, loop), window=WINDOW)
    other = asyncio.new_event_loop()
    with pytest.raises(ViaError, match="event loop"):
        NetGuest(PortNet("far", MACS[3], switch, other), window=WINDOW)
    other.close()


def test_all_ports_of_a_switch_want_its_worker_in_one_place(switch: Switch, loop: asyncio.AbstractEventLoop) -> None:
    def port(mac: bytes, poll: str | int | None) -> Net:
        return Net("p", via={"switch": "lan"}, mac=mac.hex(":"), window=WINDOW, switch=switch, poll=poll)

    first, silent, same, other = (port(mac, poll) for mac, poll in zip(MACS, [50, None, 50, "never"], strict=True))
    for device in (first, silent, same):
        device.open(loop)
    with pytest.raises(ViaError, match="poll and cpus differ"):
        other.open(loop)
    for device in (first, silent, same):
        device.close()
    other.open(loop)
    other.close()
