# SPDX-License-Identifier: MIT
"""Random conversations over a ring: each of our halves with the model's other half, and both of ours together."""

from dataclasses import dataclass
from typing import ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ivshmem_virtio.core import Window

from .guarded_window import GuardedWindow
from .sides import DeviceSide, DriverSide, OurDevice, OurDriver, TheModelDevice, TheModelDriver, ThePackedModelDriver
from .split_model import Layout, Segment

DESC, DRIVER, DEVICE = 0x1000, 0x1800, 0x2000
BUFFERS, BUFFERS_END = 0x3000, 0x20000
ROOM = 0x800  # one chain: at most 16 segments of at most 64 bytes, then its indirect table
TABLE = 16 * 64
PACKED_SIZES = (1, 2, 3, 7, 16)

# One window for all examples: every chain fills and checks its own part anew.
guarded = GuardedWindow(BUFFERS_END)

lengths = st.lists(st.integers(1, 64), max_size=8)
start_indices = st.one_of(st.just(0), st.integers(65500, 65535), st.integers(32750, 32770))


@dataclass
class Sent:
    """One chain, as the test knows it."""

    number: int
    readable: list[Segment]
    writable: list[Segment]
    content: bytes
    answer: bytes | None = None
    written: int = 0

    @property
    def capacity(self) -> int:
        return sum(length for _, length in self.writable)


def content_of(segments: list[Segment]) -> bytes:
    return b"".join(bytes(guarded.memory[offset : offset + length]) for offset, length in segments)


def put(segments: list[Segment], data: bytes) -> None:
    for offset, length in segments:
        part, data = data[:length], data[length:]
        guarded.memory[offset : offset + len(part)] = part


