# SPDX-License-Identifier: MIT
"""Suite ``net``: frames into and out of one device, beside dpdk-testpmd with one vhost port; and from one window to
another through our switch, beside dpdk-testpmd between two vhost ports.

One thread drives all ports on one processor, the device or switch is on the other. testpmd passes on whatever comes,
our switch looks at addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from ivshmem_virtio.bench.child import Child
from ivshmem_virtio.bench.loaded_port import HalfWire, Wire
from ivshmem_virtio.bench.own_port import own_end, own_ports
from ivshmem_virtio.bench.peer_port import SOCKETS, end, forwarder, peer_port
from ivshmem_virtio.bench.run import Case, Figure, Run

FRAMES = (64, 1500)
SMALL = FRAMES[0]
PEER = "dpdk-testpmd io, vhost"
MACS = (bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))


def run(bench: Run) -> None:
    """Small and large frames, one way, over both layouts of a ring."""
    for packed in (False, True):
        for receiving in (True, False):
            _compare_ends(bench, packed, receiving)
        _compare(bench, packed)


def _compare_ends(bench: Run, packed: bool, receiving: bool) -> None:
    """The device alone. Receiving is meant of the device here, so the load sends."""
    layout, direction = "packed" if packed else "split", "receives" if receiving else "sends"
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        processor = bench.processors.device
        port = stack.enter_context(own_end(folder / "ours", SMALL, processor=processor, packed=packed))
        ours = HalfWire(port, SMALL, receiving=not receiving)
        testpmd = stack.enter_context(end(folder, SMALL, processor=processor, receiving=receiving))
        bench.commands.append(testpmd.command)
        name = f"dpdk-testpmd {'rxonly' if receiving else 'txonly'}, vhost"
        other = stack.enter_context(peer_port(folder / SOCKETS[0], name, MACS[0], packed=packed))
        peer = HalfWire(other, SMALL, receiving=not receiving)
        stack.enter_context(_standing(testpmd))
        case = Case("net", f"{layout} {SMALL} B, device {direction}", "frame/s", name)
        bench.compare(case, partial(_end_rate, ours), partial(_peer_end_rate, testpmd, peer))


def _compare(bench: Run, packed: bool) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(bench.scratch())
        processor = bench.processors.device
        source, target = stack.enter_context(own_ports(folder / "ours", 2, processor=processor, packed=packed))
        ours = Wire(source, target)
        testpmd = stack.enter_context(forwarder(folder, processor=processor))
        bench.commands.append(testpmd.command)
        near, far = (
            stack.enter_context(peer_port(folder / socket, PEER, mac, packed=packed))
            for socket, mac in zip(SOCKETS, MACS, strict=True)
        )
        peer = Wire(near, far)
        stack.enter_context(_standing(testpmd))
        for frame in FRAMES:
            layout = "packed" if packed else "split"
            case = Case("net", f"{layout} {frame} B through the switch", "frame/s", PEER)
            bench.compare(case, partial(_rate, ours, frame), partial(_peer_rate, testpmd, peer, frame))


@contextmanager
def _standing(testpmd: Child) -> Iterator[None]:
    """It spins on the processor that ours needs, so it stands still unless measured."""
    testpmd.stand_still()
    try:
        yield
    finally:
        testpmd.go_on()


def _rate(wire: Wire, frame: int, seconds: float) -> Figure:
    wire.warm_up()
    outcome, sent = wire.run(frame, seconds)
    return Figure(outcome.rate, {"sent/s": sent / outcome.seconds, "kicks": outcome.kicks / outcome.requests})


def _end_rate(wire: HalfWire, seconds: float) -> Figure:
    wire.warm_up()
    outcome = wire.run(seconds)
    return Figure(outcome.rate, {"kicks": outcome.kicks / outcome.requests})


def _peer_end_rate(testpmd: Child, wire: HalfWire, seconds: float) -> Figure:
    testpmd.go_on()
    try:
        return _end_rate(wire, seconds)
    finally:
        testpmd.stand_still()


def _peer_rate(testpmd: Child, wire: Wire, frame: int, seconds: float) -> Figure:
    testpmd.go_on()
    try:
        return _rate(wire, frame, seconds)
    finally:
        testpmd.stand_still()
