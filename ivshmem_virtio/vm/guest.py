# SPDX-License-Identifier: MIT
"""A running test guest: QEMU as a child process, its kernel log in a file, its shell and monitor at hand."""

from __future__ import annotations

import base64
import shlex
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ivshmem_virtio.vm.control import ControlShell
from ivshmem_virtio.vm.errors import GuestTimeout, QemuFailed, VmError
from ivshmem_virtio.vm.parting import ends_with_us
from ivshmem_virtio.vm.qemu import escaped
from ivshmem_virtio.vm.qmp import Monitor

# The first serial port carries the kernel's console, the second is for control.sh.
# Linux panics when its first timer ticks are late by the cycle counter, as they are where the host is busy, unless it
# is told not to look ("IO-APIC + timer doesn't work"; under KVM it does not).
CONSOLE = "console=ttyS0 panic=1 no_timer_check"
# Stock kernels boot in 2 s under TCG on an idle machine.
_BOOT_SECONDS = 180.0
_CHUNK = 48 * 1024
# What an error shows of the kernel's log: enough for its last lines, not so much that they hide the error.
_LAST_LOG = 1500


class Guest:
    """One virtual machine. Use as a context manager, or call stop. It does not outlive the thread that started it."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, name: str = "guest", *, working_folder: Path | None = None
    ) -> None:
        """Start QEMU with ``arguments`` (see qemu.qemu_arguments, with CONSOLE appended to the kernel's command line).

        ``folder`` gets ``<name>.kernel.log`` and ``<name>.qemu.log``; ``working_folder`` is where relative paths in
        ``arguments`` start. Raises QemuFailed.
        """
        self.name = name
        self.kernel_log = folder / f"{name}.kernel.log"
        self._qemu_log = folder / f"{name}.qemu.log"
        control, its_control = socket.socketpair()
        monitor, its_monitor = socket.socketpair()
        with its_control, its_monitor, self._qemu_log.open("wb") as log:
            self._process = subprocess.Popen(
                [*ends_with_us("KILL"), *arguments, *self._channels(its_control.fileno(), its_monitor.fileno())],
                cwd=working_folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(its_control.fileno(), its_monitor.fileno()),
            )
        self.shell = ControlShell(control, self.check_alive)
        self._monitor: Monitor | None = None
        try:
            self._monitor = Monitor(monitor, name)
        except QemuFailed as error:
            self.kill()
            raise QemuFailed(f"QEMU did not start: {self._last_words() or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self._process.pid

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Wait, at most ``timeout`` seconds, until the guest takes commands: after the start and after each reboot."""
        self.shell.wait_ready(timeout)

    def run(self, command: str, timeout: float = 120) -> str:
        """What shell ``command`` prints in the guest, without the last newline; its standard input is empty.

        Raises CommandFailed on a non-zero status, GuestTimeout after ``timeout`` seconds, GuestRebooted, QemuFailed.
        """
        return self.run_bytes(command, timeout).decode("utf-8", "replace").removesuffix("\n")

    def run_bytes(self, command: str, timeout: float = 120) -> bytes:
        """As run, and byte for byte."""
        try:
            return self.shell.run(command, timeout)
        except GuestTimeout as late:
            # A note, since the message has to stay one line.
            late.add_note(f"the kernel's last lines:\n{self.last_kernel_lines()}")
            raise

    def put(self, path: str, data: bytes) -> None:
        """Write ``data`` to file ``path`` in the guest. For small files: it goes through a serial port."""
        target = shlex.quote(path)
        self.run(f": > {target}")
        for start in range(0, len(data), _CHUNK):
            part = base64.b64encode(data[start : start + _CHUNK]).decode()
            self.run(f"base64 -d >> {target} <<'end'\n{part}\nend")

    def get(self, path: str) -> bytes:
        """Content of file ``path`` in the guest."""
        return base64.b64decode(self.run_bytes(f"base64 {shlex.quote(path)}"))

    def last_kernel_lines(self) -> str:
        """The end of what the kernel has said, for an error; needs no answer of the guest."""
        return self.kernel_log.read_text("utf-8", "replace")[-_LAST_LOG:].strip()

    def dmesg(self) -> str:
        """The kernel's log as the guest has it now."""
        return self.run("dmesg")

    def monitor(self, command: str, **arguments: object) -> object:
        """Run a QMP command. Raises QemuFailed."""
        if self._monitor is None:
            raise QemuFailed(f"guest {self.name} has no monitor any more")
        return self._monitor.execute(command, arguments)

    def reset(self) -> None:
        """Press the reset button, and wait until the guest is back."""
        self.monitor("system_reset")
        self.wait_ready()

    def running(self) -> bool:
        """Whether QEMU is alive."""
        return self._process.poll() is None

    def check_alive(self) -> None:
        """Raise QemuFailed, with QEMU's last words, when it has ended."""
        status = self._process.poll()
        if status is not None:
            raise QemuFailed(
                f"QEMU of guest {self.name} ended with status {status}: {self._last_words() or 'no message'}"
            )

    def wait(self, timeout: float = 60) -> int:
        """Exit status of QEMU, which should end within ``timeout`` seconds. Raises QemuFailed when it does not."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise QemuFailed(f"QEMU of guest {self.name} did not end within {timeout:.0f} s") from error

    def power_off(self, timeout: float = 60) -> None:
        """Unmount, sync and power off from inside, and wait for QEMU to end."""
        self.shell.post("umount -a -r 2>/dev/null; sync; poweroff -f")
        self.wait(timeout)
        self._close()

    def stop(self) -> None:
        """End QEMU by its monitor, or by force when it does not answer; idempotent."""
        if self.running():
            try:
                self.monitor("quit")
                self.wait(20)
            except VmError:
                self._process.kill()
                self._process.wait()
        self._close()

    def kill(self) -> None:
        """End QEMU with SIGKILL, as the host's out-of-memory killer would; idempotent."""
        if self.running():
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self.shell.close()
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _channels(self, control: int, monitor: int) -> list[str]:
        log = escaped(str(self.kernel_log))
        return [
            *("-chardev", f"file,id=kernel-log,path={log}", "-device", "isa-serial,chardev=kernel-log,index=0"),
            *("-chardev", f"socket,id=control,fd={control}", "-device", "isa-serial,chardev=control,index=1"),
            *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        ]

    def _last_words(self) -> str:
        lines = self._qemu_log.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1].removeprefix("qemu-system-x86_64: ") if lines else ""
