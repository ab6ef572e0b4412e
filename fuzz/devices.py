# SPDX-License-Identifier: MIT
"""The devices themselves: requests of any content, in any shape, to disk, network, console and entropy source.

Each sits behind a real transport, which the driver brings up in good order, so that nearly every input gets as far as
the device.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from fuzz.driver_by_hand import BASIC, DriverByHand
from fuzz.script import Script
from fuzz.silent_link import SilentLink
from fuzz.turns import LOOP, turn
from fuzz.unexpected import fail_on_traceback
from ivshmem_virtio.devices.blk import Blk
from ivshmem_virtio.devices.blk_config_space import WRITEBACK_OFFSET
from ivshmem_virtio.devices.console import EMERG_WRITE_OFFSET, Console
from ivshmem_virtio.devices.device import Device
from ivshmem_virtio.devices.net import Net
from ivshmem_virtio.devices.net_header import HEADER_SIZE
from ivshmem_virtio.devices.net_switch import Switch
from ivshmem_virtio.devices.rng import Rng
from ivshmem_virtio.link.layout import FRONTEND, Header, State
from ivshmem_virtio.transport.device import DeviceTransport

LOG = fail_on_traceback()
SCRATCH = tempfile.TemporaryDirectory(prefix="ivshmem-virtio-fuzz-")
IMAGE = Path(SCRATCH.name) / "image"
SECTORS = 64
SMALL, LARGE = 64 << 10, 1 << 19
QUEUE_SIZE = 32
ETHERNET = bytes.fromhex("ffffffffffff 525400000001 0800")


class Bench:
    """One device at work, and its driver."""

    def __init__(self, script: Script, link: SilentLink, device: Device) -> None:
        self.script = script
        link.clear()
        self.device = device
        self.transport = DeviceTransport(link.backend, device, LOOP)
        device.open(LOOP)
        self.transport.start()
        self.driver = DriverByHand(script, link, self.transport.registers.layout, self.look)
        self.link = link
        self.others: list[Bench] = []
        """Whoever else is on the same network."""

    def look(self) -> None:
        """One look, and what the device does on its own time."""
        self.transport.look()
        turn(2)
        LOG.check()

    def bring_up(self) -> None:
        """A driver that takes all that is offered, but for some of the device's own bits."""
        self.driver.features = int(BASIC) | self.device.features & ~self.script.number(4)
        self.driver.bring_up()

    def close(self) -> None:
        self.transport.stop()
        self.device.close()
        turn(2)
        LOG.check()
        for other in self.others:
            other.close()


@cache
def link_of(length: int, number: int = 0) -> SilentLink:
    """Mapped once; two devices in one process have two."""
    return SilentLink(length)


def blk_request(script: Script) -> tuple[int, list[bytes], list[int]]:
    """Header, data and status byte, of a command that may exist."""
    kind = script.choose((0, 1, 4, 8, 11, 13, script.byte()))
    sector = script.byte() if script.byte() & 1 else script.number(8)
    data = [struct.pack("<IIQ", kind, script.byte(), sector)]
    if kind in (11, 13):
        for _ in range(script.below(4)):
            data.append(struct.pack("<QII", script.byte(), script.choose((0, 1, 8, script.number(4))), script.below(4)))
    elif script.byte() & 1:
        data.append(bytes(script.choose((512, 1024, 4096, script.byte()))))
    return script.below(2), data, [script.choose((512, 1024, 20, script.byte())), script.choose((1, 1, 1, 0))]


def net_request(script: Script) -> tuple[int, list[bytes], list[int]]:
    """A receive buffer; or a packet with header, Ethernet, and something like IP and TCP in it."""
    if script.byte() & 1:
        return 0, [], [script.choose((1526, 4096, 65550, HEADER_SIZE, script.byte()))]
    kind = script.choose((0, 1, 4, 0x81, script.byte()))
    flags, hdr_len, gso_size = script.choose((0, 1, 1, script.byte())), script.byte(), script.number(2) & 0xFFF
    csum_start, csum_offset = script.choose((34, 54, script.byte())), script.choose((16, 6, 2))
    header = struct.pack("<BBHHHHH", flags, kind, hdr_len, gso_size, csum_start, csum_offset, 0)
    frame = ETHERNET[:12] + script.choose((b"\x08\x00", b"\x86\xdd", b"\x81\x00", script.bytes(2)))
    frame += bytes([script.choose((0x45, 0x60, script.byte()))]) + script.bytes(script.below(64))
    frame = frame.ljust(script.choose((14, 60, 1514, 9000, 65535)), b"\x06")
    cut = script.choose((HEADER_SIZE, 1, HEADER_SIZE + len(ETHERNET), script.byte()))
    whole = header + frame
    return 1, [whole[:cut], whole[cut:]] if cut else [whole], []


