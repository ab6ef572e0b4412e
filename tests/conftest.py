# SPDX-License-Identifier: MIT
"""What every test starts from."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Take SIGINT back: a job that a shell starts in the background ignores it, and so would every child of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
