# SPDX-License-Identifier: MIT
"""Runs passt: user-mode networking for a guest, without privileges, behind a ``stream`` net device."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

from ivshmem_virtio.errors import IvshmemVirtioError

_STEP = 0.02
_SYSLOG_NOISE = "to syslog"
_NOT_A_REASON = ("Don't run as root",)


class PasstError(IvshmemVirtioError):
    """passt is missing, or ended before it listened."""


class Passt:
    """One passt process that listens on a unix stream socket.

    The guest's addresses are fixed and independent of the host's. The gateway stands for the host's loopback: what
    listens on 127.0.0.1 there is reached by the guest at the gateway's address. passt still needs one interface with a
    default route in its network namespace.

    ``forwards`` are passt's own port specifications, for example ``127.0.0.1/2222:22``. ``mtu`` is in bytes.
    """

    def __init__(
        self,
        *,
        address: str = "10.0.2.15",
        prefix: int = 24,
        gateway: str = "10.0.2.2",
        mtu: int = 1500,
        forwards: Sequence[str] = (),
        program: str = "passt",
    ) -> None:
        self.address = IPv4Address(address)
        self.prefix = prefix
        self.gateway = IPv4Address(gateway)
        self.mtu = mtu
        self.forwards = tuple(forwards)
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self._link: Path | None = None

    def start(self, socket: Path, *, timeout: float = 20.0) -> None:
        """Listen at ``socket`` within ``timeout`` seconds; raises PasstError."""
        program = shutil.which(self.program)
        if program is None:
            raise PasstError(f"{self.program}: program not found; install the package 'passt' or use another 'via'")
        if self._process is not None:
            raise PasstError(f"passt is running already for {self._link}; stop it first")
        home = self._home = _home_for_sockets()
        inner = home / "socket"
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *self._arguments(inner)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait(inner, timeout)
            _point(socket, inner)
        except BaseException:
            self.stop()
            raise
        self._link = socket

    def stop(self) -> None:
        """End the process and remove the socket; does nothing where none was started."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        link, self._link = self._link, None
        home, self._home = self._home, None
        if home is None:
            return
        if link is not None and link.is_symlink() and link.readlink().parent == home:
            link.unlink()
        shutil.rmtree(home, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the process started here is still alive."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Passt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _arguments(self, socket: Path) -> list[str]:
        arguments = ["--foreground", "--quiet", "--socket", str(socket), "--ipv4-only", "--mtu", str(self.mtu)]
        arguments += ["--address", str(self.address), "--netmask", str(self.prefix), "--gateway", str(self.gateway)]
        for forward in self.forwards:
            arguments += ["--tcp-ports", forward]
        return arguments

    def _wait(self, socket: Path, timeout: float) -> None:
        """passt reports a socket it could not bind as bound, so only the socket itself counts."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while not socket.exists():
            status = self._process.poll()
            if status is not None:
                raise PasstError(f"passt ended with status {status}: {self._reason()}")
            if time.monotonic() > deadline:
                raise PasstError(f"passt did not listen within {timeout:g} s: {self._reason()}")
            time.sleep(_STEP)

    def _reason(self) -> str:
        assert self._home is not None
        lines = (self._home / "log").read_text(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip() and _SYSLOG_NOISE not in line]
        told = [line for line in told if not line.startswith(_NOT_A_REASON)]
        return "; ".join(told[-3:]) or "it gave no reason"


def _home_for_sockets() -> Path:
    """A folder passt may bind in: run by root it becomes ``nobody``, whom a runtime folder keeps out."""
    home = Path(tempfile.mkdtemp(prefix="passt-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return home


def _point(link: Path, target: Path) -> None:
    """Replace what an earlier run left at ``link``; anything that is not a socket stays."""
    if link.is_symlink() or link.is_socket():
        link.unlink()
    try:
        link.symlink_to(target)
    except OSError as error:
        raise PasstError(f"{link}: cannot place passt's socket there: {error.strerror}") from error
