# SPDX-License-Identifier: MIT
"""One event loop for all inputs, turned by hand: nothing waits, and nothing of an input is left for the next one."""

from __future__ import annotations

import asyncio
from typing import Any

LOOP = asyncio.new_event_loop()
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
