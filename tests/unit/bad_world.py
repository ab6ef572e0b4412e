# SPDX-License-Identifier: MIT
"""A place where everything is in order, for a bad-input case to spoil one thing; cleans up after it."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.memory.region import Region
from tests.peers.running_service import RunningService
from tests.unit.service_file import ServiceFile

SECONDS = 60.0
ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
"""Root without the power to pass over file modes."""
UPLINK = '  [[guest.device]]\n  type = "net"\n  name = "uplink"\n  via = { stream = "passt.sock" }\n\n'


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    complaints: list[str]
    log: list[str]

    @classmethod
    def of(cls, status: int, output: str, errors: str) -> Outcome:
        """Log lines (``I ivshmem_virtio.keeper: ...``) are told from everything else on standard error."""
        lines = errors.splitlines()
        log = [line for line in lines if line[1:].startswith(" ivshmem_virtio.") and line[0] in "DIWEC"]
        return cls(status, output, [line for line in lines if line not in log], log)


class BadWorld:
    """A good configuration without network, in a folder that other users may enter."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="iv-bad-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.file = ServiceFile(self.folder)
        self.file.replace(UPLINK, "")
        self.config = str(self.file.path)
        self.region_path = Path(f"/dev/shm/{self.file.name}.web")
        self.socket = self.folder / "x.sock"

    def close(self) -> None:
        self._stack.close()

    # -- ways to spoil things -----------------------------------------------------------------------------------------

    def change(self, old: str, new: str) -> BadWorld:
        self.file.replace(old, new)
        return self

    def add(self, text: str) -> BadWorld:
        self.file.append(text)
        return self

    def use_socket(self) -> BadWorld:
        """Let the guest's socket be ``self.socket``."""
        return self.change("vectors = 32", 'socket = "x.sock"')

    def add_device(self, text: str) -> BadWorld:
        return self.add(f"\n  [[guest.device]]\n  {text}\n")

    def lock_image(self) -> None:
        """Use the image elsewhere, as another back-end would."""
        image = self._stack.enter_context(self.file.image.open("rb"))
        fcntl.flock(image, fcntl.LOCK_EX)

    def folder_in_shm(self) -> None:
        """Put a folder where the region would be."""
        self.region_path.mkdir()
        self._stack.callback(self.region_path.rmdir)

    def leave_in_shm(self, content: bytes, mode: int = 0o600) -> None:
        """Put a file where the region would be."""
        self.region_path.write_bytes(content)
        self.region_path.chmod(mode)
        self._stack.callback(self.region_path.unlink, missing_ok=True)

    def keep_region(self, size: int) -> None:
        """Keep the region of this name in this process, with another size."""
        region = Region.create(self.region_path.name, size)
        self._stack.callback(region.close)
        self._stack.callback(region.unlink)

    def start_service(self) -> None:
        self._stack.enter_context(RunningService(self.file.path))

    def start_server(self, *options: str) -> None:
        """``ivshmem-virtio server`` on ``self.socket``."""
        command = [sys.executable, "-m", "ivshmem_virtio", "server", "-S", str(self.socket), *options]
        process = subprocess.Popen(
            [*command, "-M", f"{self.file.name}.foreign"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        self._stack.callback(process.stdout.close)
        self._stack.callback(process.wait, SECONDS)
        self._stack.callback(process.terminate)
        while not self.socket.exists():
            assert process.poll() is None, process.stdout.read()

    def listen(self, greeting: bytes) -> None:
        """Somebody else's server: says ``greeting`` to whoever connects, then hangs up."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(listener.close)
        # A thread that waits in accept() is only woken by this.
        self._stack.callback(listener.shutdown, socket.SHUT_RDWR)

    # -- the command --------------------------------------------------------------------------------------------------

    def run(self, arguments: list[str], *, ordinary: bool) -> Outcome:
        """Run ``ivshmem-virtio`` in a process of its own; it has to end by itself. ``ordinary``: file modes count."""
        prefix = ORDINARY if ordinary and os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "ivshmem_virtio", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Outcome.of(done.returncode, done.stdout, done.stderr)


Spoil = Callable[[BadWorld], object]
