# SPDX-License-Identifier: MIT
import os

import pytest

from ivshmem_virtio import errors
from ivshmem_virtio.core import Chain, DeviceQueue, Window

from .split_rig import BUFFER, DESC, DEVICE, DRIVER, INDIRECT, LENGTH, NEXT, TABLE, WRITE, RawRing, memory_window


def popped(queue: DeviceQueue) -> Chain:
    chain = queue.pop()
    assert chain is not None
    return chain


def three_and_two(ring: RawRing) -> None:
    """Readable abc, defg, h; writable 3 and 5 bytes; scattered over the table."""
    for index, address, data, following in ((4, 0, b"abc", 2), (2, 16, b"defg", 7), (7, 32, b"h", 0)):
        ring.window.write(BUFFER + address, data)
        ring.descriptor(index, BUFFER + address, len(data), NEXT, following)
    ring.descriptor(0, BUFFER + 64, 3, NEXT | WRITE, 1)
    ring.descriptor(1, BUFFER + 80, 5, WRITE)
    ring.make_available(4)


def test_an_empty_ring() -> None:
    queue = RawRing().device()
    assert queue.pop() is None
    assert queue.pending() == 0
    assert not queue.publish()
    assert queue.size == 8


def test_a_chain_over_several_descriptors() -> None:
    ring = RawRing()
    queue = ring.device()
    three_and_two(ring)
    assert queue.pending() == 1
    chain = popped(queue)
    assert queue.pending() == 0
    assert chain.head == 4
    assert chain.table is None
    assert chain.readable == [(BUFFER, 3), (BUFFER + 16, 4), (BUFFER + 32, 1)]
    assert chain.writable == [(BUFFER + 64, 3), (BUFFER + 80, 5)]
    assert (chain.readable_length, chain.writable_length) == (8, 8)
    assert chain.read(0, 8) == b"abcdefgh"
    assert chain.read(2, 3) == b"cde"
    assert chain.read(7, 100) == b"h"
    assert chain.read(8, 1) == chain.read(1 << 63, 1) == b""
    assert chain.write(2, b"XY") == 2
    assert chain.write(4, b"12345") == 4
    assert chain.write(8, b"gone") == 0
    assert ring.window.read(BUFFER + 64, 4) == b"\0\0X\0"
    assert ring.window.read(BUFFER + 80, 6) == b"Y1234\0"


def test_views_serve_vectored_io() -> None:
    ring = RawRing()
    queue = ring.device()
    three_and_two(ring)
    chain = popped(queue)
    file = os.memfd_create("ivshmem-virtio-io")
    assert os.pwritev(file, chain.readable_views(), 0) == 8
    assert os.pread(file, 100, 0) == b"abcdefgh"
    assert [bytes(view) for view in chain.readable_views(1, 3)] == [b"bc", b"d"]
    assert all(view.readonly for view in chain.readable_views())
    assert os.preadv(file, chain.writable_views(1, 4), 0) == 4
    assert ring.window.read(BUFFER + 64, 3) == b"\0ab"
    assert ring.window.read(BUFFER + 80, 3) == b"cd\0"
    assert chain.writable_views(8) == chain.readable_views(0, 0) == []
    os.close(file)


def test_a_table_and_the_direct_part_before_it() -> None:
    ring = RawRing()
    queue = ring.device()
    ring.window.write(BUFFER, b"direct")
    ring.descriptor(6, BUFFER, 6, NEXT, 3)
    ring.descriptor(3, TABLE, 64, INDIRECT | WRITE)  # WRITE means nothing here
    ring.descriptor(0, BUFFER + 6, 2, NEXT, 2, table=TABLE)
    ring.descriptor(2, BUFFER + 32, 7, WRITE, 0xFFFF, table=TABLE)
    ring.make_available(6)
    chain = popped(queue)
    assert chain.readable == [(BUFFER, 6), (BUFFER + 6, 2)]
    assert chain.writable == [(BUFFER + 32, 7)]
    assert chain.table == (TABLE, 64)
    assert (queue.desc, queue.driver, queue.device) == (DESC, DRIVER, DEVICE)


