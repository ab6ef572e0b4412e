# SPDX-License-Identifier: MIT
"""How a service says that it is ready, and that it stops: to systemd, and by a pid file that appears only then."""

from __future__ import annotations

import os
from pathlib import Path

import sdnotify


class Readiness:
    """READY for whoever waits: a pid file if one is asked for, sd_notify if systemd started us."""

    def __init__(self, pidfile: Path | None) -> None:
        self._pidfile = pidfile
        self._systemd = sdnotify.SystemdNotifier()

    def ready(self, text: str) -> None:
        """Guests may start now."""
        if self._pidfile is not None:
            fresh = self._pidfile.with_name(self._pidfile.name + ".new")
            fresh.write_text(f"{os.getpid()}\n")
            fresh.replace(self._pidfile)
        # After a take-over the main process is another one than systemd started.
        self._systemd.notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={text}")

    def leaving(self) -> None:
        """Another process goes on with everything, and says so itself."""
        if self._pidfile is not None and self._pidfile.exists() and self._pidfile.read_text() == f"{os.getpid()}\n":
            self._pidfile.unlink()

    def stopping(self) -> None:
        """Guests are about to lose their devices."""
        self._systemd.notify("STOPPING=1")
        if self._pidfile is not None:
            self._pidfile.unlink(missing_ok=True)
