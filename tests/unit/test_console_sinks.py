# SPDX-License-Identifier: MIT
"""The host ends of console ports, each against the real thing: terminals, sockets, files, standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.devices.console_file import FileSink
from ivshmem_virtio.devices.console_pty import PtySink
from ivshmem_virtio.devices.console_sink import BUFFER_BYTES, NullSink, Sink, SinkUnusable
from ivshmem_virtio.devices.console_socket import SocketSink
from ivshmem_virtio.devices.console_stdio import StdioSink


class User:
    """A port that reads everything it is offered."""

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.got = bytearray()
        self.changes: list[bool] = []
        self.sizes: list[tuple[int, int]] = []

    def input_ready(self) -> None:
        assert self.sink is not None
        room = bytearray(16)
        count = self.sink.read_into([memoryview(room)[:5], memoryview(room)[5:]])
        self.got += room[:count]

    def host_changed(self) -> None:
        assert self.sink is not None
        self.changes.append(self.sink.connected)

    def size_changed(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))


class Bench:
    """An event loop with one sink on it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.user = User()

    def open(self, sink: Sink) -> None:
        self.user.sink = sink
        sink.open(self.loop, self.user, "serial")

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            self.turn(0.005)

    def gather(self, fd: int, count: int) -> bytes:
        """Read ``fd`` as the sink writes to it."""
        got = bytearray()

        def enough() -> bool:
            got.extend(read_all(fd))
            return len(got) >= count

        self.until(enough)
        return bytes(got)

    def read_up_to(self, fd: int, end: bytes) -> None:
        """Read ``fd`` until what came ends so: the kernel passes it from one end of a terminal to the other later."""
        got = bytearray()

        def over() -> bool:
            got.extend(read_all(fd))
            return got.endswith(end)

        self.until(over)

    def turn(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    if bench.user.sink is not None:
        bench.user.sink.close()
    bench.loop.close()


def read_all(fd: int) -> bytes:
    got = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(fd, 1 << 16):
            got += piece
    return got


def open_terminal(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


# -- pty --------------------------------------------------------------------------------------------------------------


def test_pty_carries_bytes_unchanged_both_ways(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    terminal = open_terminal(sink.path)
    try:
        bench.until(lambda: sink.connected)
        every = bytes(range(256))
        sink.write(every)
        assert bench.gather(terminal, len(every)) == every
        sink.want_input(True)
        os.write(terminal, every)
        bench.until(lambda: len(bench.user.got) == 256)
        assert bytes(bench.user.got) == every
    finally:
        os.close(terminal)


def test_pty_notices_coming_and_going_and_keeps_what_was_said_meanwhile(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    assert not sink.connected
    sink.write(b"early ")
    for _ in range(2):
        sink.write(b"words")
        terminal = open_terminal(sink.path)
        bench.until(lambda: sink.connected)
        bench.read_up_to(terminal, b"words")
        os.close(terminal)
        bench.until(lambda: not sink.connected)
    assert bench.user.changes == [True, False, True, False]
    assert sink.dropped == 0


@pytest.mark.parametrize("wanted", [False, True])
def test_pty_does_not_spin_without_anybody(bench: Bench, wanted: bool) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    sink.want_input(wanted)
    os.close(open_terminal(sink.path))
    bench.turn(0.6)
    before = time.process_time()
    bench.turn(0.5)
    assert time.process_time() - before < 0.25


def test_pty_input_of_somebody_who_left_is_not_lost(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    terminal = open_terminal(sink.path)
    os.write(terminal, b"reboot\r")
    os.close(terminal)
    bench.turn(0.6)
    sink.want_input(True)
    bench.until(lambda: bench.user.got == b"reboot\r")
    bench.until(lambda: not sink.connected)


def test_pty_that_is_open_but_not_read_loses_the_oldest(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    terminal = open_terminal(sink.path)
    try:
        bench.until(lambda: sink.connected)
        text = b"".join(b"%07d\n" % i for i in range(3 * BUFFER_BYTES // 8))
        for start in range(0, len(text), 8000):
            sink.write(text[start : start + 8000])
        assert 0 < sink.dropped < len(text)
        got = bench.gather(terminal, len(text) - sink.dropped)
        assert text.endswith(got[-BUFFER_BYTES:])
        assert text.startswith(got[:1000])
    finally:
        os.close(terminal)


def test_pty_resize_is_told(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    terminal = open_terminal(sink.path)
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=HHHH", 50, 160, 0, 0))
        bench.until(lambda: bench.user.sizes == [(160, 50)])
    finally:
        os.close(terminal)


def test_pty_link(bench: Bench, tmp_path: Path) -> None:
    link = tmp_path / "console"
    link.symlink_to("/nowhere")  # left behind by a process that was killed
    sink = PtySink(str(link), history=True)
    bench.open(sink)
    assert os.readlink(link) == sink.path
    assert [entry.name for entry in tmp_path.iterdir()] == ["console"]
    sink.close()
    assert not link.is_symlink()


def test_pty_link_of_a_successor_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    link = tmp_path / "console"
    sink = PtySink(str(link), history=True)
    bench.open(sink)
    link.unlink()
    link.symlink_to("/dev/null")
    sink.close()
    assert os.readlink(link) == "/dev/null"


def test_pty_link_does_not_replace_a_file(bench: Bench, tmp_path: Path) -> None:
    link = tmp_path / "precious"
    link.write_text("data")
    with pytest.raises(SinkUnusable, match="no symbolic link"):
        bench.open(PtySink(str(link), history=True))
    with pytest.raises(SinkUnusable, match="No such file"):
        bench.open(PtySink(str(tmp_path / "no" / "folder"), history=True))
    assert link.read_text() == "data"


# -- socket -----------------------------------------------------------------------------------------------------------


def client_of(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.setblocking(False)
    return client


def test_socket_serves_one_client_after_the_other(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    sink.want_input(True)
    for _ in range(3):
        bench.user.got.clear()
        with client_of(path) as client:
            bench.until(lambda: sink.connected)
            client.send(b"question")
            bench.until(lambda: bench.user.got == b"question")
            sink.write(b"answer")
            assert client.recv(100) == b"answer"
        bench.until(lambda: not sink.connected)
    assert bench.user.changes == [True, False] * 3


def test_second_client_waits_for_the_first_to_leave(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    sink.want_input(True)
    with client_of(path) as first, client_of(path) as second:
        bench.until(lambda: sink.connected)
        sink.write(b"one")
        bench.turn(0.05)
        assert first.recv(100) == b"one"
        first.close()
        bench.until(lambda: bench.user.changes == [True, False, True])
        sink.write(b"two")
        assert second.recv(100) == b"two"


def test_client_that_stops_sending_still_receives(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    sink.want_input(True)
    with client_of(path) as client:
        client.send(b"question")
        client.shutdown(socket.SHUT_WR)
        bench.until(lambda: bench.user.got == b"question")
        bench.turn(0.4)
        sink.write(b"answer")
        assert client.recv(100) == b"answer"
    bench.until(lambda: not sink.connected)


def test_departure_is_noticed_without_reading(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    client_of(path).close()
    bench.until(lambda: bench.user.changes == [True, False])


def test_output_to_a_client_that_left_does_not_lose_its_input(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    with client_of(path) as client:
        bench.until(lambda: sink.connected)
        client.send(b"last words")
    sink.write(b"who is there?")
    sink.write(b"anybody?")
    assert sink.dropped == 21
    sink.want_input(True)
    bench.until(lambda: bench.user.got == b"last words")
    bench.until(lambda: not sink.connected)


def test_client_that_does_not_read_loses_the_oldest(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    sink = SocketSink(str(path), history=False)
    bench.open(sink)
    with client_of(path) as client:
        bench.until(lambda: sink.connected)
        text = os.urandom(3 * BUFFER_BYTES)
        for start in range(0, len(text), 10000):
            sink.write(text[start : start + 10000])
        assert 0 < sink.dropped < len(text)
        got = bench.gather(client.fileno(), len(text) - sink.dropped)
        assert text.endswith(got[-BUFFER_BYTES:])


def test_stale_socket_is_replaced_and_a_live_one_is_not(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    bench.open(SocketSink(str(path), history=False))
    with pytest.raises(SinkUnusable, match="another process listens"):
        SocketSink(str(path), history=False).open(bench.loop, bench.user, "serial")
    with client_of(path):
        bench.until(lambda: bench.user.changes[-1:] == [True])


def test_socket_is_removed_at_the_end(bench: Bench, tmp_path: Path) -> None:
    sink = SocketSink(str(tmp_path / "s"), history=False)
    bench.open(sink)
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"), [("precious", "no socket"), ("no/folder", "No such file"), ("x" * 200, "too long")]
)
def test_socket_path_that_cannot_be(bench: Bench, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(SinkUnusable, match=words) as error:
        bench.open(SocketSink(str(tmp_path / name), history=False))
    assert "\n" not in str(error.value)
    assert (tmp_path / "precious").read_text() == "data"


# -- file -------------------------------------------------------------------------------------------------------------


def test_file_is_appended_to(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"before\n")
    sink = FileSink(str(path), history=True)
    bench.open(sink)
    assert sink.connected
    sink.write(b"after\n")
    sink.want_input(True)
    assert sink.read_into([memoryview(bytearray(8))]) == 0
    assert path.read_bytes() == b"before\nafter\n"


def test_file_that_cannot_grow_drops_and_counts(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = FileSink(str(tmp_path / "console.log"), history=True)
    bench.open(sink)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        sink.write(bytes(60))
        sink.write(bytes(60))
        sink.write(bytes(60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sink.dropped == 80
    assert (tmp_path / "console.log").stat().st_size == 100
    sink.write(b"room again")
    assert (tmp_path / "console.log").stat().st_size == 110
    assert sum("File too large" in record.message for record in caplog.records) == 1


def test_file_that_cannot_be(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(SinkUnusable, match="Is a directory"):
        bench.open(FileSink(str(tmp_path), history=True))


def test_null_takes_everything(bench: Bench) -> None:
    sink = NullSink(history=False)
    bench.open(sink)
    sink.write(bytes(1 << 20))
    assert sink.connected
    assert sink.dropped == 0


# -- stdio ------------------------------------------------------------------------------------------------------------


def test_stdio_on_pipes(bench: Bench) -> None:
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    fds = [in_read, in_write, out_read, out_write]
    try:
        sink = StdioSink(history=True, input_fd=in_read, output_fd=out_write)
        bench.open(sink)
        sink.want_input(True)
        os.write(in_write, b"typed")
        bench.until(lambda: bench.user.got == b"typed")
        for _ in range(40):
            sink.write(bytes(BUFFER_BYTES // 16))
        assert sink.dropped > 0, "a pipe nobody reads must not stop us"
        assert os.get_blocking(out_write), "the descriptor we share with others keeps its mode"
        assert os.get_blocking(in_read)
        fds.remove(in_write)
        os.close(in_write)
        bench.turn(0.05)
        before = time.process_time()
        bench.turn(0.3)
        assert time.process_time() - before < 0.2, "the end of input must not keep us busy"
        assert sink.connected
    finally:
        for fd in fds:
            os.close(fd)


def test_stdio_on_a_terminal_takes_single_keys_and_gives_the_terminal_back(bench: Bench) -> None:
    master, slave = os.openpty()
    try:
        before = termios.tcgetattr(slave)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("=HHHH", 40, 120, 0, 0))
        sink = StdioSink(history=True, input_fd=slave, output_fd=slave)
        bench.open(sink)
        assert bench.user.sizes == [(120, 40)]
        sink.want_input(True)
        os.write(master, b"k\r")
        bench.until(lambda: bench.user.got == b"k\r")
        assert not select.select([master], [], [], 0.05)[0], "keys are not echoed here; the guest does that"
        sink.write(b"out")
        assert os.read(master, 100) == b"out"
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("=HHHH", 41, 121, 0, 0))
        bench.until(lambda: bench.user.sizes[-1] == (121, 41))
        sink.close()
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_stdio_redirected_to_files(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"ignored: a file cannot be waited for")
    (tmp_path / "out").write_bytes(b"kept ")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("ab") as target:
        sink = StdioSink(history=True, input_fd=source.fileno(), output_fd=target.fileno())
        bench.open(sink)
        sink.want_input(True)
        sink.write(b"and appended")
        bench.turn(0.05)
    assert (tmp_path / "out").read_bytes() == b"kept and appended"
    assert bench.user.got == b""


def test_raw_mode_survives_the_last_close(bench: Bench) -> None:
    sink = PtySink(history=True)
    bench.open(sink)
    os.close(open_terminal(sink.path))
    terminal = open_terminal(sink.path)
    try:
        assert not termios.tcgetattr(terminal)[tty.LFLAG] & (termios.ECHO | termios.ICANON)
    finally:
        os.close(terminal)
