# SPDX-License-Identifier: MIT
import gc
import os
from collections.abc import Callable

import pytest

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def fd() -> int:
    descriptor = os.memfd_create("ivshmem-virtio-window")
    os.ftruncate(descriptor, 4 * PAGE)
    return descriptor


@pytest.fixture
def window(fd: int) -> Window:
    """The two pages in the middle; the descriptor is closed, which the mapping outlives."""
    mapped = Window(fd, PAGE, 2 * PAGE)
    os.close(fd)
    return mapped


def test_stores_land_in_the_file_little_endian(fd: int) -> None:
    window = Window(fd, PAGE, PAGE)
    window.store8(0, 0x01)
    window.store16(2, 0x0302)
    window.store32(4, 0x07060504)
    window.store64(8, 0x0F0E0D0C0B0A0908)
    assert os.pread(fd, 16, PAGE) == bytes.fromhex("01000203040506070809 0a0b0c0d0e0f".replace(" ", ""))
    os.pwrite(fd, bytes(range(16, 32)), PAGE)
    assert window.load8(1) == 0x11
    assert window.load16(2) == 0x1312
    assert window.load32(4) == 0x17161514
    assert window.load64(8) == 0x1F1E1D1C1B1A1918
    os.close(fd)


def test_the_last_byte_is_inside_and_the_next_is_not(window: Window) -> None:
    end = window.length
    assert end == 2 * PAGE
    accesses: list[tuple[int, Callable[[int], object]]] = [
        (1, window.load8), (2, window.load16), (4, window.load32), (8, window.load64),
        (1, lambda at: window.store8(at, 1)), (2, lambda at: window.store16(at, 1)),
        (4, lambda at: window.store32(at, 1)), (8, lambda at: window.store64(at, 1)),
        (4, lambda at: window.compare_exchange32(at, 0, 1)),
        (1, lambda at: window.read(at, 1)), (1, lambda at: window.write(at, b"x")),
        (1, lambda at: window.zero(at, 1)), (1, lambda at: window.view(at, 1)),
    ]  # fmt: skip
    for width, access in accesses:
        access(end - width)
        for outside in (end, (1 << 64) - width):
            with pytest.raises(OutsideWindow, match=f"a window of {end} bytes"):
                access(outside)


def test_a_length_that_would_overflow_is_outside(window: Window) -> None:
    with pytest.raises(OutsideWindow):
        window.read(16, (1 << 64) - 8)
    with pytest.raises(OutsideWindow):
        window.zero(window.length - 1, 2)
    assert window.read(window.length, 0) == b""


@pytest.mark.parametrize(("width", "offset"), [(16, 1), (32, 2), (64, 4)])
def test_words_are_naturally_aligned(window: Window, width: int, offset: int) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        getattr(window, f"load{width}")(offset)
    with pytest.raises(ValueError, match="not a multiple"):
        getattr(window, f"store{width}")(offset, 0)


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_a_value_too_large_is_no_store(window: Window, width: int) -> None:
    with pytest.raises(OverflowError):
        getattr(window, f"store{width}")(0, 1 << width)
    with pytest.raises(OverflowError):
        getattr(window, f"load{width}")(-1)
    assert window.load64(0) == 0


def test_compare_exchange_stores_only_over_what_was_expected(window: Window) -> None:
    assert window.compare_exchange32(8, 0, 5)
    assert not window.compare_exchange32(8, 0, 6)
    assert window.load32(8) == 5
    window.fence()


def test_read_write_zero(window: Window) -> None:
    window.write(3, b"abcdef")
    window.write(9, memoryview(b"ghi"))
    assert window.read(2, 11) == b"\0abcdefghi\0"
    window.zero(4, 2)
    assert window.read(3, 4) == b"a\0\0d"
    with pytest.raises(OutsideWindow):
        window.write(window.length - 2, b"abc")
    assert window.read(window.length - 2, 2) == b"\0\0"


def test_a_view_is_the_memory_itself(window: Window) -> None:
    view = window.view(16, 8)
    view[2:4] = b"hi"
    assert window.read(16, 8) == b"\0\0hi\0\0\0\0"
    source, sink = os.pipe()
    os.write(sink, b"12345678")
    assert os.readv(source, [view]) == 8
    assert window.read(16, 8) == b"12345678"
    os.close(source)
    os.close(sink)


def test_close_waits_for_views(window: Window) -> None:
    view = window.view(0, 4)
    part = view[1:2]
    view.release()
    with pytest.raises(BufferError, match="1 views"):
        window.close()
    part.release()
    window.close()
    window.close()
    with pytest.raises(ValueError, match="closed"):
        window.load8(0)
    with pytest.raises(ValueError, match="closed"):
        window.view(0, 1)


def test_a_view_outlives_every_other_reference(fd: int) -> None:
    view = Window(fd, 0, PAGE).view(0, 4)
    gc.collect()
    view[:] = b"live"
    assert os.pread(fd, 4, 0) == b"live"
    os.close(fd)


def test_read_only_windows_refuse_every_store(fd: int) -> None:
    window = Window(fd, 0, PAGE, writable=False)
    os.pwrite(fd, b"seen", 0)
    assert window.read(0, 4) == b"seen"
    assert not window.writable
    assert window.view(0, 4).readonly
    stores: list[Callable[[], object]] = [
        lambda: window.store8(0, 0), lambda: window.store16(0, 0), lambda: window.store32(0, 0),
        lambda: window.store64(0, 0), lambda: window.compare_exchange32(0, 0, 0), lambda: window.write(0, b""),
        lambda: window.zero(0, 1),
    ]  # fmt: skip
    for store in stores:
        with pytest.raises(TypeError, match="read-only"):
            store()
    os.close(fd)


@pytest.mark.parametrize(("offset", "length"), [(PAGE, 4 * PAGE), (0, 4 * PAGE + 1), (8 * PAGE, PAGE)])
def test_a_window_past_the_end_of_its_file(fd: int, offset: int, length: int) -> None:
    with pytest.raises(OutsideWindow, match=f"file of {4 * PAGE} bytes"):
        Window(fd, offset, length)
    os.close(fd)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, -1), (-PAGE, PAGE)])
def test_windows_that_make_no_sense(fd: int, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="has no length, or starts before its file"):
        Window(fd, offset, length)
    os.close(fd)


def test_the_system_has_the_last_word(fd: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        Window(fd, 100, PAGE)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Window(fd, 0, PAGE)


def test_something_without_a_size_is_mapped_unchecked() -> None:
    zero = os.open("/dev/zero", os.O_RDWR)
    window = Window(zero, 0, PAGE)
    window.store8(0, 7)
    assert window.load8(0) == 7
    os.close(zero)
