# SPDX-License-Identifier: MIT
"""A device that writes nonsense into every part of the ring: our driver side gives back only what it handed out."""

import hypothesis.strategies as st
from hypothesis import event, given, settings

from ivshmem_virtio import errors
from ivshmem_virtio.core import DriverQueue

from .guarded_window import GuardedWindow
from .split_model import USED_ELEM, Layout, ModelDriver, Segment

LENGTH = 0x4000
DESC_AT, DRIVER_AT, DEVICE_AT, TABLES_AT, BUFFERS_AT = 0x1000, 0x1800, 0x1A00, 0x1C00, 0x2000

guarded = GuardedWindow(LENGTH)
mirror = GuardedWindow(LENGTH)

small = st.integers(0, 3)


def segments_of(readable: int, writable: int) -> tuple[list[Segment], list[Segment]]:
    return [(BUFFERS_AT, 8)] * readable, [(BUFFERS_AT + 64, 8)] * (writable or not readable)


@settings(max_examples=600, deadline=None)
@given(
    order=st.integers(0, 4),
    index=st.sampled_from([0, 65533]),
    shapes=st.lists(st.tuples(small, small, st.booleans()), min_size=1, max_size=16),
    unpublished=st.integers(0, 2),
    ahead=st.one_of(st.integers(0, 3), st.integers(0, 17), st.integers(0, 0xFFFF)),
    used=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3), st.integers(0, 16), st.integers(0, 0xFFFFFFFF)),
            st.one_of(st.integers(0, 8), st.integers(0, 25), st.integers(0, 0xFFFFFFFF)),
        ),
        min_size=16,
        max_size=16,
    ),
)
def test_same_verdict_as_the_model(
    order: int,
    index: int,
    shapes: list[tuple[int, int, bool]],
    unpublished: int,
    ahead: int,
    used: list[tuple[int, int]],
) -> None:
    size = 1 << order
    places = (size, DESC_AT, DRIVER_AT, DEVICE_AT)
    # The model frees in another order than we do, so both have the same heads only before anything came back: one pass.
    model = ModelDriver(Layout(mirror.memory, *places, False, True), index)
    ours = DriverQueue(guarded.window, *places, event_idx=False, indirect=True, index=index)
    for token, (readable, writable, indirect) in enumerate(shapes):
        segments = segments_of(readable, writable)
        count = len(segments[0]) + len(segments[1])
        if count > size or model.free < (1 if indirect else count):
            continue
        table = TABLES_AT + 0x40 * token if indirect else None
        model.add(*segments, token, table)
        ours.add(*segments, token, table)
        if token + unpublished < len(shapes):
            model.publish()
            ours.publish()
    for memory in (mirror.memory, guarded.memory):
        for slot in range(size):
            USED_ELEM.pack_into(memory, DEVICE_AT + 4 + 8 * slot, *used[slot])
        memory[DEVICE_AT + 2 : DEVICE_AT + 4] = ((index + ahead) % 65536).to_bytes(2, "little")
    # Nothing that the device may have done to descriptors or available ring counts any more.
    guarded.memory[DESC_AT : DESC_AT + 16 * size] = b"\xff" * (16 * size)
    guarded.memory[DRIVER_AT : DRIVER_AT + 6 + 2 * size] = b"\xff" * (6 + 2 * size)
    while True:
        expected: object
        try:
            expected = model.get()
        except errors.RingViolation as violation:
            expected = type(violation)
        got: object
        try:
            got = ours.get()
        except errors.RingViolation as violation:
            got = type(violation)
        assert got == expected
        event(str(expected.__name__ if isinstance(expected, type) else "chain" if expected else "empty"))
        assert ours.free == model.free
        if expected is None or isinstance(expected, type):
            break
    assert ours.broken == isinstance(expected, type)
    guarded.check_canaries()


@settings(max_examples=500, deadline=None)
@given(
    st.integers(0, 4),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 0x3FF), st.integers(0, 255)), max_size=60),
)
def test_bytes_flipped_between_steps(order: int, event_idx: bool, steps: list[tuple[int, int, int]]) -> None:
    """Every token comes back at most once, descriptors are never lost or doubled, and only violations come out."""
    size = 1 << order
    queue = DriverQueue(guarded.window, size, DESC_AT, DRIVER_AT, DEVICE_AT, event_idx=event_idx, indirect=True)
    out: dict[int, int] = {}
    for token, (action, place, value) in enumerate(steps):
        guarded.memory[DESC_AT + place % 0xC00] = value
        try:
            if action < 2:
                count = 1 + place % 3
                if count <= size:
                    queue.add([(BUFFERS_AT, 8)] * count, [], token)
                    out[token] = count
            elif action == 2:
                queue.publish()
            elif action == 3:
                # A device that returns some head, perhaps a right one.
                slot = place % size
                USED_ELEM.pack_into(guarded.memory, DEVICE_AT + 4 + 8 * slot, value % (size + 1), 0)
                guarded.memory[DEVICE_AT + 2] = (guarded.memory[DEVICE_AT + 2] + 1) % 256
            elif (got := queue.get()) is not None:
                assert isinstance(got[0], int)
                del out[got[0]]
        except errors.RingFull:
            assert queue.free < 1 + place % 3
        except errors.RingViolation:
            assert queue.broken
        assert queue.free == size - sum(out.values())
    guarded.check_canaries()