def console_request(script: Script) -> tuple[int, list[bytes], list[int]]:
    """Input buffers, output, and control messages."""
    queue = script.below(6)
    if queue in (0, 2, 4):
        return queue, [], [script.choose((8, 24, 64, 1, script.byte()))]
    if queue == 3:
        message = struct.pack("<IHH", script.choose((0, 1, 2, script.number(4))), script.below(9), script.below(3))
        return queue, [message[: script.choose((8, 8, 8, script.below(9)))]], []
    return queue, [script.bytes(script.byte())], []


def rng_request(script: Script) -> tuple[int, list[bytes], list[int]]:
    return 0, [bytes(script.byte() & 3)], [script.number(2) & 0xFFF for _ in range(script.below(3))]


Request = Callable[[Script], tuple[int, list[bytes], list[int]]]


def disk(script: Script) -> tuple[Bench, Request]:
    IMAGE.write_bytes(bytes(SECTORS * 512))
    device = Blk("disk", path=IMAGE, window=SMALL, queues=2, queue_size=QUEUE_SIZE, read_only=bool(script.byte() & 1))
    return Bench(script, link_of(SMALL), device), blk_request


def network(script: Script) -> tuple[Bench, Request]:
    """Of two guests on one switch, the one that the script speaks for."""
    switch = Switch("lan")
    devices = [Net(name, via={"switch": "lan"}, window=LARGE, queue_size=QUEUE_SIZE, switch=switch) for name in "ab"]
    other, bench = (Bench(script, link_of(LARGE, number), device) for number, device in enumerate(devices))
    other.bring_up()
    for _ in range(script.below(4)):
        other.driver.request(0, [], [script.choose((1526, 4096, 65550, HEADER_SIZE))])
    bench.others.append(other)
    return bench, net_request


def console(script: Script) -> tuple[Bench, Request]:
    ports = [("one", "null"), ("two", "null")] if script.byte() & 1 else []
    device = Console("console", via="null", ports=ports, queue_size=QUEUE_SIZE, window=SMALL)
    return Bench(script, link_of(SMALL), device), console_request


def entropy(script: Script) -> tuple[Bench, Request]:
    rate = 1000 if script.byte() & 1 else None
    return Bench(
        script, link_of(SMALL), Rng("rng", bytes_per_second=rate, queue_size=QUEUE_SIZE, window=SMALL)
    ), rng_request


def act(bench: Bench, request: Request) -> None:
    """One step."""
    script, driver = bench.script, bench.driver
    step = script.below(12)
    if step < 5:
        queue, readable, writable = request(script)
        driver.request(min(queue, len(driver.registers.queue_sizes) - 1), readable, writable)
    elif step == 5:
        driver.descriptor()
    elif step == 6:
        driver.make_available()
    elif step == 7:
        driver.poke()
    elif step == 8:
        field = script.choose((WRITEBACK_OFFSET, EMERG_WRITE_OFFSET, 0, script.byte()))
        driver.write(Header.CONFIG + field, script.number(4), 4, script.choose((0, 1, 4)))
    elif step == 9:
        driver.write(Header.DEVICE_STATUS, 0, 4)
        bench.bring_up()
    elif step == 10:
        driver.write(Header.QUEUE_SEL, script.below(6), 4)
        driver.write(Header.QUEUE_ENABLE, script.byte() & 1, 2)
    else:
        bench.link.set_other_state(FRONTEND, State.ABSENT)
        bench.look()


def run(data: bytes) -> None:
    """One device, one driver."""
    script = Script(data)
    make = script.choose((disk, network, console, entropy))
    bench, request = make(script)
    try:
        bench.bring_up()
        while script.more:
            act(bench, request)
    finally:
        bench.close()
    assert IMAGE.stat().st_size == SECTORS * 512 if IMAGE.exists() else True, os.fspath(IMAGE)
