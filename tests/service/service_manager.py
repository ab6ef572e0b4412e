# SPDX-License-Identifier: MIT
"""What a service sees of systemd: sd_notify(3) with the descriptor store, and passed descriptors (sd_listen_fds(3)).

A stand-in: the real one wants a control group hierarchy of its own, which a test has no business to ask for.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from .running_service import PATIENCE

FIRST_DESCRIPTOR = 3
OUT_OF_THE_WAY = 500
MOST_AT_ONCE = 16


class ServiceManager:
    """Starts a service again and again, with everything that it stored and with one listening socket."""

    def __init__(self, folder: Path, listening: Path) -> None:
        self.stored: dict[str, int] = {}
        self.most = 1000
        """FileDescriptorStoreMax="""
        self.said: list[str] = []
        self.log = folder / "service.log"
        self._ready = Event()
        self._heard = Event()
        self._notify = folder / "notify"
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._receiver.bind(os.fspath(self._notify))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.parent.mkdir(exist_ok=True)
        self._listener.bind(os.fspath(listening))
        self._listener.listen()
        self._pid: int | None = None
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def start(self, config: Path) -> int:
        """Start ``serve`` and wait until it is ready; its process id."""
        files = [("web.socket", self._listener.fileno()), *self.stored.items()]
        numbers = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY) for _, number in files]
        passed = [(os.POSIX_SPAWN_DUP2, number, FIRST_DESCRIPTOR + place) for place, number in enumerate(numbers)]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": os.fspath(self._notify),
            "LISTEN_FDS": str(len(files)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in files),
        }
        # The process id is to be in its own environment.
        command = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"']
        command += [sys.executable, "-m", "ivshmem_virtio", "serve", str(config)]
        self._ready.clear()
        with self.log.open("ab") as log:
            to_log = [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
            self._pid = os.posix_spawn(command[0], command, environment, file_actions=[*to_log, *passed])
        for number in numbers:
            os.close(number)
        assert self._ready.wait(PATIENCE), self.log.read_text()
        return self._pid

    def end(self, number: int) -> int:
        """Send the service a signal and wait for its end; its exit status, negative for a signal."""
        assert self._pid is not None
        os.kill(self._pid, number)
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        self._hear_all()
        return os.waitstatus_to_exitcode(status)

    def _hear_all(self) -> None:
        """Return when everything that was sent until now has been noted."""
        self._heard.clear()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"HEARD=1", os.fspath(self._notify))
        assert self._heard.wait(PATIENCE)

    def _listen(self) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._receiver, 4096, MOST_AT_ONCE)
            except OSError:
                return
            if not data:
                return
            self._note(dict(line.split("=", 1) for line in data.decode().splitlines()), descriptors)

    def _note(self, message: dict[str, str], descriptors: list[int]) -> None:
        if "HEARD" in message:
            self._heard.set()
            return
        self.said += message
        if "FDSTORE" in message:
            assert message["FDPOLL"] == "0"
            if len(self.stored) < self.most:
                (self.stored[message["FDNAME"]],) = descriptors
                return
        if "FDSTOREREMOVE" in message and message["FDNAME"] in self.stored:
            os.close(self.stored.pop(message["FDNAME"]))
        if "READY" in message:
            assert message["MAINPID"] == str(self._pid)
            self._ready.set()
        # That of BARRIER, which tells the sender by being closed.
        for descriptor in descriptors:
            os.close(descriptor)

    def close(self) -> None:
        """End what is left, and give everything back."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                self.end(signal.SIGKILL)
        self._receiver.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._receiver.close()
        self._listener.close()
        for number in self.stored.values():
            os.close(number)
        self.stored.clear()
