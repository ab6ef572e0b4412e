# SPDX-License-Identifier: MIT
"""One event loop for all inputs, turned by hand, with a clock set by hand: nothing waits."""

from __future__ import annotations

import asyncio
from typing import Any


class HandLoop(asyncio.SelectorEventLoop):
    """A loop whose time moves on only when somebody says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


LOOP = HandLoop()
MOST_TURNS = 50
_errors: list[BaseException] = []


def _remember(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _errors.append(context.get("exception") or RuntimeError(context["message"]))


LOOP.set_exception_handler(_remember)


def turn(times: int = 1) -> None:
    """Let everything that is due now happen, ``times`` over; raises what a callback raised."""
    for _ in range(min(times, MOST_TURNS)):
        LOOP.call_soon(LOOP.stop)
        LOOP.run_forever()
    if _errors:
        raise _errors.pop()


def wait(seconds: float) -> None:
    """So much later."""
    LOOP.now += seconds
    turn(2)
