# SPDX-License-Identifier: MIT
"""One event loop for all inputs, turned by hand: nothing waits, and nothing of an input is left for the next one."""

from __future__ import annotations

import asyncio

LOOP = asyncio.new_event_loop()
MOST_TURNS = 50


def turn(times: int = 1) -> None:
    """Let everything that is due now happen, ``times`` over."""
    for _ in range(min(times, MOST_TURNS)):
        LOOP.call_soon(LOOP.stop)
        LOOP.run_forever()
