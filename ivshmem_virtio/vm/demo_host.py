# SPDX-License-Identifier: MIT
"""The host's part of the demonstration: a disk image with known files, a web server, a client of a console."""

from __future__ import annotations

import functools
import hashlib
import random
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ivshmem_virtio.vm.errors import GuestTimeout, ToolMissing
from ivshmem_virtio.vm.packages import tool

_IMAGE_SIZE = "96M"
# Sizes around block and extent limits, and a few large ones: 24 MB in all.
_FILE_SIZES = (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 1 << 20, (3 << 20) + 17, 20 << 20)


def write_files(folder: Path, seed: int) -> dict[str, str]:
    """Fill ``folder`` with random files, some in folders; returns name -> SHA-256."""
    source = random.Random(seed)
    digests: dict[str, str] = {}
    for number, size in enumerate(_FILE_SIZES):
        name = f"{'deep/er/' * (number % 3)}file{number}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = source.randbytes(size)
        path.write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def make_image(image: Path, files: Path) -> None:
    """An ext4 image that holds ``files``, made without mounting anything. Raises ToolMissing."""
    command = [tool("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-d", str(files), str(image), _IMAGE_SIZE]
    _run(command)


def check_image(image: Path) -> str:
    """What e2fsck, told to change nothing, finds: "clean" or its words."""
    command = [tool("e2fsck", "e2fsprogs"), "-fn", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "clean" if done.returncode == 0 else f"status {done.returncode}: {' '.join(done.stdout.split())}"


def digest_in_image(image: Path, name: str, scratch: Path) -> str:
    """SHA-256 of file ``name`` of an unmounted ext4 image, "absent" when it is not there."""
    copy = scratch / "dump"
    copy.unlink(missing_ok=True)
    _run([tool("debugfs", "e2fsprogs"), "-R", f"dump /{name} {copy}", str(image)])
    return hashlib.sha256(copy.read_bytes()).hexdigest() if copy.exists() else "absent"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """Serve ``folder`` by HTTP on the host's loopback; yields the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def echo_lines(path: Path, lines: list[bytes], timeout: float) -> list[bytes]:
    """Send ``lines`` into the console socket at ``path`` and return as many lines as come back.

    Raises GuestTimeout when fewer come within ``timeout`` seconds.
    """
    outgoing = memoryview(b"".join(line + b"\n" for line in lines))
    incoming = bytearray()
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.setblocking(False)
        while incoming.count(b"\n") < len(lines):
            if time.monotonic() > deadline:
                came = incoming.count(b"\n")
                raise GuestTimeout(f"of {len(lines)} console lines {came} came back within {timeout:.0f} s")
            wanted = [connection] if outgoing else []
            readable, writable, _ = select.select([connection], wanted, [], 0.5)
            if writable:
                outgoing = outgoing[connection.send(outgoing[:4096]) :]
            if readable:
                data = connection.recv(1 << 16)
                if not data:
                    raise GuestTimeout("the console's socket was closed")
                incoming += data
    return bytes(incoming).split(b"\n")[: len(lines)]


def console_lines(count: int, seed: int) -> list[bytes]:
    """Numbered lines of printable text, of 10 to 200 bytes."""
    source = random.Random(seed)
    printable = bytes(range(0x20, 0x7F))
    return [b"%06d " % number + bytes(source.choices(printable, k=source.randint(3, 193))) for number in range(count)]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolMissing(f"{Path(command[0]).name} ended with status {done.returncode}: {done.stderr.strip()}")