def test_a_chain_as_long_as_the_queue() -> None:
    ring = RawRing()
    queue = ring.device()
    for index in range(8):
        ring.descriptor(index, BUFFER + index, 1, NEXT if index < 7 else 0, index + 1)
        ring.descriptor(index, BUFFER + index, 1, NEXT if index < 7 else 0, index + 1, table=TABLE)
    ring.make_available(0)
    first = popped(queue)
    assert len(first.readable) == 8
    queue.push(first, 0)
    ring.descriptor(0, TABLE, 128, INDIRECT)
    ring.make_available(0)
    assert len(popped(queue).readable) == 8


def test_a_table_may_start_anywhere_and_end_with_the_window() -> None:
    ring = RawRing()
    queue = ring.device()
    place = LENGTH - 35
    ring.descriptor(0, place, 32, INDIRECT)
    ring.descriptor(0, BUFFER, 1, NEXT, 1, table=place)
    ring.descriptor(1, LENGTH - 3, 3, WRITE, table=place)
    ring.make_available(0)
    assert popped(queue).writable == [(LENGTH - 3, 3)]


def test_empty_descriptors_hold_nothing() -> None:
    ring = RawRing()
    queue = ring.device()
    ring.descriptor(0, 1 << 60, 0, NEXT, 1)
    ring.descriptor(1, BUFFER, 4, WRITE | NEXT, 2)
    ring.descriptor(2, 0, 0, WRITE)
    ring.descriptor(3, 0, 0)
    ring.make_available(0, 3)
    chain = popped(queue)
    assert (chain.readable, chain.writable) == ([], [(BUFFER, 4)])
    nothing = popped(queue)
    assert nothing.readable == nothing.writable == []
    assert nothing.read(0, 1) == b""
    queue.push(nothing, 0)


def test_completion_in_any_order_shows_with_publish() -> None:
    ring = RawRing()
    queue = ring.device()
    for index in range(3):
        ring.descriptor(index, BUFFER + 16 * index, 16, WRITE)
    ring.make_available(0, 1, 2)
    chains = [popped(queue) for _ in range(3)]
    assert queue.in_flight == 3
    queue.push(chains[2], 12)
    queue.push(chains[0], 0)
    assert ring.used_index == 0
    assert queue.index == 2
    assert queue.publish()
    assert ring.used_index == 2
    assert (ring.used(0), ring.used(1)) == ((2, 12), (0, 0))
    assert queue.in_flight == 1
    assert not queue.publish()
    assert (queue.chains, queue.bytes) == (3, 12)
    assert (queue.notifications_wanted, queue.notifications_suppressed) == (1, 0)


def test_what_must_not_be_pushed() -> None:
    ring, other = RawRing(), RawRing()
    queue, stranger = ring.device(), other.device()
    for each in (ring, other):
        each.descriptor(0, BUFFER, 4, WRITE)
        each.make_available(0)
    chain, foreign = popped(queue), popped(stranger)
    with pytest.raises(ValueError, match="another queue"):
        queue.push(foreign, 0)
    for written in (5, -1, 1 << 40):
        with pytest.raises(ValueError, match="4 writable ones"):
            queue.push(chain, written)
    queue.push(chain, 4)
    with pytest.raises(ValueError, match="already pushed"):
        queue.push(chain, 4)
    assert queue.index == 1


def test_a_pushed_chain_is_the_drivers() -> None:
    ring = RawRing()
    queue = ring.device()
    three_and_two(ring)
    chain = popped(queue)
    queue.push(chain, 0)
    for use in (
        lambda: chain.read(0, 1),
        lambda: chain.write(0, b"x"),
        chain.readable_views,
        chain.writable_views,
    ):
        with pytest.raises(ValueError, match="belongs to the driver"):
            use()
    with pytest.raises(TypeError, match=r"come from DeviceQueue\.pop"):
        Chain()


def test_flags_ask_for_silence() -> None:
    ring = RawRing()
    queue = ring.device()
    for index in range(3):
        ring.descriptor(index, BUFFER, 4)
    ring.window.store16(DRIVER, 1)
    ring.make_available(0)
    queue.push(popped(queue), 0)
    assert not queue.publish()
    ring.window.store16(DRIVER, 0)
    ring.make_available(1)
    queue.push(popped(queue), 0)
    assert queue.publish()
    queue.disable_notifications()
    assert ring.window.load16(DEVICE) == 1
    ring.make_available(2)
    assert queue.enable_notifications()
    assert ring.window.load16(DEVICE) == 0
    popped(queue)
    assert not queue.enable_notifications()


