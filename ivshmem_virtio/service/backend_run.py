# SPDX-License-Identifier: MIT
"""One life of a back-end process: started by this keeper, or by one before it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from ivshmem_virtio.service.channel import Channel

BACKEND_MODULE = "ivshmem_virtio.service.backend"
CHANNEL = "channel."
PIDFD = "pidfd."


class BackendRun:
    """The keeper's end of the channel, and a pidfd, which tells of the end also where the process is not our child."""

    def __init__(self, pid: int, pidfd: int, channel: Channel, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel
        self._child = child

    @classmethod
    def start(cls, *, verbose: bool, module: str = BACKEND_MODULE) -> BackendRun:
        """A new process; it says ``hello`` when it takes orders. Raises OSError."""
        near, far = Channel.pair()
        far.set_inheritable(True)
        command = [sys.executable, "-m", module, "--channel", str(far.fileno())]
        with far:
            # The terminal goes along: a console may be on it (via = "stdio").
            child = subprocess.Popen(command + ["--verbose"] * verbose, pass_fds=[far.fileno()])
        return cls(child.pid, os.pidfd_open(child.pid), near, child)

    @classmethod
    def adopt(cls, pid: int, pidfd: int, channel: int) -> BackendRun:
        """A process that an earlier keeper started; takes both descriptors."""
        return cls(pid, pidfd, Channel(socket.socket(fileno=channel)))

    def files(self) -> dict[str, int]:
        """Both descriptors by name. A name never stands for two processes: no two sockets have the same inode."""
        life = os.fstat(self.channel.fileno()).st_ino
        return {f"{CHANNEL}{life}": self.channel.fileno(), f"{PIDFD}{life}": self.pidfd}

    @property
    def ended(self) -> bool:
        """Whether the process is over, down to its last thread."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def spoke(self) -> bool:
        """Whether something, or the end, can be received from it without waiting."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """SIGKILL. The pidfd says when that has happened."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> int | None:
        """Wait for the end; the exit status, None where only an earlier keeper could be told."""
        if self._child is not None:
            return self._child.wait()
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()
        return None

    def close(self) -> None:
        """Let go of both descriptors."""
        self.channel.close()
        os.close(self.pidfd)
