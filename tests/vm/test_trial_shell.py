# SPDX-License-Identifier: MIT
"""``shell`` without a configuration, on a terminal as a user has it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.vm.kernel import Kernel

pytestmark = pytest.mark.newest_kernel

COMMAND = [sys.executable, "-m", "ivshmem_virtio", "shell", "--accel", "tcg"]


class Terminal:
    """A terminal with a program on it."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TMPDIR": str(folder), "TERM": "dumb"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
        )
        os.close(slave)
        self.seen = b""

    def wait_for(self, text: str, timeout: float = 180) -> None:
        """Read until ``text`` comes, and forget what came up to it."""
        deadline = time.monotonic() + timeout
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            readable, _, _ = select.select([self.master], [], [], 0.5)
            if readable:
                try:
                    self.seen += os.read(self.master, 4096)
                except OSError:
                    pytest.fail(f"ended before {text!r}: {self.seen!r}")
        self.seen = self.seen.partition(text.encode())[2]

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())


@pytest.fixture
def terminal(kernel: Kernel, module: Path) -> Iterator[Terminal]:
    # A short name, because sockets lie below, and open, because passt started by root becomes another user.
    folder = Path(tempfile.mkdtemp(prefix="ivv."))
    folder.chmod(0o755)
    made = Terminal([*COMMAND, "--kernel", kernel.series], folder)
    yield made
    ended = made.process.poll() is not None
    made.process.kill()
    made.process.wait()
    os.close(made.master)
    left = [path.name for path in folder.iterdir()]
    shutil.rmtree(folder)
    if ended:
        assert left == [], "the shell left something behind"


def test_keys_go_through_the_window(terminal: Terminal) -> None:
    terminal.wait_for("~ # ")
    terminal.type("tty; cat /mnt/hello\n")
    terminal.wait_for("\n/dev/hvc0")
    terminal.wait_for("put on the disk by the host")
    # While it edits a line the shell takes control-C for a key: wait until the command runs.
    terminal.type("echo be''gun; sleep 1000\n")
    terminal.wait_for("begun")
    terminal.type("\x03")
    terminal.wait_for("# ")
    terminal.type("echo $((6 * 7))\n")
    terminal.wait_for("\n42")
    terminal.type("poweroff -f\n")
    assert terminal.process.wait(60) == 0


def test_it_can_be_left_and_hung_up(terminal: Terminal, kernel: Kernel) -> None:
    terminal.wait_for("~ # ")
    if kernel.series == "6.1":
        terminal.type("\x1d")
        assert terminal.process.wait(60) == 0
    else:
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.process.wait(60) == 130