def test_the_event_index_leaves_the_flags_zero() -> None:
    ring = RawRing()
    queue = ring.device(event_idx=True, index=65535)
    ring.added = 65535
    ring.make_available()
    avail_event = DEVICE + 4 + 8 * 8
    ring.descriptor(0, BUFFER, 4)
    assert not queue.enable_notifications()
    assert ring.window.load16(avail_event) == 65535
    ring.make_available(0)
    queue.disable_notifications()
    popped(queue)
    assert not queue.enable_notifications()
    assert ring.window.load16(avail_event) == 0
    assert ring.window.load16(DEVICE) == 0


@pytest.mark.parametrize("size", [0, 3, 65536, -8, 32769])
def test_sizes_that_are_none(size: int) -> None:
    with pytest.raises(errors.RingSizeInvalid, match=f"queue size {size} "):
        DeviceQueue(memory_window(), size, DESC, DRIVER, DEVICE, event_idx=False, indirect=False)


@pytest.mark.parametrize(
    ("desc", "driver", "device", "words"),
    [
        (DESC + 8, DRIVER, DEVICE, "descriptor table at 0x1008 is not a multiple of 16"),
        (DESC, DRIVER + 1, DEVICE, "available ring at 0x2001 is not a multiple of 2"),
        (DESC, DRIVER, DEVICE + 2, "used ring at 0x3002 is not a multiple of 4"),
        (LENGTH - 112, DRIVER, DEVICE, "descriptor table of 128 bytes at 0xff90 does not lie in a window of 65536"),
        (DESC, LENGTH - 20, DEVICE, "available ring of 22 bytes at 0xffec does not lie"),
        (DESC, DRIVER, LENGTH - 68, "used ring of 70 bytes at 0xffbc does not lie"),
        ((1 << 64) - 16, DRIVER, DEVICE, "does not lie"),
        (0, DRIVER, DEVICE, "descriptor table at 0x0 lies over the registers, which end at 0x1000"),
        (DESC, 0xFFE, DEVICE, "available ring at 0xffe lies over the registers"),
        (DESC, DRIVER, 0xFFC, "used ring at 0xffc lies over the registers"),
    ],
)
def test_addresses_that_are_refused(desc: int, driver: int, device: int, words: str) -> None:
    with pytest.raises(errors.RingAddressInvalid, match=words):
        DeviceQueue(memory_window(), 8, desc, driver, device, event_idx=False, indirect=False, minimum=0x1000)


def test_rings_may_end_with_the_window() -> None:
    for desc, driver, device in (
        (LENGTH - 128, DRIVER, DEVICE), (DESC, LENGTH - 22, DEVICE), (DESC, DRIVER, LENGTH - 72),
    ):  # fmt: skip
        assert DeviceQueue(memory_window(), 8, desc, driver, device, event_idx=True, indirect=False).pop() is None


def test_programming_errors() -> None:
    window = memory_window()
    with pytest.raises(ValueError, match="65536 does not fit"):
        DeviceQueue(window, 8, DESC, DRIVER, DEVICE, event_idx=True, indirect=True, index=65536)
    file = os.memfd_create("ivshmem-virtio-read-only")
    os.ftruncate(file, LENGTH)
    with pytest.raises(TypeError, match="writable"):
        DeviceQueue(Window(file, 0, LENGTH, writable=False), 8, DESC, DRIVER, DEVICE, event_idx=True, indirect=True)
    os.close(file)


def test_a_closed_window_ends_everything() -> None:
    ring = RawRing()
    queue = ring.device()
    ring.descriptor(0, BUFFER, 4, WRITE)
    ring.make_available(0)
    chain = popped(queue)
    ring.window.close()
    for use in (
        queue.pop,
        queue.publish,
        queue.pending,
        queue.enable_notifications,
        queue.disable_notifications,
        lambda: queue.push(chain, 0),
        lambda: chain.read(0, 1),
        lambda: chain.write(0, b"x"),
        lambda: ring.device(),
        lambda: ring.driver(),
    ):
        with pytest.raises(ValueError, match="the window is closed"):
            use()


def test_views_of_a_chain_keep_the_window() -> None:
    ring = RawRing()
    queue = ring.device()
    three_and_two(ring)
    views = popped(queue).writable_views()
    with pytest.raises(BufferError):
        ring.window.close()
    del queue
    views[0][:] = b"abc"
    assert ring.window.read(BUFFER + 64, 3) == b"abc"