class Conversation(RuleBasedStateMachine):
    """Keeps its own plain record of what was sent, and compares what either side says with it."""

    packed: ClassVar = False
    driver_side: ClassVar[type[OurDriver] | type[TheModelDriver] | type[ThePackedModelDriver]]
    device_side: ClassVar[type[OurDevice] | type[TheModelDevice]]

    @initialize(order=st.integers(0, 4), event_idx=st.booleans(), indirect=st.booleans(), index=start_indices)
    def set_up(self, order: int, event_idx: bool, indirect: bool, index: int) -> None:
        window: Window = guarded.window
        size = PACKED_SIZES[order] if self.packed else 1 << order
        layout = Layout(guarded.memory, size, DESC, DRIVER, DEVICE, event_idx, indirect, DESC, self.packed)
        self.layout = layout
        self.driver: DriverSide = self.driver_side(window, layout, index)
        self.device: DeviceSide = self.device_side(window, layout, index)
        self.rooms = list(range(BUFFERS, BUFFERS_END, ROOM))
        self.count = 0
        self.added: list[Sent] = []
        self.published: list[Sent] = []
        self.held: dict[int, Sent] = {}
        self.pushed: list[Sent] = []
        self.used: list[Sent] = []
        # Whether the other side asked, and found nothing waiting: then the next thing published has to be announced.
        self.device_asked = self.driver_asked = False
        self.device_declined = self.driver_declined = False

    @rule(readable=lengths, writable=lengths, table=st.booleans(), filler=st.integers(0, 255))
    def add(self, readable: list[int], writable: list[int], table: bool, filler: int) -> None:
        count = len(readable) + len(writable)
        table = table and self.layout.indirect
        if not 0 < count <= self.layout.size or self.driver.free < (1 if table else count) or not self.rooms:
            return
        room = self.rooms.pop(0)
        places = [room + 64 * i for i in range(count)]
        segments = list(zip(places, readable + writable, strict=True))
        sent = Sent(self.count, segments[: len(readable)], segments[len(readable) :], b"")
        sent.content = bytes((filler + i) % 256 for i in range(sum(readable)))
        guarded.memory[room : room + ROOM] = b"\xa5" * ROOM
        put(sent.readable, sent.content)
        self.driver.add(sent.readable, sent.writable, (sent.number, room), room + TABLE if table else None)
        self.count += 1
        self.added.append(sent)

    @rule()
    def publish_added(self) -> None:
        wanted = self.driver.publish()
        if self.added:
            assert wanted or not self.device_asked
            assert not (wanted and self.device_declined)
            self.device_asked = self.device_asked and not self.layout.event_idx
        else:
            assert not wanted
        self.published += self.added
        self.added = []

    @rule()
    def pop(self) -> None:
        popped = self.device.pop()
        assert (popped is None) == (not self.published)
        if popped is None:
            return
        head, readable, writable = popped
        sent = self.published.pop(0)
        assert (readable, writable) == (sent.readable, sent.writable)
        assert content_of(readable) == sent.content
        self.held[head] = sent

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def push(self, data: st.DataObject) -> None:
        head = data.draw(st.sampled_from(sorted(self.held)))
        sent = self.held.pop(head)
        sent.written = data.draw(st.integers(0, sent.capacity))
        sent.answer = bytes((sent.number * 7 + i) % 256 for i in range(sent.written))
        put(sent.writable, sent.answer)
        self.device.push(head, sent.written)
        self.pushed.append(sent)

    @rule()
    def publish_used(self) -> None:
        wanted = self.device.publish()
        if self.pushed:
            assert wanted or not self.driver_asked
            assert not (wanted and self.driver_declined)
            self.driver_asked = self.driver_asked and not self.layout.event_idx
        else:
            assert not wanted
        self.used += self.pushed
        self.pushed = []

    @rule()
    def get(self) -> None:
        got = self.driver.get()
        assert (got is None) == (not self.used)
        if got is None:
            return
        sent = self.used.pop(0)
        token, written = got
        assert isinstance(token, tuple)
        assert (token[0], written) == (sent.number, sent.written)
        assert content_of(sent.writable)[:written] == sent.answer
        assert set(content_of(sent.writable)[written:]) <= {0xA5}
        assert content_of(sent.readable) == sent.content
        self.rooms.append(token[1])

    @rule()
    def enable_notifications(self) -> None:
        waiting = self.device.enable()
        assert waiting == bool(self.published)
        self.device_asked, self.device_declined = not waiting, False

    @rule()
    def disable_notifications(self) -> None:
        # With the event index this is only a wish for later: an event already asked for may still come.
        self.device.disable()
        self.device_asked = False
        self.device_declined = not self.layout.event_idx

    @rule()
    def enable_callbacks(self) -> None:
        waiting = self.driver.enable()
        assert waiting == bool(self.used)
        self.driver_asked, self.driver_declined = not waiting, False

    @rule()
    def disable_callbacks(self) -> None:
        self.driver.disable()
        self.driver_asked = False
        # An event index behind everything the device has not shown yet; what it shows without our looking passes by.
        self.driver_declined = not self.layout.event_idx or not self.used

    @invariant()
    def pending_is_what_was_published(self) -> None:
        if hasattr(self, "published"):
            waiting = len(self.published)
            # How many chains a packed ring holds would take a walk.
            assert self.device.pending() == (min(waiting, 1) if self.packed else waiting)

    def teardown(self) -> None:
        guarded.check_canaries()


class OurDriverModelDevice(Conversation):
    driver_side = OurDriver
    device_side = TheModelDevice


class ModelDriverOurDevice(Conversation):
    driver_side = TheModelDriver
    device_side = OurDevice


class OurDriverOurDevice(Conversation):
    driver_side = OurDriver
    device_side = OurDevice


effort = settings(max_examples=150, stateful_step_count=80, deadline=None)
TestOurDriverModelDevice = OurDriverModelDevice.TestCase
TestModelDriverOurDevice = ModelDriverOurDevice.TestCase
TestOurDriverOurDevice = OurDriverOurDevice.TestCase
TestOurDriverModelDevice.settings = effort
TestModelDriverOurDevice.settings = effort
TestOurDriverOurDevice.settings = effort


class OurPackedDriverModelDevice(OurDriverModelDevice):
    packed = True


class PackedModelDriverOurDevice(Conversation):
    packed = True
    driver_side = ThePackedModelDriver
    device_side = OurDevice


class OurPackedDriverOurDevice(OurDriverOurDevice):
    packed = True


TestOurPackedDriverModelDevice = OurPackedDriverModelDevice.TestCase
TestPackedModelDriverOurDevice = PackedModelDriverOurDevice.TestCase
TestOurPackedDriverOurDevice = OurPackedDriverOurDevice.TestCase
few = settings(max_examples=60, stateful_step_count=80, deadline=None)
TestOurPackedDriverModelDevice.settings = few
TestPackedModelDriverOurDevice.settings = few
TestOurPackedDriverOurDevice.settings = few
