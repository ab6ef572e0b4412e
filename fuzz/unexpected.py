# SPDX-License-Identifier: MIT
"""What the package catches so that a service goes on, and would have to be told to its author nevertheless."""

from __future__ import annotations

import logging


class Unexpected(Exception):
    """An exception of an unexpected kind was caught and logged."""


class Planned(Exception):
    """What a device of the fuzzer raises on purpose."""


class FailOnTraceback(logging.Handler):
    """Raises what was logged with a traceback; everything else goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and self.caught is None and not isinstance(record.exc_info[1], Planned):
            self.caught = record.exc_info[1]
        record.getMessage()  # a message that cannot be put together is an error, too

    def check(self) -> None:
        """Raise what was caught since the last check."""
        caught, self.caught = self.caught, None
        if caught is not None:
            raise Unexpected(f"{type(caught).__name__}: {caught}") from caught


def fail_on_traceback() -> FailOnTraceback:
    """Listen to every logger of the package, in the place of whoever listened before."""
    handler = FailOnTraceback()
    logger = logging.getLogger("ivshmem_virtio")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    return handler
