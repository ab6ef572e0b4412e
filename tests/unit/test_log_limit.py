# SPDX-License-Identifier: MIT
"""A line that comes again and again is left out, and counted."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from ivshmem_virtio.errors import ChainTooLong, HeadInFlight
from ivshmem_virtio.service.log_limit import BURST_SECONDS, LogLimit


class Clock:
    """Time as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    """What the logger ``limited`` prints."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(LogLimit(clock))
    logger = logging.getLogger("limited")
    logger.propagate = False
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_a_burst_then_one_a_second(clock: Clock, stream: io.StringIO) -> None:
    log = logging.getLogger("limited")
    for number in range(1000):
        log.warning("broke rule %d of 100 %%", number)
    lines = stream.getvalue().splitlines()
    assert len(lines) == BURST_SECONDS + 1
    clock.now += 1.5
    log.warning("broke rule %d of 100 %%", 1000)
    log.warning("broke rule %d of 100 %%", 1001)
    (line,) = stream.getvalue().splitlines()[len(lines) :]
    assert line == f"broke rule 1000 of 100 % ({1000 - len(lines)} lines like this were left out)"


def test_each_rule_has_lines_of_its_own(stream: io.StringIO) -> None:
    log = logging.getLogger("limited")
    for _ in range(1000):
        log.error("%s; the device needs a reset", ChainTooLong("too long"))
    log.error("%s; the device needs a reset", HeadInFlight("in flight"))
    assert stream.getvalue().splitlines()[-1] == "in flight; the device needs a reset"


def test_other_lines_are_not_concerned(stream: io.StringIO) -> None:
    log = logging.getLogger("limited")
    for _ in range(1000):
        log.warning("again")
    log.warning("once")
    assert stream.getvalue().splitlines()[-1] == "once"
